"""How close images are to the nearest one of a set: whether a generator repeats what it was trained on, and the like.

N images of the set, S images to judge, B images of a block, P pixels, H height, W width, C channels.
"""

import numpy as np
from numpy.typing import NDArray

from pipeline.core.record import Pixels

BLOCK = 512  # images of the set compared at a time


def nearest(image_SHWC: Pixels, set_NHWC: Pixels, *, itself: NDArray[np.int64] | None = None) -> NDArray[np.float64]:
    """Root mean square difference, in grey levels of 255, of each image to the nearest one of a set.

    Sums of squared grey levels are whole numbers and exact in float64, so no order of summation and no thread count changes them.

    Args:
        image_SHWC: uint8.
        set_NHWC: uint8, of the same size.
        itself: position of each image in the set, which is left out of its comparison; None where they are not members.

    Returns:
        (S,), infinite where there is nothing to compare with.
    """
    pixels = int(np.prod(image_SHWC.shape[1:]))
    image_SP = image_SHWC.reshape(-1, pixels).astype(np.float64)
    own_S1 = (np.full(len(image_SP), -1) if itself is None else itself)[:, None]
    square_S = np.full(len(image_SP), np.inf)
    for start in range(0, len(set_NHWC), BLOCK):
        block_BP = set_NHWC[start : start + BLOCK].reshape(-1, pixels).astype(np.float64)
        square_SB = (image_SP**2).sum(1)[:, None] - 2 * image_SP @ block_BP.T + (block_BP**2).sum(1)[None]
        square_SB[own_S1 == np.arange(start, start + len(block_BP))[None]] = np.inf
        square_S = np.minimum(square_S, square_SB.min(axis=1))
    distance_S: NDArray[np.float64] = np.sqrt(square_S / pixels)
    return distance_S
