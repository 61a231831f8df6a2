"""alpha-CROWN: CROWN whose slopes are climbed for the bounds that are asked for; the tightest here, and the slowest.

Xu et al. 2021, "Fast and Complete: Enabling Complete Verification with Rapid and Massively Parallel Incomplete Verifiers" (arXiv
2011.13824). See `pipeline.verification.alpha` for what differs.

B batch, S functions, K outputs.
"""

import torch
from torch import Tensor

from pipeline.core.errors import PersonError
from pipeline.verification.alpha import climb
from pipeline.verification.graph import Graph
from pipeline.verification.intervals import Box
from pipeline.verifier.crown import Crown


class AlphaCrown:
    """Linear bounds with climbed slopes, never looser than CROWN's.

    Args:
        steps: gradient steps on the slopes.
        rate: of Adam, in shares of the largest slope.
        decay: factor of the rate after each step.
        neurons, memory_mb, passes, intersect, rounding: as of CROWN.

    Raises:
        PersonError: a number out of range, or another rounding.
    """

    tightness = 2

    def __init__(
        self, *, steps: int = 20, rate: float = 0.25, decay: float = 0.95, neurons: int = 4096, memory_mb: int = 256,
        passes: int = 8, intersect: bool = True, rounding: str = "float32",
    ) -> None:  # fmt: skip
        if steps < 0 or not 0 < rate <= 1 or not 0 < decay <= 1:
            raise PersonError(
                f"verifier.alpha_crown needs steps >= 0, and rate and decay in (0, 1]: received {steps}, {rate} and {decay}"
            )
        self.steps, self.rate, self.decay = steps, rate, decay
        self.crown = Crown(neurons=neurons, memory_mb=memory_mb, passes=passes, intersect=intersect, rounding=rounding)

    def lower(self, graph: Graph, box: Box, weights_BSK: Tensor) -> Tensor:
        """Lower bounds (B, S), float64.

        Raises:
            Unboundable: a layer cannot be bounded.
        """
        with torch.no_grad():
            relaxed = self.crown.relaxed(graph, box)
            first_BS = self.crown.last(relaxed, weights_BSK.double())
        climbed_BS = climb(relaxed, weights_BSK.double(), steps=self.steps, rate=self.rate, decay=self.decay)
        return torch.maximum(first_BS, climbed_BS)
