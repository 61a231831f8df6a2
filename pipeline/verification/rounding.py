"""How far floating-point arithmetic may take a layer's output from the exact one: bounds that hold for the artifact itself.

Higham 2002, "Accuracy and Stability of Numerical Algorithms", section 3.1: a sum of n products, in any order and with or without
fused operations, is off by at most g(n) = n u / (1 - n u) times the sum of the absolute products, u the unit of rounding. Bounds
themselves are computed in float64 (u = 2**-53); their own rounding is far below the margin by which `FLOAT32` exceeds 2**-24.
Not covered: algorithms that are no sums of products of the layer's own numbers (fast convolutions by transforms).
"""

import torch
from torch import Tensor

from pipeline.core.errors import PersonError, near_match
from pipeline.verification.graph import Node, evaluate, scale_and_shift

FLOAT32 = 2.0**-24 * (1 + 2.0**-10)
TINY = 1e-35  # numbers below float32's normal range may be flushed to zero
EXACT = frozenset({  # they choose, move or compare numbers
    "input", "relu", "clip", "concat", "max_pool", "flatten", "reshape", "transpose", "slice", "pad",
})  # fmt: skip
CURVED_UNITS = 8  # of the last place that a library's exponential and its like may be off: 1 to 4 in practice


def rounding_of(node: Node, inputs: list[Tensor], output: Tensor, unit: float) -> Tensor | None:
    """Largest rounding error of each element of a node's output, or None where there is none.

    Args:
        node: the operation.
        inputs: largest absolute values of its inputs.
        output: the same of its output, in exact arithmetic.
        unit: of rounding.
    """
    kind = node.kind
    if kind in EXACT:
        return None
    if kind in {"linear", "conv"}:
        return _products(node, inputs[0], unit)
    if kind in {"affine", "batch_norm", "scale", "shift"}:
        return _affine(node, inputs[0], unit)
    if kind in {"avg_pool", "mean", "resize"}:
        return _growth(_terms(node, inputs[0], output), unit) * evaluate(node, inputs[0]) + TINY
    return _few(kind, inputs, output) * unit + TINY


def _few(kind: str, inputs: list[Tensor], output: Tensor) -> Tensor:
    """Units of rounding of an operation on one number or two."""
    if kind in {"add", "sub"}:
        return 2 * (inputs[0] + inputs[1])
    if kind == "mul":
        return 2 * inputs[0] * inputs[1]
    if kind in {"leaky_relu", "quantise"}:
        return 2 * output
    return CURVED_UNITS * (inputs[0] + output + 1)


def _products(node: Node, magnitude: Tensor, unit: float) -> Tensor:
    weight, bias = node.constants["weight"].abs(), node.constants.get("bias")
    constants = {"weight": weight} if bias is None else {"weight": weight, "bias": bias.abs()}
    total = evaluate(Node(node.name, node.kind, constants=constants, options=node.options), magnitude)
    return _growth(weight[0].numel() + 2, unit) * total + TINY


def _affine(node: Node, magnitude: Tensor, unit: float) -> Tensor:
    """In whatever order mean, deviation, weight and bias are applied, and the constants themselves rounded once."""
    scale, shift = scale_and_shift(node, magnitude.ndim)
    total = magnitude if scale is None else magnitude * scale.abs()
    if shift is not None:
        total = total + shift.abs()
    if node.kind == "batch_norm" and scale is not None:
        mean = node.constants["mean"].abs()
        total = total + 2 * scale.abs() * mean.reshape(1, -1, *(1 for _ in range(magnitude.ndim - 2)))
    return _growth(8, unit) * total + TINY


def _terms(node: Node, before: Tensor, after: Tensor) -> int:
    """How many numbers are added up for one."""
    if node.kind == "avg_pool":
        height, width = node.options["kernel"]
        return int(height * width) + 2
    return 8 if node.kind == "resize" else before.numel() // max(1, after.numel()) + 2


def _growth(terms: int, unit: float) -> float:
    product = terms * unit
    return float(torch.inf) if product >= 1 else product / (1 - product)


def unit_of(rounding: str) -> float:
    """The unit of rounding that a verifier's option names.

    Raises:
        PersonError: it is neither float32 nor none.
    """
    units = {"float32": FLOAT32, "none": 0.0}
    if rounding not in units:
        raise PersonError(f"a verifier's rounding {rounding!r} is not known: {near_match(rounding, units)}")
    return units[rounding]
