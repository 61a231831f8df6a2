"""Conformal prediction: sets of classes, or intervals of values, that hold the truth with a stated coverage.

Split conformal prediction (V. Vovk, A. Gammerman, G. Shafer, Algorithmic Learning in a Random World, 2005; A. N. Angelopoulos and
S. Bates, A Gentle Introduction to Conformal Prediction, 2021, section 1): a score of how ill each answer fits is computed for the
truths of n held-out samples, and an answer is kept whose score does not exceed their ceil((n + 1) coverage)-th smallest one. Then
the truth of a new sample that is exchangeable with those n is kept with at least that probability, whatever the model.

- `lac`: one minus the probability of the class (M. Sadinle, J. Lei, L. Wasserman, Least Ambiguous Set-Valued Classifiers, 2019):
  the smallest sets on average; a set may be empty.
- `aps`: the probability of all classes down to it (Y. Romano, M. Sesia, E. Candes, Classification with Valid and Adaptive
  Coverage, 2020, equation 5, without its randomisation, so that the same image gets the same set): sets grow where the model is
  unsure.
- `residual`: the absolute error, for values.

Letters: N samples, K classes.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation import shares

Floats = NDArray[np.floating]
Ints = NDArray[np.integer]
METHODS = ("lac", "aps", "residual")


@dataclass(frozen=True)
class Conformal:
    """A fitted conformal predictor.

    Attributes:
        method: one of `METHODS`.
        coverage: that it promises for exchangeable samples.
        quantile: largest score that is kept; None where there were too few samples to promise it, and everything is kept.
        samples: that it was fitted on.
    """

    method: str
    coverage: float
    quantile: float | None
    samples: int

    def facts(self) -> dict[str, Any]:
        """As plain JSON."""
        return asdict(self)


def scores(probability_NK: Floats, method: str) -> NDArray[np.float64]:
    """How ill each class fits, (N, K).

    Raises:
        ValueError: no such method.
    """
    p_NK = np.asarray(probability_NK, dtype=np.float64)
    if method == "lac":
        return 1.0 - p_NK
    if method != "aps":
        raise ValueError(f"a conformal score of classes is lac or aps: received {method!r}")
    order_NK = np.argsort(-p_NK, axis=1, kind="stable")
    total_NK = np.cumsum(np.take_along_axis(p_NK, order_NK, axis=1), axis=1)
    score_NK = np.empty_like(p_NK)
    np.put_along_axis(score_NK, order_NK, total_NK, axis=1)
    return score_NK


def fit(score_N: Floats, *, method: str, coverage: float) -> Conformal:
    """Fit on the scores of the truths of held-out samples.

    Raises:
        ValueError: coverage lies outside (0, 1), or there is no such method.
    """
    if not 0 < coverage < 1 or method not in METHODS:
        raise ValueError(f"expected a coverage in (0, 1) and a method of {', '.join(METHODS)}: received {coverage}, {method!r}")
    count = len(score_N)
    rank = math.ceil((count + 1) * coverage - 1e-9)
    quantile = float(np.partition(np.asarray(score_N, dtype=np.float64), rank - 1)[rank - 1]) if 0 < rank <= count else None
    return Conformal(method, coverage, quantile, count)


def fewest(coverage: float) -> int:
    """Samples that a promise of this coverage needs at least."""
    return math.ceil(coverage / (1 - coverage) - 1e-9)


def sets(found: Conformal, probability_NK: Floats) -> NDArray[np.bool_]:
    """Whether each class is in the set of each sample, (N, K)."""
    if found.quantile is None:
        return np.ones(probability_NK.shape, dtype=np.bool_)
    return np.asarray(scores(probability_NK, found.method) <= found.quantile)


def measure_sets(
    found: Conformal, probability_NK: Floats, truth_N: Ints, groups: Sequence[str], *,
    classes: Sequence[str], coverage: float,
) -> dict[str, Any]:  # fmt: skip
    """What the sets cover and how large they are, each with its interval over groups (`pipeline.evaluation.shares`).

    Args:
        found: the fitted predictor.
        probability_NK: calibrated, of the samples to measure on.
        truth_N: their classes.
        groups: of the samples; "" for none.
        classes: names in index order.
        coverage: of the intervals.

    Returns:
        `covered` (share of truths in their set), `size` (classes in a set), `single` and `empty` (shares of such sets), and
        `classes`: name -> share covered of that class.
    """
    kept_NK = sets(found, probability_NK)
    size_N, covered_N = kept_NK.sum(axis=1), kept_NK[np.arange(len(truth_N)), truth_N]
    of_class = {
        name: shares.share(covered_N[rows], [groups[row] for row in rows], coverage=coverage)
        for k, name in enumerate(classes) if len(rows := np.flatnonzero(truth_N == k).tolist())
    }  # fmt: skip
    return {
        "covered": shares.share(covered_N, groups, coverage=coverage),
        "size": shares.mean(size_N, groups, coverage=coverage),
        "single": shares.share(size_N == 1, groups, coverage=coverage),
        "empty": shares.share(size_N == 0, groups, coverage=coverage),
        "classes": of_class,
    }


def measure_intervals(found: Conformal, error_N: Floats, groups: Sequence[str], *, coverage: float) -> dict[str, Any]:
    """What the intervals of values cover, with its interval over groups; their half width is the quantile."""
    held_N = np.ones(len(error_N)) if found.quantile is None else (error_N <= found.quantile)
    return {"covered": shares.share(held_N, groups, coverage=coverage)}
