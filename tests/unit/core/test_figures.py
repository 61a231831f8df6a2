"""Numbers for people, pictures inside the page, and the chart of intervals."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from pipeline.core import figures


@pytest.mark.parametrize(("value", "text"), [
    (1234567, "1,234,567"), (0.81249, "0.812"), (-0.5, "-0.500"), (1234.56, "1,234.6"), (0.00001234, "1.23e-05"), (0.0, "0.000"),
    (None, "–"), (float("nan"), "–"), (float("inf"), "–"), ("text", "text"), (True, "True"),
])  # fmt: skip
def test_numbers_are_readable(value, text):
    assert figures.number(value) == text


def test_columns_of_numbers_stand_flush_right():
    rows = [["AUROC", 0.5, "0.812 [0.7, 0.9]", None], ["F1", 3, None, None]]
    assert figures.numeric_columns(rows, 4) == [False, True, True, True]
    assert figures.numeric_columns([], 2) == [False, False]


def picture(path, width, height, *, noise):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (height, width, 3)) if noise else np.full((height, width, 3), 200)
    Image.fromarray(pixels.astype(np.uint8)).save(path)
    return path


def decoded(shown):
    with Image.open(io.BytesIO(base64.b64decode(shown.uri.split(",", 1)[1]))) as image:
        return image.format, image.size


def test_small_pictures_are_kept_as_they_are(tmp_path):
    path = picture(tmp_path / "plain.png", 300, 200, noise=False)
    shown = figures.encode([path], budget=10**6, width=1600)[path]
    assert base64.b64decode(shown.uri.split(",", 1)[1]) == path.read_bytes()
    assert (shown.width, shown.height, shown.wide) == (300, 200, False)


def test_heavy_pictures_shrink_until_they_fit(tmp_path):
    paths = [picture(tmp_path / f"{n}.png", 2000, 600, noise=True) for n in range(2)]
    full = figures.encode(paths, budget=10**9, width=1600)
    assert decoded(full[paths[0]]) == ("JPEG", (1600, 480))
    assert full[paths[0]].wide
    budget = sum(len(shown.uri) for shown in full.values()) // 2
    small = figures.encode(paths, budget=budget, width=1600)
    assert sum(len(shown.uri) for shown in small.values()) <= budget
    assert decoded(small[paths[0]])[1][0] < 1600


def test_the_chart_keeps_every_interval_on_its_axis_in_order():
    chart = figures.interval_chart([
        ("ours", {"value": 0.84, "low": 0.80, "high": 0.87}), ("flat", {"value": 0.5, "low": 0.5, "high": 0.5}),
        ("skewed", {"value": 0.05, "low": 0.06, "high": 0.12}),
    ])  # fmt: skip
    for row in chart.rows:
        assert all(0 <= place <= 100 for place in (row.low, row.value, row.high))
        assert row.low <= row.high
    assert [float(text) for _, text in chart.ticks] == sorted(float(text) for _, text in chart.ticks)
    assert chart.rows[0].text == "0.840 [0.800, 0.870]"


@pytest.mark.parametrize("value", [0.0, 1.0, -3.0, 1e-9, 5e6])
def test_a_chart_of_one_point_has_an_axis(value):
    chart = figures.interval_chart([("only", {"value": value, "low": value, "high": value})])
    assert len(chart.ticks) >= 2
    assert 0 <= chart.rows[0].value <= 100
