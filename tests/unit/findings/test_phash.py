"""The perceptual hash equals ImageHash's, under every symmetry, and every pair within the radius is found."""

import cv2
import imagehash
import numpy as np
import pytest
from PIL import Image

from pipeline.findings.phash import invariants, near, phash, small, turned


def images(count=30, side=60):
    rng = np.random.default_rng(0)
    soft = [cv2.GaussianBlur(rng.normal(0, 400, (side, side)), (0, 0), 3) for _ in range(count)]
    return [np.clip(128 + image, 0, 255).astype(np.uint8) for image in soft]


def test_equal_to_imagehash_bit_for_bit_under_the_eight_symmetries():
    hashes = phash(np.stack([small(image) for image in images()]))
    for image, row in zip(images(), hashes, strict=True):
        for symmetry in range(8):
            reference = imagehash.phash(Image.fromarray(np.ascontiguousarray(turned(image, symmetry)))).hash.ravel()
            bits = np.array([int(row[symmetry]) >> (63 - place) & 1 for place in range(64)], dtype=bool)
            differing = int((bits != reference).sum())
            assert differing == 0 if symmetry == 0 else differing <= 2, symmetry  # a mirrored resize may round otherwise


@pytest.mark.parametrize("radius", [0, 3, 4, 6, 10])
def test_every_pair_within_the_radius_is_found_and_no_other(radius):
    rng = np.random.default_rng(1)
    hashes = rng.integers(0, 2**63, (120, 8), dtype=np.uint64)
    for place in range(60):  # planted: a symmetry of one differs from the other by up to 12 bits
        flips = sum(1 << int(bit) for bit in rng.choice(64, int(rng.integers(0, 13)), replace=False))
        hashes[60 + place, int(rng.integers(8))] = hashes[place, 0] ^ np.uint64(flips)
    distance = np.bitwise_count(hashes[:, None, None, 0] ^ hashes[None]).min(axis=2)
    close = (distance <= radius) | (radius >= distance.T)
    wanted = {(i, j) for i in range(120) for j in range(i + 1, 120) if close[i, j]}
    assert {tuple(pair) for pair in near(hashes, radius).tolist()} == wanted
    assert len(wanted) >= 1


def test_the_descriptor_does_not_change_under_symmetry_brightness_or_contrast():
    image = small(images(1)[0]).astype(np.float64)
    rows = np.stack([turned(0.5 * image + 30, symmetry) for symmetry in range(8)])
    assert np.allclose(invariants(rows), invariants(image[None])[0], atol=1e-5)


def test_a_radius_that_four_pieces_cannot_hold_is_refused():
    with pytest.raises(ValueError, match="0 to 11 bits: received 12"):
        near(np.zeros((2, 8), np.uint64), 12)
