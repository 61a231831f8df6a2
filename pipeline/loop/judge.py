"""Intervals of what a loop did. Images that come twice, and images of one group, count as one unit: they are no new evidence.

Nor are successive answers that wait for each other. How many of them say as much as one is the integrated autocorrelation time:
1 + 2 sum of the autocorrelations, up to the first lag that is five such times (A. Sokal, Monte Carlo Methods in Statistical
Mechanics, 1997, section 3). A percentile's interval is that of the share below it, turned round (R. S. Woodruff, Confidence
Intervals for Medians and Other Position Measures, Journal of the American Statistical Association 47, 1952), with the events
divided by that time. Where they are too few, it has no upper end.

N events.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtrit

from pipeline.core.intervals import bootstrap
from pipeline.evaluation import shares
from pipeline.loop.contract import Material

Ends = dict[str, float]
NOTHING: Ends = {"value": float("nan"), "low": float("nan"), "high": float("nan")}
RUN = 5  # successive events that count as one unit of what comes and goes in time, at least
TIMES = 5  # autocorrelation times that the sum of the autocorrelations goes up to
BLOCK = 3  # autocorrelation times that one run of successive events lasts
CROWDED = 90.0  # percentile above which answers are rare: one that is far out must not hide that the others queue
FEW = 6  # units below which resampling them is too narrow


def share(hit_N: NDArray[Any], units: Sequence[str], coverage: float) -> Ends:
    """Of hits, with Wilson's interval over units; NaN without an event, and from 0 to 1 where there is one unit."""
    if not len(hit_N):
        return dict(NOTHING)
    return shares.share(hit_N, units, coverage=coverage) | ({"low": 0.0, "high": 1.0} if _single(units) else {})


def in_time(hit_N: NDArray[Any], coverage: float, spent_N: NDArray[np.float64] | None = None) -> Ends:
    """The share of hits of events in succession, where one late answer makes the next ones late: runs of them are the units.

    Args:
        hit_N: whether each was late.
        coverage: of the interval.
        spent_N: times that show how long a queue lasts, even where nothing was late.
    """
    return share(hit_N, _runs(hit_N if spent_N is None else spent_N), coverage)


def mean(value_N: NDArray[Any], units: Sequence[str], coverage: float) -> Ends:
    """With Student's interval over units; without ends where there is one unit, these are infinite."""
    if not len(value_N):
        return dict(NOTHING)
    ends = {"low": -float("inf"), "high": float("inf")}
    found = shares.mean(value_N, units, coverage=coverage)
    return found | ends if _single(units) else ends | found


def rate(times_N: NDArray[np.float64], coverage: float) -> Ends:
    """Events a second, from the gaps between successive ones."""
    gap_N = np.diff(times_N)
    found = mean(gap_N, _runs(gap_N), coverage)
    return {"value": 1 / found["value"], "low": 1 / found["high"], "high": 1 / found["low"] if found["low"] > 0 else float("inf")}


def percentile(value_N: NDArray[np.float64], level: float, coverage: float) -> Ends:
    """Of times of answers in succession, none below 0; an end that they cannot show is 0 or infinite."""
    if not len(value_N):
        return dict(NOTHING)
    part, count = level / 100, independent(value_N)
    freedom = max(1.0, count / TIMES - 1)
    reach = float(stdtrit(freedom, (1 + coverage) / 2)) * math.sqrt(part * (1 - part) / count)
    low, high = (
        float(np.quantile(value_N, at, method="inverted_cdf")) if 0 < at < 1 else end
        for at, end in ((part - reach, 0.0), (part + reach, float("inf")))
    )
    return {"value": float(np.percentile(value_N, level)), "low": low, "high": high}


def independent(value_N: NDArray[np.float64]) -> float:
    """How many independent events say as much as these do in succession."""
    times = [_time(value_N), _time(value_N > np.percentile(value_N, CROWDED))] if len(value_N) else [1.0]
    return len(value_N) / max(times)


def evidence(value_N: NDArray[np.float64], level: float, coverage: float) -> str:
    """What `percentile` counts, for people, and how much it takes where that is too little."""
    words = f"{independent(value_N):.0f} of {len(value_N)}, of one run"
    if not np.isinf(percentile(value_N, level, coverage)["high"]):
        return words
    needed = math.ceil(float(ndtri((1 + coverage) / 2)) ** 2 * level / (100 - level))
    return f"{words}: too few for an upper end of the {level:g}th percentile, which takes more than {needed}"


def ratio(above_N: NDArray[np.float64], below_N: NDArray[np.float64], material: Material) -> Ends:
    """Of two means over the same units, neither negative, with an interval by resampling units.

    Of few units it is Student's interval of the logarithm, linearised; of one unit nothing is known but the value.
    """
    if not len(above_N) or not below_N.sum() > 0:
        return dict(NOTHING)
    if len(above_N) < FEW:
        return _few(above_N, below_N, material.coverage)

    def found(drawn_N: NDArray[Any], other_N: NDArray[Any], _: NDArray[Any]) -> Ends:
        return {"it": float(drawn_N.astype(np.float64).sum() / other_N.astype(np.float64).sum())}

    words = {"resamples": material.resamples, "coverage": material.coverage, "seed": material.seed}
    return bootstrap(found, above_N, below_N, np.ones(len(above_N)), [""] * len(above_N), **words)["it"]  # type: ignore[arg-type]


def _few(above_N: NDArray[np.float64], below_N: NDArray[np.float64], coverage: float) -> Ends:
    count, value = len(above_N), float(above_N.sum() / below_N.sum())
    if count < 2 or value == 0:
        return {"value": value, "low": 0.0, "high": float("inf")}
    wrong_N = above_N / above_N.mean() - below_N / below_N.mean()
    reach = float(stdtrit(count - 1, (1 + coverage) / 2) * wrong_N.std(ddof=1)) / math.sqrt(count)
    return {"value": value, "low": value * math.exp(-reach), "high": value * math.exp(reach)}


def _single(units: Sequence[str]) -> bool:
    """Whether there is one unit, of which `shares` would count each sample; "" is a unit of its own."""
    return len(set(units)) == 1 and (bool(units[0]) or len(units) == 1)


def _runs(value_N: NDArray[Any]) -> list[str]:
    """The unit of each of the events in succession: runs that last longer than they are alike."""
    count = len(value_N)
    length = min(max(RUN, math.ceil(BLOCK * _time(value_N))), math.ceil(count / 2)) if count else RUN  # one run would be no unit
    return [str(number // length) for number in range(count)]


def _time(value_N: NDArray[Any]) -> float:
    """Integrated autocorrelation time, in events; 1 where they are independent or all the same.

    Raises:
        ValueError: a value is not finite.
    """
    values_N = value_N.astype(np.float64)
    if not np.isfinite(values_N).all():
        raise ValueError(f"{int((~np.isfinite(values_N)).sum())} of {len(values_N)} values in succession are not finite")
    count, off_N = len(values_N), values_N - values_N.mean()
    if np.abs(off_N).max() <= 1e-9 * np.abs(values_N).max():
        return 1.0
    power = np.abs(np.fft.rfft(off_N, 2 * count)) ** 2  # of the values and as many zeros: the correlation goes round once
    like_N = np.fft.irfft(power, 2 * count)[:count]
    time_N = 2 * np.cumsum(like_N / like_N[0]) - 1
    last = int(np.argmax(np.arange(count) >= TIMES * time_N))  # there is one: of all lags together the time is 0
    return max(1.0, float(time_N[last]))
