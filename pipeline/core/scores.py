"""Metrics of decoded predictions on numpy arrays; NaN where a metric is undefined.

Letters: N samples, K classes. Averages over classes run over those that occur in the truth, so that a resample without a
rare class stays defined. Equal to scikit-learn where every class occurs (`tests/unit/core/test_scores.py`).
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Ints = NDArray[np.integer]
NAN = float("nan")


def accuracy(guess_N: Ints, truth_N: Ints, weight_N: Floats | None = None) -> float:
    """Share of right guesses, each counted with its weight."""
    right = guess_N == truth_N
    return float(np.average(right, weights=weight_N))


def balanced_accuracy(guess_N: Ints, truth_N: Ints) -> float:
    """Mean recall over the classes of the truth."""
    return float(np.mean([np.mean(guess_N[truth_N == k] == k) for k in np.unique(truth_N)]))


def f1(guess_N: Ints, truth_N: Ints, k: int) -> float:
    """F1 of class k; 0 where it occurs and is never found, NaN where it neither occurs nor is guessed."""
    hit = int(np.sum((guess_N == k) & (truth_N == k)))
    both = int(np.sum(guess_N == k)) + int(np.sum(truth_N == k))
    return 2 * hit / both if both else NAN


def auroc(score_N: Floats, positive_N: NDArray[np.bool_]) -> float:
    """Area under the ROC curve = probability that a positive outranks a negative, ties half (Mann-Whitney)."""
    positives = int(positive_N.sum())
    negatives = len(positive_N) - positives
    if positives == 0 or negatives == 0:
        return NAN
    from scipy.stats import rankdata

    rank = rankdata(score_N)
    return float((rank[positive_N].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def average_precision(score_N: Floats, positive_N: NDArray[np.bool_]) -> float:
    """Area under the precision-recall steps, sum of (R_i - R_(i-1)) P_i over distinct thresholds."""
    recall, precision, _ = precision_recall(score_N, positive_N)
    return float(np.sum(np.diff(recall, prepend=0.0) * precision)) if positive_N.any() else NAN


def precision_recall(score_N: Floats, positive_N: NDArray[np.bool_]) -> tuple[Floats, Floats, Floats]:
    """Recall, precision and threshold at each distinct score, from the highest down."""
    hits, taken, threshold = _counts(score_N, positive_N)
    return hits / max(1, int(positive_N.sum())), hits / taken, threshold


def roc(score_N: Floats, positive_N: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """False and true positive rate at each distinct score, from (0, 0) to (1, 1)."""
    hits, taken, _ = _counts(score_N, positive_N)
    positives = int(positive_N.sum())
    false = (taken - hits) / max(1, len(positive_N) - positives)
    return np.concatenate([[0.0], false]), np.concatenate([[0.0], hits / max(1, positives)])


def calibration(confidence_N: Floats, right_N: NDArray[np.bool_], *, bins: int, equal_mass: bool) -> Floats:
    """Rows (count, mean confidence, share right) of the bins that hold samples.

    Args:
        confidence_N: probability of the predicted class, in [0, 1].
        right_N: whether the prediction was right.
        bins: number of bins.
        equal_mass: bins of equal counts instead of equal widths.
    """
    if equal_mass:
        order = np.argsort(confidence_N, kind="stable")
        place = np.empty(len(order), dtype=np.int64)
        place[order] = np.arange(len(order)) * bins // len(order)
    else:
        place = np.minimum((confidence_N * bins).astype(np.int64), bins - 1)
    count = np.bincount(place, minlength=bins)
    kept = count > 0
    sums = [np.bincount(place, weights=values, minlength=bins)[kept] / count[kept] for values in (confidence_N, right_N)]
    return np.stack([count[kept].astype(np.float64), *sums], axis=1)


def expected_calibration_error(confidence_N: Floats, right_N: NDArray[np.bool_], *, bins: int, equal_mass: bool = False) -> float:
    """Mean over samples of |confidence - share right| of their bin.

    Source: Guo, Pleiss, Sun, Weinberger, On Calibration of Modern Neural Networks (2017), equation 3. The binned estimate
    is biased upwards when samples are few.
    """
    table = calibration(confidence_N, right_N, bins=bins, equal_mass=equal_mass)
    return float(np.average(np.abs(table[:, 1] - table[:, 2]), weights=table[:, 0]))


def r_squared(value_N: Floats, truth_N: Floats) -> float:
    """1 - residual sum of squares over total sum of squares; NaN for a constant truth."""
    total = float(np.sum((truth_N - truth_N.mean()) ** 2))
    return 1 - float(np.sum((truth_N - value_N) ** 2)) / total if total > 0 else NAN


def spearman(value_N: Floats, truth_N: Floats) -> float:
    """Correlation of ranks, ties averaged; NaN where either is constant."""
    if np.ptp(value_N) == 0 or np.ptp(truth_N) == 0:
        return NAN
    from scipy.stats import rankdata

    return float(np.corrcoef(rankdata(value_N), rankdata(truth_N))[0, 1])


def _counts(score_N: Floats, positive_N: NDArray[np.bool_]) -> tuple[Floats, Floats, Floats]:
    order = np.argsort(-score_N, kind="stable")
    ranked = score_N[order]
    last = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)
    return np.cumsum(positive_N[order])[last].astype(np.float64), (last + 1).astype(np.float64), ranked[last]
