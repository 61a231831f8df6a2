"""Smooth random fields, the stuff of textures. S is the side of a square field in pixels; values are float32."""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]


def smooth(rng: np.random.Generator, side: int, waves: float, stretch: float = 1.0) -> Field:
    """Value noise (S, S) of mean about 0 and deviation about 1: normal draws on a coarse grid, cubic between them.

    Args:
        rng: of the draws.
        side: S.
        waves: grid cells along the side; larger is finer.
        stretch: how many times longer than wide its blotches are, downwards.
    """
    down, across = max(2, round(waves / stretch) + 2), max(2, round(waves) + 2)
    grid = rng.standard_normal((down, across)).astype(np.float32)
    grown: Any = cv2.resize(grid, (side, side), interpolation=cv2.INTER_CUBIC)
    grown -= float(grown.mean())
    field: Field = grown / max(float(grown.std()), 1e-6)
    return field


def fractal(rng: np.random.Generator, side: int, waves: float, octaves: int, *, stretch: float = 1.0) -> Field:
    """Octaves of `smooth`, each twice as fine and 0.6 times as strong (Perlin 1985, section "turbulence"); deviation 1."""
    total = np.zeros((side, side), np.float32)
    for octave in range(octaves):
        total += 0.6**octave * smooth(rng, side, waves * 2**octave, stretch)
    field: Field = total / max(float(total.std()), 1e-6)
    return field


def turn(field: Field, degrees: float) -> Field:
    """The field turned about its centre; what comes from outside is mirrored."""
    side = field.shape[0]
    matrix = cv2.getRotationMatrix2D((side / 2, side / 2), degrees, 1.0)
    turned: Any = cv2.warpAffine(field, matrix, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    return np.asarray(turned, np.float32)


def blur(field: Field, sigma: float) -> Field:
    """Gaussian blur; sigma in pixels, below 0.2 nothing happens."""
    if sigma < 0.2:
        return field
    blurred: Any = cv2.GaussianBlur(field, (0, 0), sigma, borderType=cv2.BORDER_REFLECT)
    return np.asarray(blurred, np.float32)
