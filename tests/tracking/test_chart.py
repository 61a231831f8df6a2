"""Coordinates of curves."""

import math

import numpy as np
import pytest

from pipeline.tracking.chart import BOTTOM, HEIGHT, LEFT, MOST_POINTS, RIGHT, TOP, WIDTH, chart, number, thin, ticks


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0.2, 1.21), (-3e-5, 2e-4), (17, 17), (0, 0), (1e6, 5e6), (0.8491, 0.8493)])
def test_ticks_are_few_round_and_cover(low: float, high: float) -> None:
    marks = ticks(low, high)
    assert 2 <= len(marks) <= 8
    assert marks[0] <= low + 1e-9
    assert marks[-1] >= high - 1e-9
    assert np.allclose(np.diff(marks), marks[1] - marks[0])


def test_corners_lie_where_the_axes_are() -> None:
    made = chart("loss", {0: {0: 0.0, 10: 1.0}, 1: {0: 1.0, 10: 0.0}})
    assert made.curves[0].pieces == [f"{LEFT},{HEIGHT - BOTTOM} {WIDTH - RIGHT},{TOP}"]
    assert made.curves[1].pieces == [f"{LEFT},{TOP} {WIDTH - RIGHT},{HEIGHT - BOTTOM}"]
    assert made.x_ticks[0].text == "0"


def test_a_value_that_is_not_finite_breaks_the_line_and_not_the_chart() -> None:
    curve = chart("loss", {0: {0: 1.0, 1: 0.9, 2: math.nan, 3: 0.5, 4: math.inf, 5: 0.4}}).curves[0]
    assert len(curve.pieces) == 1
    assert len(curve.dots) == 4
    assert "nan" not in "".join(curve.pieces)
    assert chart("loss", {0: {0: math.nan}}).curves[0].pieces == []


def test_a_long_curve_is_thinned_and_keeps_its_spike() -> None:
    points = [(step, math.sin(step / 900)) for step in range(20_000)]
    points[7777] = (7777, 9.0)
    kept = thin(points)
    assert len(kept) <= MOST_POINTS + 2
    assert (7777, 9.0) in kept
    assert kept[0] == points[0]
    assert kept[-1] == points[-1]
    assert kept == sorted(kept)


def test_numbers_for_people() -> None:
    assert [number(value) for value in (0.84917, 200.0, 1e-5, 1234567.0, math.nan)] == [
        "0.8492",
        "200",
        "1e-05",
        "1234567",
        "nan",
    ]
