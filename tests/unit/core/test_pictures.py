"""Pictures: same bytes for the same numbers, names that no font or formula trips over, and grids of the right size."""

import numpy as np
import pytest
from PIL import Image

from pipeline.core import charts, pictures

AWKWARD = ["cost $5_{x", "<b>&amp;", "裂纹", "a very long class name that would never fit beside the picture", "é" * 3]


def test_the_same_numbers_give_the_same_bytes_and_no_date(tmp_path):
    rng = np.random.default_rng(0)
    truth, guess = rng.integers(0, 3, 50), rng.integers(0, 3, 50)
    paths = [charts.confusion(truth, guess, ["a", "b", "c"], tmp_path / f"{n}.png", dpi=80) for n in range(2)]
    assert paths[0].read_bytes() == paths[1].read_bytes()
    with Image.open(paths[0]) as image:
        assert not {"Software", "Creation Time", "date:create"} & set(image.info)


def test_awkward_names_draw_without_a_warning(tmp_path):
    rng = np.random.default_rng(0)
    truth, guess = rng.integers(0, 5, 60), rng.integers(0, 5, 60)
    score = rng.random(60)
    charts.confusion(truth, guess, AWKWARD, tmp_path / "confusion.png", dpi=60)
    curves = [(name, score, truth == k) for k, name in enumerate(AWKWARD)]
    charts.roc(curves, tmp_path / "roc.png", dpi=60)
    charts.precision_recall(curves, tmp_path / "pr.png", dpi=60)
    charts.agreement(score, score, "wear in $µm", tmp_path / "agreement.png", dpi=60)
    charts.residuals(np.zeros(5), "flat", tmp_path / "residuals.png", dpi=60)
    edges = np.linspace(0, 2, 6)
    charts.error_by_bin(score, score, edges, tmp_path / "bins.png", label="half of the bins are empty", dpi=60)
    assert len(list(tmp_path.glob("*.png"))) == 6


@pytest.mark.parametrize("shape", [(8, 8, 1), (30, 20, 3), (40, 40)])
def test_a_sheet_holds_every_image(tmp_path, shape):
    images = [np.full(shape, 40 * number, dtype=np.uint8) for number in range(5)]
    path = pictures.sheet(images, ["", "one", "$two\nlines", "x" * 80, "裂"], tmp_path / "sheet.png", columns=3)
    with Image.open(path) as opened:
        seen = np.asarray(opened.convert("L"))
    assert all((np.abs(seen.astype(int) - 40 * number) <= 1).sum() > 2000 for number in range(5))


def test_a_sheet_without_images_or_titles_is_refused(tmp_path):
    with pytest.raises(ValueError, match="0 images"):
        pictures.sheet([], [], tmp_path / "sheet.png")
    with pytest.raises(ValueError, match="1 images and 2 titles"):
        pictures.sheet([np.zeros((4, 4), dtype=np.uint8)], ["a", "b"], tmp_path / "sheet.png")


def test_long_names_are_cut_in_the_middle():
    assert pictures.shorten("short") == "short"
    cut = pictures.shorten("beginning-and-a-long-way-to-the-end", 15)
    assert len(cut) == 15
    assert cut.startswith("beginn")
    assert cut.endswith("the-end")
