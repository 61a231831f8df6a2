"""Two lines for an activation: below and above its curve everywhere between two numbers.

Zhang et al. 2018, "Efficient Neural Network Robustness Certification with General Activation Functions" (arXiv 1811.00866),
section 3.2 and table 2: slopes of the lines of ReLU, tanh and sigmoid. Lines of ReLU may be chosen by `Share` (Xu et al. 2021,
"Fast and Complete", arXiv 2011.13824, section 3.1). Differs in: where a line stands is worked out from its slope, as the extreme
of curve minus slope between the ends, so that any slope is sound; clipping at two sides; SiLU, GELU and hardswish.

Boxes are (B, ...), lines (B, 1, ...) or (B, S, ...) with S bounds that each have their own.
"""

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from pipeline.verification.graph import Node, evaluate, per_channel
from pipeline.verification.intervals import Box
from pipeline.verification.rounding import FLOAT32

BISECTIONS = 40  # of a slope; it only has to be good, since any is sound
NARROW = 1e-7  # between ends that are closer than this the slope of the chord is rounding
THIN = 1e-12  # a smaller distance is taken for this one in a slope, which errs on the safe side
POINTS = 33  # at which a curve without a closed form is looked at
BENDS = {"silu": 0.5, "gelu": 0.85}  # no second derivative is larger in size
OUTWARD = 2.0**-48  # share of the ends by which lines are moved apart, for their own rounding in float64


class Lines(NamedTuple):
    """`low_slope * x + low_shift <= f(x) <= high_slope * x + high_shift`."""

    low_slope: Tensor
    low_shift: Tensor
    high_slope: Tensor
    high_shift: Tensor


class Share(NamedTuple):
    """Slopes that may be chosen, as shares in [0, 1] of the largest: of the line below and of the one above, (B, S, ...)."""

    low: Tensor
    high: Tensor


def lines(node: Node, box: Box, share: Share | None = None) -> Lines:
    """Lines for an activation whose input lies in a box; with `share` those of a chosen slope.

    Raises:
        KeyError: the node is no activation.
    """
    wide = Box(box.low.unsqueeze(1), box.high.unsqueeze(1))
    found = _clipped(node, wide, share) if node.kind in CLIPS else CURVES[node.kind](node, wide)
    outward = OUTWARD * (wide.magnitude + 1)
    return Lines(found.low_slope, found.low_shift - outward, found.high_slope, found.high_shift + outward)


def corners(node: Node, dimensions: int) -> tuple[Tensor | float, Tensor | float] | None:
    """Inputs at which a piecewise straight activation bends (or starts to be constant); None for a curved one."""
    kind, options = node.kind, node.options
    if kind in {"relu", "leaky_relu"}:
        return 0.0, math.inf
    if kind == "clip":
        return float(options["low"]), float(options["high"])
    if kind == "hardsigmoid":
        return -3.0, 3.0
    if kind == "quantise":
        step, zero = (per_channel(node.constants[key], dimensions) for key in ("step", "zero"))
        return (options["low"] - zero) * step, (options["high"] - zero) * step
    return None


def adaptive(node: Node, box: Box) -> Share:
    """The share that CROWN takes: the line that leaves the smaller area, 0 or 1 (section 3.2), (B, 1, ...)."""
    low, high = box.low.unsqueeze(1), box.high.unsqueeze(1)
    found = corners(node, box.low.ndim)
    assert found is not None, "only a piecewise straight activation has a choice"
    first, last = found
    return Share((high - first >= first - low).to(low.dtype), (last - low >= high - last).to(low.dtype))


def _clipped(node: Node, box: Box, share: Share | None) -> Lines:
    found = corners(node, box.low.ndim - 1)
    assert found is not None, "CLIPS are piecewise straight"
    first, last = (_tensor(corner, box.low) for corner in found)
    made = _clip(box, first, last, share or adaptive(node, Box(box.low.squeeze(1), box.high.squeeze(1))))
    return CLIPS[node.kind](node, box, made)


def _tensor(corner: Tensor | float, like: Tensor) -> Tensor:
    """A corner as a tensor that broadcasts to (B, 1, ...)."""
    if isinstance(corner, float):
        return torch.full((), corner, dtype=like.dtype)
    return corner.unsqueeze(0) if corner.ndim else corner


def _clip(box: Box, first: Tensor, last: Tensor, share: Share) -> Lines:
    """Lines of `clip(x, first, last)`.

    The line below runs through p, the first end or, where that lies below `first`, the corner: there any slope from 0 to that of
    the line to the last end is sound. The line above likewise through q, from the other side.
    """
    low, high = box
    p, q = low.clamp(first, last), high.clamp(first, last)
    low_slope = torch.where(high > p, (q - p) / (high - p).clamp_min(THIN), torch.zeros_like(low))
    high_slope = torch.where(q > low, (q - p) / (q - low).clamp_min(THIN), torch.zeros_like(low))
    low_slope = torch.where(low < first, low_slope * share.low, low_slope)
    high_slope = torch.where(high > last, high_slope * share.high, high_slope)
    return Lines(low_slope, p - low_slope * p, high_slope, q - high_slope * q)


def _leaky(node: Node, _: Box, relu: Lines) -> Lines:
    """It is slope * x + (1 - slope) * relu(x)."""
    slope = float(node.options["slope"])
    if slope > 1:  # then relu is taken away, and its lines change sides
        relu = Lines(relu.high_slope, relu.high_shift, relu.low_slope, relu.low_shift)
    rest = 1 - slope
    return Lines(slope + rest * relu.low_slope, rest * relu.low_shift, slope + rest * relu.high_slope, rest * relu.high_shift)


def _sixth(_: Node, __: Box, clip: Lines) -> Lines:
    """It is clip(x, -3, 3) / 6 + 1 / 2."""
    return Lines(clip.low_slope / 6, clip.low_shift / 6 + 0.5, clip.high_slope / 6, clip.high_shift / 6 + 0.5)


def _steps(node: Node, box: Box, clip: Lines) -> Lines:
    """Rounding moves a clipped number by half a step at most, and by what the quotient in float32 is off where it is cut."""
    step = per_channel(node.constants["step"], box.low.ndim - 1)
    found = corners(node, box.low.ndim - 1)
    assert found is not None, "a grid has ends"
    reach = torch.maximum(*(_tensor(corner, box.low).abs() for corner in found))
    half = (step.unsqueeze(0) if step.ndim else step) / 2 + 4 * FLOAT32 * reach
    return Lines(clip.low_slope, clip.low_shift - half, clip.high_slope, clip.high_shift + half)


CLIPS: Mapping[str, Callable[[Node, Box, Lines], Lines]] = {
    "relu": lambda _, __, clip: clip,
    "clip": lambda _, __, clip: clip,
    "leaky_relu": _leaky,
    "hardsigmoid": _sixth,
    "quantise": _steps,
}


def _curve(node: Node, box: Box) -> Lines:
    """Sigmoid and tanh, which bend upwards left of 0 and downwards right of it, and are symmetric."""
    chord = _chord(node, box)
    above = _slope_above(node, box, chord)
    below = _slope_above(node, Box(-box.high, -box.low), chord)
    shifts = []
    for slope in (below, above):
        flat = torch.sqrt((1 - slope * (4 if node.kind == "sigmoid" else 1)).clamp(0, 1))
        place = (torch.atanh(flat) * (2 if node.kind == "sigmoid" else 1)).nan_to_num(posinf=math.inf)
        shifts.append([_gap(node, at, slope) for at in (*box, _within(place, box), _within(-place, box))])
    return Lines(below, torch.stack(shifts[0]).amin(0), above, torch.stack(shifts[1]).amax(0))


def _slope_above(node: Node, box: Box, chord: Tensor) -> Tensor:
    """Slope of the line above (table 2): left of 0 the chord, right of 0 the tangent halfway, else that through the low end."""
    low, high = box
    value = evaluate(node, low)
    left, right = torch.zeros_like(high), high.clamp_min(0)
    for _ in range(BISECTIONS):
        middle = (left + right) / 2
        steep = (evaluate(node, middle) - value) < _derivative(node, middle) * (middle - low)
        left, right = torch.where(steep, middle, left), torch.where(steep, right, middle)
    tangent = _derivative(node, left)
    mixed = torch.where(chord <= _derivative(node, high), chord, tangent)
    halfway = _derivative(node, (low + high) / 2)
    return torch.where(high <= 0, chord, torch.where(low >= 0, halfway, mixed))


def _derivative(node: Node, x: Tensor) -> Tensor:
    value = evaluate(node, x)
    return value * (1 - value) if node.kind == "sigmoid" else 1 - value * value


def _valley(node: Node, box: Box) -> Lines:
    """SiLU and GELU: the chord's slope for both lines; extremes on a grid, and what a bounded bend may add between its points."""
    slope = _chord(node, box)
    width = (box.high - box.low) / (POINTS - 1)
    least = most = _gap(node, box.low, slope)
    for number in range(1, POINTS):
        found = _gap(node, box.low + number * width, slope)
        least, most = torch.minimum(least, found), torch.maximum(most, found)
    between = BENDS[node.kind] / 8 * width * width
    return Lines(slope, least - between, slope, most + between)


def _hardswish(node: Node, box: Box) -> Lines:
    """Straight, a parabola from -3 to 3, straight: extremes at the ends, the joints, and where the parabola has the slope."""
    slope = _chord(node, box)
    places = (*box, 3 * slope - 1.5, torch.full_like(slope, -3), torch.full_like(slope, 3))
    gaps = torch.stack([_gap(node, _within(place, box), slope) for place in places])
    return Lines(slope, gaps.amin(0), slope, gaps.amax(0))


def _chord(node: Node, box: Box) -> Tensor:
    """Slope from end to end; 0 where the ends are nearly one."""
    width = box.high - box.low
    rise = evaluate(node, box.high) - evaluate(node, box.low)
    return torch.where(width > NARROW, rise / width.clamp_min(NARROW), torch.zeros_like(width))


def _gap(node: Node, x: Tensor, slope: Tensor) -> Tensor:
    return evaluate(node, x) - slope * x


def _within(place: Tensor, box: Box) -> Tensor:
    return torch.minimum(torch.maximum(place, box.low), box.high)


CURVES: Mapping[str, Callable[[Node, Box], Lines]] = {
    "sigmoid": _curve, "tanh": _curve, "silu": _valley, "gelu": _valley, "hardswish": _hardswish,
}  # fmt: skip
