"""Durable checkpoints: a temporary file in the same folder, flushed, renamed, and the folder flushed.

Lightning's own save goes through $TMPDIR and is a copy across file systems: a full disk then destroys the last good
checkpoint, and a folder that cannot be written is reported as saved (both measured with 2.6.6). Here the name holds the
hash of the content, a checkpoint is verified before it is used, and two are kept so that there is one to fall back to.
"""

import hashlib
import io
import logging
import os
import re
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO

LOG = logging.getLogger(__name__)
NAME = re.compile(r"step=(\d{9})-([0-9a-f]{16})\.ckpt")
KEPT = 2


class DurableIO(TorchCheckpointIO):
    """Saves `folder/anything` as `folder/step=<step>-<hash>.ckpt` and keeps the newest two."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write one checkpoint; raises OSError when it cannot be written or read back."""
        folder = Path(path).parent
        folder.mkdir(parents=True, exist_ok=True)
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        content = buffer.getbuffer()
        name = f"step={checkpoint['global_step']:09d}-{hashlib.sha256(content).hexdigest()[:16]}.ckpt"
        temporary = folder / f".{name}.part"
        try:
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(folder / name)
        finally:
            temporary.unlink(missing_ok=True)
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
        if not is_whole(folder / name):
            raise OSError(f"the checkpoint {folder / name} does not read back as it was written")
        for old in _by_step(folder)[KEPT:]:
            old.unlink()


class EverySteps(pl.Callback):
    """Saves a checkpoint into a folder every so many optimiser steps."""

    def __init__(self, folder: Path, *, every: int) -> None:
        self.folder, self.every, self.saved = folder, every, -1

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Save after the optimiser step; gradient accumulation does not repeat a step's checkpoint."""
        step = trainer.global_step
        if step % self.every == 0 and step != self.saved:
            self.saved = step
            trainer.save_checkpoint(self.folder / "checkpoint")


def newest(folder: Path) -> tuple[Path | None, int]:
    """The newest whole checkpoint and its step; (None, 0) where there is none. A damaged one is passed over, and said so."""
    for path in _by_step(folder):
        match = NAME.fullmatch(path.name)
        assert match is not None
        if is_whole(path):
            return path, int(match.group(1))
        LOG.warning("checkpoint %s is damaged; falling back to the one before", path.name)
    return None, 0


def is_whole(path: Path) -> bool:
    """Whether a checkpoint's content has the hash that its name states."""
    match = NAME.fullmatch(path.name)
    return bool(match) and hashlib.sha256(path.read_bytes()).hexdigest()[:16] == match.group(2)  # type: ignore[union-attr]


def _by_step(folder: Path) -> list[Path]:
    found = [path for path in folder.glob("step=*.ckpt") if NAME.fullmatch(path.name)] if folder.is_dir() else []
    return sorted(found, key=lambda path: path.name, reverse=True)
