"""Measures of an image against values that are known."""

import numpy as np

from pipeline.findings.measures import NAMES, grey, measure, thumb_side, thumbnail


def of(pixels):
    return dict(zip(NAMES, measure(pixels), strict=True))


def test_one_colour_has_no_contrast_sharpness_entropy_or_noise():
    found = of(np.full((20, 30, 3), 77, np.uint8))
    assert found == {"brightness": 77, "contrast": 0, "spread": 0, "sharpness": 0, "entropy": 0, "noise": 0, "clipped": 0}


def test_brightness_contrast_and_entropy_equal_numpys():
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 1), dtype=np.uint8)
    found = of(pixels)
    share = np.unique(pixels, return_counts=True)[1] / pixels.size
    assert np.isclose(found["brightness"], pixels.mean())
    assert np.isclose(found["contrast"], pixels.std())
    assert np.isclose(found["entropy"], -(share * np.log2(share)).sum())
    assert np.isclose(found["clipped"], (pixels == 255).mean())


def test_white_noise_is_estimated_on_a_slope():
    rng = np.random.default_rng(0)
    slope = np.linspace(60, 180, 256)[None] + np.zeros((256, 1))
    noisy = np.clip(np.rint(slope + rng.normal(0, 8, slope.shape)), 0, 255).astype(np.uint8)[..., None]
    assert abs(of(noisy)["noise"] - 8) < 0.4


def test_a_blurred_image_is_less_sharp():
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 1), dtype=np.uint8)
    soft = ((pixels.astype(int) + np.roll(pixels, 1, 0) + np.roll(pixels, 1, 1)) // 3).astype(np.uint8)
    assert of(soft)["sharpness"] < 0.5 * of(pixels)["sharpness"]


def test_thumbnails_are_means_and_never_larger_than_the_image():
    pixels = np.kron(np.arange(16).reshape(4, 4), np.ones((8, 8))).astype(np.uint8)
    assert np.array_equal(thumbnail(pixels, 4), np.arange(16).reshape(4, 4))
    assert [thumb_side(*shape) for shape in ((300, 200), (64, 64), (63, 90), (8, 8), (5, 5))] == [64, 64, 32, 8, 4]
    assert grey(np.full((3, 3, 3), 9, np.uint8)).tolist() == [[9] * 3] * 3
