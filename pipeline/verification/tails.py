"""The straight end of a network: a linear function of the outputs as one of the last bent layer.

Gowal et al. 2018 (arXiv 1810.12715), section 3: the last linear layer and the function of the outputs are merged before intervals
are used, which is tighter than subtracting the bounds of two outputs.
"""

from collections.abc import Mapping

from torch import Tensor

from pipeline.verification.backward import BENT
from pipeline.verification.graph import Graph, Node
from pipeline.verification.intervals import Box, noisy_step
from pipeline.verification.transposed import settle, through, total

STOPS = BENT | {"input", "concat", "add", "sub"}


def tail(graph: Graph) -> list[Node]:
    """The straight end, from the output back, and the node before it."""
    nodes = [graph.output]
    while nodes[-1].kind not in STOPS:
        nodes.append(graph.node(nodes[-1].inputs[0]))
    return nodes


def tail_lower(graph: Graph, boxes: Mapping[str, Box], weights_BSK: Tensor, *, unit: float = 0.0) -> Tensor:
    """Lower bounds (B, S) of linear functions of the outputs, from the box of the node before the straight end.

    Args:
        graph: the network.
        boxes: of every node of `tail`.
        weights_BSK: of the outputs.
        unit: of rounding; 0 for exact arithmetic.
    """
    *straight, first = tail(graph)
    carried, constant = weights_BSK, weights_BSK.new_zeros(weights_BSK.shape[:2])
    for node in straight:
        inputs = [boxes[name] for name in node.inputs]
        slopes, added = through(node, carried, inputs, None)
        noise = noisy_step(node, inputs, unit=unit)[1] if unit else None
        constant = constant + added
        if noise is not None:
            constant = constant - total(carried.abs() * noise.unsqueeze(1))
        carried = slopes[0]
    return constant + settle(carried, boxes[first.name], careful=unit > 0)
