"""What a person follows while a model trains: history, validation and a live line. Nothing here changes a bit of the weights.

B batch, K outputs, N samples.
"""

import json
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from torch import nn

from pipeline.core import launch
from pipeline.core.contracts import Task
from pipeline.core.errors import PersonError
from pipeline.training.forecast import Outlook
from pipeline.training.inputs import Item
from pipeline.training.live import Live
from pipeline.training.resources import peak_bytes

Row = dict[str, float]


class Validator:
    """Loss and headline metric of a network on held-out batches, without touching the training's random numbers."""

    def __init__(self, batch: Callable[[Sequence[int]], Item], count: int, *, task: Task, batch_size: int) -> None:
        self.batch, self.count, self.task, self.batch_size = batch, count, task, batch_size

    def __call__(self, model: nn.Module) -> Row:
        """`val_loss` and `val_<headline>`; either is NaN where it is not defined."""
        loss, prediction, truth = self._outputs(model, self.count)
        headline = self.task.metrics(prediction, truth, np.ones(len(truth), np.float32)).get(self.task.headline, math.nan)
        return {"val_loss": loss, f"val_{self.task.headline}": headline}

    def seconds(self, model: nn.Module) -> float:
        """What a validation will take, measured on one batch."""
        size, began = min(self.count, self.batch_size), time.perf_counter()
        _, prediction, truth = self._outputs(model, size)
        self.task.metrics(prediction, truth, np.ones(len(truth), np.float32))
        return (time.perf_counter() - began) * self.count / size

    def _outputs(self, model: nn.Module, count: int) -> tuple[float, NDArray[Any], NDArray[Any]]:
        """Mean loss, decoded predictions and truths of the first samples."""
        outputs, truths, losses = [], [], 0.0
        was_training = model.training
        device = next(model.parameters()).device
        model.eval()
        with torch.random.fork_rng(), torch.inference_mode():
            for start in range(0, count, self.batch_size):
                items = self.batch(range(start, min(start + self.batch_size, count)))  # single ones scatter the heap
                truth_B = items["truth"]
                output_BK = model(items["x"].to(device)).float().cpu()
                losses += float(self.task.losses(output_BK, truth_B).sum())
                outputs.append(self.task.decode(output_BK).numpy())
                truths.append(truth_B.numpy())
        model.train(was_training)
        return losses / count, np.concatenate(outputs), np.concatenate(truths)


class Watch(pl.Callback):
    """Appends a row to `history.jsonl` every `log_every` steps, validates every `validate_every`, and shows how far it is.

    It is the first of the callbacks, so that its clock sees where a step ends.

    Args:
        path: of the history; rows after `start_step` belong to a run that was killed and are dropped.
        start_step: where this process continues.
        recipe: `max_steps`, `log_every` and `validate_every` of conf/train.
        validator: of the network to be shipped, or None.
        tracker: its `log` is told each row, with speed and memory; None for none.
        outlook: keeps the time; None where nobody asks for it.
    """

    def __init__(
        self, path: Path, *, start_step: int, recipe: dict[str, Any], validator: Validator | None,
        tracker: Any, outlook: Outlook | None = None,
    ) -> None:  # fmt: skip
        self.path, self.recipe, self.validator, self.tracker, self.outlook = path, recipe, validator, tracker, outlook
        self.live = Live("train", total=recipe["max_steps"], done=start_step, batch_size=recipe.get("batch_size", 0))
        if launch.rank() == 0:
            kept = [row for row in read_rows(path) if row["step"] <= start_step]
            path.write_text("".join(json.dumps(row, sort_keys=True) + "\n" for row in kept), encoding="utf-8")

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, *_: Any) -> None:
        """Record this step."""
        step, last = trainer.global_step, self.recipe["max_steps"]
        if self.outlook is not None:
            self.outlook.clock.lap()
        if trainer.global_rank != 0:
            return
        row: Row = {}
        if step % self.recipe["log_every"] == 0 or step == last:
            row = {"loss": float(outputs["loss"]), "lr": pl_module.rate(), "grad_norm": pl_module.grad_norm}
        if self.validator is not None and (step % self.recipe["validate_every"] == 0 or step == last):
            row |= self._validated(pl_module.shipped(), step)
        if row:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": step, **row}, sort_keys=True) + "\n")
            if self.tracker is not None:
                self.tracker.log(step, {**row, **self._machine()})
        if self.outlook is not None:
            self.outlook.look(pl_module.shipped(), step)
        self.live.update(step, {name.removeprefix("val_"): row[name] for name in row if name in self._shown()} if row else None)

    def on_save_checkpoint(self, trainer: pl.Trainer, *_: Any) -> None:
        """Tell the clock that what follows is no step."""
        if self.outlook is not None and trainer.global_rank == 0:
            self.outlook.clock.saved()

    def on_train_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Write what the training took."""
        if self.outlook is not None and trainer.global_rank == 0:
            self.outlook.write(self.path.parent)

    def teardown(self, trainer: pl.Trainer, pl_module: Any, stage: str) -> None:
        """Take the line away."""
        self.live.close()

    def _validated(self, network: nn.Module, step: int) -> Row:
        assert self.validator is not None
        began = time.perf_counter()
        row = self.validator(network)
        if self.outlook is not None:
            self.outlook.clock.aside(began, validation=True)
        for name, value in row.items():
            if not math.isfinite(value):
                loss = name == "val_loss"
                why = "the network's outputs are not finite" if loss else "the metric is not defined on these samples"
                todo = "lower train.lr" if loss else "choose another task.headline, or a split with every class in validation"
                raise PersonError(
                    f"{name} is {value} after step {step}, on {self.validator.count} validation samples ({why}): {todo}; "
                    "the last finite checkpoint is kept"
                )
        return row

    def _shown(self) -> tuple[str, ...]:
        return ("loss",) if self.validator is None else ("loss", f"val_{self.validator.task.headline}")

    def _machine(self) -> Row:
        """Speed and memory: for the tracker alone, since no two runs agree in them."""
        speed = None if self.outlook is None else self.outlook.clock.speed()
        return {"memory_mb": peak_bytes() / 1e6, **({} if speed is None else {"samples_per_second": speed})}


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
