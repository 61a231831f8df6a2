"""Decisions by what mistakes cost: the operating point, chosen on validation.

Source: C. Elkan, The Foundations of Cost-Sensitive Learning (IJCAI 2001), equation 1: say the class of the least expected cost.
With two classes that is a threshold (equation 2), right for honest probabilities. Validation moves it only where another costs
less beyond chance: the cheapest of many thresholds on few samples is mostly luck, and cost more on the test split than it saved
(measured on toy data: 90 validation samples, mean cost .15 instead of .07). So the saving is measured on groups that did
not choose the threshold, in folds, with the variance of overlapping folds (C. Nadeau and Y. Bengio, Inference for the
Generalization Error, 2003, equation 9). More classes decide by equation 1.

Letters: N samples, K classes.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core import scores
from pipeline.core.errors import PersonError, near_match
from pipeline.core.intervals import bootstrap
from pipeline.evaluation import shares

Floats = NDArray[np.floating]
Ints = NDArray[np.integer]
Costs = Mapping[str, Mapping[str, float]]
FOLDS = 5  # of groups: a threshold is judged on samples that did not choose it


@dataclass(frozen=True)
class Operating:
    """How probabilities become a decision.

    Attributes:
        costs_KK: cost of saying column where row is the truth.
        positive: index of the class that the threshold speaks of; None where there are more than two classes.
        threshold: the positive class is said from this calibrated probability on; None where there are more than two classes.
        theory: the threshold of equation 2; None where there are more than two classes.
        best: the threshold that costs least on the held-out samples; None where there are more than two classes.
    """

    costs_KK: NDArray[np.float64]
    positive: int | None
    threshold: float | None
    theory: float | None
    best: float | None

    def decide(self, probability_NK: Floats) -> NDArray[np.int64]:
        """The class to say for each sample, (N,)."""
        if self.threshold is None or self.positive is None:
            return np.asarray((np.asarray(probability_NK, dtype=np.float64) @ self.costs_KK).argmin(axis=1), dtype=np.int64)
        said_N = probability_NK[:, self.positive] >= self.threshold
        return np.where(said_N, self.positive, 1 - self.positive).astype(np.int64)

    def cost(self, said_N: Ints, truth_N: Ints) -> NDArray[np.float64]:
        """What each decision cost, (N,)."""
        return np.asarray(self.costs_KK[truth_N, said_N])

    def facts(self, classes: Sequence[str]) -> dict[str, Any]:
        """As plain JSON."""
        rows = {name: dict(zip(classes, row, strict=True)) for name, row in zip(classes, self.costs_KK.tolist(), strict=True)}
        positive = None if self.positive is None else classes[self.positive]
        return {"costs": rows, "positive": positive, "threshold": self.threshold, "theory": self.theory, "best": self.best}


def cost_matrix(costs: Costs | None, classes: Sequence[str]) -> NDArray[np.float64]:
    """`calibrate.costs` as a matrix (truth, said); a mistake that it does not name costs 1, a right answer nothing.

    Raises:
        PersonError: a class that the data do not have, a cost of a right answer, or mistakes that cost nothing at all.
    """
    matrix_KK = 1.0 - np.eye(len(classes))
    for truth, row in (costs or {}).items():
        for said, cost in row.items():
            for name in (truth, said):
                if name not in classes:
                    known = near_match(name, classes)
                    raise PersonError(f"calibrate.costs names the class {name!r}, which the data do not have: {known}")
            if truth == said:
                raise PersonError(f"calibrate.costs: {truth!r} said as {said!r} costs {cost:g}: a right answer costs nothing")
            matrix_KK[classes.index(truth), classes.index(said)] = float(cost)
    if not matrix_KK.any():
        raise PersonError("calibrate.costs lets every mistake cost nothing, so any decision is as good: give one of them a cost")
    return matrix_KK


def choose(
    probability_NK: Floats, truth_N: Ints, costs_KK: NDArray[np.float64], *, positive: int, groups: Sequence[str], coverage: float
) -> Operating:
    """The operating point on these held-out samples.

    Args:
        probability_NK: calibrated.
        truth_N: classes.
        costs_KK: of `cost_matrix`.
        positive: index of the class that the threshold speaks of, where there are two.
        groups: of the samples; "" for none.
        coverage: of the interval of the saving, held out in folds, that moves the threshold away from the theoretical one.
    """
    if len(costs_KK) != 2:
        return Operating(costs_KK, None, None, None, None)
    miss, alarm = float(costs_KK[positive, 1 - positive]), float(costs_KK[1 - positive, positive])
    theory = alarm / (alarm + miss)
    best = cheapest(probability_NK[:, positive], truth_N == positive, miss=miss, alarm=alarm)
    saved_N = _saved(probability_NK[:, positive], truth_N == positive, groups, miss=miss, alarm=alarm)
    found = shares.mean(saved_N, groups, coverage=coverage)
    reach = math.sqrt(1 + FOLDS / (FOLDS - 1)) * (found["value"] - found.get("low", -math.inf))  # folds share what chooses
    return Operating(costs_KK, positive, best if found["value"] > reach else theory, theory, best)


def _saved(
    p_N: Floats, positive_N: NDArray[np.bool_], groups: Sequence[str], *, miss: float, alarm: float
) -> NDArray[np.float64]:  # fmt: skip
    """What each sample costs less (N,) at the cheapest threshold of the other folds than at the theoretical one.

    Chosen and judged on the same samples, the cheapest of many thresholds always looks better.
    """
    fold_N = np.unique([group or f"\0{row:09d}" for row, group in enumerate(groups)], return_inverse=True)[1] % FOLDS
    saved_N = np.zeros(len(p_N))
    for fold in np.unique(fold_N):
        own_N = fold_N == fold
        if own_N.all():
            return saved_N  # one group: nothing is held out
        other = cheapest(p_N[~own_N], positive_N[~own_N], miss=miss, alarm=alarm)
        costs = [_costs(p_N[own_N] >= at, positive_N[own_N], miss=miss, alarm=alarm) for at in (alarm / (alarm + miss), other)]
        saved_N[own_N] = costs[0] - costs[1]
    return saved_N


def _costs(said_N: NDArray[np.bool_], positive_N: NDArray[np.bool_], *, miss: float, alarm: float) -> NDArray[np.float64]:
    return np.where(positive_N, np.where(said_N, 0.0, miss), np.where(said_N, alarm, 0.0))


def cheapest(p_N: Floats, positive_N: NDArray[np.bool_], *, miss: float, alarm: float) -> float:
    """The threshold of least cost on these samples; where several cost the same, the one nearest to the theoretical one."""
    threshold_T, cost_T = curve(p_N, positive_N, miss=miss, alarm=alarm)
    best = np.flatnonzero(np.isclose(cost_T, cost_T.min(), rtol=0, atol=1e-12))
    edges = np.concatenate([[0.0], threshold_T, [np.nextafter(1.0, 2.0)]])  # all thresholds in (edge, next edge] decide alike
    return _nearest(edges[best], edges[best + 1], alarm / (alarm + miss))


def curve(p_N: Floats, positive_N: NDArray[np.bool_], *, miss: float, alarm: float) -> tuple[Floats, Floats]:
    """Mean cost at each distinct threshold.

    Returns:
        Distinct probabilities, ascending (T,), and costs (T + 1,): entry i is that of any threshold in (threshold i - 1,
        threshold i], the last one that of a threshold above all.
    """
    threshold_T, place_N = np.unique(np.asarray(p_N, dtype=np.float64), return_inverse=True)
    positives_T = np.bincount(place_N, weights=positive_N, minlength=len(threshold_T))
    negatives_T = np.bincount(place_N, weights=~positive_N, minlength=len(threshold_T))
    missed = np.concatenate([[0.0], np.cumsum(positives_T)])
    alarms = negatives_T.sum() - np.concatenate([[0.0], np.cumsum(negatives_T)])
    return threshold_T, (miss * missed + alarm * alarms) / max(1, len(positive_N))


def _nearest(low_T: Floats, high_T: Floats, theory: float) -> float:
    """The theoretical threshold where it lies in one of these intervals (low, high]; else the middle of the nearest one."""
    if ((low_T < theory) & (theory <= high_T)).any() or (theory == 0 and low_T[0] == 0):
        return theory
    place = int(np.maximum(low_T - theory, theory - high_T).argmin())
    low, high = float(low_T[place]), float(high_T[place])
    middle = (low + min(high, 1.0)) / 2
    return middle if middle > low else high


def measure(
    point: Operating, probability_NK: Floats, truth_N: Ints, groups: Sequence[str], *,
    classes: Sequence[str], measure: dict[str, Any],
) -> dict[str, dict[str, dict[str, float]]]:  # fmt: skip
    """Metrics at the operating point and where the most probable class is said, each with its (grouped) interval.

    Returns:
        `chosen` and `plain`: cost, accuracy, balanced_accuracy, and recall and precision of each class as `recall/<class>`;
        `change` (chosen minus plain, paired): the same names.
    """
    said_NM = np.stack([point.decide(probability_NK), probability_NK.argmax(axis=1)], axis=1)

    def at(said_N: Ints, truth_N: Ints) -> dict[str, float]:
        found = {
            "cost": float(point.cost(said_N, truth_N).mean()),
            "accuracy": scores.accuracy(said_N, truth_N),
            "balanced_accuracy": scores.balanced_accuracy(said_N, truth_N),
        }
        for k, name in enumerate(classes):
            found[f"recall/{name}"] = _share(said_N == k, truth_N == k)
            found[f"precision/{name}"] = _share(truth_N == k, said_N == k)
        return found

    def both(drawn_NM: Any, drawn_N: Any, _: Any) -> dict[str, float]:
        chosen, plain = at(drawn_NM[:, 0], drawn_N), at(drawn_NM[:, 1], drawn_N)
        change = {name: value - plain[name] for name, value in chosen.items()}
        named = {"chosen": chosen, "plain": plain, "change": change}
        return {f"{what}/{name}": value for what, part in named.items() for name, value in part.items()}

    drawn = bootstrap(both, said_NM, truth_N, np.ones(len(truth_N)), groups, **measure)
    found: dict[str, dict[str, dict[str, float]]] = {"chosen": {}, "plain": {}, "change": {}}
    for key, entry in drawn.items():
        what, name = key.split("/", 1)
        found[what][name] = entry
    return found


def _share(hit_N: NDArray[np.bool_], of_N: NDArray[np.bool_]) -> float:
    """Share of `of_N` that is also `hit_N`; NaN where there is none."""
    return float(hit_N[of_N].mean()) if of_N.any() else float("nan")
