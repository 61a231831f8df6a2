"""Durable checkpoints: a temporary file in the same folder, flushed, renamed, and the folder flushed.

Lightning's own save goes through $TMPDIR and is a copy across file systems: a full disk then destroys the last good
checkpoint, and a folder that cannot be written is reported as saved (both measured with 2.6.6). Here the name holds the
hash of the content, a checkpoint is verified before it is used, and two are kept so that there is one to fall back to.

The training waits only while its state is copied; a thread writes the copy. One write is under way at most, the next save and
the end of the training wait for it, and an error of the writer is raised at the next step.
"""

import copy
import hashlib
import logging
import os
import pickle
import re
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO, cast

import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO
from torch import Tensor, nn

from pipeline.core import launch
from pipeline.core.errors import PersonError

LOG = logging.getLogger(__name__)
NAME = re.compile(r"step=(\d{9})-([0-9a-f]{16})\.ckpt")
KEPT = 2
REFUSED = "refused-"  # before the name of a checkpoint that was set aside
COPIES = 4  # of the weights in a checkpoint, at most: themselves, their average and two moments


class DurableIO(TorchCheckpointIO):
    """Saves `folder/anything` as `folder/step=<step>-<hash>.ckpt` and keeps the newest two."""

    def __init__(self) -> None:
        self._writer = ThreadPoolExecutor(1, "checkpoint-writer")
        self._writing: Future[None] | None = None

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Copy the state and have it written; raises OSError when the one before could not be written or read back."""
        self.wait()
        self._writing = self._writer.submit(_write, [_copied(checkpoint, {})], Path(path).parent)

    def check(self) -> None:
        """Raise the error of the writer, where it has ended with one."""
        if self._writing is not None and self._writing.done():
            self.wait()

    def wait(self) -> None:
        """Until the last checkpoint is on disk; raises OSError when it is not."""
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def teardown(self) -> None:
        """End the writer; after a training that failed, an error of its last checkpoint is said and not raised."""
        try:
            self.wait()
        except OSError as error:
            LOG.warning("the last checkpoint could not be written: %s", error)
        self._writer.shutdown()


class EverySteps(pl.Callback):
    """Saves a checkpoint into a folder every so many optimiser steps, and after the last one.

    Args:
        folder: of the checkpoints.
        every: steps.
        last: the step at which the training ends.
        io: what writes them; the end of the training waits for it.
    """

    def __init__(self, folder: Path, *, every: int, last: int, io: DurableIO) -> None:
        self.folder, self.every, self.last, self.io, self.saved = folder, every, last, io, -1

    def on_train_batch_start(self, *_: Any) -> None:
        """Raise what went wrong in the background since the last step."""
        self.io.check()

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Save after the optimiser step; gradient accumulation does not repeat a step's checkpoint."""
        step = trainer.global_step
        if step % self.every == 0 or step == self.last or trainer.should_stop:
            self.save(trainer)

    def save(self, trainer: pl.Trainer) -> None:
        """Save this step, unless it was saved already; all processes of a training must call it at the same step."""
        if trainer.global_step != self.saved:
            self.saved = trainer.global_step
            trainer.save_checkpoint(self.folder / "checkpoint")

    def on_train_end(self, *_: Any) -> None:
        """Wait for the writer."""
        self.io.wait()


def newest(folder: Path, module: nn.Module | None = None) -> tuple[Path | None, int]:
    """The newest checkpoint that serves, and its step; (None, 0) where there is none.

    One that is damaged, or of another model than `module`, is set aside, and a warning says so.
    """
    refused = 0
    for path in _by_step(folder):
        try:
            why = "is damaged" if not is_whole(path) else _foreign(path, module)
        except FileNotFoundError:  # another process of this training has just set it aside
            why = "is gone"
        if not why:
            return path, _step(path)
        refused += 1
        LOG.warning("checkpoint %s %s; falling back to the one before", path.name, why)
        if launch.rank() == 0 and path.is_file():
            path.replace(path.with_name(REFUSED + path.name))
    if refused:
        LOG.warning("no checkpoint in %s serves; training starts from its first step", folder)
    return None, 0


def is_whole(path: Path) -> bool:
    """Whether a checkpoint's content has the hash that its name states."""
    match = NAME.fullmatch(path.name)
    return bool(match) and _hash(path) == match.group(2)  # type: ignore[union-attr]


def check_room(folder: Path, module: nn.Module) -> None:
    """Make sure before the first step that checkpoints can be written.

    Raises:
        PersonError: the folder cannot be written, or the disk is too full.
    """
    probe = folder / f".probe-{launch.rank()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"probe")
        probe.unlink()
        found = os.statvfs(folder)
    except OSError as error:
        raise PersonError(
            f"checkpoints cannot be written to {folder} ({error.strerror}): mend the access or free the disk; nothing was trained"
        ) from error
    need = (KEPT + 1) * COPIES * sum(value.numel() * value.element_size() for value in module.state_dict().values())
    free = found.f_bavail * found.f_frsize
    if free < need:
        raise PersonError(
            f"checkpoints need up to {need / 1e6:.0f} MB in {folder} and the disk has {free / 1e6:.0f} MB left: free some of it; "
            "nothing was trained"
        )


def _write(handed: list[Any], folder: Path) -> None:
    """Write one checkpoint; `handed` holds it alone and is emptied, so that its memory is free once it is bytes."""
    checkpoint = handed.pop()
    step = checkpoint["global_step"]
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".step={step:09d}.part"
    try:
        with temporary.open("wb") as file:
            hashed = _Hashed(file)
            torch.save(checkpoint, cast("BinaryIO", hashed))  # all that torch asks of it is write and flush
            del checkpoint
            file.flush()
            os.fsync(file.fileno())
        name = f"step={step:09d}-{hashed.digest.hexdigest()[:16]}.ckpt"
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


class _Hashed:
    """A file that hashes what is written to it: no copy of the whole checkpoint is held in memory."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.digest = file, hashlib.sha256()

    def write(self, content: Any) -> int:
        """Write some bytes (torch hands its parts in order)."""
        self.digest.update(content)
        return self.file.write(content)

    def flush(self) -> None:
        """As of a file; torch calls it."""
        self.file.flush()


def _copied(value: Any, seen: dict[Any, Tensor]) -> Any:
    """A copy that training can no longer change, on the CPU; tensors that are one in memory stay one."""
    if isinstance(value, Tensor):
        key = (value.data_ptr(), value.dtype, value.shape, value.stride())
        if value.numel() == 0 or key not in seen:
            seen[key] = value.detach().to("cpu", copy=True)
        return seen[key]
    if isinstance(value, dict):
        made = copy.copy(value)  # keeps what a state dict says of its version
        for name in made:
            made[name] = _copied(value[name], seen)
        return made
    if isinstance(value, list | tuple):
        return type(value)(_copied(one, seen) for one in value)
    return value


def _foreign(path: Path, module: nn.Module | None) -> str:
    """Why a whole checkpoint does not fit the module; "" where it does."""
    if module is None:
        return ""
    try:
        held = torch.load(path, map_location="cpu", mmap=True, weights_only=True)["state_dict"]
        found = {name: tuple(value.shape) for name, value in held.items()}
    except (RuntimeError, pickle.UnpicklingError, KeyError, AttributeError, EOFError, TypeError) as error:
        return f"cannot be read ({type(error).__name__})"
    wanted = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    differing = sorted(name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name))
    if not differing:
        return ""
    name = differing[0]
    return f"is of another model ({name} is {found.get(name, 'absent')} there and {wanted.get(name, 'absent')} here)"


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def _step(path: Path) -> int:
    match = NAME.fullmatch(path.name)
    assert match is not None
    return int(match.group(1))


def _by_step(folder: Path) -> list[Path]:
    found = [path for path in folder.glob("step=*.ckpt") if NAME.fullmatch(path.name)] if folder.is_dir() else []
    return sorted(found, key=lambda path: path.name, reverse=True)
