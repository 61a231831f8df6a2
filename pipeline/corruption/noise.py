"""Noise of the sensor: Gaussian, shot and impulse, at every value of every channel on its own.

H height, W width, C channels; images are float32 in [0, 1], results may leave that range and are clipped by the caller.
"""

import numpy as np

from pipeline.corruption.filters import Image, Level, Rng


def gaussian_noise(image_HWC: Image, level: Level, rng: Rng) -> Image:
    """Added normal noise of a standard deviation."""
    noise_HWC = rng.standard_normal(image_HWC.shape, dtype=np.float32)
    return image_HWC + np.float32(level[0]) * noise_HWC


def shot_noise(image_HWC: Image, level: Level, rng: Rng) -> Image:
    """Poisson counts of photons, so many at full white."""
    return (rng.poisson(image_HWC * level[0]) / level[0]).astype(np.float32)


def impulse_noise(image_HWC: Image, level: Level, rng: Rng) -> Image:
    """A share of the values becomes 0 or 1, half each; what a milder severity hits, a stronger one hits too."""
    draw_HWC = rng.random(image_HWC.shape)
    salted_HWC = np.where(draw_HWC < level[0] / 2, 0, np.where(draw_HWC > 1 - level[0] / 2, 1, image_HWC))
    return salted_HWC.astype(np.float32)
