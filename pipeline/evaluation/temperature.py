"""Temperature scaling: one number that makes the confidence of a classifier honest, fitted on validation alone.

Source: C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger, On Calibration of Modern Neural Networks (ICML 2017), section 4.2, equation
9: the logits are divided by T > 0, chosen by the likelihood of held-out samples. What differs: the likelihood is convex in 1/T,
so the root of its derivative is found by bracketing (Brent) and not by a gradient method, and a T that lies beyond the ends of
the bracket is called undetermined.

Letters: N samples, K classes. Outputs are logits.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from pipeline.core.intervals import bootstrap

Floats = NDArray[np.floating]
Ints = NDArray[np.integer]
LOWEST, HIGHEST = 0.05, 20.0  # temperatures beyond them are taken for "not determined by these samples"
NAN = float("nan")


@dataclass(frozen=True)
class Temperature:
    """A fitted temperature.

    Attributes:
        value: T; 1.0, which changes nothing, where the samples do not determine it.
        determined: whether they do. They do not where every prediction is right (T would fall to 0), where there is one class
            only, or where the model is no better than chance (T would grow without end).
    """

    value: float
    determined: bool


def log_probabilities(output_NK: Floats, temperature: float = 1.0) -> NDArray[np.float64]:
    """Natural logarithm of the softmax of logits at a temperature, in double precision."""
    scaled_NK = np.asarray(output_NK, dtype=np.float64) / temperature
    scaled_NK = scaled_NK - scaled_NK.max(axis=1, keepdims=True)
    return np.asarray(scaled_NK - np.log(np.exp(scaled_NK).sum(axis=1, keepdims=True)))


def fit(output_NK: Floats, truth_N: Ints) -> Temperature:
    """The temperature of the greatest likelihood.

    Args:
        output_NK: logits of held-out samples, never of those that trained or test the model.
        truth_N: their classes.
    """
    z_NK = np.asarray(output_NK, dtype=np.float64)
    z_NK = z_NK - z_NK.max(axis=1, keepdims=True)
    right_N = z_NK[np.arange(len(truth_N)), truth_N]

    def slope(inverse: float) -> float:
        """Derivative of the mean negative log-likelihood by 1/T: the expected logit minus that of the truth."""
        weight_NK = np.exp(inverse * z_NK)
        return float(np.mean((weight_NK * z_NK).sum(axis=1) / weight_NK.sum(axis=1) - right_N))

    if len(np.unique(truth_N)) < 2 or slope(1 / LOWEST) <= 0 or slope(1 / HIGHEST) >= 0:
        return Temperature(1.0, determined=False)
    return Temperature(1 / float(brentq(slope, 1 / HIGHEST, 1 / LOWEST, xtol=1e-10)), determined=True)


def interval(
    output_NK: Floats, truth_N: Ints, groups: Sequence[str], *, resamples: int, coverage: float, seed: int
) -> dict[str, float]:
    """Value and (grouped) bootstrap interval of the temperature; empty where most resamples do not determine it."""
    def fitted(drawn_NK: Any, drawn_N: Any, _: Any) -> dict[str, float]:
        found = fit(drawn_NK, drawn_N)
        return {"temperature": found.value if found.determined else NAN}

    weight_N = np.ones(len(truth_N))
    result = bootstrap(fitted, output_NK, truth_N, weight_N, groups, resamples=resamples, coverage=coverage, seed=seed)
    return result.get("temperature", {})
