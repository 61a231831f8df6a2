"""A support vector machine with a radial kernel on standardised features, for classes and for a real value.

Letters: N train samples, M test samples, D features, K classes.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import PersonError


class Svm:
    """SVC whose decisions become probabilities by Platt's sigmoid, or SVR, of scikit-learn.

    The kernel, exp(-|a - b|^2 / (D var)), is computed once for all fits; that takes N x N floats.
    Source: J. Platt, Probabilistic Outputs for Support Vector Machines (1999). The sigmoid is fitted on decisions for held-out
    folds of the train split, taken in stored order, so that neighbours mostly stay in one fold; the machine itself on all of it.

    Args:
        C: inverse of the penalty.
        balanced: weigh classes by the inverse of their frequency.
        weighted: also weigh each sample by the confidence of its label.
        folds: of the train split behind the sigmoid; fewer where a class has fewer samples.
        epsilon: half width of SVR's insensitive tube, in standard deviations of the target.

    Raises:
        PersonError: a number is out of range.
    """

    needs_features = True

    def __init__(self, *, C: float, balanced: bool, weighted: bool, folds: int, epsilon: float) -> None:
        for name, value, low in (("C", C, 1e-9), ("folds", folds, 2), ("epsilon", epsilon, 0)):
            if not value >= low:
                raise PersonError(f"baseline.svm.{name} must be at least {low}: received {value}")
        self.C = C
        self.balanced = balanced
        self.weighted = weighted
        self.folds = folds
        self.epsilon = epsilon

    def fit_predict(
        self, train_ND: NDArray[Any], truth_N: NDArray[Any], weight_N: NDArray[Any], test_MD: NDArray[Any], *, categories: int
    ) -> NDArray[np.float32]:
        """Fit on the train split; return probabilities (M, K), or values (M, 1) where `categories` is 0."""
        from sklearn.metrics.pairwise import rbf_kernel
        from sklearn.preprocessing import StandardScaler
        from sklearn.svm import SVR

        scaler = StandardScaler().fit(train_ND)
        train_ND, test_MD = scaler.transform(train_ND), scaler.transform(test_MD)
        gamma = 1 / (train_ND.shape[1] * (float(train_ND.var()) or 1.0))
        kernel_NN, kernel_MN = rbf_kernel(train_ND, gamma=gamma), rbf_kernel(test_MD, train_ND, gamma=gamma)
        weight = weight_N if self.weighted else None
        if categories:
            return self._classes(kernel_NN, truth_N, weight, kernel_MN, categories=categories)
        centre, spread = float(np.mean(truth_N)), float(np.std(truth_N)) or 1.0
        machine = SVR(kernel="precomputed", C=self.C, epsilon=self.epsilon)
        machine.fit(kernel_NN, (truth_N - centre) / spread, sample_weight=weight)
        return np.asarray(machine.predict(kernel_MN) * spread + centre, dtype=np.float32)[:, None]

    def _classes(
        self,
        kernel_NN: NDArray[Any],
        truth_N: NDArray[Any],
        weight: NDArray[Any] | None,
        kernel_MN: NDArray[Any],
        *,
        categories: int,
    ) -> NDArray[np.float32]:
        from sklearn.calibration import CalibratedClassifierCV
        from sklearn.model_selection import StratifiedKFold
        from sklearn.svm import SVC

        chances_MK = np.zeros((len(kernel_MN), categories), dtype=np.float32)
        present, count = np.unique(truth_N, return_counts=True)
        folds = min(self.folds, int(count.min()))
        if len(present) == 1:
            chances_MK[:, present] = 1.0
        elif folds < 2:
            rare = int(present[count.argmin()])
            raise PersonError(f"baseline=svm needs two train samples of each class, but class {rare} has one: add samples of it, "
                              "or leave svm out:  baseline=[majority,linear]")  # fmt: skip
        else:
            cut = StratifiedKFold(folds, shuffle=True, random_state=0)  # not in order: neighbours are alike
            machine = SVC(kernel="precomputed", C=self.C, class_weight="balanced" if self.balanced else None)
            model = CalibratedClassifierCV(machine, method="sigmoid", cv=cut, ensemble=False)
            chances_MK[:, present] = model.fit(kernel_NN, truth_N, sample_weight=weight).predict_proba(kernel_MN)
        return chances_MK
