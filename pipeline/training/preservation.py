"""Does augmentation keep the truth? A linear model that never saw a parent judges the parent and its augmented copies.

The model is fitted in folds of whole groups; each parent and its copies are judged by the fold that left them out. Where the
parent is judged rightly and its copy otherwise, the policy has moved the image across a class border, and the gate counts that.
It has two causes: the label is destroyed, or the policy shows what the features have never seen. So a second judge, fitted on
copies of other parents too, is asked as well: what was only new it has learned. It is no gate: in features of many dimensions it
also learns to tell an upside-down six from a nine.

N real samples, M augmented ones, D features.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.keyed import seed as keyed_seed

FOLDS = 5
PENALTY = 0.01  # inverse of the L2 penalty on standardised features; those of a network are many more than the samples
MASS = 0.5  # of all copies together, at most, against all real samples, where the second judge is fitted
COMPONENTS = 128  # principal ones of the standardised features, at most: ten classes of 784 pixels took minutes without
STEPS = 200  # of L-BFGS, at most
RESAMPLES, COVERAGE = 1000, 0.95


@dataclass(frozen=True)
class Preservation:
    """The judgement.

    Attributes:
        judged: augmented samples whose parent is judged rightly.
        change: share of them that are judged otherwise: value, low, high; None where no parent was judged rightly.
        learned: the same by the judge that has learned from copies of other parents; parents are not asked again.
        real: share of the parents that are judged rightly.
        made: share of the augmented samples that are judged rightly.
        changed_M: (M,) whether a copy of a rightly judged parent is judged otherwise.
        tolerance: for a real-valued target the difference that counts as another judgement; 0 for classes.
    """

    judged: int
    change: dict[str, float] | None
    learned: dict[str, float] | None
    real: float
    made: float
    changed_M: NDArray[np.bool_]
    tolerance: float


@dataclass(frozen=True)
class Judged:
    """What is known of the real samples.

    Attributes:
        features_ND: of real samples.
        truth_N: class, or real value.
        groups: N names, "" for none.
        categories: number of classes, 0 for a real value.
    """

    features_ND: NDArray[np.float32]
    truth_N: NDArray[Any]
    groups: Sequence[str]
    categories: int


def compare(real: Judged, made_MD: NDArray[np.float32], parents_M: NDArray[np.int64], *, seed: int) -> Preservation:
    """Judge augmented samples against their parents.

    Args:
        real: real samples of the train split.
        made_MD: features of the augmented samples.
        parents_M: row of each one's parent in `real`.
        seed: of the folds and of the bootstrap.
    """
    from pipeline.core.intervals import bootstrap  # with SciPy, which augment needs for nothing else where there are no features

    units = [group or f"\0{row}" for row, group in enumerate(real.groups)]
    fold_of = {unit: keyed_seed(seed, "augment", "fold", unit) % FOLDS for unit in set(units)}
    folds_N = np.asarray([fold_of[unit] for unit in units])
    plain_N, plain_M = _judged(real, made_MD, parents_M, folds_N, copies=False)
    _, learned_M = _judged(real, made_MD, parents_M, folds_N, copies=True)
    seen_N = np.isin(folds_N, folds_N[parents_M])
    tolerance = 0.0 if real.categories else float(np.sqrt(np.mean((plain_N - real.truth_N)[seen_N] ** 2)))
    right_M = np.abs(plain_N - real.truth_N)[parents_M] <= tolerance
    changes, rows = [], np.flatnonzero(right_M)
    for judged_M in (plain_M, learned_M):
        share = (np.abs(judged_M - plain_N[parents_M]) > tolerance)[rows].astype(float)
        names, ones = [units[parents_M[row]] for row in rows], np.ones(len(rows))
        drawn = (
            bootstrap(_mean, share, share, ones, names, resamples=RESAMPLES, coverage=COVERAGE, seed=seed) if len(rows) else {}
        )
        changes.append(drawn.get("change"))
    return Preservation(
        judged=len(rows), change=changes[0], learned=changes[1], real=float(right_M.mean()),
        made=float((np.abs(plain_M - real.truth_N[parents_M]) <= tolerance).mean()),
        changed_M=right_M & (np.abs(plain_M - plain_N[parents_M]) > tolerance), tolerance=tolerance,
    )  # fmt: skip


def _judged(
    real: Judged, made_MD: NDArray[np.float32], parents_M: NDArray[np.int64], folds_N: NDArray[np.int64], *, copies: bool
) -> tuple[NDArray[Any], NDArray[Any]]:
    """What the judge says of each real sample in a fold with copies, and of each copy."""
    real_N, made_M = np.zeros(len(real.truth_N)), np.zeros(len(made_MD))
    for fold in np.unique(folds_N[parents_M]):
        held_N, held_M = folds_N == fold, folds_N[parents_M] == fold
        rest_N = ~held_N if (~held_N).any() else held_N
        rest_M = ~held_M & copies
        rows = np.concatenate([real.features_ND[rest_N], made_MD[rest_M]])
        truth = np.concatenate([real.truth_N[rest_N], real.truth_N[parents_M[rest_M]]])
        light = min(1.0, MASS * rest_N.sum() / max(1, rest_M.sum()))
        weight = np.concatenate([np.ones(rest_N.sum()), np.full(rest_M.sum(), light)])
        both = np.concatenate([real.features_ND[held_N], made_MD[held_M]])
        judged = _judge(rows, truth, weight, both, categories=real.categories)
        real_N[held_N], made_M[held_M] = judged[: held_N.sum()], judged[held_N.sum() :]
    return real_N, made_M


def _judge(
    train_ND: NDArray[np.float32], truth_N: NDArray[Any], weight_N: NDArray[Any], test_MD: NDArray[np.float32], *, categories: int
) -> NDArray[Any]:
    """Class or value of each test row, by logistic or ridge regression on principal components of standardised features."""
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if len(np.unique(truth_N)) == 1:
        return np.full(len(test_MD), truth_N[0])
    kind = LogisticRegression(C=PENALTY, class_weight="balanced", max_iter=STEPS) if categories else Ridge(alpha=1 / PENALTY)
    steps: list[Any] = [StandardScaler()]
    if min(train_ND.shape) > COMPONENTS:
        steps.append(PCA(COMPONENTS, svd_solver="randomized", random_state=0))
    scaled = make_pipeline(*steps)
    kind.fit(scaled.fit_transform(train_ND), truth_N, sample_weight=weight_N)
    return np.asarray(kind.predict(scaled.transform(test_MD)))


def _mean(share: NDArray[Any], _: NDArray[Any], __: NDArray[Any]) -> dict[str, float]:
    return {"change": float(share.mean())}
