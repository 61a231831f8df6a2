"""Whether extra samples help a model: arms that differ in their training samples alone, paired by seed, and what to keep.

A arms, S seeds, N held-out samples, K outputs.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from pipeline.core.intervals import bootstrap

FEWEST = 6  # pairs; with fewer no sign-flip test can reach 5 % (2 / 2^5 = .0625)
REAL = "real"


class Judge(Protocol):
    """What is needed of a task."""

    headline: Any
    higher_is_better: Any

    def metrics(self, prediction_NK: NDArray[Any], truth_N: NDArray[Any], weight_N: NDArray[Any]) -> dict[str, float]:
        """Named metrics of decoded predictions."""


@dataclass(frozen=True)
class Held:
    """The held-out samples that every arm is measured on.

    Attributes:
        truth_N: truths.
        weight_N: confidence of the labels.
        groups: names of samples that are alike, "" for none; they are resampled together.
    """

    truth_N: NDArray[Any]
    weight_N: NDArray[Any]
    groups: Sequence[str]


@dataclass(frozen=True)
class Arm:
    """One way to choose training samples, measured.

    Attributes:
        name: for people.
        value: mean headline over the seeds.
        gain: mean paired difference to `real`, positive where it helps; 0 for `real` itself.
        low, high: interval of the gain.
        gains: paired difference of each seed.
    """

    name: str
    value: float
    gain: float
    low: float
    high: float
    gains: tuple[float, ...]


@dataclass(frozen=True)
class Verdict:
    """What the gate decided.

    Attributes:
        arms: all of them, `real` first.
        share: the synthetic share to train with, 0 for none.
        why: for people.
        coverage: of each interval: the asked one, corrected for the number of candidates (Bonferroni).
        controls: candidate -> its paired gain over the same samples with shuffled labels, where that was measured.
    """

    arms: list[Arm]
    share: float
    why: str
    coverage: float
    controls: dict[str, Arm] = field(default_factory=dict)

    def facts(self) -> dict[str, Any]:
        """As plain JSON; a bound that is not finite is null."""
        return {
            "arms": [_plain(arm) for arm in self.arms],
            "controls": {name: _plain(arm) for name, arm in self.controls.items()},
            "interval_coverage": self.coverage,
            "share": self.share,
            "why": self.why,
        }


def measure(
    predictions: Mapping[str, Sequence[NDArray[Any]]], held: Held, task: Judge, *, resamples: int, coverage: float, seed: int
) -> list[Arm]:
    """Mean headline of each arm and the interval of its paired difference to `real`.

    Two things are left to chance: the seed (first weights, order, which samples) and who is in the validation split. Student's
    interval over the paired differences of the seeds holds the first, the (grouped) bootstrap interval of their mean the second,
    and their distances to the mean are added in quadrature (Zou & Donner 2008, "Construction of confidence limits about effect
    measures", equation 5). So neither a lucky seed nor a lucky validation split can pass for a gain.

    Args:
        predictions: arm -> decoded predictions (N, K) of each seed; `real` is among them.
        held: what they are predictions of.
        task: gives the metric.
        resamples: of the bootstrap.
        coverage: of the interval.
        seed: of the bootstrap.

    Raises:
        ValueError: fewer than `FEWEST` seeds, or arms of unequal numbers of seeds.
    """
    counts = {len(of_seed) for of_seed in predictions.values()}
    if len(counts) != 1 or min(counts) < FEWEST:
        raise ValueError(f"every arm needs the same number of seeds, {FEWEST} or more: received {sorted(counts)}")
    names = [REAL, *(name for name in predictions if name != REAL)]
    stack_NASK = np.stack([np.stack(list(predictions[name]), axis=1) for name in names], axis=1)
    sign = 1.0 if task.higher_is_better else -1.0

    def headline(prediction_NASK: Any, truth_N: Any, weight_N: Any) -> NDArray[np.float64]:
        shape = prediction_NASK.shape[1:3]
        values = [task.metrics(prediction_NASK[:, a, s], truth_N, weight_N)[task.headline] for a, s in np.ndindex(shape)]
        return np.asarray(values, dtype=np.float64).reshape(shape)

    def gains(*drawn: Any) -> dict[str, float]:
        value_AS = headline(*drawn)
        return {name: float(gain) for name, gain in zip(names, sign * (value_AS - value_AS[0]).mean(axis=1), strict=True)}

    value_AS = headline(stack_NASK, held.truth_N, held.weight_N)
    drawn = bootstrap(
        gains, stack_NASK, held.truth_N, held.weight_N, held.groups, resamples=resamples, coverage=coverage, seed=seed
    )
    gain_AS = sign * (value_AS - value_AS[0])
    return [
        _arm(name, value_S, gain_S, drawn.get(name), coverage=coverage)
        for name, value_S, gain_S in zip(names, value_AS, gain_AS, strict=True)
    ]


def decide(
    arms: list[Arm], candidates: Mapping[str, float], *, coverage: float, headline: str, controls: Mapping[str, Arm] | None = None
) -> Verdict:  # fmt: skip
    """Keep the candidate of the largest gain among those whose whole interval lies above zero, or none.

    Images of anything with any label can regularise a model that has few samples (noise did so for sixty digits). So a candidate
    must also beat its control, the same samples with shuffled labels.

    Args:
        arms: of `measure`, with intervals of `corrected(coverage, len(candidates))`.
        candidates: arm -> synthetic share.
        coverage: asked of all candidates together.
        headline: name of the metric.
        controls: candidate -> its gain over its control; of each candidate that helps.
    """
    over = dict(controls or {})
    each = corrected(coverage, len(candidates))
    tried = [arm for arm in arms if arm.name in candidates]
    helps = [arm for arm in tried if arm.low > 0]
    passed = [arm for arm in helps if arm.name not in over or over[arm.name].low > 0]
    if not tried:
        return Verdict(arms, 0.0, "no share was tried", each)
    best = max(passed or helps or tried, key=lambda arm: arm.gain)
    found = f"a gain of {best.gain:+.4f} [{best.low:+.4f}, {best.high:+.4f}] in {headline} on validation"
    pairs = f"{len(best.gains)} paired seeds, {100 * each:.1f} % interval for {len(candidates)} candidate shares"
    share = candidates[best.name]
    if passed:
        return Verdict(arms, share, f"the share {share:g} helps: {found} ({pairs})", each, over)
    if helps:
        why = f"the share {share:g} has {found}, but the same samples with shuffled labels help as much: it is not what they show"
        return Verdict(arms, 0.0, f"{why} ({pairs})", each, over)
    return Verdict(arms, 0.0, f"no share is shown to help; the best, {share:g}, has {found} ({pairs})", each, over)


def corrected(coverage: float, candidates: int) -> float:
    """Coverage of each interval so that all of them hold together with the asked probability (Bonferroni)."""
    return 1 - (1 - coverage) / max(1, candidates)


def _arm(
    name: str, value_S: NDArray[np.float64], gain_S: NDArray[np.float64], drawn: dict[str, float] | None, *, coverage: float
) -> Arm:  # fmt: skip
    gain, count = float(gain_S.mean()), len(gain_S)
    of_seeds = float(student.ppf((1 + coverage) / 2, count - 1)) * float(gain_S.std(ddof=1)) / math.sqrt(count)
    low = high = math.nan  # the metric is undefined in most resamples: nothing is shown, and no comparison with it is true
    if drawn is not None:
        low = gain - math.hypot(of_seeds, max(0.0, gain - drawn["low"]))
        high = gain + math.hypot(of_seeds, max(0.0, drawn["high"] - gain))
    return Arm(name, float(value_S.mean()), gain, low, high, tuple(float(one) for one in gain_S))


def _plain(arm: Arm) -> dict[str, Any]:
    bounds = {name: bound if math.isfinite(bound) else None for name, bound in (("low", arm.low), ("high", arm.high))}
    return {**asdict(arm), **bounds, "gains": list(arm.gains)}
