"""How well a score tells unknown inputs from known ones, and where its threshold lies.

Known inputs are the negatives and unknown ones the positives, as in pytorch-ood: the AUROC is the chance that an unknown input
scores higher than a known one, and FPR95 the share of known inputs that are flagged once 95 % of the unknown ones are.

N known, M unknown inputs.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core import scores
from pipeline.core.intervals import bootstrap

Values = NDArray[np.floating]
Entry = dict[str, float]
DETECTED = 0.95  # share of the unknown inputs that FPR95 speaks of


def threshold(score_N: Values, false_alarm: float) -> float:
    """The score above which an input is called unknown, so that a known one is with at most this probability.

    Whatever the distribution, a further sample of the same kind lies above the ceil((n + 1)(1 - a))-th smallest score of n
    validation samples with probability a at most.
    Source: Vovk, Gammerman and Shafer 2005, Algorithmic Learning in a Random World, proposition 2.3 (conformal quantile); for
    outliers Bates et al. 2023, Testing for outliers with conformal p-values, arXiv 2104.08279, section 2.

    With fewer than 1 / a - 1 samples it is their largest score, and no more than `promised` can be said of it.

    Args:
        score_N: of validation samples, one at least.
        false_alarm: a, in (0, 1).
    """
    place = math.ceil((len(score_N) + 1) * (1 - false_alarm) - 1e-9)
    return float(np.sort(score_N)[min(place, len(score_N)) - 1])


def promised(count: int, false_alarm: float) -> float:
    """The rate of false alarms that `threshold` can promise on so many validation samples: what was asked for, or 1 / (n + 1)."""
    return max(false_alarm, 1 / (count + 1))


def separation(score_N: Values, unknown_N: NDArray[np.bool_]) -> Entry:
    """`auroc` and `fpr95` of scores; NaN where one kind is missing."""
    if unknown_N.all() or not unknown_N.any():
        return {"auroc": scores.NAN, "fpr95": scores.NAN}
    false, true = scores.roc(score_N, unknown_N)
    area = float(np.trapezoid(true, false))
    return {"auroc": area, "fpr95": float(false[np.searchsorted(true, DETECTED)])}


def measured(  # noqa: PLR0913
    known_N: Values, unknown_M: Values, groups: Sequence[str], *, limit: float, resamples: int, coverage: float, seed: int
) -> dict[str, Entry]:
    """AUROC, FPR95 and the share of unknown inputs above the threshold (`flagged`), each with its interval.

    Args:
        known_N: scores of test samples.
        unknown_M: scores of the other set.
        groups: of the test samples; an unknown input is a group of its own.
        limit: the threshold.
        resamples: of the bootstrap.
        coverage: of the intervals.
        seed: of the draws.
    """
    unknown = np.arange(len(known_N) + len(unknown_M)) >= len(known_N)

    def metrics(score_N: NDArray[Any], unknown_N: NDArray[Any], _: NDArray[Any]) -> Entry:
        flagged = float((score_N[unknown_N] > limit).mean()) if unknown_N.any() else scores.NAN
        return {**separation(score_N, unknown_N), "flagged": flagged}

    joined = np.concatenate([known_N, unknown_M])
    return bootstrap(
        metrics, joined, unknown, np.ones(len(joined)), [*groups, *[""] * len(unknown_M)],
        resamples=resamples, coverage=coverage, seed=seed,
    )  # fmt: skip


def alarms(known_N: Values, groups: Sequence[str], *, limit: float, resamples: int, coverage: float, seed: int) -> Entry:
    """Share of known inputs above the threshold, with its interval."""

    def rate(above_N: NDArray[Any], _: NDArray[Any], __: NDArray[Any]) -> Entry:
        return {"rate": float(above_N.mean())}

    above_N, ones_N = known_N > limit, np.ones(len(known_N))
    return bootstrap(rate, above_N, ones_N, ones_N, groups, resamples=resamples, coverage=coverage, seed=seed)["rate"]
