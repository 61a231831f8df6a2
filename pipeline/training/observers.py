"""All that looks on while a network trains, put together: history, live line, clock, health; and what they publish afterwards."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from shutil import copyfile
from typing import Any

import pytorch_lightning as pl
from torch import Tensor

from pipeline.core import launch
from pipeline.core.cost import TIMINGS
from pipeline.core.section import Picture, Table
from pipeline.training.diagnosis import diagnose, draw, table
from pipeline.training.forecast import Clock, Outlook, state_bytes
from pipeline.training.health import FiniteCheckpoints, HealthProbe, read_measures, write_measures
from pipeline.training.memory import foresee
from pipeline.training.preflight import check_norms
from pipeline.training.watch import Row, Validator, Watch

HISTORY, MEASURES, PICTURE = "history.jsonl", "health.jsonl", "health.png"
SAMPLES = 12  # steps at which layers are measured, where the recipe does not say


def observers(
    learner: Any, recipe: dict[str, Any], *, scratch: Path, start: int, batch_of: Callable[[Sequence[int]], Mapping[str, Tensor]],
    validator: Validator, tracker: Any,
) -> list[pl.Callback]:  # fmt: skip
    """The callbacks that look on, in the order in which they must be called; warns where memory will not suffice.

    Args:
        learner: what is trained.
        recipe: conf/train.
        scratch: of the run.
        start: step where this process continues.
        batch_of: a batch of the training samples with these numbers.
        validator: of the network to be shipped.
        tracker: is told each row; None for none.

    Raises:
        PersonError: batch norm cannot train on so few samples at once.
    """
    def some(count: int) -> Mapping[str, Tensor]:
        return batch_of([0] * count)

    outlook = Outlook(
        recipe, Clock(scratch, recipe), validate_seconds=validator.seconds, state_bytes=state_bytes(learner),
        memory=foresee(learner.model, some, validator.task.losses, precision=recipe.get("precision", "32-true"),
                       beside=state_bytes(learner.average) if learner.average is not None else 0),
    )  # fmt: skip
    check_norms(learner.model, some, batch=outlook.batch())
    outlook.warn()
    watch = Watch(scratch / HISTORY, start_step=start, recipe=recipe, validator=validator, tracker=tracker, outlook=outlook)
    count = recipe.get("health_samples", SAMPLES)
    probe = HealthProbe(scratch / MEASURES, start_step=start, max_steps=recipe["max_steps"], count=count, tracker=tracker)
    return [watch, probe, FiniteCheckpoints()]


@dataclass(frozen=True)
class Health:
    """What the section of a training shows of its health.

    Attributes:
        history: rows of the training.
        shipped: the validation of the weights that are shipped.
        warnings: findings in words.
        table: of the last measured step.
        picture: of the layers.
    """

    history: Sequence[Row]
    shipped: Row
    warnings: list[str]
    table: Table
    picture: Picture


def conclude(scratch: Path, out: Path, history: Sequence[Row], *, shipped: Row) -> Health:
    """Write `health.csv`, `health.png` and `timings.json`, and say on standard error what is wrong with the training.

    Args:
        scratch: of the run.
        out: its artifact.
        history: rows of it.
        shipped: the validation of the weights that are shipped.
    """
    measures = read_measures(scratch / MEASURES)
    write_measures(measures, out / "health.csv")
    draw(measures, out / PICTURE, dpi=110)
    if (scratch / TIMINGS).is_file():
        copyfile(scratch / TIMINGS, out / TIMINGS)
    warnings = [finding.text for finding in diagnose(history, measures, shipped=int(shipped["step"]))]
    if launch.rank() == 0:
        sys.stderr.writelines(f"warning: {text}\n" for text in warnings)
    caption = "How the layers fare at three steps: error that reaches them, size of a step over that of the weights, dead units."
    return Health(history, shipped, warnings, table(measures), Picture(PICTURE, caption))
