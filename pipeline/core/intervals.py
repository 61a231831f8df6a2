"""Bootstrap intervals of metrics, over groups where samples of one group are alike.

Source: B. Efron and R. J. Tibshirani, An Introduction to the Bootstrap (1993), chapter 13 (percentile interval) and section
8.4 (resampling whole units of dependent data). What differs: the percentiles are taken further out, as for Student's t with
one degree of freedom less than there are units, because plain percentiles are too narrow for few units (the expanded
percentile interval of T. Hesterberg, What Teachers Should Know About the Bootstrap, The American Statistician 69, 2015);
and a resample in which a metric is undefined, such as one class only for AUROC, is skipped for that metric and counted.
"""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, stdtrit

from pipeline.core.errors import PersonError

Array = NDArray[np.generic]
Metrics = Callable[[Array, Array, Array], Mapping[str, float]]


def bootstrap(  # noqa: PLR0913, PLR0917
    metrics: Metrics, prediction: Array, truth: Array, weight: Array, groups: Sequence[str], *,
    resamples: int, coverage: float, seed: int,
) -> dict[str, dict[str, float]]:  # fmt: skip
    """Every metric with its expanded percentile interval.

    Args:
        metrics: maps predictions, truths and weights, N of each, to named numbers; NaN where a metric is undefined.
        prediction: decoded predictions, first axis N.
        truth: (N,).
        weight: (N,).
        groups: group of each sample; "" is a group of its own. With fewer than two groups, samples are resampled.
        resamples: number of resamples.
        coverage: nominal coverage of the interval, in (0, 1).
        seed: of the draws; the same seed gives the same interval, and the same resamples for every set of predictions.

    Returns:
        Metric -> `value`, `low`, `high`, and `skipped` (resamples in which it was undefined) where that is not zero.
        A metric whose value is undefined, or which is undefined in half of the resamples, is left out.

    Raises:
        PersonError: there are no samples.
        ValueError: coverage or the number of resamples is out of range, or lengths differ.
    """
    count = len(truth)
    if not 0 < coverage < 1 or resamples < 1:
        raise ValueError(f"coverage must lie in (0, 1) and resamples be positive: received {coverage} and {resamples}")
    if not len(prediction) == len(weight) == len(groups) == count:
        lengths = f"{len(prediction)} predictions, {count} truths, {len(weight)} weights, {len(groups)} groups"
        raise ValueError(f"lengths differ: {lengths}")
    if count == 0:
        raise PersonError("there are no samples to measure on: the split's test part is empty; set a larger test share")
    values = metrics(prediction, truth, weight)
    drawn: dict[str, list[float]] = {name: [] for name in values}
    rng = np.random.default_rng(seed)
    units = _units(groups)
    for _ in range(resamples):
        chosen = units.draw(rng)
        for name, value in metrics(prediction[chosen], truth[chosen], weight[chosen]).items():
            if math.isfinite(value):
                drawn[name].append(value)
    tail = _tail(len(units.length), coverage)
    results = {name: _interval(values[name], drawn[name], resamples, tail) for name in values}
    return {name: entry for name, entry in results.items() if entry}


def count_groups(groups: Sequence[str]) -> int:
    """Number of units that `bootstrap` resamples when it resamples groups; 0 where it resamples single samples."""
    named = {group for group in groups if group}
    units = len(named) + sum(1 for group in groups if not group)
    return units if named and units > 1 else 0


class _Units:
    """Samples sorted by unit, so that a draw of units is one vectorised gather."""

    def __init__(self, code: NDArray[np.int64]) -> None:
        self.order = np.argsort(code, kind="stable")
        self.length = np.bincount(code)
        self.start = np.cumsum(self.length) - self.length

    def draw(self, rng: np.random.Generator) -> NDArray[np.int64]:
        chosen = rng.integers(0, len(self.length), size=len(self.length))
        length = self.length[chosen]
        before = np.cumsum(length) - length
        return self.order[np.repeat(self.start[chosen] - before, length) + np.arange(int(length.sum()))]


def _units(groups: Sequence[str]) -> _Units:
    if count_groups(groups) == 0:
        return _Units(np.arange(len(groups)))
    names = [group or f"\0{number}" for number, group in enumerate(groups)]
    return _Units(np.unique(names, return_inverse=True)[1].astype(np.int64))


def _tail(units: int, coverage: float) -> float:
    """Share of the resamples to leave out on each side: Phi(-sqrt(n / (n - 1)) t), t Student's quantile of n - 1."""
    if units < 2:
        return (1 - coverage) / 2
    return float(ndtr(-math.sqrt(units / (units - 1)) * stdtrit(units - 1, (1 + coverage) / 2)))


def _interval(value: float, drawn: list[float], resamples: int, tail: float) -> dict[str, float]:
    if not math.isfinite(value) or 2 * len(drawn) <= resamples:
        return {}
    low, high = np.quantile(np.asarray(drawn), [tail, 1 - tail], method="weibull")
    entry = {"value": float(value), "low": float(low), "high": float(high)}
    if len(drawn) < resamples:
        entry["skipped"] = resamples - len(drawn)
    return entry
