"""Corruptions: keyed, ordered by severity, in range, and equal to what the formulas say."""

import cv2
import numpy as np
import pytest

from pipeline.core.corruptions import SEVERITIES, SIDE, TABLE, check_names, corrupt
from pipeline.core.errors import PersonError


def photo(side=64, channels=1, seed=0):
    rng = np.random.default_rng(seed)
    smooth = cv2.GaussianBlur(rng.random((side, side, channels)).astype(np.float32), (0, 0), side / 16).reshape(
        side, side, channels
    )
    smooth = (smooth - smooth.min()) / (smooth.max() - smooth.min())
    return np.rint(30 + 180 * smooth).astype(np.uint8)


def distance(pixels, name, severity, **key):
    changed = corrupt(pixels, name, severity, **{"seed": 0, "identity": "a", **key})
    return float(np.abs(changed.astype(float) - pixels).mean())


@pytest.mark.parametrize("name", TABLE)
@pytest.mark.parametrize(("side", "channels"), [(8, 1), (64, 3), (224, 1)])
def test_shape_range_and_input(name, side, channels):
    pixels = photo(side, channels)
    before = pixels.copy()
    pixels.setflags(write=False)
    changed = corrupt(pixels, name, 3, seed=0, identity="a")
    assert changed.shape == pixels.shape
    assert changed.dtype == np.uint8
    assert np.array_equal(pixels, before)


@pytest.mark.parametrize("name", TABLE)
def test_the_severities_are_ordered(name):
    images = [photo(224, 1, seed) for seed in range(3)]
    change = [np.mean([distance(image, name, severity) for image in images]) for severity in SEVERITIES]
    assert change[0] > 0.2
    assert change[4] > 1.1 * change[0]
    if name not in {
        "fog",
        "pixelate",
    }:  # the table itself weakens fog's amount against its grain; blocks may fall on smooth parts
        assert change == sorted(change)


@pytest.mark.parametrize("name", TABLE)
def test_a_draw_depends_on_its_key_alone(name):
    pixels = photo()
    first = corrupt(pixels, name, 4, seed=0, identity="a")
    np.random.seed(3)
    corrupt(pixels, name, 4, seed=0, identity="b")
    assert np.array_equal(corrupt(pixels, name, 4, seed=0, identity="a"), first)
    if name in {"gaussian_noise", "shot_noise", "impulse_noise", "motion_blur", "fog"}:
        assert not np.array_equal(corrupt(pixels, name, 4, seed=0, identity="b"), first)
        assert not np.array_equal(corrupt(pixels, name, 4, seed=1, identity="a"), first)


def test_noise_has_the_variance_of_the_table():
    flat = np.full((200, 200, 1), 128, np.uint8)
    for severity, (spread,) in zip((1, 2), TABLE["gaussian_noise"], strict=False):
        noise = corrupt(flat, "gaussian_noise", severity, seed=0, identity="a").astype(float) / 255
        assert noise.std() == pytest.approx(spread, rel=0.03)
    shot = corrupt(flat, "shot_noise", 1, seed=0, identity="a").astype(float) / 255
    assert shot.std() == pytest.approx(np.sqrt(128 / 255 / 60), rel=0.03)
    impulse = corrupt(flat, "impulse_noise", 3, seed=0, identity="a")
    assert np.mean(impulse == 0) == pytest.approx(0.045, abs=0.005)
    assert np.mean(impulse == 255) == pytest.approx(0.045, abs=0.005)


def test_contrast_and_brightness_follow_their_formulas():
    pixels = photo(32, 3)
    unit = pixels / 255
    mean = unit.mean((0, 1))
    assert np.abs(corrupt(pixels, "contrast", 2, seed=0, identity="a") / 255 - ((unit - mean) * 0.3 + mean)).max() < 0.003
    hsv = cv2.cvtColor((pixels / np.float32(255)).astype(np.float32), cv2.COLOR_RGB2HSV)
    hsv[..., 2] = np.clip(hsv[..., 2] + 0.2, 0, 1)
    assert (
        np.abs(corrupt(pixels, "brightness", 2, seed=0, identity="a") / 255 - cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)).max() < 0.004
    )
    black = np.zeros((4, 4, 3), np.uint8)
    assert (corrupt(black, "brightness", 1, seed=0, identity="a") == 26).all()


@pytest.mark.parametrize("severity", SEVERITIES)
def test_defocus_spreads_a_point_over_a_disk_of_the_radius(severity):
    point = np.zeros((SIDE, SIDE, 1), np.uint8)
    point[110:114, 110:114] = 255
    blurred = corrupt(point, "defocus_blur", severity, seed=0, identity="a").astype(float)[..., 0]
    row, column = np.mgrid[:SIDE, :SIDE] - 111.5
    variance = (blurred * (row**2 + column**2)).sum() / blurred.sum()
    radius = TABLE["defocus_blur"][severity - 1][0]
    own = 2 * (4**2 - 1) / 12 + 2 / 6  # of the 4x4 point, and of the bilinear weights
    assert variance == pytest.approx(radius**2 / 2 + own, rel=0.08)


def test_radii_grow_with_the_image():
    images = {side: cv2.resize(photo(32), (side, side), interpolation=cv2.INTER_CUBIC)[..., None] for side in (112, 448)}
    change = [distance(image, "defocus_blur", 5) for image in images.values()]
    assert change[0] == pytest.approx(change[1], rel=0.1)


def test_jpeg_is_that_of_opencv_and_keeps_colours_in_place():
    pixels = np.zeros((32, 32, 3), np.uint8)
    pixels[..., 0] = 200
    changed = corrupt(pixels, "jpeg_compression", 1, seed=0, identity="a")
    assert changed[..., 0].mean() > 150
    assert changed[..., 2].mean() < 40


def test_unknown_names_and_severities_are_said():
    with pytest.raises(PersonError, match="did you mean 'gaussian_noise'"):
        check_names(["gausian_noise"])
    with pytest.raises(PersonError, match="1 to 5"):
        corrupt(photo(8), "fog", 6, seed=0, identity="a")
