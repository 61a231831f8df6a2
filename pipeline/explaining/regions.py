"""A grid of regions over an image, and what takes a region's place when it is removed.

B batch, C channels, H height, W width.
"""

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

COARSE = 4  # cells a side that are left of an image whose content is removed


def grid(height: int, width: int, count: int) -> NDArray[np.int64]:
    """Number of the region of each pixel (H, W), row by row from 0: `count` along the shorter side, nearly square everywhere.

    Raises:
        ValueError: count is not positive.
    """
    if count < 1:
        raise ValueError(f"a grid needs at least one region along the shorter side: received {count}")
    side = min(height, width) / min(count, height, width)
    rows, columns = (max(1, round(length / side)) for length in (height, width))
    row_H1 = np.arange(height)[:, None] * rows // height
    column_1W = np.arange(width)[None, :] * columns // width
    numbers_HW: NDArray[np.int64] = (row_H1 * columns + column_1W).astype(np.int64)
    return numbers_HW


def blurred(x_BCHW: Tensor) -> Tensor:
    """The images with their coarsest brightness alone: means over a grid of `COARSE` cells a side, brought back bilinearly."""
    height, width = x_BCHW.shape[2:]
    coarse_BChw = functional.adaptive_avg_pool2d(x_BCHW, (min(COARSE, height), min(COARSE, width)))
    return functional.interpolate(coarse_BChw, (height, width), mode="bilinear", align_corners=False)


def averaged(map_HW: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """The map averaged over a square window of `side` pixels around each pixel: single pixels of a fine map are noise."""
    from scipy.ndimage import uniform_filter

    smooth_HW: NDArray[np.float32] = uniform_filter(map_HW, size=max(1, side))
    return smooth_HW


def mean_of(x_BCHW: Tensor) -> Tensor:
    """Images of the mean of each channel, of the same shape."""
    return x_BCHW.mean((2, 3), keepdim=True).expand_as(x_BCHW)
