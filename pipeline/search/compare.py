"""Whether the best of a search is better than the default, or only luckier: repeats with other seeds, in pairs.

The best of many trials looks better than it is, for it was chosen by what it looked like. So the best few and the default are
trained again with seeds that the search never saw; a seed draws the split, the first weights and the order, and is the same for
all of them.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student

FEWEST = 6  # pairs; with fewer no sign-flip test can reach 5 % (2 / 2^5 = .0625)


@dataclass(frozen=True)
class Estimate:
    """A mean with its interval; both bounds are NaN where it cannot be had."""

    mean: float
    low: float
    high: float
    values: tuple[float, ...]


@dataclass(frozen=True)
class Candidate:
    """One candidate, repeated.

    Attributes:
        name: for people.
        value: over the seeds.
        gain: over the default, of the same seeds, positive where it is better.
        shown: whether its whole interval lies above zero, over enough pairs.
    """

    name: str
    value: Estimate
    gain: Estimate
    shown: bool


def estimate(values: Sequence[float], *, coverage: float, overlap: float = 0.0) -> Estimate:
    """Mean and Student's interval.

    Args:
        values: one a repeat.
        coverage: of the interval, in (0, 1).
        overlap: size of the held-out part over that of the training part, where repeats draw or turn the split of the same data;
            0 where the split stays. Training sets then overlap, so the variance of the mean is (1 / k + overlap) times that of
            the values and not 1 / k (C. Nadeau and Y. Bengio, Inference for the Generalization Error, Machine Learning 52,
            2003, equation 9; for repeated folds R. Bouckaert and E. Frank, Evaluating the Replicability of Significance Tests,
            2004, section 3.3).
    """
    finite = np.asarray(values, dtype=np.float64)
    if len(finite) < 2 or not np.isfinite(finite).all():
        mean = float(finite.mean()) if len(finite) else math.nan
        return Estimate(mean, math.nan, math.nan, tuple(map(float, values)))
    spread = float(finite.std(ddof=1)) * math.sqrt(1 / len(finite) + overlap)
    reach = float(student.ppf((1 + coverage) / 2, len(finite) - 1)) * spread
    mean = float(finite.mean())
    return Estimate(mean, mean - reach, mean + reach, tuple(map(float, values)))


def compare(
    default: Sequence[float], candidates: Mapping[str, Sequence[float]], *, maximise: bool, coverage: float, overlap: float = 0.0
) -> list[Candidate]:  # fmt: skip
    """Candidates against the default, best first; intervals of gains are corrected for their number (Bonferroni).

    Args:
        default: value of each seed.
        candidates: name -> value of each seed, in the same order.
        maximise: whether more is better.
        coverage: of all intervals together.
        overlap: of the training sets, as `estimate` has it.

    Raises:
        ValueError: numbers of seeds differ.
    """
    sign = 1 if maximise else -1
    each = 1 - (1 - coverage) / max(1, len(candidates))
    found = []
    for name, values in candidates.items():
        gains = [sign * (value - base) for value, base in zip(values, default, strict=True)]
        gain = estimate(gains, coverage=each, overlap=overlap)
        value = estimate(values, coverage=coverage, overlap=overlap)
        found.append(Candidate(name, value, gain, gain.low > 0 and len(gains) >= FEWEST))
    return sorted(found, key=lambda candidate: (-candidate.gain.mean, candidate.name))


def overlap_of(splits: Sequence[Mapping[str, Sequence[str]]], held: str) -> float:
    """Held-out over training samples on average, where the splits differ; 0 where all repeats have the same one.

    Args:
        splits: `train`, `val` and `test` ids of each repeat.
        held: the part that the values are measured on.
    """
    if all(split[held] == splits[0][held] for split in splits):
        return 0.0
    return float(np.mean([len(split[held]) / max(1, len(split["train"])) for split in splits]))


def verdict(found: Sequence[Candidate], metric: str) -> str:
    """What may be said, in one sentence."""
    if not found:
        return "No candidate was repeated with other seeds, so whether the best beats the default or was lucky is not known."
    best = found[0]
    pairs = len(best.gain.values)
    said = f"{best.gain.mean:+.4f} [{best.gain.low:+.4f}, {best.gain.high:+.4f}] in {metric} over {pairs} paired seeds"
    if best.shown:
        return f"{best.name} is better than the default: {said}."
    if pairs < FEWEST:
        return f"{best.name} is not shown to be better than the default: {said}, and fewer than {FEWEST} pairs cannot show it."
    return f"{best.name} lies within the noise of the default: {said}. No winner is named."
