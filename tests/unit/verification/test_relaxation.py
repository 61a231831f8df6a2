"""Lines below and above an activation hold its curve, touch it, and fall away where a fault is planted."""

import pytest
import torch

from pipeline.verification.graph import Node, evaluate
from pipeline.verification.intervals import Box, step
from pipeline.verification.relaxation import Lines, Share, lines

DOUBLE = torch.float64
QUANTISE = Node("n", "quantise", ("x",), {"step": torch.tensor(0.3, dtype=DOUBLE), "zero": torch.tensor(2.0, dtype=DOUBLE)},
                {"low": -8, "high": 7})  # fmt: skip
NODES = {
    "relu": Node("n", "relu"), "clip": Node("n", "clip", options={"low": -1.0, "high": 2.0}), "relu6": Node("n", "clip", options={"low": 0.0, "high": 6.0}),
    "leaky_relu": Node("n", "leaky_relu", options={"slope": 0.1}), "steep": Node("n", "leaky_relu", options={"slope": 1.5}),
    "bent": Node("n", "leaky_relu", options={"slope": -0.3}), "sigmoid": Node("n", "sigmoid"), "tanh": Node("n", "tanh"),
    "silu": Node("n", "silu"), "gelu": Node("n", "gelu"), "gelu_tanh": Node("n", "gelu", options={"approximate": "tanh"}),
    "hardswish": Node("n", "hardswish"), "hardsigmoid": Node("n", "hardsigmoid"), "quantise": QUANTISE,
}  # fmt: skip
SHARE = torch.linspace(0, 1, 201, dtype=DOUBLE)


@pytest.fixture(scope="module")
def box():
    """Ends of every kind: around the joints, wide, narrow, of no width, far out."""
    ends = torch.tensor([-60.0, -8.0, -3.2, -3.0, -1.5, -1.0, -0.7518, -1e-9, 0.0, 1e-9, 0.4, 0.9, 2.0, 3.0, 6.0, 9.0, 60.0], dtype=DOUBLE)
    low, high = torch.meshgrid(ends, ends, indexing="ij")
    ordered = low <= high
    return Box(low[ordered].unsqueeze(0), high[ordered].unsqueeze(0))


def points(box):
    return box.low + SHARE.view(-1, 1) * (box.high - box.low)


def outside(node, box, found):
    """By how much the curve leaves the lines, at 201 points between the ends."""
    x = points(box)
    y = evaluate(node, x)
    below, above = (slope.squeeze(1) * x + shift.squeeze(1) for slope, shift in (found[:2], found[2:]))
    return float(torch.maximum(below - y, y - above).max())


@pytest.mark.parametrize("name", NODES)
def test_lines_hold_the_curve(name, box):
    assert outside(NODES[name], box, lines(NODES[name], box)) <= 1e-9


@pytest.mark.parametrize("name", NODES)
def test_lines_that_are_too_near_by_one_hundredth_are_caught(name, box):
    found = lines(NODES[name], box)
    room = 0.01 * (found.high_slope * box.high.unsqueeze(1) + found.high_shift - found.low_slope * box.high.unsqueeze(1) - found.low_shift)
    assert outside(NODES[name], box, Lines(found.low_slope, found.low_shift + room, found.high_slope, found.high_shift)) > 1e-6


@pytest.mark.parametrize("name", ["relu", "clip", "leaky_relu", "steep", "hardsigmoid", "quantise"])
@pytest.mark.parametrize("share", [0.0, 0.37, 1.0])
def test_any_chosen_slope_is_sound(name, share, box):
    size = (1, 3, box.low.shape[1])
    found = lines(NODES[name], box, Share(torch.full(size, share, dtype=DOUBLE), torch.full(size, share, dtype=DOUBLE)))
    assert found.low_slope.shape == size
    for row in range(3):
        assert outside(NODES[name], box, Lines(*(part[:, row : row + 1] for part in found))) <= 1e-9


@pytest.mark.parametrize("name", NODES)
def test_intervals_hold_the_curve_and_reach_it(name, box):
    found = step(NODES[name], [box])
    y = evaluate(NODES[name], points(box))
    assert bool((y.amin(0) >= found.low - 1e-12).all())
    assert bool((y.amax(0) <= found.high + 1e-12).all())
    narrow = (box.high - box.low) < 12
    assert float((y.amin(0) - found.low)[narrow].max()) < 0.02, "the least value is not reached"
    assert float((found.high - y.amax(0))[narrow].max()) < 1e-9


@pytest.mark.parametrize("name", ["silu", "gelu", "gelu_tanh", "hardswish"])
def test_the_minimum_stands_where_it_is_said_to(name):
    from pipeline.verification.intervals import valley

    x = torch.linspace(-1e-3, 1e-3, 2001, dtype=DOUBLE) + valley(NODES[name])
    y = evaluate(NODES[name], x)
    assert abs(float(x[y.argmin()]) - valley(NODES[name])) < 1e-5
    assert float(y.min()) >= float(evaluate(NODES[name], torch.tensor(valley(NODES[name]), dtype=DOUBLE))) - 1e-13


def test_crown_takes_the_smaller_area():
    """Section 3.2: slope 1 where the high end is at least as far from 0 as the low end, else 0."""
    found = lines(NODES["relu"], Box(torch.tensor([[-1.0, -2.0, -1.0]], dtype=DOUBLE), torch.tensor([[2.0, 1.0, 1.0]], dtype=DOUBLE)))
    assert found.low_slope.tolist() == [[[1.0, 0.0, 1.0]]]
    assert torch.allclose(found.high_slope, torch.tensor([[[2 / 3, 1 / 3, 0.5]]], dtype=DOUBLE))
