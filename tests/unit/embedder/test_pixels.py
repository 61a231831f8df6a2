"""Pixels as features."""

import numpy as np

from pipeline.embedder.pixels import Pixels


def test_pixels_are_flattened_and_scaled():
    pixels = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 3), dtype=np.uint8)
    found = Pixels().features(pixels)
    assert found.dtype == np.float32
    assert found.shape == (2, 36)
    assert np.array_equal(np.rint(found * 255).reshape(pixels.shape), pixels)
    assert found.max() <= 1
