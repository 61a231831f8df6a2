"""What a training will take, from a few timed steps after warm-up; and what it took. Nothing here changes a bit of it."""

import hashlib
import json
import math
import os
import sys
import time
from array import array
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean, median
from typing import Any

from torch import nn

from pipeline.core import launch
from pipeline.core.artifact import read_json, write_json
from pipeline.core.cost import TIMINGS, duration, price, size
from pipeline.core.progress import PATIENCE
from pipeline.training.memory import MOMENTS, Memory
from pipeline.training.resources import device_peak_bytes, peak_bytes

WARM, TIMED = 4, 8  # steps that are passed over, and steps that are timed then
RECENT = 16  # steps of which the speed is told
CLOCK = "clock.json"  # in the scratch: what earlier processes of a killed training took
PROBE = 2**22  # bytes that are written to learn what a checkpoint costs


@dataclass(frozen=True)
class Costs:
    """What a training takes, or will take.

    Attributes:
        seconds: of the training loop, with validation and checkpoints.
        step_seconds: median of a step, with the loading of its batch.
        validate_seconds: of one validation; None where there was none.
        checkpoint_seconds: of one checkpoint; None where there was none.
        samples_per_second: while it steps.
        peak_bytes: of the process.
        device_peak_bytes: of the GPU; None without one.
    """

    seconds: float
    step_seconds: float | None
    validate_seconds: float | None
    checkpoint_seconds: float | None
    samples_per_second: float | None
    peak_bytes: int | None
    device_peak_bytes: int | None


def whole(recipe: Mapping[str, Any], costs: Costs, *, passed: float = 0.0, done: int = 0) -> Costs:
    """What a whole training takes, from what one step, validation and checkpoint take.

    Args:
        recipe: `max_steps`, `validate_every` and `checkpoint_every`.
        costs: of one of each.
        passed: seconds that the first `done` steps took, with what was done after all but the last of them.
        done: steps.
    """
    last = recipe["max_steps"]
    validations = len({*range(recipe["validate_every"], last + 1, recipe["validate_every"]), last} - {*range(1, done)})
    saves = last // recipe["checkpoint_every"] - max(0, done - 1) // recipe["checkpoint_every"]
    seconds = passed + (last - done) * (costs.step_seconds or 0.0)
    seconds += validations * (costs.validate_seconds or 0.0) + saves * (costs.checkpoint_seconds or 0.0)
    return replace(costs, seconds=seconds)


class Clock:
    """Times steps, validations and checkpoints of a training, over all processes of it.

    A lap goes from the end of a step to the end of the next: it holds loading, the step, and what was done after the step before.
    Validation in it is subtracted, and laps with a checkpoint are told apart.

    Args:
        folder: scratch of the run.
        recipe: `batch_size` of conf/train, over all processes.
    """

    def __init__(self, folder: Path, recipe: Mapping[str, Any]) -> None:
        self.path, self.recipe = folder / CLOCK, recipe
        self.earlier = float(read_json(self.path)["seconds"]) if self.path.is_file() else 0.0
        self.began = time.perf_counter()
        self.mark: float | None = None
        self.spent = 0.0  # of the running lap, on what is no step
        self.saving = False
        self.steps, self.saves, self.validations = array("d"), array("d"), array("d")

    def lap(self) -> None:
        """A step has ended."""
        now = time.perf_counter()
        if self.mark is not None:
            (self.saves if self.saving else self.steps).append(now - self.mark - self.spent)
        self.mark, self.spent, self.saving = now, 0.0, False

    def saved(self) -> None:
        """A checkpoint is about to be written: keep beside it what was spent so far."""
        self.saving = True
        temporary = self.path.with_suffix(".part")
        temporary.write_text(json.dumps({"seconds": self.seconds()}), encoding="utf-8")
        temporary.replace(self.path)

    def aside(self, began: float, *, validation: bool = False) -> None:
        """What was done since `began` (a reading of `time.perf_counter`) is no part of a step."""
        took = time.perf_counter() - began
        self.spent += took
        if validation:
            self.validations.append(took)

    def seconds(self) -> float:
        """Of the training, over all its processes."""
        return self.earlier + time.perf_counter() - self.began

    def speed(self) -> float | None:
        """Samples a second over the last steps."""
        return self.recipe["batch_size"] / median(self.steps[-RECENT:]) if self.steps else None

    def costs(self) -> Costs:
        """What the training took so far."""
        laps = self.steps[WARM:] or self.steps
        step = median(laps) if laps else None
        return Costs(
            seconds=self.seconds(), step_seconds=step, validate_seconds=median(self.validations) if self.validations else None,
            checkpoint_seconds=max(0.0, median(self.saves) - step) if self.saves and step is not None else None,
            samples_per_second=self.recipe["batch_size"] / step if step else None, peak_bytes=peak_bytes(),
            device_peak_bytes=device_peak_bytes(),
        )  # fmt: skip


class Outlook:
    """Forecasts a training, before it in memory and after its first steps in time; writes the truth beside the forecast.

    Args:
        recipe: conf/train.
        clock: of the training.
        memory: forecast of it; None where nothing is known.
        validate_seconds: told the network, measures what a validation will take; None where there is none.
        state_bytes: of what a checkpoint holds.
    """

    def __init__(
        self, recipe: Mapping[str, Any], clock: Clock, *, memory: Memory | None,
        validate_seconds: Callable[[nn.Module], float] | None, state_bytes: int,
    ) -> None:  # fmt: skip
        self.recipe, self.clock, self.memory = recipe, clock, memory
        self.validate_seconds, self.state_bytes = validate_seconds, state_bytes
        self.forecast: Costs | None = None

    def batch(self) -> int:
        """Samples that one process holds at once."""
        parts = launch.world() * int(self.recipe.get("accumulate", 1))
        return math.ceil(int(self.recipe["batch_size"]) / parts)

    def warn(self) -> None:
        """Say so where memory will not suffice, and what would."""
        if self.memory is None or self.memory.fits(self.batch()) or launch.rank() != 0:
            return
        needed, free = self.memory.peak(self.batch()) - self.memory.held, self.memory.free or 0
        fitting = self.memory.fitting(self.batch()) * self.recipe["batch_size"] // self.batch()
        remedy = f"set train.batch_size={fitting}" if fitting else "choose a smaller network or smaller images"
        sys.stderr.write(
            f"warning: the training needs about {size(needed)} more memory and {size(free)} are free, so it may be killed: "
            f"{remedy}, or raise train.accumulate, which takes a batch in parts\n"
        )

    def look(self, network: nn.Module, step: int) -> None:
        """Make the forecast once enough steps are timed, and say it where the training takes long.

        Args:
            network: that is validated.
            step: that has just ended.
        """
        clock = self.clock
        if self.forecast is not None or len(clock.steps) != WARM + TIMED:
            return
        began = time.perf_counter()
        seconds = fmean(sorted(clock.steps[WARM:])[:-1])  # but for the slowest, in which the machine did something else
        costs = Costs(
            seconds=0.0, step_seconds=seconds, validate_seconds=self.validate_seconds(network) if self.validate_seconds else None,
            checkpoint_seconds=save_seconds(self.state_bytes, clock.path.parent), device_peak_bytes=None,
            samples_per_second=self.recipe["batch_size"] / seconds,
            peak_bytes=None if self.memory is None else self.memory.peak(self.batch()),
        )  # fmt: skip
        clock.aside(began)
        self.forecast = whole(self.recipe, costs, passed=clock.seconds(), done=step)
        left = self.forecast.seconds - clock.seconds()
        if left > PATIENCE:
            held = "" if costs.peak_bytes is None else f"{size(costs.peak_bytes)} of memory"
            said = [f"about {duration(self.forecast.seconds)}", held, price().of(self.forecast.seconds)]
            sys.stderr.write(f"train: {', '.join(filter(None, said))}\n")

    def write(self, scratch: Path) -> None:
        """Write `timings.json`, unless this process only found the training finished."""
        path = scratch / TIMINGS
        if self.clock.mark is not None or not path.is_file():
            forecast = None if self.forecast is None else asdict(self.forecast)
            write_json(path, {"run_id": scratch.name, "forecast": forecast, "measured": asdict(self.clock.costs())})


def save_seconds(state_bytes: int, folder: Path) -> float:
    """What writing a checkpoint will take: so many bytes, or a part of them, are written, flushed, read back and hashed twice.

    Args:
        state_bytes: of the checkpoint.
        folder: where it will lie.
    """
    probe = os.urandom(min(PROBE, max(1, state_bytes)))
    path = folder / ".probe"
    began = time.perf_counter()
    try:
        with path.open("wb") as file:
            hashlib.sha256(probe)
            file.write(probe)
            file.flush()
            os.fsync(file.fileno())
        hashlib.sha256(path.read_bytes())
    finally:
        path.unlink(missing_ok=True)
    return (time.perf_counter() - began) * max(1.0, state_bytes / PROBE)


def state_bytes(network: nn.Module) -> int:
    """Bytes of a checkpoint: every weight and buffer, and the moments of what is trained."""
    trained = sum(parameter.nbytes for parameter in network.parameters() if parameter.requires_grad)
    return int(sum(tensor.nbytes for tensor in network.state_dict().values()) + MOMENTS * trained)
