"""Bring decoded images to a size."""

from collections.abc import Iterable
from typing import Any

import cv2
import numpy as np

from pipeline.core.record import Pixels


def resize(pixels_HWC: Pixels, *, height: int, width: int) -> Pixels:
    """Averages over areas when shrinking, cubic when enlarging."""
    if pixels_HWC.shape[:2] == (height, width):
        return pixels_HWC
    shrinks = height <= pixels_HWC.shape[0] and width <= pixels_HWC.shape[1]
    changed: Any = cv2.resize(pixels_HWC, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
    resized: Pixels = changed.reshape(height, width, pixels_HWC.shape[2])
    return resized


def small(images_HWC: Iterable[Pixels], side: int) -> Pixels:
    """A stack of square images (N, side, side, C).

    Raises:
        ValueError: there is no image.
    """
    return np.stack([resize(pixels_HWC, height=side, width=side) for pixels_HWC in images_HWC])
