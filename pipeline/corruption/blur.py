"""Blur of the optics and of movement: defocus, frosted glass, motion, zoom.

H height, W width, C channels; images are float32 in [0, 1]. Lengths are pixels at `filters.SIDE` and grow with the image.
"""

from functools import partial

import cv2
import numpy as np

from pipeline.corruption.filters import Image, Level, Rng, along, by_planes, convolved, gaussian, places, scale, warped

READ = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP


def defocus_blur(image_HWC: Image, level: Level, _: Rng) -> Image:
    """Mean over a disk of a radius."""
    radius = level[0] * scale(image_HWC)
    step = (np.arange(128) + 0.5) / 64 - 1
    x, y = (part.ravel() * radius for part in np.meshgrid(step, step))
    inside = x * x + y * y <= radius * radius
    return convolved(image_HWC, x[inside], y[inside], np.ones(int(inside.sum())))


def glass_blur(image_HWC: Image, level: Level, rng: Rng) -> Image:
    """Gaussian blur, pixels displaced at random in rounds, Gaussian blur.

    The authors swap neighbours one by one in whole pixels; here every pixel of a round is read at once from a place that is
    drawn around it, in parts of a pixel, so that a reach below one pixel still works.
    """
    spread, reach, rounds = level
    size = scale(image_HWC)
    changed_HWC = gaussian(image_HWC, spread * size)
    x_HW, y_HW = places(image_HWC)
    for _ in range(int(rounds)):
        away_2HW = np.float32(reach * size) * (2 * rng.random((2, *x_HW.shape), dtype=np.float32) - 1)
        changed_HWC = warped(changed_HWC, x_HW + away_2HW[0], y_HW + away_2HW[1])
    return gaussian(changed_HWC, spread * size)


def motion_blur(image_HWC: Image, level: Level, rng: Rng) -> Image:
    """Blur along a line at a drawn angle within 45 degrees of the horizontal."""
    reach, spread = (value * scale(image_HWC) for value in level)
    return along(image_HWC, reach, spread, float(rng.uniform(-45, 45)))


def zoom_blur(image_HWC: Image, level: Level, _: Rng) -> Image:
    """Mean of the image and of its enlargements about the centre."""
    top, step = level
    height, width = image_HWC.shape[:2]
    factors = np.arange(1, top, step)
    total_HWC = image_HWC.copy()
    for factor in factors:
        shift = [(1 - 1 / factor) * (length - 1) / 2 for length in (width, height)]
        back = np.asarray([[1 / factor, 0, shift[0]], [0, 1 / factor, shift[1]]])
        total_HWC += by_planes(image_HWC, partial(cv2.warpAffine, M=back, dsize=(width, height), flags=READ))
    return np.asarray(total_HWC / np.float32(len(factors) + 1), dtype=np.float32)
