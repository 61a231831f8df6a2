"""When a training ends before its last step, and which of its weights are shipped: a pure function of the history.

Source: L. Prechelt, "Early Stopping - But When?", 1998, the criterion UP in its usual form: stop after so many validations in a
row without a new best. A resumed run reads the same history, so it stops at the same step and ships the same weights.
"""

import hashlib
import io
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import nn

from pipeline.core.contracts import Task
from pipeline.core.errors import PersonError
from pipeline.training.watch import Row, read_rows

BEST = re.compile(r"best=(\d{9})-([0-9a-f]{16})\.pt")


@dataclass(frozen=True)
class Rule:
    """What is compared, and how long without a new best one waits.

    Attributes:
        column: of the history, as `val_loss`.
        higher: whether more of it is better.
        patience: validations without a new best after which the training ends; 0 waits for ever.
        keep: which weights are shipped: those of the last step, or of the best validation.
    """

    column: str
    higher: bool
    patience: int
    keep: str

    @property
    def active(self) -> bool:
        """Whether anything depends on validation."""
        return self.patience > 0 or self.keep == "best"


@dataclass(frozen=True)
class Verdict:
    """What a history says.

    Attributes:
        best: step of the best validation, the first of equal ones; 0 before any.
        since: validations after it.
        stop: whether the training is over.
    """

    best: int
    since: int
    stop: bool


def rule_of(recipe: Mapping[str, Any], task: Task) -> Rule:
    """The rule of conf/train: `patience`, `keep` and `monitor`; what it does not name is off."""
    loss = recipe.get("monitor", "headline") == "loss"
    return Rule(
        column="val_loss" if loss else f"val_{task.headline}", higher=not loss and task.higher_is_better,
        patience=recipe.get("patience", 0), keep=recipe.get("keep", "last"),
    )  # fmt: skip


def verdict(rows: Sequence[Row], rule: Rule) -> Verdict:
    """Judge a history.

    Raises:
        PersonError: the value is not a number, so that nothing can be compared.
    """
    best, top, since = 0, -math.inf, 0
    for row in rows:
        if rule.column not in row:
            continue
        value = row[rule.column]
        if math.isnan(value):
            raise PersonError(
                f"{rule.column} is not a number at step {int(row['step'])}, so train.patience and train.keep=best have nothing "
                "to compare: set  train.monitor=loss  or another task.headline, or train.patience=0 and train.keep=last"
            )
        ranked = value if rule.higher else -value
        if ranked > top:
            best, top, since = int(row["step"]), ranked, 0
        else:
            since += 1
    return Verdict(best, since, 0 < rule.patience <= since)


class Stopping(pl.Callback):
    """Ends the training where the rule says so, and keeps the best weights as a durable file beside the checkpoints.

    It comes after the callback that writes the history, and before the one that writes checkpoints.

    Args:
        folder: of the history and of the best weights.
        rule: of the run.
        every: steps between validations.
        last: step, which is validated too.
    """

    def __init__(self, folder: Path, rule: Rule, *, every: int, last: int) -> None:
        self.folder, self.rule, self.every, self.last = folder, rule, every, last

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """A resumed run may stand where it had stopped: then no further step is taken."""
        if trainer.global_step:
            self._judge(trainer, None)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
        """Judge after each validation."""
        if trainer.global_step % self.every == 0 or trainer.global_step == self.last:
            self._judge(trainer, pl_module.shipped())

    def _judge(self, trainer: pl.Trainer, network: nn.Module | None) -> None:
        """Rank zero reads the history; all ranks stop together."""
        if not self.rule.active:
            return
        stop = False
        if trainer.global_rank == 0:
            found = verdict(read_rows(self.folder / "history.jsonl"), self.rule)
            if self.rule.keep == "best" and network is not None and found.best == trainer.global_step:
                save_best(self.folder, network, found.best)
            stop = found.stop
        if self.rule.patience:
            trainer.should_stop = bool(trainer.strategy.broadcast(stop)) or trainer.should_stop


def save_best(folder: Path, network: nn.Module, step: int) -> None:
    """Write the weights as `best=<step>-<hash>.pt`, whole or not at all; older ones go afterwards."""
    buffer = io.BytesIO()
    torch.save({name: tensor.cpu() for name, tensor in network.state_dict().items()}, buffer)
    content = buffer.getbuffer()
    name = f"best={step:09d}-{hashlib.sha256(content).hexdigest()[:16]}.pt"
    temporary = folder / f".{name}.part"
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(folder / name)
    finally:
        temporary.unlink(missing_ok=True)
    for old in folder.glob("best=*.pt"):
        if old.name != name:
            old.unlink()


def shipped_row(rows: Sequence[Row], rule: Rule) -> Row:
    """The validation of the weights that are shipped."""
    validated = [row for row in rows if "val_loss" in row]
    best = verdict(rows, rule).best if rule.keep == "best" else 0
    return next((row for row in validated if row["step"] == best), validated[-1])


def load_best(folder: Path, network: nn.Module, rule: Rule) -> int:
    """Give a network the weights of the best validation.

    Returns:
        Its step.

    Raises:
        PersonError: the file is missing or damaged.
    """
    step = verdict(read_rows(folder / "history.jsonl"), rule).best
    for path in folder.glob(f"best={step:09d}-*.pt"):
        match, content = BEST.fullmatch(path.name), path.read_bytes()
        if match and hashlib.sha256(content).hexdigest()[:16] == match.group(2):
            network.load_state_dict(torch.load(io.BytesIO(content), weights_only=True))
            return step
    raise PersonError(
        f"the best weights, of step {step}, are missing or damaged in {folder.name}: delete the folder .run/train and train again"
    )
