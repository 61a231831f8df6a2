"""What is reached without looking at the samples: class shares, or the mean of the target.

Letters: N train samples, M test samples, D features, K classes.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray


class Majority:
    """Predicts the shares of the classes in the train split, or the mean of its targets, for every sample."""

    needs_features = False

    def fit_predict(
        self, train_ND: NDArray[Any], truth_N: NDArray[Any], weight_N: NDArray[Any], test_MD: NDArray[Any], *, categories: int
    ) -> NDArray[np.float32]:
        """Return the same prediction for each of M samples: (M, K), or (M, 1) where `categories` is 0."""
        if categories:
            row_K = np.bincount(truth_N, minlength=categories) / len(truth_N)
        else:
            row_K = np.asarray([np.mean(truth_N, dtype=np.float64)])
        return np.tile(row_K.astype(np.float32), (len(test_MD), 1))
