"""Scores of predicted probabilities: what a temperature changes and what it does not.

Letters: N samples, K classes, M columns of `columns`.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core import scores
from pipeline.core.intervals import bootstrap
from pipeline.evaluation.temperature import log_probabilities

Floats = NDArray[np.floating]
Ints = NDArray[np.integer]
MEANINGS = {
    "ece": ("calibration error", "mean gap of confidence and share right, bins of equal width; 0 is honest"),
    "ece_equal_mass": ("calibration error, equal counts", "the same over bins that hold equal numbers of samples"),
    "brier": ("Brier score", "mean squared error of the probabilities; lower is better"),
    "nll": ("negative log-likelihood", "in nats; punishes confident mistakes most; lower is better"),
}
BINNED = ("ece", "ece_equal_mass")


def brier(log_NK: Floats, truth_N: Ints) -> NDArray[np.float64]:
    """Brier score of each sample (N,): squared distance to the truth over the classes, half of it where there are two.

    Source: G. W. Brier, Verification of Forecasts Expressed in Terms of Probability (1950). Its mean equals scikit-learn's
    `brier_score_loss`.
    """
    gap_NK = np.exp(log_NK)
    gap_NK[np.arange(len(truth_N)), truth_N] -= 1.0
    return np.asarray((gap_NK**2).sum(axis=1) * (0.5 if log_NK.shape[1] == 2 else 1.0))


def columns(output_NK: Floats, truth_N: Ints, temperature: float) -> NDArray[np.float64]:
    """What each sample adds to the scores, (N, 4): confidence, whether it is right, Brier score, negative log-likelihood."""
    log_NK = log_probabilities(output_NK, temperature)
    guess_N = log_NK.argmax(axis=1)
    likelihood_N = -log_NK[np.arange(len(truth_N)), truth_N]
    return np.stack([np.exp(log_NK.max(axis=1)), guess_N == truth_N, brier(log_NK, truth_N), likelihood_N], axis=1)


def summary(rows_NM: Floats, bins: int) -> dict[str, float]:
    """The scores of `MEANINGS` from the columns of `columns`; the binned ones are NaN where there are fewer samples than bins."""
    confidence_N, right_N = rows_NM[:, 0], rows_NM[:, 1] > 0.5
    found = {"brier": float(rows_NM[:, 2].mean()), "nll": float(rows_NM[:, 3].mean())}
    for name in BINNED:
        enough = len(rows_NM) >= bins
        found[name] = scores.expected_calibration_error(
            confidence_N, right_N, bins=bins, equal_mass=name == "ece_equal_mass"
        ) if enough else float("nan")  # fmt: skip
    return found


def before_and_after(
    output_NK: Floats, truth_N: Ints, groups: Sequence[str], *, temperature: float, bins: int, measure: dict[str, Any]
) -> dict[str, dict[str, dict[str, float]]]:
    """`before`, `after` and `change` (after minus before, paired): score -> value with its (grouped) interval.

    Args:
        output_NK: logits of the samples to measure on.
        truth_N: their classes.
        groups: as `intervals.bootstrap` has them.
        temperature: fitted on other samples.
        bins: of the calibration errors.
        measure: `resamples`, `coverage` and `seed` of the bootstrap.
    """
    both_NM = np.concatenate([columns(output_NK, truth_N, heat) for heat in (1.0, temperature)], axis=1)

    def paired(rows_NM: Any, *_: Any) -> dict[str, float]:
        before, after = summary(rows_NM[:, :4], bins), summary(rows_NM[:, 4:], bins)
        change = {name: after[name] - value for name, value in before.items()}
        named = {"before": before, "after": after, "change": change}
        return {f"{when}/{name}": value for when, part in named.items() for name, value in part.items()}

    drawn = bootstrap(paired, both_NM, truth_N, np.ones(len(truth_N)), groups, **measure)
    found: dict[str, dict[str, dict[str, float]]] = {"before": {}, "after": {}, "change": {}}
    for key, entry in drawn.items():
        when, name = key.split("/")
        found[when][name] = entry
    return found
