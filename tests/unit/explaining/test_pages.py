"""Pictures of maps, curves, filters and activations."""

import numpy as np
import pytest
from PIL import Image

from pipeline.explaining import pages


def test_the_overlay_is_a_picture_and_survives_an_empty_map():
    pixels = np.full((4, 5, 3), 100, np.uint8)
    flat = pages.overlay(pixels, np.zeros((4, 5), np.float32))
    assert flat.shape == (4, 5, 3)
    assert np.allclose(flat, 100 / 255)
    assert np.array_equal(pages.overlay(pixels / 255, np.zeros((4, 5), np.float32)), flat), "floats are in [0, 1]"
    spot = np.zeros((4, 5), np.float32)
    spot[1, 2], spot[0, 0] = 9, -20
    mixed = pages.overlay(pixels, spot)
    assert mixed.min() >= 0
    assert mixed.max() <= 1
    assert not np.allclose(mixed[1, 2], 100 / 255)
    assert np.allclose(mixed[0, 0], 100 / 255), "what speaks against the score is not shown"


def test_single_bright_pixels_do_not_hide_the_rest():
    map_HW = np.zeros((100, 100), np.float32)
    map_HW[20:60, 20:60] = 1
    map_HW[5, 5] = 1000
    mixed = pages.overlay(np.full((100, 100, 1), 128, np.uint8), map_HW)
    assert np.abs(mixed[40, 40] - 128 / 255).max() > 0.2


def size(path):
    with Image.open(path) as image:
        return image.size


def test_images_stand_beside_their_maps(tmp_path):
    images = [np.zeros((8, 8, 1), np.uint8)] * 4
    maps = [np.ones((4, 8, 8), np.float32)] * 2
    pages.beside(images, maps, tmp_path / "a.png", first=["t"] * 4, rest=[["a"] * 4, ["b"] * 4])
    width, height = size(tmp_path / "a.png")
    assert 2.5 < width / height < 3.2, "two rows of six tiles"


@pytest.mark.parametrize("names", [["a"], ["a", "b", "c"]])
def test_curves_have_a_panel_an_explainer(names, tmp_path):
    found = {name: np.random.default_rng(0).random((3, 2, 5)) for name in [*names, "chance"]}
    pages.curves(found, tmp_path / "a.png")
    assert size(tmp_path / "a.png")[0] == pytest.approx(110 * (0.8 + 2.6 * len(names)), abs=2)


def test_what_is_not_there_is_said(tmp_path):
    pages.filters(np.zeros((0, 1, 1, 1), np.float32), tmp_path / "filters.png")
    pages.activations(np.zeros((8, 8, 1)), [], 3, tmp_path / "activations.png")
    pages.rows([], [], 3, tmp_path / "rows.png")
    assert len({size(tmp_path / f"{name}.png") for name in ("filters", "activations", "rows")}) == 1


def test_filters_and_activations_are_sheets(tmp_path):
    pages.filters(np.random.default_rng(0).normal(size=(40, 3, 3, 3)).astype(np.float32), tmp_path / "filters.png")
    width, height = size(tmp_path / "filters.png")
    assert width > 5 * height, "two rows of sixteen"
    answers = [("first", np.ones((2, 4, 4), np.float32)), ("second", np.random.default_rng(0).random((3, 2, 2)).astype(np.float32))]
    pages.activations(np.zeros((8, 8, 1)), answers, 3, tmp_path / "activations.png")
    width, height = size(tmp_path / "activations.png")
    assert width > 1.5 * height
