"""What a person follows while a model trains: history, validation and a progress bar. Nothing here changes a bit of the weights.

B batch, K outputs, N samples.
"""

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from torch import nn

from pipeline.core.contracts import Task
from pipeline.core.progress import Meter
from pipeline.training.inputs import Item

Row = dict[str, float]


class Validator:
    """Loss and headline metric of a network on held-out batches, without touching the training's random numbers."""

    def __init__(self, batch: Callable[[Sequence[int]], Item], count: int, *, task: Task, batch_size: int) -> None:
        self.batch, self.count, self.task, self.batch_size = batch, count, task, batch_size

    def __call__(self, model: nn.Module) -> Row:
        """`val_loss` and `val_<headline>`."""
        outputs, truths, losses = [], [], 0.0
        was_training = model.training
        device = next(model.parameters()).device
        model.eval()
        with torch.random.fork_rng(), torch.inference_mode():
            for start in range(0, self.count, self.batch_size):
                items = self.batch(range(start, min(start + self.batch_size, self.count)))  # single ones scatter the heap
                truth_B = items["truth"]
                output_BK = model(items["x"].to(device)).float().cpu()
                losses += float(self.task.losses(output_BK, truth_B).sum())
                outputs.append(self.task.decode(output_BK).numpy())
                truths.append(truth_B.numpy())
        model.train(was_training)
        prediction, truth = np.concatenate(outputs), np.concatenate(truths)
        headline = self.task.metrics(prediction, truth, np.ones(len(truth), np.float32)).get(self.task.headline, math.nan)
        return {"val_loss": losses / self.count, f"val_{self.task.headline}": headline}


class Watch(pl.Callback):
    """Appends a row to `history.jsonl` every `log_every` steps, validates every `validate_every`, and shows how far it is.

    Args:
        path: of the history; rows after `start_step` belong to a run that was killed and are dropped.
        start_step: where this process continues.
        recipe: `max_steps`, `log_every` and `validate_every` of conf/train.
        validator: of the network to be shipped, or None.
        tracker: its `log` is told each row; None for none.
    """

    def __init__(
        self, path: Path, *, start_step: int, recipe: dict[str, Any], validator: Validator | None,
        tracker: Any,
    ) -> None:  # fmt: skip
        self.path, self.recipe, self.validator, self.tracker = path, recipe, validator, tracker
        self.meter = Meter("train", total=recipe["max_steps"], done=start_step)
        kept = [row for row in read_rows(path) if row["step"] <= start_step]
        path.write_text("".join(json.dumps(row, sort_keys=True) + "\n" for row in kept), encoding="utf-8")

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, *_: Any) -> None:
        """Record this step."""
        step, last = trainer.global_step, self.recipe["max_steps"]
        self.meter.update(step)
        if trainer.global_rank != 0:
            return
        row: Row = {}
        if step % self.recipe["log_every"] == 0 or step == last:
            row = {"loss": float(outputs["loss"]), "lr": pl_module.rate(), "grad_norm": pl_module.grad_norm}
        if self.validator is not None and (step % self.recipe["validate_every"] == 0 or step == last):
            row |= self.validator(pl_module.shipped())
        if row:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": step, **row}, sort_keys=True) + "\n")
            if self.tracker is not None:
                self.tracker.log(step, row)

    def teardown(self, trainer: pl.Trainer, pl_module: Any, stage: str) -> None:
        """Take the progress bar away."""
        self.meter.close()


def read_rows(path: Path) -> list[Row]:
    """Rows of a history; a last line that a kill cut short is dropped."""
    rows: list[Row] = []
    if path.is_file():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                rows.append(json.loads(line))
            except json.JSONDecodeError:
                break
    return rows


def write_history(rows: Sequence[Row], path: Path) -> None:
    """The history as a CSV; a cell is empty where a step has no such value."""
    columns = ["step", *sorted({name for row in rows for name in row} - {"step"})]
    lines = [",".join(columns)]
    lines += [",".join(_cell(row.get(name)) for name in columns) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def series(rows: Sequence[Row], name: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Steps and values of one column, where it has values."""
    found = [(row["step"], row[name]) for row in rows if name in row and math.isfinite(row[name])]
    return np.asarray([step for step, _ in found]), np.asarray([value for _, value in found])


def _cell(value: float | None) -> str:
    if value is None or not math.isfinite(value):
        return ""
    return str(int(value)) if float(value).is_integer() and abs(value) >= 1 else f"{value:.6g}"
