"""A graph that grows while an exported file is read, and what a translation of one operator is handed.

B batch, C channels, H height, W width.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.verification.graph import Graph, Node, Unboundable, evaluate

PROBE = 7  # images of the batch that shapes are worked out with; a prime, so that no other dimension is taken for it
Array = NDArray[Any]
Translation = Callable[["Call"], Any]


@dataclasses.dataclass(frozen=True)
class Symbol:
    """What a node of the graph computes: its name, and its shape for a batch of `PROBE` images."""

    name: str
    shape: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Quantised:
    """Integers between a QuantizeLinear and a DequantizeLinear.

    Attributes:
        source: what was rounded.
        step: scalar or (C,).
        zero: integer that stands for 0, scalar or (C,).
        axis: of a step a channel.
    """

    source: Symbol
    step: Array
    zero: Array
    axis: int


Value = Symbol | Quantised | Array


class Builder:
    """A graph that grows node by node; shapes are worked out on tensors without storage.

    Args:
        height, width, channels: of the images.
    """

    def __init__(self, *, height: int, width: int, channels: int) -> None:
        name = "pixels_in_0_1"
        self.nodes: dict[str, Node] = {name: Node(name, "input")}
        self._shaped: dict[str, Tensor] = {name: torch.empty((PROBE, channels, height, width), device="meta")}
        self.start = Symbol(name, (PROBE, channels, height, width))

    def add(
        self, name: str, kind: str, inputs: Sequence[Symbol], constants: Mapping[str, Array] | None = None, **options: Any
    ) -> Symbol:
        """Append one operation.

        Raises:
            Unboundable: it does not fit the shapes of its inputs, or it touches the batch.
        """
        while name in self.nodes:
            name += "'"
        held = {key: torch.from_numpy(np.array(value, dtype=np.float64)) for key, value in (constants or {}).items()}
        node = Node(name, kind, tuple(one.name for one in inputs), held, options)
        shapes = {key: torch.empty(value.shape, device="meta") for key, value in held.items()}
        try:
            found = evaluate(dataclasses.replace(node, constants=shapes), *(self._shaped[one.name] for one in inputs))
        except (RuntimeError, IndexError) as error:
            raise Unboundable(name, f"{kind} of shapes {[one.shape for one in inputs]}") from error
        if found.ndim == 0 or found.shape[0] != PROBE:
            raise Unboundable(name, f"{kind} that mixes the images of a batch")
        self.nodes[name], self._shaped[name] = node, found
        return Symbol(name, tuple(found.shape))

    def transpose(self, name: str, source: Symbol, dims: Sequence[int]) -> Symbol:
        """A transposition; one that undoes the one before it vanishes."""
        before = self.nodes[source.name]
        if before.kind == "transpose":
            dims = [before.options["dims"][place] for place in dims]
            source = self.symbol(before.inputs[0])
        return source if list(dims) == sorted(dims) else self.add(name, "transpose", [source], dims=tuple(dims))

    def scale(self, name: str, source: Symbol, factor: Array) -> Symbol:
        """A product with a constant; two numbers in a row become one, and a product with 1 vanishes."""
        before = self.nodes[source.name]
        if factor.size == 1 and before.kind == "scale" and before.constants["scale"].numel() == 1:
            factor = factor.reshape(()) * float(before.constants["scale"])
            source = self.symbol(before.inputs[0])
        if factor.size == 1 and abs(float(factor.reshape(())) - 1) < 1e-15:
            return source
        return self.add(name, "scale", [source], {"scale": factor.reshape(()) if factor.size == 1 else factor})

    def symbol(self, name: str) -> Symbol:
        """The symbol of a node."""
        return Symbol(name, tuple(self._shaped[name].shape))

    def finish(self, output: Symbol) -> Graph:
        """The graph of all that the output depends on."""
        needed = {output.name, self.start.name}
        for name in reversed(self.nodes):
            if name in needed:
                needed.update(self.nodes[name].inputs)
        return Graph(tuple(node for name, node in self.nodes.items() if name in needed))

@dataclasses.dataclass(frozen=True)
class Call:
    """One operator of the file.

    Attributes:
        builder: to which nodes are added.
        name: of the operator, for errors and for the nodes.
        operator: its type.
        inputs: None where an optional one is left out.
        settings: its attributes.
        outputs: how many.
    """

    builder: Builder
    name: str
    operator: str
    inputs: tuple[Value | None, ...]
    settings: dict[str, Any]
    outputs: int

    def unboundable(self, why: str = "") -> Unboundable:
        """The error that names this operator."""
        return Unboundable(self.name, f"{self.operator} {why}".strip())

    def symbol(self, place: int = 0) -> Symbol:
        """An input that depends on the image."""
        found = self.inputs[place] if place < len(self.inputs) else None
        if not isinstance(found, Symbol):
            raise self.unboundable("of a constant" if isinstance(found, np.ndarray) else "of integers")
        return found

    def constant(self, place: int) -> Array | None:
        """An input that does not, or None where it is left out."""
        found = self.inputs[place] if place < len(self.inputs) else None
        if isinstance(found, Symbol | Quantised):
            raise self.unboundable("whose parameters depend on the image")
        return found

    def needed(self, place: int) -> Array:
        """A constant that must be there."""
        found = self.constant(place)
        if found is None:
            raise self.unboundable(f"without its input {place}")
        return found

    def listed(self, setting: str, place: int) -> list[int] | None:
        """Integers that older operator sets have as an attribute and newer ones as an input."""
        held = self.settings.get(setting)
        found = held if held is not None else self.constant(place)
        return None if found is None else [int(value) for value in np.asarray(found).reshape(-1)]

    def add(self, kind: str, *inputs: Symbol, constants: dict[str, Array] | None = None, **options: Any) -> Symbol:
        """Append a node of this operator's name."""
        return self.builder.add(self.name, kind, inputs, constants, **options)


def padding(
    call: Call, source: Symbol, kernel: Sequence[int], *, stride: Sequence[int], dilation: Sequence[int]
) -> tuple[int, int, int, int]:
    """Top, left, bottom, right of a convolution or a pool."""
    auto = call.settings.get("auto_pad", b"NOTSET").decode()
    if auto in {"NOTSET", ""}:
        top, left, bottom, right = call.settings.get("pads", (0, 0, 0, 0))
        return int(top), int(left), int(bottom), int(right)
    if auto == "VALID":
        return 0, 0, 0, 0
    ends = []
    for side, window, step, apart in zip(source.shape[2:], kernel, stride, dilation, strict=True):
        missing = max(0, (-(-side // step) - 1) * step + (window - 1) * apart + 1 - side)
        ends.append((missing // 2, missing - missing // 2) if auto == "SAME_UPPER" else (missing - missing // 2, missing // 2))
    return ends[0][0], ends[1][0], ends[0][1], ends[1][1]

