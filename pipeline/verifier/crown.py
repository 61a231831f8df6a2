"""CROWN: linear bounds carried back to the pixels; tighter than intervals, and slower.

Zhang et al. 2018, "Efficient Neural Network Robustness Certification with General Activation Functions" (arXiv 1811.00866).
See `pipeline.verification.backward` for what differs.

B batch, S functions, K outputs.
"""

import torch
from torch import Tensor

from pipeline.core.errors import PersonError
from pipeline.verification.backward import Effort, Relaxed, relax
from pipeline.verification.graph import Graph
from pipeline.verification.intervals import Box
from pipeline.verification.rounding import unit_of
from pipeline.verification.tails import tail_lower


class Crown:
    """Linear bounds with CROWN's own slopes, never looser than intervals.

    Args:
        neurons: undecided ones of one layer and image above which the layer keeps its interval bounds; 0 does so everywhere,
            which is CROWN-IBP (Zhang et al. 2020, arXiv 1906.06316).
        memory_mb: of the tensor that one pass carries back, at most.
        passes: of that size that one layer of one image may take, above which it keeps its interval bounds.
        intersect: meet all bounds with those of intervals; false is the method as published.
        rounding: float32: the bounds hold for the network as it is computed in float32; none: in exact arithmetic.

    Raises:
        PersonError: a number out of range, or another rounding.
    """

    tightness = 1

    def __init__(
        self, *, neurons: int = 4096, memory_mb: int = 256, passes: int = 8, intersect: bool = True, rounding: str = "float32"
    ) -> None:  # fmt: skip
        if neurons < 0 or memory_mb < 1 or passes < 1:
            raise PersonError(
                f"a verifier needs neurons >= 0, memory_mb >= 1 and passes >= 1: received {neurons}, {memory_mb} and {passes}"
            )
        self.effort = Effort(neurons=neurons, numbers=memory_mb * 2**20 // 8, passes=passes, intersect=intersect)
        self.unit = unit_of(rounding)

    @torch.no_grad()
    def lower(self, graph: Graph, box: Box, weights_BSK: Tensor) -> Tensor:
        """Lower bounds (B, S), float64.

        Raises:
            Unboundable: a layer cannot be bounded.
        """
        return self.last(self.relaxed(graph, box), weights_BSK.double())

    def relaxed(self, graph: Graph, box: Box) -> Relaxed:
        """Bounds of all layers."""
        exact = Box(box.low.double(), box.high.double())
        return relax(graph.to(torch.float64), exact, unit=self.unit, effort=self.effort)

    def last(self, relaxed: Relaxed, weights_BSK: Tensor) -> Tensor:
        """Lower bounds (B, S) of functions of the outputs."""
        found_BS = relaxed.lower(weights_BSK, relaxed.graph.output.name)
        if not self.effort.intersect:
            return found_BS
        return torch.maximum(found_BS, tail_lower(relaxed.graph, relaxed.boxes, weights_BSK, unit=self.unit))
