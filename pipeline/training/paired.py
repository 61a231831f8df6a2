"""The cost of a change, paired over the samples.

N samples, K columns of a decoded prediction.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.intervals import bootstrap
from pipeline.training.subset import Subset


def paired_change(
    task: Any, before_NK: NDArray[np.float32], after_NK: NDArray[np.float32], subset: Subset, **measure: Any
) -> dict[str, dict[str, float]]:
    """Change of the headline metric, after minus before, with the interval of the paired difference.

    The same resamples serve both, so what both get wrong cancels; the intervals of the two alone are far wider.
    """
    width = before_NK.shape[1]

    def difference(both: Any, truth: Any, weight: Any) -> dict[str, float]:
        values = [task.metrics(part, truth, weight)[task.headline] for part in (both[:, :width], both[:, width:])]
        return {task.headline: values[1] - values[0]}

    both = np.concatenate([before_NK, after_NK], axis=1)
    return bootstrap(difference, both, subset.truth, subset.weight, subset.groups, **measure)
