"""Distances to the nearest image against a plain double loop."""

import numpy as np

from pipeline.synthesis import nearest as module
from pipeline.synthesis.nearest import nearest

RNG = np.random.default_rng(0)
SET = RNG.integers(0, 256, (30, 4, 5, 3), dtype=np.uint8)
IMAGES = RNG.integers(0, 256, (7, 4, 5, 3), dtype=np.uint8)


def plain(image, others):
    return min(np.sqrt(np.mean((image.astype(float) - other.astype(float)) ** 2)) for other in others)


def test_equals_a_plain_loop_for_any_block_size(monkeypatch):
    expected = [plain(image, SET) for image in IMAGES]
    for block in (1, 7, 30, 512):
        monkeypatch.setattr(module, "BLOCK", block)
        np.testing.assert_array_equal(nearest(IMAGES, SET), nearest(IMAGES, SET))
        np.testing.assert_allclose(nearest(IMAGES, SET), expected, rtol=1e-12)


def test_a_member_is_not_compared_with_itself():
    assert nearest(SET[4:5], SET)[0] == 0
    found = nearest(SET[[4, 9]], SET, itself=np.asarray([4, 9]))
    np.testing.assert_allclose(found, [plain(SET[4], np.delete(SET, 4, 0)), plain(SET[9], np.delete(SET, 9, 0))])


def test_nothing_to_compare_with_is_infinitely_far():
    assert np.isinf(nearest(IMAGES, SET[:0])).all()
    assert len(nearest(IMAGES[:0], SET)) == 0
