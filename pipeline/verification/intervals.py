"""Interval propagation: from a box around an image to a box that holds each layer's values.

Gowal et al. 2018, "On the Effectiveness of Interval Bound Propagation for Training Verifiably Robust Models" (arXiv 1810.12715),
equations 4 to 6: a linear layer moves the centre of a box by its weights and the radius by their absolute values; a monotone
activation moves both ends. Differentiable with respect to the graph's constants, so it serves training too.
Differs in: further operations, and boxes may be widened by the rounding of floating-point numbers (`rounding`).

B batch, C channels, H height, W width.
"""

from collections.abc import Callable, Container, Mapping
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from pipeline.core.errors import PersonError
from pipeline.verification.graph import Graph, Node, Unboundable, convolve, evaluate, scale_and_shift
from pipeline.verification.rounding import rounding_of

ALIKE = frozenset({  # with weights that are not negative, or none: each end of the box by itself
    "add", "concat", "avg_pool", "mean", "flatten", "reshape", "transpose", "slice", "pad", "resize", "max_pool", "relu", "clip",
    "sigmoid", "tanh", "hardsigmoid", "quantise",
})  # fmt: skip
VALLEYS = {  # kind -> the place of its one minimum; it falls before and rises after
    "silu": -1.2784645427610738, "gelu": -0.7517915246935645, "gelu_tanh": -0.7524614220710162, "hardswish": -1.5,
}  # fmt: skip
NEAR = 1e-3  # a minimum this close to the box counts as inside: its place is known to more digits
DEEPER = 1e-12  # a minimum is taken for lower by this: the place that it is evaluated at is rounded


class Box(NamedTuple):
    """Every value lies between two tensors of one shape."""

    low: Tensor
    high: Tensor

    @property
    def centre(self) -> Tensor:
        """Halfway between the ends."""
        return torch.lerp(self.low, self.high, 0.5)

    @property
    def radius(self) -> Tensor:
        """Half of the distance between the ends."""
        return (self.high - self.low) / 2

    def split(self) -> tuple[Tensor, Tensor]:
        """Centre and radius, in two passes over the numbers instead of four."""
        centre = self.centre
        return centre, self.high - centre

    @property
    def magnitude(self) -> Tensor:
        """The largest absolute value."""
        return torch.maximum(self.low.abs(), self.high.abs())


def ball(x_BCHW: Tensor, eps: float) -> Box:
    """All images within `eps` of an image (L-infinity) whose pixels lie in [0, 1].

    Raises:
        PersonError: eps is not within 0 to 1, the range of the pixels.
        ValueError: the images are not within [0, 1].
    """
    if not 0 <= eps <= 1:
        raise PersonError(f"eps must be within 0 to 1, the range of the pixels (2/255 is 0.00784): received {eps}")
    low, high = (float(x_BCHW.min()), float(x_BCHW.max())) if x_BCHW.numel() else (0.0, 0.0)
    if not 0 <= low <= high <= 1:
        raise ValueError(f"expected pixels in [0, 1]: received {low:.3g} to {high:.3g}")
    return Box((x_BCHW - eps).clamp_min(0), (x_BCHW + eps).clamp_max(1))


def propagate(graph: Graph, box: Box, *, unit: float = 0.0, keep: Container[str] | None = None) -> dict[str, Box]:
    """A box for the output of every node.

    Args:
        graph: the network.
        box: of its input.
        unit: rounding unit of the arithmetic that the bounds must hold for (`rounding.FLOAT32`); 0 for exact arithmetic.
        keep: nodes whose boxes are wanted; others are dropped after their last use, which saves memory and time. None: all.

    Raises:
        Unboundable: no bound of a node is known.
    """
    boxes = {graph.nodes[0].name: box}
    last = {name: node.name for node in graph.nodes for name in node.inputs}
    for node in graph.nodes[1:]:
        boxes[node.name] = step(node, [boxes[name] for name in node.inputs], unit=unit)
        if keep is None:
            continue
        for name in dict.fromkeys(node.inputs):
            if last[name] == node.name and name not in keep:
                del boxes[name]
    return boxes


def step(node: Node, boxes: list[Box], *, unit: float = 0.0) -> Box:
    """The box of a node's output from those of its inputs."""
    return noisy_step(node, boxes, unit=unit)[0]


def noisy_step(node: Node, boxes: list[Box], *, unit: float) -> tuple[Box, Tensor | None]:
    """The same, and the largest rounding error of each element that it holds; None where there is none."""
    if node.kind in ALIKE:
        found = _alike(node, boxes, unit)
    elif node.kind in OPERATIONS:
        found = OPERATIONS[node.kind](node, boxes)
    else:
        raise Unboundable(node.name, node.kind)
    noise = rounding_of(node, [box.magnitude for box in boxes], found.magnitude, unit) if unit else None
    return (found if noise is None else Box(found.low - noise, found.high + noise)), noise


def _alike(node: Node, boxes: list[Box], unit: float) -> Box:
    if node.kind == "quantise" and unit:  # where the quotient is rounded, the whole number may be the next one
        slack = 4 * unit * boxes[0].magnitude
        boxes = [Box(boxes[0].low - slack, boxes[0].high + slack)]
    return Box(evaluate(node, *(box.low for box in boxes)), evaluate(node, *(box.high for box in boxes)))


def _linear(node: Node, boxes: list[Box]) -> Box:
    weight, (centre, radius) = node.constants["weight"], boxes[0].split()
    centre = functional.linear(centre, weight, node.constants.get("bias"))
    radius = functional.linear(radius, weight.abs())
    return Box(centre - radius, centre + radius)


def _conv(node: Node, boxes: list[Box]) -> Box:
    weight, (centre, radius) = node.constants["weight"], boxes[0].split()
    centre = convolve(centre, weight, node.constants.get("bias"), node.options)
    radius = convolve(radius, weight.abs(), None, node.options)
    return Box(centre - radius, centre + radius)


def _affine(node: Node, boxes: list[Box]) -> Box:
    scale, shift = scale_and_shift(node, boxes[0].low.ndim)
    low, high = boxes[0]
    if scale is None:
        return Box(low, high) if shift is None else Box(low + shift, high + shift)
    low, high = (end * scale if shift is None else torch.addcmul(shift, end, scale) for end in boxes[0])
    return Box(torch.minimum(low, high), torch.maximum(low, high)) if bool((scale < 0).any()) else Box(low, high)


def _sub(_: Node, boxes: list[Box]) -> Box:
    return Box(boxes[0].low - boxes[1].high, boxes[0].high - boxes[1].low)


def _mul(_: Node, boxes: list[Box]) -> Box:
    (low, high), (other_low, other_high) = boxes
    corners = (low * other_low, low * other_high, high * other_low, high * other_high)
    least, most = corners[0], corners[0]
    for corner in corners[1:]:
        least, most = torch.minimum(least, corner), torch.maximum(most, corner)
    return Box(least, most)


def _leaky(node: Node, boxes: list[Box]) -> Box:
    """Rising for any slope from 0 up; with a negative slope it is a valley at 0."""
    low, high = evaluate(node, boxes[0].low), evaluate(node, boxes[0].high)
    if node.options["slope"] >= 0:
        return Box(low, high)
    least = torch.where((boxes[0].low < 0) & (boxes[0].high > 0), torch.zeros_like(low), torch.minimum(low, high))
    return Box(least, torch.maximum(low, high))


def _valley(node: Node, boxes: list[Box]) -> Box:
    """Falls to one minimum and rises again: the greatest value stands at an end, the least there or at the minimum."""
    low, high = boxes[0]
    first, last = evaluate(node, low), evaluate(node, high)
    place = valley(node)
    bottom = evaluate(node, torch.full_like(low, place)) - DEEPER
    inside = (low <= place + NEAR) & (high >= place - NEAR)
    return Box(torch.where(inside, bottom, torch.minimum(first, last)), torch.maximum(first, last))


def valley(node: Node) -> float:
    """Where an activation of `VALLEYS` is least."""
    return VALLEYS["gelu_tanh" if node.options.get("approximate") == "tanh" else node.kind]


OPERATIONS: Mapping[str, Callable[[Node, list[Box]], Box]] = {
    "linear": _linear, "conv": _conv, "affine": _affine, "batch_norm": _affine, "scale": _affine, "shift": _affine, "sub": _sub,
    "mul": _mul, "leaky_relu": _leaky, "silu": _valley, "gelu": _valley, "hardswish": _valley,
}  # fmt: skip
