"""One step backwards through a node: from a linear function of its output to one of its inputs.

A linear function is a tensor A (B, S, ...): S numbers a sample, each the sum of A times the value of a node, plus a constant.
Through a linear operation A passes by its transpose. Through an activation each positive weight takes the line below and each
negative one the line above, so the new function is never above the old one (Zhang et al. 2018, arXiv 1811.00866, theorem 3.2; for
general graphs Xu et al. 2020, arXiv 2002.12920, section 3).

B batch, S functions, C channels, H height, W width.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Size, Tensor
from torch.nn import functional
from torch.nn.grad import conv2d_input

from pipeline.verification.graph import Node, evaluate, scale_and_shift, windows
from pipeline.verification.intervals import Box
from pipeline.verification.relaxation import Lines

Step = tuple[list[Tensor], Tensor]  # weights of each input, and the constant (B, S)


def through(node: Node, weights: Tensor, boxes: Sequence[Box], lines: Lines | None) -> Step:
    """From weights of a node's output to weights of its inputs and a constant, so that the function does not rise.

    Args:
        node: the operation.
        weights: (B, S, ...) of its output.
        boxes: of its inputs.
        lines: of an activation.
    """
    if lines is not None:
        return _lined(weights, lines)
    if node.kind in OWN:
        return OWN[node.kind](node, weights, boxes)
    return _any_linear(node, weights, boxes)


def total(weights: Tensor) -> Tensor:
    """Sum over all but the first two dimensions, (B, S)."""
    return weights.flatten(2).sum(2) if weights.ndim > 2 else weights


def settle(weights: Tensor, box: Box, *, careful: bool) -> Tensor:
    """The least value (B, S) of a linear function of numbers in a box.

    Args:
        weights: (B, S, ...).
        box: (B, ...).
        careful: move outwards by what the sums may be off in the arithmetic that they are computed with.
    """
    centre, radius = box.centre.unsqueeze(1), box.radius.unsqueeze(1)
    found = total(weights * centre) - total(weights.abs() * radius)
    if not careful:
        return found
    terms = box.low[0].numel() + 8
    return found - terms * torch.finfo(weights.dtype).eps * total(weights.abs() * (box.magnitude + 1).unsqueeze(1))


def _lined(weights: Tensor, lines: Lines) -> Step:
    plus, minus = weights.clamp_min(0), weights.clamp_max(0)
    constant = total(plus * lines.low_shift + minus * lines.high_shift)
    return [plus * lines.low_slope + minus * lines.high_slope], constant


def _any_linear(node: Node, weights: Tensor, boxes: Sequence[Box]) -> Step:
    """The transpose by automatic differentiation; the operation at 0 is its constant."""
    batch, count = weights.shape[:2]
    create = torch.is_grad_enabled()
    with torch.enable_grad():
        zeros = [
            torch.zeros((batch * count, *box.low.shape[1:]), dtype=weights.dtype, device=weights.device, requires_grad=True)
            for box in boxes
        ]
        output = evaluate(node, *zeros)
        folded = weights.reshape(output.shape)
        slopes = torch.autograd.grad(output, zeros, folded, create_graph=create)
    constant = total((output if create else output.detach()).reshape(weights.shape) * weights)
    return [slope.reshape(batch, count, *slope.shape[1:]) for slope in slopes], constant


def _linear(node: Node, weights: Tensor, _: Sequence[Box]) -> Step:
    bias = node.constants.get("bias")
    constant = weights.new_zeros(weights.shape[:2]) if bias is None else total(weights * bias)
    return [weights @ node.constants["weight"]], constant


def _conv(node: Node, weights: Tensor, boxes: Sequence[Box]) -> Step:
    bias, options = node.constants.get("bias"), node.options
    constant = weights.new_zeros(weights.shape[:2]) if bias is None else total(weights * bias.reshape(-1, 1, 1))
    top, left, bottom, right = options["padding"]
    height, width = boxes[0].low.shape[2:]
    even = (top, left) == (bottom, right)
    size = (height, width) if even else (height + top + bottom, width + left + right)
    channels = node.constants["weight"].shape[1] * options["groups"]
    slope = conv2d_input(  # type: ignore[no-untyped-call]
        (weights.shape[0] * weights.shape[1], channels, *size), node.constants["weight"], weights.flatten(0, 1),
        options["stride"], (top, left) if even else (0, 0), options["dilation"], options["groups"],
    )  # fmt: skip
    if not even:
        slope = slope[:, :, top : top + height, left : left + width]
    return [slope.reshape(*weights.shape[:2], channels, height, width)], constant


def _affine(node: Node, weights: Tensor, boxes: Sequence[Box]) -> Step:
    dimensions = boxes[0].low.ndim
    scale, shift = (
        one.unsqueeze(0) if one is not None and one.ndim == dimensions else one for one in scale_and_shift(node, dimensions)
    )
    constant = weights.new_zeros(weights.shape[:2]) if shift is None else total(weights * shift)
    return [weights if scale is None else weights * scale], constant


def _add(_: Node, weights: Tensor, boxes: Sequence[Box]) -> Step:
    return [fitted(weights, box.low.shape) for box in boxes], weights.new_zeros(weights.shape[:2])


def _sub(_: Node, weights: Tensor, boxes: Sequence[Box]) -> Step:
    first, second = (fitted(weights, box.low.shape) for box in boxes)
    return [first, -second], weights.new_zeros(weights.shape[:2])


def fitted(weights: Tensor, shape: Size) -> Tensor:
    """Weights of a value that was broadcast: those of its copies, added up."""
    while weights.ndim - 1 > len(shape):
        weights = weights.sum(2)
    spread = [place + 1 for place in range(1, len(shape)) if shape[place] == 1 and weights.shape[place + 1] != 1]
    return weights.sum(spread, keepdim=True) if spread else weights


def _mul(_: Node, weights: Tensor, boxes: Sequence[Box]) -> Step:
    """McCormick 1976: planes below and above the product of two bounded numbers."""
    low = boxes[0].low.unsqueeze(1)
    other_low, other_high = (end.unsqueeze(1) for end in boxes[1])
    plus, minus = weights.clamp_min(0), weights.clamp_max(0)
    constant = -total(plus * low * other_low + minus * low * other_high)
    return [
        fitted(plus * other_low + minus * other_high, boxes[0].low.shape), fitted(weights * low, boxes[1].low.shape),
    ], constant  # fmt: skip


def _concat(node: Node, weights: Tensor, boxes: Sequence[Box]) -> Step:
    dim = node.options["dim"] % boxes[0].low.ndim
    parts = torch.split(weights, [box.low.shape[dim] for box in boxes], dim + 1)
    return list(parts), weights.new_zeros(weights.shape[:2])


def _reshaped(_: Node, weights: Tensor, boxes: Sequence[Box]) -> Step:
    return [weights.reshape(*weights.shape[:2], *boxes[0].low.shape[1:])], weights.new_zeros(weights.shape[:2])


def _max_pool(node: Node, weights: Tensor, boxes: Sequence[Box]) -> Step:
    """The maximum is at least the value with the greatest low end, and that value itself where no other can exceed it.

    Elsewhere it is at most the greatest high end (Boopathy et al. 2019, "CNN-Cert", arXiv 1811.12395, treat it more finely).
    """
    options = node.options
    low, high = (windows(end, options, -torch.inf) for end in boxes[0])
    pool = (options["kernel"], options["stride"], 0, options["dilation"])
    _, place = functional.max_pool2d(low, *pool, return_indices=True)
    most = functional.max_pool2d(high, *pool)
    sure = _only_one(high, low, place, options)
    plus, minus = weights.clamp_min(0), weights.clamp_max(0)
    kept = plus + torch.where(sure.unsqueeze(1), minus, torch.zeros_like(minus))
    constant = total(torch.where(sure.unsqueeze(1), torch.zeros_like(minus), minus * most.unsqueeze(1)))
    flat = weights.new_zeros((*weights.shape[:3], low.shape[2] * low.shape[3]))
    flat = flat.scatter_add(3, place.flatten(2).unsqueeze(1).expand(-1, weights.shape[1], -1, -1), kept.flatten(3))
    top, left, _, _ = options["padding"]
    height, width = boxes[0].low.shape[2:]
    spread = flat.reshape(*weights.shape[:3], *low.shape[2:])
    return [spread[..., top : top + height, left : left + width]], constant


def _only_one(high: Tensor, low: Tensor, place: Tensor, options: Mapping[str, Any]) -> Tensor:
    """Whether the low end of the chosen value is at least every other high end of its window."""
    least = low.flatten(2).gather(2, place.flatten(2))
    own = high.flatten(2).gather(2, place.flatten(2)) > least
    batch, channels = high.shape[:2]
    values = functional.unfold(high, options["kernel"], options["dilation"], 0, options["stride"])
    rivals = (values.reshape(batch, channels, -1, values.shape[2]) > least.unsqueeze(2)).sum(2)
    return (rivals <= own).reshape(place.shape)


OWN: Mapping[str, Callable[[Node, Tensor, Sequence[Box]], Step]] = {
    "linear": _linear, "conv": _conv, "affine": _affine, "batch_norm": _affine, "scale": _affine, "shift": _affine, "add": _add,
    "sub": _sub, "mul": _mul, "concat": _concat, "flatten": _reshaped, "reshape": _reshaped, "max_pool": _max_pool,
}  # fmt: skip
