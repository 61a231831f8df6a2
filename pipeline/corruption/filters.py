"""What several corruptions share: the scale of lengths, blurs, warps and cloudy noise.

H height, W width, C channels (any number); images are float32 in [0, 1].
"""

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]
Level = tuple[float, ...]
Rng = np.random.Generator
SIDE = 224  # pixels of the shorter side for which the lengths of the table were made
PLANES = 4  # channels at most that OpenCV warps at once


def scale(image_HWC: Image) -> float:
    """Factor of the table's lengths for an image of this size."""
    height, width = image_HWC.shape[:2]
    return float(min(height, width)) / SIDE


def convolved(image_HWC: Image, x: NDArray[np.float64], y: NDArray[np.float64], weight: NDArray[np.float64]) -> Image:
    """Convolve with weighted points, each shared among its four nearest pixels; the border is mirrored.

    Args:
        image_HWC: any number of channels.
        x: to the right, pixels, one a point; parts of a pixel count.
        y: downwards, pixels.
        weight: of each point; their sum is brought to one.
    """
    reach = int(np.ceil(max(np.abs(x).max(), np.abs(y).max()))) + 1
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1))
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    for right in (0, 1):
        for below in (0, 1):
            share = np.abs(1 - right - (x - left)) * np.abs(1 - below - (y - top))
            np.add.at(kernel, (top + below + reach, left + right + reach), weight * share)
    flipped = np.ascontiguousarray(kernel[::-1, ::-1] / kernel.sum())  # filter2D correlates
    return by_planes(image_HWC, lambda part: cv2.filter2D(part, -1, flipped, borderType=cv2.BORDER_REFLECT_101))


def along(image_HWC: Image, reach: float, spread: float, angle: float) -> Image:
    """Blur along a line: Gaussian weights of standard deviation `spread` out to `reach` pixels, `angle` in degrees."""
    step = np.linspace(-reach, reach, 257)
    turned = np.deg2rad(angle)
    return convolved(image_HWC, step * np.cos(turned), step * np.sin(turned), np.exp(-(step**2) / (2 * spread**2)))


def gaussian(image_HWC: Image, spread: float) -> Image:
    """Gaussian blur of a standard deviation in pixels."""
    return by_planes(image_HWC, lambda part: cv2.GaussianBlur(part, (0, 0), spread, borderType=cv2.BORDER_REFLECT_101))


def warped(image_HWC: Image, x_HW: Image, y_HW: Image) -> Image:
    """The image read at these places, bilinearly; beyond the border it is mirrored.

    Args:
        image_HWC: any number of channels.
        x_HW: columns to read at.
        y_HW: rows to read at.
    """
    return by_planes(image_HWC, lambda part: cv2.remap(part, x_HW, y_HW, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101))


def places(image_HWC: Image) -> tuple[Image, Image]:
    """Column and row of every pixel, (H, W) each."""
    height, width = image_HWC.shape[:2]
    row_HW, column_HW = np.mgrid[:height, :width].astype(np.float32)
    return column_HW, row_HW


def resized(image_HWC: Image, height: int, width: int) -> Image:
    """Another size: means of areas where it shrinks, bilinear where it grows."""
    shrinks = height * width < image_HWC.shape[0] * image_HWC.shape[1]
    way = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return by_planes(image_HWC, lambda part: cv2.resize(part, (width, height), interpolation=way))


def by_planes(image_HWC: Image, function: Callable[[Image], Any]) -> Image:
    """Apply what knows at most four channels to all of them; a single channel keeps its axis."""
    parts = []
    for start in range(0, image_HWC.shape[2], PLANES):
        changed = np.asarray(function(np.ascontiguousarray(image_HWC[..., start : start + PLANES])), dtype=np.float32)
        parts.append(changed.reshape(*changed.shape[:2], -1))
    return np.concatenate(parts, axis=2)


def clouds(height: int, width: int, decay: float, rng: Rng) -> Image:
    """Cloudy noise (H, W) from 0 to 1: interpolated random grids, each twice as fine and `decay` times as weak as the last."""
    cloud_HW = np.zeros((height, width), dtype=np.float32)
    cells, share = 2, 1.0
    while cells <= max(height, width):
        coarse = rng.random((cells + 1, cells + 1), dtype=np.float32)
        cloud_HW += np.float32(share) * cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
        cells, share = 2 * cells, share / decay
    cloud_HW -= cloud_HW.min()
    return np.asarray(cloud_HW / max(float(cloud_HW.max()), 1e-6), dtype=np.float32)
