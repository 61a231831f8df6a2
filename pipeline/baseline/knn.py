"""The nearest neighbours on standardised features, for classes and for a real value: nothing is fitted but the scale.

Letters: N train samples, M test samples, D features, K classes.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import PersonError, near_match

METRICS = ("cosine", "euclidean")


class Knn:
    """Share of each class among the nearest training samples, or their mean value, of scikit-learn.

    Source: T. Cover and P. Hart, Nearest Neighbor Pattern Classification (1967); k = 20 with cosine distance is what frozen
    features are commonly judged by (Z. Wu et al. 2018, arXiv 1805.01978, section 3.4, there with weights).

    Args:
        k: neighbours; all where there are fewer.
        metric: cosine or euclidean.

    Raises:
        PersonError: k is below one, or another metric.
    """

    needs_features = True

    def __init__(self, *, k: int, metric: str) -> None:
        if k < 1:
            raise PersonError(f"baseline.knn.k must be at least 1: received {k}")
        if metric not in METRICS:
            raise PersonError(f"baseline.knn.metric {metric!r} is not known: {near_match(metric, METRICS)}")
        self.k, self.metric = k, metric

    def fit_predict(
        self, train_ND: NDArray[Any], truth_N: NDArray[Any], weight_N: NDArray[Any], test_MD: NDArray[Any], *, categories: int
    ) -> NDArray[np.float32]:
        """Look up the train split; return probabilities (M, K), or values (M, 1) where `categories` is 0."""
        from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
        from sklearn.preprocessing import StandardScaler

        scaler = StandardScaler().fit(train_ND)
        train_ND, test_MD = scaler.transform(train_ND), scaler.transform(test_MD)
        named = {"n_neighbors": min(self.k, len(train_ND)), "metric": self.metric, "algorithm": "brute"}
        if not categories:
            values_M = KNeighborsRegressor(**named).fit(train_ND, truth_N).predict(test_MD)
            return np.asarray(values_M, dtype=np.float32)[:, None]
        chances_MK = np.zeros((len(test_MD), categories), dtype=np.float32)
        model = KNeighborsClassifier(**named).fit(train_ND, truth_N)
        chances_MK[:, model.classes_] = model.predict_proba(test_MD)
        return chances_MK
