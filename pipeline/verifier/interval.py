"""Interval bound propagation: the fastest bounds and the loosest; tight for networks that were trained for them.

Gowal et al. 2018, "On the Effectiveness of Interval Bound Propagation for Training Verifiably Robust Models" (arXiv 1810.12715),
equations 4 to 6, and section 3 for the last layer. See `pipeline.verification.intervals`.

B batch, S functions, K outputs.
"""

import torch
from torch import Tensor

from pipeline.verification.graph import Graph
from pipeline.verification.intervals import Box, propagate
from pipeline.verification.rounding import unit_of
from pipeline.verification.tails import tail, tail_lower


class Interval:
    """Boxes, layer by layer.

    Args:
        rounding: float32: the bounds hold for the network as it is computed in float32; none: in exact arithmetic.

    Raises:
        PersonError: another rounding.
    """

    tightness = 0

    def __init__(self, *, rounding: str = "float32") -> None:
        self.unit = unit_of(rounding)

    @torch.no_grad()
    def lower(self, graph: Graph, box: Box, weights_BSK: Tensor) -> Tensor:
        """Lower bounds (B, S), float64.

        Raises:
            Unboundable: a layer cannot be bounded.
        """
        exact = graph.to(torch.float64)
        wide = Box(box.low.double(), box.high.double())
        boxes = propagate(exact, wide, unit=self.unit, keep={node.name for node in tail(exact)})
        return tail_lower(exact, boxes, weights_BSK.double(), unit=self.unit)
