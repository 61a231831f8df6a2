"""Corruptions: keyed, rising with severity, in range, for any size and number of channels, and equal to what the formulas say."""

import importlib.util
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from pipeline.core.errors import PersonError
from pipeline.corruption import blur, catalogue, digital, shift, weather
from pipeline.corruption.catalogue import FUNCTIONS, OWN, PAPER, SEVERITIES, TABLE, check_names, corrupt
from pipeline.corruption.filters import SIDE

# The table itself does not rise from 3 to 4: the fog keeps its amount and gets finer, the pane of ice keeps its own and the image fades.
LEAST = {"fog": 0.95, "frost": 0.95}


@lru_cache
def photo(side=64, channels=1, name="china"):
    """A photograph that scikit-learn brings."""
    folder = Path(importlib.util.find_spec("sklearn").origin).parent / "datasets/images"
    pixels = cv2.cvtColor(cv2.imread(str(folder / f"{name}.jpg")), cv2.COLOR_BGR2RGB)[:420, 60:480]
    pixels = cv2.resize(pixels, (side, side), interpolation=cv2.INTER_AREA)
    pixels = {1: pixels.mean(axis=2, keepdims=True).astype(np.uint8), 3: pixels}[channels]
    pixels.setflags(write=False)
    return pixels


def plane(height=SIDE, width=SIDE):
    """Columns and rows as two channels from 0 to 1: what a warp does to them is where it reads."""
    row, column = np.mgrid[:height, :width].astype(np.float32)
    return np.stack([column / width, row / height], axis=2)


def rng():
    return np.random.default_rng(0)


def distances(name, images):
    """Mean change of a pixel at each severity, over the images."""
    return [
        float(np.mean([np.abs(corrupt(image, name, severity, seed=0, identity=str(number)).astype(float) - image).mean()
                       for number, image in enumerate(images)]))
        for severity in SEVERITIES
    ]  # fmt: skip


def check_rises(name, images):
    found = distances(name, images)
    assert found[0] > 0.3, f"{name} does nothing at severity 1: {found}"
    least = LEAST.get(name, 1)
    assert all(least * before < after for before, after in zip(found, found[1:], strict=False)), f"{name} does not rise: {found}"
    assert found[4] > 1.03 * found[0]


def test_the_catalogue_holds_the_fifteen_of_the_paper_and_two_more():
    assert PAPER == (
        "gaussian_noise", "shot_noise", "impulse_noise", "defocus_blur", "glass_blur", "motion_blur", "zoom_blur", "snow", "frost",
        "fog", "brightness", "contrast", "elastic_transform", "pixelate", "jpeg_compression")  # fmt: skip
    assert OWN == ("darkness", "occlusion")
    assert set(TABLE) == set(FUNCTIONS)
    assert all(len(levels) == len(SEVERITIES) == 5 for levels in TABLE.values())


@pytest.mark.parametrize("name", TABLE)
def test_any_shape_keeps_its_shape_and_the_input(name):
    for shape in ((4, 4, 1), (16, 24, 1), (21, 17, 2), (24, 20, 6)):
        pixels = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
        before = pixels.copy()
        pixels.setflags(write=False)
        changed = corrupt(pixels, name, 5, seed=0, identity="a")
        assert (changed.shape, changed.dtype) == (pixels.shape, np.uint8)
        assert np.array_equal(pixels, before)
        assert not np.array_equal(changed, before) or (name in {"defocus_blur", "glass_blur", "elastic_transform"} and min(shape[:2]) < 8)
    assert np.isfinite(FUNCTIONS[name](np.zeros((8, 8, 3), np.float32), TABLE[name][4], rng())).all()  # of a black image too


@pytest.mark.parametrize("name", TABLE)
def test_severity_rises_on_photographs(name):
    check_rises(name, [photo(96, 1), photo(96, 3, "flower")])


def test_a_corruption_that_does_not_heed_its_severity_is_caught(monkeypatch):
    monkeypatch.setitem(catalogue.TABLE, "contrast", (TABLE["contrast"][2],) * 5)
    with pytest.raises(AssertionError, match="contrast does not rise"):
        check_rises("contrast", [photo(32, 1)])


@pytest.mark.parametrize("name", TABLE)
def test_a_draw_depends_on_its_key_alone(name):
    pixels = photo(32, 3)
    first = corrupt(pixels, name, 4, seed=0, identity="a")
    np.random.seed(3)
    corrupt(pixels, name, 4, seed=0, identity="b")
    assert np.array_equal(corrupt(pixels, name, 4, seed=0, identity="a"), first)
    drawn = name not in {"defocus_blur", "zoom_blur", "brightness", "contrast", "pixelate", "jpeg_compression"}
    for other in ({"seed": 0, "identity": "b"}, {"seed": 1, "identity": "a"}):
        assert np.array_equal(corrupt(pixels, name, 4, **other), first) is not drawn


def test_the_severities_of_one_image_share_their_draw():
    flat = np.full((16, 16, 1), 128, np.uint8)
    noise = [corrupt(flat, "gaussian_noise", severity, seed=0, identity="a").astype(float) - 128 for severity in (1, 2)]
    assert np.corrcoef(noise[0].ravel(), noise[1].ravel())[0, 1] > 0.999
    for name in ("impulse_noise", "occlusion"):
        mild, strong = (corrupt(flat, name, severity, seed=0, identity="a") != flat for severity in (2, 3))
        assert mild.sum() < strong.sum()
        assert not (mild & ~strong).any()


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
    dark = corrupt(flat, "darkness", 3, seed=0, identity="a").astype(float) / 255
    assert dark.mean() == pytest.approx(0.25 * 128 / 255, rel=0.01)
    assert dark.std() == pytest.approx(np.sqrt(0.25 * 128 / 255 / shift.PHOTONS), rel=0.03)


def test_contrast_and_brightness_follow_their_formulas():
    pixels = photo(32, 3)
    unit = pixels / 255
    mean = unit.mean((0, 1))
    assert np.abs(corrupt(pixels, "contrast", 2, seed=0, identity="a") / 255 - ((unit - mean) * 0.3 + mean)).max() < 0.003
    hsv = cv2.cvtColor((pixels / np.float32(255)).astype(np.float32), cv2.COLOR_RGB2HSV)
    hsv[..., 2] = np.clip(hsv[..., 2] + 0.2, 0, 1)
    found = corrupt(pixels, "brightness", 2, seed=0, identity="a") / 255
    assert np.abs(found - cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)).max() < 0.004
    black = np.zeros((4, 4, 3), np.uint8)
    assert (corrupt(black, "brightness", 1, seed=0, identity="a") == 26).all()


def moments(image):
    """Covariance of the light's places, (2, 2), x first."""
    light = np.clip(image[..., 0].astype(float), 0, None)  # a long filter is a Fourier transform, which leaves -1e-9
    row, column = np.mgrid[: light.shape[0], : light.shape[1]].astype(float)
    places = np.stack([column.ravel(), row.ravel()])
    return np.cov(places, aweights=light.ravel(), bias=True)


def dot():
    point = np.zeros((SIDE, SIDE, 1), np.float32)
    point[112, 112] = 1
    return point


@pytest.mark.parametrize("severity", [1, 5])
def test_defocus_spreads_a_point_over_a_disk_of_the_radius(severity):
    radius = TABLE["defocus_blur"][severity - 1][0]
    found = moments(blur.defocus_blur(dot(), (radius,), rng()))
    assert np.allclose(found, np.eye(2) * (radius**2 / 4 + 1 / 6), rtol=0.03, atol=0.05)  # a disk, and bilinear weights


def test_motion_spreads_a_point_along_one_line():
    found = moments(blur.motion_blur(dot(), (20, 4), rng()))
    width, axes = np.linalg.eigh(found)
    assert width == pytest.approx([0, 16], abs=0.5)
    angle = np.rad2deg(np.arctan2(axes[1, 1], axes[0, 1]))
    assert angle % 180 == pytest.approx(rng().uniform(-45, 45) % 180, abs=1)


def test_zoom_draws_a_ramp_towards_its_centre():
    """Enlarged by f about c, a ramp x becomes c + (x - c) / f: the mean over factors, and the image once more, is known."""
    factors = np.arange(1, 1.26, 0.02)
    slope = (1 + (1 / factors).sum()) / (len(factors) + 1)
    column = plane()[..., 0]
    found = blur.zoom_blur(plane(), (1.26, 0.02), rng())[..., 0]
    centre = (SIDE - 1) / 2 / SIDE
    assert np.abs(found - (centre + (column - centre) * slope)).max() < 1e-3


def test_elastic_displaces_by_the_root_mean_square_of_the_table():
    found = (digital.elastic_transform(plane(), (1.95, 2.44, 0), rng()) - plane())[20:-20, 20:-20] * SIDE
    assert np.sqrt((found**2).mean()) == pytest.approx(1.95, rel=0.03)
    along = np.corrcoef(found[:, 2:, 0].ravel(), found[:, :-2, 0].ravel())[0, 1]
    assert along == pytest.approx(np.exp(-(2**2) / (4 * 2.44**2)), abs=0.05)  # the grain: noise smoothed by a Gaussian


def test_elastic_is_that_of_the_authors_at_their_severities():
    """Theirs: uniform noise smoothed by sigma = 2.44 pixels, times alpha = 244 times .05, .07 and .12."""
    from scipy.ndimage import gaussian_filter

    smooth = gaussian_filter(np.random.default_rng(0).uniform(-1, 1, (400, 400)), 2.44, truncate=3)
    for severity, alpha in zip((3, 4, 5), (12.2, 17.08, 29.28), strict=True):
        assert TABLE["elastic_transform"][severity - 1][0] == pytest.approx(alpha * smooth.std(), rel=0.03)


def test_glass_reads_within_its_reach_and_stays_on_average():
    moved = (blur.glass_blur(plane(), (0.7, 3, 2), rng()) - plane())[12:-12, 12:-12] * SIDE
    assert np.abs(moved).max() <= 2 * 3 + 0.1
    assert np.abs(moved.mean((0, 1))).max() < 0.05
    assert moved.std() > 0.3


@pytest.mark.parametrize("severity", [2, 5])  # with other shares Pillow takes pixels whole
def test_pixelate_is_that_of_pillow(severity):
    pixels = photo(64, 3)
    side = int(64 * TABLE["pixelate"][severity - 1][0])
    small = Image.fromarray(pixels).resize((side, side), Image.Resampling.BOX).resize((64, 64), Image.Resampling.BOX)
    assert np.abs(corrupt(pixels, "pixelate", severity, seed=0, identity="a").astype(int) - np.asarray(small)).max() <= 1


def test_jpeg_keeps_colours_in_place():
    pixels = np.zeros((32, 32, 3), np.uint8)
    pixels[..., 0] = 200
    changed = corrupt(pixels, "jpeg_compression", 1, seed=0, identity="a")
    assert changed[..., 0].mean() > 150
    assert changed[..., 2].mean() < 40


def test_weather_follows_its_formulas():
    dark, light = (np.full((48, 64, 1), value, np.float32) for value in (0.2, 0.6))
    snowy = weather.snow(dark, TABLE["snow"][2], rng())
    assert snowy.min() >= 0.7 * 0.2 + 0.3 * 0.8 - 1e-6  # a scene of 0.7 x + 0.3 max(x, 1.5 x + 0.5); flakes only add
    assert snowy.max() > snowy.min() + 0.1
    iced = [weather.frost(image, (0.7, 0.7), rng()) for image in (dark, light)]
    assert np.allclose(iced[1] - iced[0], 0.7 * 0.4, atol=1e-6)
    pane = (iced[0] - 0.7 * dark) / 0.7
    assert pane.min() >= 0
    assert pane.max() <= 1
    assert pane.std() > 0.05
    foggy = weather.fog(light, (2.0, 2.0), rng())
    assert foggy.min() == pytest.approx(0.6 * 0.6 / 2.6, abs=1e-5)  # where there is no fog
    assert foggy.max() == pytest.approx(2.6 * 0.6 / 2.6, abs=1e-5)  # where it is thickest


@pytest.mark.parametrize("severity", SEVERITIES)
def test_occlusion_covers_the_share_of_the_table(severity):
    flat = np.full((96, 128, 3), 7, np.uint8)
    share = np.mean([(corrupt(flat, "occlusion", severity, seed=0, identity=name) != flat).any(axis=2).mean() for name in "abcd"])
    assert share == pytest.approx(TABLE["occlusion"][severity - 1][0], rel=0.03)


def test_lengths_grow_with_the_image():
    images = [photo(side, 1, "flower") for side in (112, 224)]
    change = [distances("defocus_blur", [image])[4] for image in images]
    assert change[0] == pytest.approx(change[1], rel=0.15)


def test_unknown_names_and_severities_are_said():
    with pytest.raises(PersonError, match="did you mean 'gaussian_noise'"):
        check_names(["gausian_noise"])
    with pytest.raises(PersonError, match="names 'fog' twice"):
        check_names(["fog", "snow", "fog"])
    with pytest.raises(PersonError, match="1 to 5"):
        corrupt(photo(32), "fog", 6, seed=0, identity="a")
