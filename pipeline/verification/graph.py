"""A network as a list of plain operations: what the verifiers read, from a live module or from an exported file.

Conventions: the first dimension is the batch and no operation touches it. Constants keep the source's numbers; where they come
from a module they are its own parameters, so that a bound can be differentiated with respect to them.

B batch, C channels, H height, W width, K outputs, O and I outputs and inputs of a layer.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from pipeline.core.errors import PersonError

NOTHING: Mapping[str, Any] = MappingProxyType({})


class Unboundable(PersonError):  # noqa: N818 - what a person reads is a property of the layer
    """A layer that no bound is known for. What depends on it is unproven, never verified.

    Args:
        layer: its name.
        operation: what it computes, as its framework names it.
    """

    def __init__(self, layer: str, operation: str) -> None:
        self.layer, self.operation = layer, operation
        super().__init__(
            f"the verifier cannot bound the layer {layer!r} ({operation}), so nothing is proven of this model: "
            f"expected one of {', '.join(sorted(KINDS))}; choose a model without it, or  verifier=[none]"
        )


@dataclass(frozen=True)
class Node:
    """One operation.

    Attributes:
        name: unique; also the name of its output.
        kind: one of the list below.
        inputs: names of nodes that stand earlier.
        constants: tensors.
        options: plain values.

    Kinds, with their constants and options ([] optional):
        input
        linear: weight (O, I), [bias (O,)]; on the last dimension
        conv: weight (O, I/groups, h, w), [bias (O,)]; stride (2), padding (top, left, bottom, right), dilation (2), groups
        affine: [scale (C,)], [shift (C,)]; each channel of dimension 1 by its own
        batch_norm: mean, variance, [weight, bias] (C,); epsilon; with stored statistics
        scale: scale; shift: shift; a tensor, or scalar, that broadcasts to the input's shape without changing it
        relu; leaky_relu: slope; clip: low, high (either may be infinite); sigmoid; tanh; silu; gelu: [approximate]; hardswish;
        hardsigmoid
        quantise: step, zero (scalars, or (C,) with axis 1); low, high: integers; the value after rounding and back, half to even
        add, sub, mul: two inputs that broadcast
        concat: dim; two or more inputs
        max_pool: kernel (2), stride (2), padding (4, as conv), dilation (2), ceil
        avg_pool: kernel (2), stride (2), padding (4), ceil, include_pad (whether padding counts in the divisor)
        mean: dims, keep
        flatten: start; reshape: shape, without the batch; transpose: dims, all of them, the first is 0
        slice: dim, start, stop, step; pad: padding (4), value; resize: size (2), mode (nearest or bilinear)
    """

    name: str
    kind: str
    inputs: tuple[str, ...] = ()
    constants: Mapping[str, Tensor] = field(default_factory=lambda: NOTHING)
    options: Mapping[str, Any] = field(default_factory=lambda: NOTHING)


@dataclass(frozen=True)
class Graph:
    """A network, in an order in which every input stands before its use.

    Attributes:
        nodes: the first is the input (B, C, H, W), pixels in [0, 1]; the last gives the raw outputs (B, K), before softmax.

    Raises:
        Unboundable: an operation of an unknown kind.
        ValueError: no input first, a name that occurs twice, or an input that does not stand earlier.
    """

    nodes: tuple[Node, ...]

    def __post_init__(self) -> None:
        known: set[str] = set()
        if not self.nodes or self.nodes[0].kind != "input":
            raise ValueError("expected a graph whose first node is its input")
        for node in self.nodes:
            if node.kind not in KINDS:
                raise Unboundable(node.name, node.kind)
            if node.name in known or not known.issuperset(node.inputs):
                raise ValueError(f"expected unique nodes in order: {node.name!r} of inputs {node.inputs} stands out")
            known.add(node.name)

    @property
    def output(self) -> Node:
        """The last node."""
        return self.nodes[-1]

    def node(self, name: str) -> Node:
        """The node of that name."""
        return next(node for node in self.nodes if node.name == name)

    def run(self, x_BCHW: Tensor) -> Tensor:
        """Raw outputs (B, K) of images in [0, 1]: what the source computes, in the dtype of the images and constants."""
        return self.values(x_BCHW)[self.output.name]

    def values(self, x_BCHW: Tensor) -> dict[str, Tensor]:
        """The output of every node."""
        values = {self.nodes[0].name: x_BCHW}
        for node in self.nodes[1:]:
            values[node.name] = evaluate(node, *(values[name] for name in node.inputs))
        return values

    def to(self, dtype: torch.dtype) -> "Graph":
        """The same with constants of another precision, cut off from any module."""
        return Graph(
            tuple(
                replace(node, constants={key: value.detach().to("cpu", dtype) for key, value in node.constants.items()})
                for node in self.nodes
            )
        )


def evaluate(node: Node, *inputs: Tensor) -> Tensor:
    """The output of one node (any but the input)."""
    return KINDS[node.kind](node, *inputs)


def per_channel(constant_C: Tensor, dimensions: int) -> Tensor:
    """A constant of dimension 1, shaped to broadcast over so many dimensions; a scalar stays one."""
    if constant_C.ndim == 0:
        return constant_C
    return constant_C.reshape(1, -1, *(1 for _ in range(dimensions - 2)))


def scale_and_shift(node: Node, dimensions: int) -> tuple[Tensor | None, Tensor | None]:
    """What an affine, batch_norm, scale or shift node multiplies with and adds, shaped to broadcast; None for nothing."""
    constants = node.constants
    if node.kind in {"scale", "shift"}:
        return constants.get("scale"), constants.get("shift")
    if node.kind == "affine":
        found = (constants.get("scale"), constants.get("shift"))
        return tuple(None if one is None else per_channel(one, dimensions) for one in found)  # type: ignore[return-value]
    scale_C = torch.rsqrt(constants["variance"] + node.options["epsilon"])
    if "weight" in constants:
        scale_C = scale_C * constants["weight"]
    shift_C = -constants["mean"] * scale_C
    if "bias" in constants:
        shift_C = shift_C + constants["bias"]
    return per_channel(scale_C, dimensions), per_channel(shift_C, dimensions)


def convolve(x_BCHW: Tensor, weight: Tensor, bias_O: Tensor | None, options: Mapping[str, Any]) -> Tensor:
    """A convolution with the options of a conv node."""
    top, left, bottom, right = options["padding"]
    if (top, left) != (bottom, right):
        x_BCHW, top, left = functional.pad(x_BCHW, (left, right, top, bottom)), 0, 0
    return functional.conv2d(
        x_BCHW, weight, bias_O, options["stride"], (top, left), options["dilation"], options["groups"]
    )  # fmt: skip


def windows(x_BCHW: Tensor, options: Mapping[str, Any], value: float) -> Tensor:
    """The input of a pool, padded with a value as its options say.

    With -inf, which no maximum takes, also by what `ceil` adds at the far ends: then the pool needs no more padding of its own.
    """
    top, left, bottom, right = options["padding"]
    if options["ceil"] and value == -torch.inf:
        bottom += _beyond(x_BCHW.shape[2], options, side=0, before=top, after=bottom)
        right += _beyond(x_BCHW.shape[3], options, side=1, before=left, after=right)
    return functional.pad(x_BCHW, (left, right, top, bottom), value=value) if any((top, left, bottom, right)) else x_BCHW


def _beyond(size: int, options: Mapping[str, Any], *, side: int, before: int, after: int) -> int:
    """By how much the last window of `ceil` stands over the padded end; it must start inside the image or the padding before."""
    span = options["dilation"][side] * (options["kernel"][side] - 1) + 1
    stride, padded = options["stride"][side], size + before + after
    count = -((span - padded) // stride) + 1
    if (count - 1) * stride >= size + before:
        count -= 1
    return int(max(0, (count - 1) * stride + span - padded))


def _affine(node: Node, x: Tensor) -> Tensor:
    scale, shift = scale_and_shift(node, x.ndim)
    y = x if scale is None else x * scale
    return y if shift is None else y + shift


def _max_pool(node: Node, x_BCHW: Tensor) -> Tensor:
    options = node.options
    padded = windows(x_BCHW, options, -torch.inf)
    return functional.max_pool2d(padded, options["kernel"], options["stride"], 0, options["dilation"])


def _avg_pool(node: Node, x_BCHW: Tensor) -> Tensor:
    options = node.options
    kernel, stride, ceil = options["kernel"], options["stride"], options["ceil"]
    pooled = functional.avg_pool2d(windows(x_BCHW, options, 0.0), kernel, stride, 0, ceil)
    if options["include_pad"] or not any(options["padding"]):
        return pooled
    inside = windows(torch.ones_like(x_BCHW[:1, :1]), options, 0.0)
    return pooled / functional.avg_pool2d(inside, kernel, stride, 0, ceil)


def _pad(node: Node, x_BCHW: Tensor) -> Tensor:
    top, left, bottom, right = node.options["padding"]
    return functional.pad(x_BCHW, (left, right, top, bottom), value=node.options["value"])


def _slice(node: Node, x: Tensor) -> Tensor:
    options = node.options
    places: list[slice] = [slice(None)] * x.ndim
    places[options["dim"]] = slice(options["start"], options["stop"], options["step"])
    return x[tuple(places)]


def _resize(node: Node, x_BCHW: Tensor) -> Tensor:
    return functional.interpolate(x_BCHW, tuple(node.options["size"]), mode=node.options["mode"])


def _quantise(node: Node, x: Tensor) -> Tensor:
    step, zero = (per_channel(node.constants[key], x.ndim) for key in ("step", "zero"))
    whole = (torch.round(x / step) + zero).clamp(node.options["low"], node.options["high"])
    return (whole - zero) * step


def _identity(_: Node, *__: Tensor) -> Tensor:
    raise ValueError("an input has no value of its own")


KINDS: Mapping[str, Callable[..., Tensor]] = {
    "input": _identity,
    "linear": lambda node, x: functional.linear(x, node.constants["weight"], node.constants.get("bias")),
    "conv": lambda node, x: convolve(x, node.constants["weight"], node.constants.get("bias"), node.options),
    "affine": _affine,
    "batch_norm": _affine,
    "scale": _affine,
    "shift": _affine,
    "relu": lambda _, x: functional.relu(x),
    "leaky_relu": lambda node, x: functional.leaky_relu(x, node.options["slope"]),
    "clip": lambda node, x: x.clamp(node.options["low"], node.options["high"]),
    "sigmoid": lambda _, x: torch.sigmoid(x),
    "tanh": lambda _, x: torch.tanh(x),
    "silu": lambda _, x: functional.silu(x),
    "gelu": lambda node, x: functional.gelu(x, approximate=node.options.get("approximate", "none")),
    "hardswish": lambda _, x: functional.hardswish(x),
    "hardsigmoid": lambda _, x: functional.hardsigmoid(x),
    "quantise": _quantise,
    "add": lambda _, x, y: x + y,
    "sub": lambda _, x, y: x - y,
    "mul": lambda _, x, y: x * y,
    "concat": lambda node, *inputs: torch.cat(inputs, node.options["dim"]),
    "max_pool": _max_pool,
    "avg_pool": _avg_pool,
    "mean": lambda node, x: x.mean(node.options["dims"], keepdim=node.options["keep"]),
    "flatten": lambda node, x: x.flatten(node.options["start"]),
    "reshape": lambda node, x: x.reshape(x.shape[0], *node.options["shape"]),
    "transpose": lambda node, x: x.permute(*node.options["dims"]),
    "slice": _slice,
    "pad": _pad,
    "resize": _resize,
}
