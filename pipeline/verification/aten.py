"""What a translation of torch operations into nodes works with. A translation takes a call and its arguments and returns symbols.

A symbol stands for a tensor that depends on the image; anything else is a number, a list, or a constant tensor.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pipeline.verification.graph import Node, Unboundable, evaluate


class Symbol(NamedTuple):
    """The output of a node, and its shape on the example."""

    name: str
    shape: tuple[int, ...]


@dataclass
class Call:
    """One operation that is being translated.

    Attributes:
        name: of the node that is made; a second one of the same call gets a number.
        operation: as torch names it, for errors.
        nodes: those made so far.
    """

    name: str
    operation: str
    nodes: list[Node]
    made: int = 0

    def node(
        self, kind: str, inputs: Sequence[Symbol], constants: Mapping[str, Tensor | None] | None = None, **options: Any
    ) -> Symbol:  # fmt: skip
        """Append a node; its shape is found by running it on zeros."""
        name = self.name if self.made == 0 else f"{self.name}.{self.made}"
        self.made += 1
        held = {key: value for key, value in (constants or {}).items() if value is not None}
        found = Node(name, kind, tuple(symbol.name for symbol in inputs), held, options)
        dtype = next(iter(held.values())).dtype if held else torch.float32
        with torch.no_grad():
            shape = tuple(evaluate(found, *(torch.zeros(symbol.shape, dtype=dtype) for symbol in inputs)).shape)
        if any(len(symbol.shape) and symbol.shape[0] != shape[0] for symbol in inputs[:1]):
            raise self.refused("it mixes images of a batch")
        self.nodes.append(found)
        return Symbol(name, shape)

    def refused(self, reason: str) -> Unboundable:
        """The error of what this operation does that no bound is known for."""
        return Unboundable(self.name, f"{self.operation}: {reason}")
