"""Two disturbances beside the fifteen: too little light, and something in the way.

H height, W width, C channels; images are float32 in [0, 1].
"""

import math

import numpy as np

from pipeline.corruption.filters import Image, Level, Rng

PHOTONS = 1000  # that the sensor counts at full white in full light
FLATTEST = 2.0  # longer over shorter side of a patch, at most


def darkness(image_HWC: Image, level: Level, rng: Rng) -> Image:
    """A share of the light is left, and the shot noise that so few photons have; nothing brightens the image again."""
    return (rng.poisson(image_HWC * level[0] * PHOTONS) / PHOTONS).astype(np.float32)


def occlusion(image_HWC: Image, level: Level, rng: Rng) -> Image:
    """A patch of one drawn colour covers a share of the area; a stronger severity covers what a milder one does, and more."""
    height, width, channels = image_HWC.shape
    flat = FLATTEST ** float(rng.uniform(-1, 1))
    across, down = rng.random(2)
    colour_C = rng.random(channels, dtype=np.float32)
    tall = min(height, max(1, round(height * math.sqrt(level[0] * flat))))
    wide = min(width, max(1, round(level[0] * height * width / tall)))
    top, left = round(down * (height - tall)), round(across * (width - wide))
    covered_HWC = image_HWC.copy()
    covered_HWC[top : top + tall, left : left + wide] = colour_C
    return covered_HWC
