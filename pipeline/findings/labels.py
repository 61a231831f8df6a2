"""Doubtful labels: out-of-fold probabilities of a plain classifier, confident learning, and a control on shuffled labels.

N samples, D features, K classes.
"""

import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

Doubles = NDArray[np.float64]
Integers = NDArray[np.int64]

SHUFFLES = 3  # permutations of the control; their median stands, so that one unlucky draw raises no alarm
STEPS = 300  # of the solver
WIDEST = 3.0  # standard deviations at which a component is cut off: an extreme sample is not extrapolated to


def folds(label_N: Integers, unit_N: Sequence[str], count: int, seed: int) -> Integers | None:
    """Fold of each sample; samples of one unit (group or cluster) share a fold, and classes are spread.

    Returns:
        (N,), or None where a class or the units are too few for two folds.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    single = [name or f"\0{place}" for place, name in enumerate(unit_N)]
    count = min(count, int(np.unique(label_N, return_counts=True)[1].min()), len(set(single)))
    if count < 2:
        return None
    fold_N = np.zeros(len(label_N), dtype=np.int64)
    cutter = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    for number, (_, held) in enumerate(cutter.split(np.zeros(len(label_N)), label_N, single)):
        fold_N[held] = number
    return fold_N


def out_of_fold(x_ND: Doubles, label_N: Integers, fold_N: Integers, classes: int) -> Doubles:
    """Probabilities (N, K) that logistic regression gives each sample when its fold is held out."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    x_ND = np.clip(x_ND, -WIDEST, WIDEST)
    probability_NK = np.zeros((len(label_N), classes))
    for number in np.unique(fold_N):
        held = fold_N == number
        known = np.unique(label_N[~held])
        if len(known) < 2:
            probability_NK[np.ix_(held, known)] = 1.0
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model = LogisticRegression(C=0.1, max_iter=STEPS).fit(x_ND[~held], label_N[~held])
        probability_NK[np.ix_(held, known)] = model.predict_proba(x_ND[held])
    return probability_NK


def doubtful(probability_NK: Doubles, label_N: Integers) -> NDArray[np.bool_]:
    """Which labels are probably wrong: the off-diagonal of the confident joint.

    A sample counts for the most probable class among those whose probability reaches that class's mean self-confidence; where
    that is not its own label, and its own is not the most probable one either, the label is doubted. Equal to
    `cleanlab.filter.find_label_issues(filter_by="confident_learning")` of cleanlab 2.9.

    Source: Northcutt, Jiang, Chuang 2021, "Confident learning", JAIR 70, equations 1 and 2.
    """
    classes = probability_NK.shape[1]
    own = [probability_NK[label_N == kind, kind] for kind in range(classes)]
    threshold_K = np.array([values.mean() if len(values) else np.inf for values in own])
    reached_NK = probability_NK >= threshold_K - 1e-6
    guess_N = np.where(reached_NK, probability_NK, -1.0).argmax(axis=1)
    wrong_N: NDArray[np.bool_] = reached_NK.any(axis=1) & (guess_N != label_N) & (probability_NK.argmax(axis=1) != label_N)
    return wrong_N


def shuffled(x_ND: Doubles, label_N: Integers, fold_N: Integers, seed: int) -> tuple[float, float, float]:
    """What the same classifier reaches on labels in random order; it must be at chance.

    Returns:
        Accuracy, what chance gives at these shares of labels and answers, and the probability of as many right answers by chance
        (binomial, one-sided); each the median of three permutations.
    """
    rng = np.random.default_rng(seed)
    classes, total = int(label_N.max()) + 1, len(label_N)
    found = []
    for _ in range(SHUFFLES):
        mixed_N = rng.permutation(label_N)
        answer_N = out_of_fold(x_ND, mixed_N, fold_N, classes).argmax(axis=1)
        right = int((answer_N == mixed_N).sum())
        chance = float(np.bincount(mixed_N, minlength=classes) @ np.bincount(answer_N, minlength=classes)) / total**2
        found.append((right / total, chance, float(binom.sf(right - 1, total, chance))))
    accuracy, chance, probability = np.median(np.array(found), axis=0).tolist()
    return accuracy, chance, probability
