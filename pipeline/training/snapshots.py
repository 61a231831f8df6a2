"""Weights as they were at some steps of a training, kept for a look at how features came about (`python -m pipeline probe`)."""

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from safetensors.torch import save_file
from torch import nn

from pipeline.core.errors import PersonError

FOLDER = "snapshots"


class Snapshots(pl.Callback):
    """Writes the weights that would be shipped after each of these steps; one that is written already is the same.

    Args:
        folder: where; the scratch of a training, so that a killed one keeps them.
        steps: optimiser steps.
        model: the whole network.
        prefix: of the trained part's names in it, where that is not the whole.
    """

    def __init__(self, folder: Path, *, steps: Sequence[int], model: nn.Module, prefix: str = "") -> None:
        self.folder, self.steps, self.model, self.prefix = folder, frozenset(steps), model, prefix

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
        """Write this step's weights, whole or not at all."""
        step = trainer.global_step
        path = self.folder / name_of(step)
        if step not in self.steps or trainer.global_rank != 0 or path.is_file():
            return
        shipped = {f"{self.prefix}{name}": tensor for name, tensor in pl_module.shipped().state_dict().items()}
        state = {name: tensor.detach().cpu().contiguous() for name, tensor in {**self.model.state_dict(), **shipped}.items()}
        self.folder.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".part")
        save_file(state, partial)
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(path)


def snapshots_of(recipe: Mapping[str, Any], scratch: Path, model: nn.Module, *, prefix: str) -> list[pl.Callback]:
    """The callback where `train.snapshots` names steps, or none.

    Raises:
        PersonError: a step that this training never reaches.
    """
    steps = recipe.get("snapshots") or []
    late = [step for step in steps if step > recipe["max_steps"]]
    if late:
        raise PersonError(
            f"train.snapshots={steps}: this training ends at train.max_steps={recipe['max_steps']}, before {late[0]}"
        )
    return [Snapshots(scratch / FOLDER, steps=steps, model=model, prefix=prefix)] if steps else []


def publish(scratch: Path, out: Path) -> None:
    """Copy what was written into an artifact; nothing where nothing was."""
    if (scratch / FOLDER).is_dir():
        shutil.copytree(scratch / FOLDER, out / FOLDER, ignore=shutil.ignore_patterns("*.part"))


def name_of(step: int) -> str:
    """The file of a step; names sort as steps do."""
    return f"{step:09d}.safetensors"


def kept(folder: Path) -> dict[int, Path]:
    """Snapshots of a folder by step."""
    return {int(path.stem): path for path in sorted(folder.glob("*.safetensors")) if path.stem.isdigit()}
