"""What an epoch of training draws, as a pure function of the seed, the epoch and the sample: the order, and the augmentation.

Nothing here depends on the worker, the process, the time or what was drawn before, so that a resumed run and any number of
workers see the same.
"""

import numpy as np
from numpy.typing import NDArray

from pipeline.core.keyed import generator


def order(count: int, *, seed: int, epoch: int) -> NDArray[np.int64]:
    """The permutation of `count` samples that is epoch `epoch` of the stream."""
    return generator(seed, "order", epoch).permutation(count)


def drawing(seed: int, epoch: int, identity: str) -> np.random.Generator:
    """The generator from which the augmentation of one sample in one epoch is drawn."""
    return generator(seed, "augment", epoch, identity)
