"""Intervals of shares and means of samples that come in groups, by formula: for groups of samples too small to resample.

- A share: Wilson's score interval (E. B. Wilson, Probable Inference, 1927) with the effective sample size of the cluster design
  and Student's quantile for few clusters (E. L. Korn and B. I. Graubard, Confidence Intervals for Proportions with Small
  Expected Number of Positive Counts Estimated from Survey Data, 1998, who do the same to Clopper and Pearson's interval). Where
  all samples agree, the design says nothing, and as many samples are counted as there are clusters.
- A mean: Student's interval with the variance between clusters (W. G. Cochran, Sampling Techniques, 1977, equation 11.12 for
  unequal clusters, ratio to size).

A bootstrap would call the share of a group whose samples are all right "1 [1, 1]"; these do not.

Letters: N samples, U units (groups, or single samples).
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtrit

Numbers = NDArray[np.number] | NDArray[np.bool_]


def share(hit_N: Numbers, units: Sequence[str], *, coverage: float) -> dict[str, float]:
    """`value`, `low` and `high` of the share of hits.

    Args:
        hit_N: 0 or 1 (or booleans).
        units: the group of each sample; "" is a unit of its own. One single group counts its samples.
        coverage: of the interval, in (0, 1).

    Raises:
        ValueError: there is no sample, or lengths differ.
    """
    value, variance, count = _design(hit_N, units)
    samples = len(hit_N)
    if count < 2:
        return {"value": value, "low": 0.0, "high": 1.0}
    quantile = float(stdtrit(count - 1, (1 + coverage) / 2))
    normal = float(ndtri((1 + coverage) / 2))
    effective = float(count) if variance == 0 else min(float(samples), value * (1 - value) / variance)
    effective = max(1.0, effective * (normal / quantile) ** 2)
    middle = (value + normal**2 / (2 * effective)) / (1 + normal**2 / effective)
    reach = normal * math.sqrt(value * (1 - value) / effective + normal**2 / (4 * effective**2)) / (1 + normal**2 / effective)
    return {"value": value, "low": max(0.0, min(value, middle - reach)), "high": min(1.0, max(value, middle + reach))}


def mean(value_N: Numbers, units: Sequence[str], *, coverage: float) -> dict[str, float]:
    """`value` and, where there are two units or more, `low` and `high` of a mean; arguments as in `share`."""
    value, variance, count = _design(value_N, units)
    if count < 2:
        return {"value": value}
    reach = float(stdtrit(count - 1, (1 + coverage) / 2)) * math.sqrt(variance)
    return {"value": value, "low": value - reach, "high": value + reach}


def _design(value_N: Numbers, units: Sequence[str]) -> tuple[float, float, int]:
    """Mean, its variance between units, and their number."""
    values = np.asarray(value_N, dtype=np.float64)
    if len(values) == 0 or len(values) != len(units):
        raise ValueError(f"expected one unit for each of at least one sample: received {len(values)} samples, {len(units)} units")
    names = [unit or f"\0{number}" for number, unit in enumerate(units)]
    if len(set(names)) == 1:
        names = [str(number) for number in range(len(names))]
    code_N = np.unique(names, return_inverse=True)[1]
    count = int(code_N.max()) + 1
    value = float(values.mean())
    if count < 2:
        return value, 0.0, count
    total_U = np.bincount(code_N, weights=values - value)
    return value, float(count / (count - 1) * (total_U**2).sum() / len(values) ** 2), count
