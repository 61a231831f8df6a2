"""Resizing keeps means when it shrinks, and shapes always."""

import numpy as np
import pytest

from pipeline.images.resize import resize, small


def test_resizing_keeps_the_mean_when_shrinking_and_the_shape_always():
    rng = np.random.default_rng(0)
    large = rng.integers(0, 256, (32, 48, 3), dtype=np.uint8)
    shrunk = resize(large, height=8, width=8)
    blocks = large.reshape(8, 4, 8, 6, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(shrunk, blocks, atol=0.51)
    assert resize(large[:, :, :1], height=64, width=50).shape == (64, 50, 1)
    assert resize(large, height=32, width=48) is large


def test_a_stack_of_small_squares():
    images = [np.full((10 + number, 20, 1), number, np.uint8) for number in range(3)]
    stacked = small(images, 8)
    assert stacked.shape == (3, 8, 8, 1)
    assert stacked[:, 0, 0, 0].tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match="at least one"):
        small([], 8)
