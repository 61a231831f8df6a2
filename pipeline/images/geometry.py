"""Where each pixel of a file goes when it is brought to the size of the data: one rectangle onto another.

Coordinates are pixels from the upper left corner, x to the right and y down; pixel i covers [i, i + 1).
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import BadSampleError

Crop = tuple[float, float, float, float]
Box = tuple[float, float, float, float, int]
Point = tuple[float, float]
Whole = tuple[int, int, int, int]
OUT_OF_SIGHT = (-1.0, -1.0)


@dataclass(frozen=True)
class Request:
    """What to decode.

    Attributes:
        data: bytes of an image file, or decoded pixels (uint8, H, W, C).
        crop, boxes, keypoints: as in `pipeline.core.record.Entry`.
        mask: bytes of an image file of class indices, or None.
    """

    data: bytes | NDArray[np.uint8]
    crop: Crop | None = None
    mask: bytes | None = None
    boxes: tuple[Box, ...] = ()
    keypoints: tuple[Point, ...] = ()


@dataclass(frozen=True)
class Decoded:
    """What came out, all in the geometry of the result; see `pipeline.core.record.Sample`.

    Attributes:
        size: width and height of the upright image before it was cut or resized, pixels.
    """

    pixels_HWC: NDArray[np.uint8]
    mask_HW: NDArray[np.uint8] | None
    boxes: tuple[Box, ...]
    keypoints: tuple[Point, ...]
    size: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Frame:
    """The rectangle `source` of an upright image becomes the rectangle `target` of the result: (x0, y0, x1, y1) each."""

    source: Whole
    target: Whole

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the target."""
        return self.target[2] - self.target[0], self.target[3] - self.target[1]

    def move(self, x: float, y: float) -> Point:
        """Where a point goes; rounded to the float32 that the store holds."""
        left, top, right, bottom = self.source
        x0, y0, x1, y1 = self.target
        across = x0 + (x - left) * (x1 - x0) / (right - left)
        return float(np.float32(across)), float(np.float32(y0 + (y - top) * (y1 - y0) / (bottom - top)))

    def boxes(self, boxes: Iterable[Box]) -> tuple[Box, ...]:
        """The boxes, clipped to the target; those that leave nothing are dropped."""
        left, top, right, bottom = self.target
        found = []
        for x0, y0, x1, y1, kind in boxes:
            (a0, b0), (a1, b1) = self.move(x0, y0), self.move(x1, y1)
            a0, a1 = max(a0, float(left)), min(a1, float(right))
            b0, b1 = max(b0, float(top)), min(b1, float(bottom))
            if a1 > a0 and b1 > b0:
                found.append((a0, b0, a1, b1, kind))
        return tuple(found)

    def points(self, points: Iterable[Point]) -> tuple[Point, ...]:
        """The points in their order; one outside the target is (-1, -1), as is one that was out of sight before."""
        left, top, right, bottom = self.target
        found = []
        for point in points:
            x, y = self.move(*point)
            seen = point != OUT_OF_SIGHT and left <= x <= right and top <= y <= bottom
            found.append((x, y) if seen else OUT_OF_SIGHT)
        return tuple(found)


def part_of(size: tuple[int, int], crop: Crop | None) -> Whole:
    """Whole pixels of an image that a crop touches.

    Raises:
        BadSampleError: none.
    """
    width, height = size
    if crop is None:
        return 0, 0, width, height
    if not all(map(math.isfinite, crop)):
        raise BadSampleError(f"the box to cut out has no finite corners: {crop}")
    left, top = max(math.floor(crop[0]), 0), max(math.floor(crop[1]), 0)
    right, bottom = min(math.ceil(crop[2]), width), min(math.ceil(crop[3]), height)
    if right <= left or bottom <= top:
        raise BadSampleError(f"the box to cut out, {crop}, lies outside the image of {width} x {height} pixels")
    return left, top, right, bottom
