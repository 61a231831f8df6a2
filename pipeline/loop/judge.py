"""Intervals of what a loop did. Images that come twice, and images of one group, count as one unit: they are no new evidence.

N events.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.intervals import bootstrap
from pipeline.evaluation import shares
from pipeline.loop.contract import Material

Ends = dict[str, float]
NOTHING: Ends = {"value": float("nan"), "low": float("nan"), "high": float("nan")}
RUN = 5  # successive events that count as one unit of what comes and goes in time


def share(hit_N: NDArray[Any], units: Sequence[str], coverage: float) -> Ends:
    """Of hits, with Wilson's interval over units; NaN without an event."""
    return shares.share(hit_N, units, coverage=coverage) if len(hit_N) else dict(NOTHING)


def in_time(hit_N: NDArray[Any], coverage: float) -> Ends:
    """The share of hits of events in succession, where one late answer makes the next ones late: runs of them are the units."""
    return share(hit_N, [str(number // RUN) for number in range(len(hit_N))], coverage)


def mean(value_N: NDArray[Any], units: Sequence[str], coverage: float) -> Ends:
    """With Student's interval over units; without ends where there is one unit, these are infinite."""
    if not len(value_N):
        return dict(NOTHING)
    return {"low": -float("inf"), "high": float("inf"), **shares.mean(value_N, units, coverage=coverage)}


def rate(times_N: NDArray[np.float64], coverage: float) -> Ends:
    """Events a second, from the gaps between successive ones."""
    gap_N = np.diff(times_N)
    found = mean(gap_N, [str(number // RUN) for number in range(len(gap_N))], coverage)
    return {"value": 1 / found["value"], "low": 1 / found["high"], "high": 1 / found["low"] if found["low"] > 0 else float("inf")}


def percentile(value_N: NDArray[np.float64], level: float, material: Material) -> Ends:
    """With an interval by resampling."""
    if not len(value_N):
        return dict(NOTHING)
    nothing_N = np.zeros(len(value_N))

    def found(drawn: NDArray[Any], *_: NDArray[Any]) -> Ends:
        return {"it": float(np.percentile(drawn.astype(np.float64), level))}

    words = {"resamples": material.resamples, "coverage": material.coverage, "seed": material.seed}
    return bootstrap(found, value_N, nothing_N, nothing_N, [""] * len(value_N), **words)["it"]  # type: ignore[arg-type]


def ratio(above_N: NDArray[np.float64], below_N: NDArray[np.float64], material: Material) -> Ends:
    """Of two means over the same units, with an interval by resampling units."""

    def found(drawn_N: NDArray[Any], other_N: NDArray[Any], _: NDArray[Any]) -> Ends:
        return {"it": float(drawn_N.astype(np.float64).sum() / other_N.astype(np.float64).sum())}

    words = {"resamples": material.resamples, "coverage": material.coverage, "seed": material.seed}
    return bootstrap(found, above_N, below_N, np.ones(len(above_N)), [""] * len(above_N), **words)["it"]  # type: ignore[arg-type]
