"""Numbers of one image that need no other image: brightness, contrast, sharpness, entropy, noise, and its thumbnail.

H height, W width, C channels.
"""

import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.core.record import Pixels

NAMES = ("brightness", "contrast", "spread", "sharpness", "entropy", "noise", "clipped")
THUMB = 64  # pixels of a thumbnail's side at most
NOISE_MASK = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], dtype=np.float32)


def grey(pixels_HWC: Pixels) -> NDArray[np.uint8]:
    """Grey levels (H, W), by the weights of ITU-R BT.601."""
    if pixels_HWC.shape[-1] == 1:
        return np.ascontiguousarray(pixels_HWC[..., 0])
    changed: Any = cv2.cvtColor(np.ascontiguousarray(pixels_HWC), cv2.COLOR_RGB2GRAY)
    return np.asarray(changed, dtype=np.uint8)


def measure(pixels_HWC: Pixels) -> list[float]:
    """The numbers that `NAMES` lists.

    brightness: mean grey level, 0 to 255. contrast: its standard deviation. spread: grey levels between the darkest and
    the brightest hundredth of the pixels. sharpness: variance of the Laplacian (Pech-Pacheco et al. 2000, equation 5).
    entropy: of the grey levels, in bits. noise: standard deviation of white noise (Immerkaer 1996, equation 7; texture counts).
    clipped: share of all values that are 255.
    """
    grey_HW = grey(pixels_HWC)
    histogram = np.bincount(grey_HW.ravel(), minlength=256)
    share = histogram / histogram.sum()
    levels = np.arange(256)
    brightness = float(share @ levels)
    contrast = math.sqrt(float(share @ (levels - brightness) ** 2))
    below = np.cumsum(share)
    spread = float(np.searchsorted(below, 0.99) - np.searchsorted(below, 0.01, side="right"))
    image_HW = grey_HW.astype(np.float32)
    laplacian: Any = cv2.Laplacian(image_HW, cv2.CV_32F)
    residual: Any = cv2.filter2D(image_HW, cv2.CV_32F, NOISE_MASK, borderType=cv2.BORDER_REFLECT_101)
    inner = np.abs(residual[1:-1, 1:-1]) if min(grey_HW.shape) > 2 else np.zeros(1)
    noise = math.sqrt(math.pi / 2) * float(inner.mean(dtype=np.float64)) / 6
    entropy = -float((share[share > 0] * np.log2(share[share > 0])).sum())
    clipped = float((pixels_HWC == 255).mean())
    return [brightness, contrast, max(spread, 0.0), float(laplacian.var(dtype=np.float64)), abs(entropy), noise, clipped]


def thumb_side(height: int, width: int) -> int:
    """Side of the thumbnails of images of this size: a power of two that enlarges nothing.

    >>> thumb_side(300, 300), thumb_side(28, 40), thumb_side(8, 8)
    (64, 16, 8)
    """
    return int(min(THUMB, 2 ** max(1, math.floor(math.log2(max(2, min(height, width)))))))


def thumbnail(grey_HW: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """The image as a square of means over areas, uint8."""
    shrunk: Any = cv2.resize(grey_HW.astype(np.float32), (side, side), interpolation=cv2.INTER_AREA)
    return np.asarray(np.clip(np.rint(shrunk), 0, 255), dtype=np.uint8)
