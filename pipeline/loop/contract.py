"""What a plant is handed and what it returns.

B batch, H height, W width, C channels, K columns of a decoded prediction, N samples.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.core.record import Pixels


@dataclass(frozen=True)
class Said:
    """One answer of the model.

    Attributes:
        prediction_K: decoded: a probability for each class, or the value.
        unknown: whether the detector takes the image for unlike the training data.
        seconds: that the call took.
    """

    prediction_K: NDArray[np.float64]
    unknown: bool
    seconds: float


@dataclass(frozen=True)
class Material:
    """What a plant works with.

    Attributes:
        ask: the model, one image (H, W, C) at a time, as the line does.
        classes: names in the order of the prediction; empty where a value is predicted.
        truth_N: class or value of each test sample.
        ids: of the test samples.
        groups: of the test samples; "" for none.
        pixels: the image at a position of the test samples.
        dataset: the part that the data came from.
        coverage: of intervals.
        resamples: behind those that are resampled.
        seed: of every draw.
        progress: is called with the share that is done.
    """

    ask: Callable[[Pixels], Said]
    classes: Sequence[str]
    truth_N: NDArray[Any]
    ids: Sequence[str]
    groups: Sequence[str]
    pixels: Callable[[int], Pixels]
    dataset: Any
    coverage: float
    resamples: int
    seed: int
    progress: Callable[[float], None] = lambda _: None


@dataclass(frozen=True)
class Requirement:
    """Something that is asked of the loop as a whole.

    Attributes:
        name: the key in conf that holds the limit.
        meaning: for people.
        found: `value`, and `low` and `high` of its interval.
        limit: None where nothing is asked.
        at_least: the limit is a lower one.
        unit: of value and limit; "share" for a share.
        measured: whether the clock of this machine has a part in it.
    """

    name: str
    meaning: str
    found: Mapping[str, float]
    limit: float | None
    at_least: bool = False
    unit: str = "share"
    measured: bool = False

    @property
    def value(self) -> float:
        """What was found."""
        return self.found["value"]

    @property
    def low(self) -> float:
        """Where its interval begins."""
        return self.found["low"]

    @property
    def high(self) -> float:
        """Where its interval ends."""
        return self.found["high"]

    @property
    def state(self) -> str:
        """`met` (all of the interval keeps the limit), `missed` (the value does not), `not shown` (between), or `not asked`."""
        if self.limit is None:
            return "not asked"
        sign = -1.0 if self.at_least else 1.0
        value, worst = sign * self.value, sign * (self.low if self.at_least else self.high)
        if not np.isfinite(self.value) or value > sign * self.limit:
            return "missed"
        return "met" if worst <= sign * self.limit else "not shown"


@dataclass(frozen=True)
class Chart:
    """A picture of the run, drawn when the page is written.

    Attributes:
        name: of the file, without ending.
        caption: what a reader should see.
        draw: writes the PNG at a path.
    """

    name: str
    caption: str
    draw: Callable[[Any], Any]


@dataclass(frozen=True)
class Outcome:
    """What came of a run.

    Attributes:
        title: of the page.
        summary: one sentence with the finding.
        requirements: what was asked, and what was only looked at.
        facts: name -> value, for people.
        tables: caption -> (columns, rows), small.
        columns: of the events.
        events: one row each, for the CSV file.
        charts: pictures.
        text: how the plant works, for people.
    """

    title: str
    summary: str
    requirements: Sequence[Requirement]
    facts: Mapping[str, str]
    tables: Mapping[str, tuple[Sequence[str], Sequence[Sequence[Any]]]]
    columns: Sequence[str]
    events: Sequence[Sequence[Any]]
    charts: Sequence[Chart] = ()
    text: Sequence[str] = field(default_factory=tuple)

    @property
    def held(self) -> bool:
        """Whether everything that is asked is met."""
        return all(one.state in {"met", "not asked"} for one in self.requirements)


class Plant(Protocol):
    """A simulated machine whose behaviour depends on the model, and whose behaviour the model sees.

    Equal arguments, material and answers give equal outcomes; the time that answers take is measured unless conf says it.
    """

    def run(self, material: Material) -> Outcome:
        """Simulate.

        Raises:
            PersonError: the data is not what this plant needs; the message says what is.
        """
