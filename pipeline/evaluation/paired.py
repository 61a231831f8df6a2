"""Whether one model is better than another, or only luckier: paired tests over samples and over seeds.

Two models are compared on the same test samples, or two configurations by runs of the same seeds, so what is hard for both
cancels.

- The test is by sign flips (R. A. Fisher, The Design of Experiments, 1935, section 21): where there is no difference, A and B
  could change places in any pair - the group of test samples, or the seed - so the difference is held against those of all such
  exchanges, or of many drawn ones (each then counts the observed one too, B. Phipson and G. K. Smyth, Permutation p-values
  should never be zero, 2010). It is exact, so it calls equal models different in no more cases than it says. The smallest p of
  k pairs is 2 / 2^k: fewer than six cannot reach 5 %.
- The interval is the grouped bootstrap of the paired difference over samples, Student's over seeds; where seeds share one test
  split both kinds of chance are added in quadrature (G. Y. Zou and A. Donner, Construction of confidence limits about effect
  measures, 2008, equation 5), and where each has its own the variance is corrected for training sets that overlap (C. Nadeau
  and Y. Bengio, Inference for the Generalization Error, 2003, equation 9).

A winner is named where both agree. Letters: N samples, K columns of a prediction, S seeds, U units (groups, or single samples).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from pipeline.core.intervals import bootstrap

FEWEST = 6  # pairs; with fewer no sign-flip test can reach 5 % (2 / 2^5 = .0625)
EXACT = 4096  # exchanges of seeds; up to them all are tried, beyond as many are drawn
Metrics = Callable[[NDArray[Any], NDArray[Any], NDArray[Any]], Mapping[str, float]]


@dataclass(frozen=True)
class Compared:
    """B minus A in one metric.

    Attributes:
        metric: its name.
        a, b: value of each; the mean over seeds.
        change: b minus a.
        low, high: interval of the change; NaN where it cannot be had.
        p: of the sign-flip test; NaN where the metric was not tested.
        pairs: that the test exchanges.
    """

    metric: str
    a: float
    b: float
    change: float
    low: float
    high: float
    p: float
    pairs: int

    def winner(self, *, higher_is_better: bool, coverage: float) -> str:
        """`A`, `B`, or "" where nothing is shown."""
        inside = not (self.low > 0 or self.high < 0)  # also where a bound is NaN
        if self.pairs < FEWEST or inside or not self.p <= 1 - coverage:
            return ""
        return "B" if (self.change > 0) == higher_is_better else "A"

    def facts(self) -> dict[str, Any]:
        """As plain JSON; what is not finite is null."""
        plain = asdict(self)
        return {key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in plain.items()}


@dataclass(frozen=True)
class Samples:
    """Test samples that both models predicted.

    Attributes:
        truth_N: truths.
        weight_N: confidence of the labels.
        groups: group of each; "" for none.
    """

    truth_N: NDArray[Any]
    weight_N: NDArray[Any]
    groups: Sequence[str]

    def units(self) -> NDArray[np.int64]:
        """Number of the unit of each sample (N,): its group, or itself where there are fewer than two groups."""
        named = {group for group in self.groups if group}
        alone = len(named) + sum(1 for group in self.groups if not group) < 2
        names = [f"\0{row}" if alone or not group else group for row, group in enumerate(self.groups)]
        return np.unique(names, return_inverse=True)[1].astype(np.int64)


def by_sample(
    metrics: Metrics, a_NK: NDArray[Any], b_NK: NDArray[Any], samples: Samples, *, tested: str, measure: Mapping[str, Any]
) -> list[Compared]:  # fmt: skip
    """Two models on the same test samples, in every metric; one of them is tested, the others have an interval alone.

    Args:
        metrics: of decoded predictions, truths and weights.
        a_NK: predictions of A.
        b_NK: predictions of B.
        samples: what they are predictions of.
        tested: the metric to test.
        measure: `resamples`, `coverage` and `seed`; as many exchanges are drawn as resamples.
    """
    width, truth_N, weight_N = a_NK.shape[1], samples.truth_N, samples.weight_N

    def change(both_NM: NDArray[Any], drawn_N: NDArray[Any], weights_N: NDArray[Any]) -> dict[str, float]:
        first, second = (metrics(part, drawn_N, weights_N) for part in (both_NM[:, :width], both_NM[:, width:]))
        return {name: second[name] - first[name] for name in first}

    drawn = bootstrap(change, np.concatenate([a_NK, b_NK], axis=1), truth_N, weight_N, samples.groups, **measure)
    values = [metrics(part, truth_N, weight_N) for part in (a_NK, b_NK)]
    unit_N = samples.units()
    pairs = int(unit_N.max()) + 1

    def flipped(flip_FU: NDArray[np.bool_]) -> NDArray[np.float64]:
        return np.asarray([exchanged(flip_U[unit_N][:, None]) for flip_U in flip_FU])

    def exchanged(swap_N1: NDArray[np.bool_]) -> float:
        both = np.where(swap_N1, b_NK, a_NK), np.where(swap_N1, a_NK, b_NK)
        first, second = (metrics(part, truth_N, weight_N)[tested] for part in both)
        return second - first

    p = sign_flip(flipped, pairs, draws=int(measure["resamples"]), seed=int(measure["seed"]))
    tests = {tested: p}
    return [
        Compared(name, values[0][name], values[1][name], entry["value"], entry["low"], entry["high"],
                 tests.get(name, math.nan), pairs)
        for name, entry in drawn.items()
    ]  # fmt: skip


def sign_flip(
    differences: Callable[[NDArray[np.bool_]], NDArray[np.float64]], pairs: int, *, draws: int, seed: int
) -> float:  # fmt: skip
    """Two-sided p of the difference under exchanges of A and B.

    Args:
        differences: of each of F exchanges, (F,), where (F, U) says which pairs change places.
        pairs: U.
        draws: how many exchanges to draw where there are too many to try all.
        seed: of the draws.
    """
    observed = abs(float(differences(np.zeros((1, pairs), dtype=np.bool_))[0]))
    limit = observed - 1e-12 * max(1.0, observed)
    if 2**pairs <= max(draws, 64):
        number_F = np.arange(2**pairs)[:, None]
        return float(np.mean(np.abs(differences((number_F >> np.arange(pairs)) % 2 == 1)) >= limit))
    flip_FU = np.random.default_rng([seed, pairs]).random((draws, pairs)) < 0.5
    return float((1 + np.sum(np.abs(differences(flip_FU)) >= limit)) / (1 + draws))


def by_seed(
    a_S: Sequence[float], b_S: Sequence[float], *, metric: str, coverage: float, overlap: float = 0.0,
    of_samples: tuple[float, float] | None = None,
) -> Compared:  # fmt: skip
    """Two configurations, each trained with the same seeds.

    Args:
        a_S: value of A for each seed.
        b_S: value of B for each seed.
        metric: its name.
        coverage: of the interval.
        overlap: test over training samples, where each seed has a test split of its own; 0 where all share one.
        of_samples: interval of the mean difference over test samples, where all seeds share them.

    Raises:
        ValueError: numbers of seeds differ, or there is none.
    """
    if len(a_S) != len(b_S) or len(a_S) == 0:
        raise ValueError(f"expected as many values of A as of B, at least one: received {len(a_S)} and {len(b_S)}")
    gain_S = np.asarray(b_S, dtype=np.float64) - np.asarray(a_S, dtype=np.float64)
    count, change = len(gain_S), float(gain_S.mean())
    low = high = math.nan
    if count > 1:
        reach = float(stdtrit(count - 1, (1 + coverage) / 2)) * float(gain_S.std(ddof=1)) * math.sqrt(1 / count + overlap)
        below, above = (max(0.0, change - of_samples[0]), max(0.0, of_samples[1] - change)) if of_samples else (0.0, 0.0)
        low, high = change - math.hypot(reach, below), change + math.hypot(reach, above)
    p = sign_flip(lambda flip_FS: np.where(flip_FS, -gain_S, gain_S).mean(axis=1), count, draws=EXACT, seed=0)
    return Compared(metric, float(np.mean(a_S)), float(np.mean(b_S)), change, low, high, p, count)


def verdict(found: Compared, *, names: tuple[str, str], label: str, higher_is_better: bool, coverage: float, what: str) -> str:
    """What may be said of A and B, in one sentence.

    Args:
        found: of the tested metric.
        names: of A and B.
        label: of the metric for people.
        higher_is_better: of the metric.
        coverage: of the interval; one minus it is the level of the test.
        what: of what there are pairs: seeds, groups of test samples, test samples.
    """
    interval = f"[{found.low:+.4f}, {found.high:+.4f}]"
    said = f"{found.change:+.4f} {interval} in {label}, p = {found.p:.3f} over {found.pairs} paired {what}"
    if not math.isfinite(found.low):
        said = f"{found.change:+.4f} in {label} over {found.pairs} paired {what}"
    winner = found.winner(higher_is_better=higher_is_better, coverage=coverage)
    if winner:
        better, worse = names if winner == "A" else names[::-1]
        return f"{better} is better than {worse}: {said}."
    if found.pairs < FEWEST:
        return f"No winner is named: {said}, and fewer than {FEWEST} pairs cannot show a difference."
    return f"No difference: {said}, which chance explains."
