"""A subset of samples that keeps the proportions of the whole, for measurements that cannot afford every sample."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.keyed import seed


def spread(truth_N: NDArray[Any], ids: Sequence[str], count: int, *key: int | str) -> NDArray[np.int64]:
    """Positions of at most `count` samples, spread evenly over the sorted truth, in ascending order.

    Systematic sampling (Cochran 1977, chapter 8): samples are sorted by truth, within one truth by a draw keyed by id, and every
    N/count-th is taken. So each class has its share to within one sample, and a real-valued target its distribution. Adding or
    removing a sample moves few others.

    Args:
        truth_N: class or value of each sample.
        ids: their ids; ties are ordered by a hash of (key, id), never by the position.
        count: how many; all where there are not that many.
        key: of the draw.
    """
    total = len(truth_N)
    if count >= total:
        return np.arange(total, dtype=np.int64)
    ties = np.asarray([seed(*key, identity) for identity in ids], dtype=np.int64)
    order = np.lexsort((ties, np.asarray(truth_N)))
    taken = np.floor((np.arange(count) + 0.5) * total / count).astype(np.int64)
    return np.sort(order[taken]).astype(np.int64)
