"""What is bounded: raw outputs, or how far the output of the truth stands above each other.

B batch, C channels, H height, W width, K outputs, S functions of them.
"""

from typing import Protocol

import torch
from torch import Tensor

from pipeline.verification.graph import Graph
from pipeline.verification.intervals import Box, ball


class Lower(Protocol):
    """A verifier: lower bounds (B, S) of linear functions `weights_BSK` of the outputs, for all images in a box."""

    def lower(self, graph: Graph, box: Box, weights_BSK: Tensor) -> Tensor:
        """Lower bounds (B, S)."""


def output_bounds(verifier: Lower, graph: Graph, x_BCHW: Tensor, *, eps: float) -> Box:
    """Bounds (B, K) of the raw outputs for every image within eps (L-infinity) of these and within [0, 1].

    Raises:
        PersonError: eps is not within 0 to 1.
        Unboundable: a layer cannot be bounded.
    """
    box = ball(x_BCHW.double(), eps)
    count = width(graph, x_BCHW)
    unit_KK = torch.eye(count, dtype=torch.float64)
    both_BSK = torch.cat([unit_KK, -unit_KK]).expand(len(x_BCHW), -1, -1)
    bound_BS = verifier.lower(graph, box, both_BSK)
    return Box(bound_BS[:, :count], -bound_BS[:, count:])


def margin_bounds(verifier: Lower, graph: Graph, x_BCHW: Tensor, *, eps: float, truth_B: Tensor) -> Tensor:
    """Lower bounds (B, K - 1) of the output of the truth minus each other one, in the order of the classes.

    A sample is verified where all of them are positive: no image within eps is taken for another class.

    Raises:
        PersonError: eps is not within 0 to 1.
        Unboundable: a layer cannot be bounded.
    """
    weights_BSK = margin_weights(truth_B, width(graph, x_BCHW))
    return verifier.lower(graph, ball(x_BCHW.double(), eps), weights_BSK)


def margin_weights(truth_B: Tensor, count: int) -> Tensor:
    """Rows `truth - other` for every other class, (B, K - 1, K), float64."""
    others_BK = torch.arange(count).expand(len(truth_B), -1) != truth_B.unsqueeze(1)
    return all_margins(truth_B, count)[others_BK].reshape(len(truth_B), count - 1, count)


def all_margins(truth_B: Tensor, count: int) -> Tensor:
    """Rows `truth - class` for every class, (B, K, K), float64; that of the truth is zero."""
    unit_KK = torch.eye(count, dtype=torch.float64, device=truth_B.device)
    return unit_KK[truth_B].unsqueeze(1) - unit_KK.unsqueeze(0)


def width(graph: Graph, x_BCHW: Tensor) -> int:
    """K, how many outputs the network has."""
    constant = next(iter(value for node in graph.nodes for value in node.constants.values()), x_BCHW)
    with torch.no_grad():
        return int(graph.run(x_BCHW[:1].to(constant.dtype)).shape[1])
