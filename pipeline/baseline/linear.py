"""A linear method on standardised features: logistic regression for classes, ridge regression for a real value.

Letters: N train samples, M test samples, D features, K classes.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import PersonError


class Linear:
    """Multinomial logistic regression (L-BFGS) or ridge regression, of scikit-learn.

    Args:
        C: inverse of the L2 penalty of the logistic regression.
        alpha: L2 penalty of the ridge regression, whose target is standardised.
        balanced: weigh classes by the inverse of their frequency.
        weighted: also weigh each sample by the confidence of its label.
        max_iter: largest number of L-BFGS steps.

    Raises:
        PersonError: a penalty or the number of steps is not positive.
    """

    needs_features = True

    def __init__(self, *, C: float, alpha: float, balanced: bool, weighted: bool, max_iter: int) -> None:
        for name, value in (("C", C), ("alpha", alpha), ("max_iter", max_iter)):
            if not value > 0:
                raise PersonError(f"baseline.linear.{name} must be positive: received {value}")
        self.C = C
        self.alpha = alpha
        self.balanced = balanced
        self.weighted = weighted
        self.max_iter = max_iter

    def fit_predict(
        self, train_ND: NDArray[Any], truth_N: NDArray[Any], weight_N: NDArray[Any], test_MD: NDArray[Any], *, categories: int
    ) -> NDArray[np.float32]:
        """Fit on the train split; return probabilities (M, K), or values (M, 1) where `categories` is 0."""
        from sklearn.linear_model import LogisticRegression, Ridge
        from sklearn.preprocessing import StandardScaler

        scaler = StandardScaler().fit(train_ND)
        train_ND, test_MD = scaler.transform(train_ND), scaler.transform(test_MD)
        weight = weight_N if self.weighted else None
        if not categories:
            centre, spread = float(np.mean(truth_N)), float(np.std(truth_N)) or 1.0
            ridge = Ridge(alpha=self.alpha).fit(train_ND, (truth_N - centre) / spread, sample_weight=weight)
            return np.asarray(ridge.predict(test_MD) * spread + centre, dtype=np.float32)[:, None]
        chances_MK = np.zeros((len(test_MD), categories), dtype=np.float32)
        present = np.unique(truth_N)
        if len(present) == 1:
            chances_MK[:, present] = 1.0
            return chances_MK
        balance = "balanced" if self.balanced else None
        model = LogisticRegression(C=self.C, class_weight=balance, max_iter=self.max_iter)
        chances_MK[:, present] = model.fit(train_ND, truth_N, sample_weight=weight).predict_proba(test_MD)
        return chances_MK
