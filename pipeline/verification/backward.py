"""Linear bound propagation: lower bounds of linear functions of a layer, carried back to the pixels (CROWN).

Zhang et al. 2018, "Efficient Neural Network Robustness Certification with General Activation Functions" (arXiv 1811.00866),
theorem 3.2; on graphs with joins as Xu et al. 2020, "Automatic Perturbation Analysis for Scalable Certified Robustness and
Beyond" (arXiv 2002.12920), algorithm 1. Bounds of inner layers come first, since the lines of an activation stand on them.
Differs in: inner bounds are met with those of interval propagation, only neurons whose activation bends inside their box are
bounded anew, a layer with too many of them keeps its interval bounds (CROWN-IBP, Zhang et al. 2020, arXiv 1906.06316), and
every bound moves outwards by the rounding of the artifact's arithmetic.

B batch, S functions, N elements of a layer.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from pipeline.verification.graph import Graph, Node
from pipeline.verification.intervals import Box, noisy_step
from pipeline.verification.relaxation import CLIPS, CURVES, Lines, Share, corners, lines
from pipeline.verification.transposed import Step, settle, through, total

ACTIVATIONS = frozenset(CLIPS) | frozenset(CURVES)
BENT = ACTIVATIONS | {"mul", "max_pool"}  # what needs the box of its input
MOVED = frozenset({  # each output is one input, scaled or not: a box stays a box
    "affine", "batch_norm", "scale", "shift", "flatten", "reshape", "transpose", "slice", "pad",
})  # fmt: skip
SUMS = frozenset({"linear", "conv", "avg_pool", "mean", "resize"})  # of a box: exact by intervals, but no box any more


@dataclass(frozen=True)
class Effort:
    """How much is done.

    Attributes:
        neurons: of one layer and image whose activation bends inside its box, above which the layer keeps interval bounds; 0 does
            so for every layer.
        numbers: of the tensor that one pass carries back, at most: memory.
        passes: of that size that one layer of one image may take, above which it keeps interval bounds: time.
        intersect: meet inner bounds with those of intervals; false is the method as published.
    """

    neurons: int
    numbers: int = 2**24
    passes: int = 8
    intersect: bool = True


@dataclass
class Relaxed:
    """A network around a box of images: boxes of all layers, and what follows from them.

    Attributes:
        graph: the network.
        unit: of rounding; 0 for exact arithmetic.
        boxes: of each node.
        noises: largest rounding error of each node's output, where there is one.
        drawn: lines of activations with CROWN's own slopes, once they were asked for.
    """

    graph: Graph
    unit: float
    boxes: dict[str, Box] = field(default_factory=dict)
    noises: dict[str, Tensor] = field(default_factory=dict)
    drawn: dict[str, Lines] = field(default_factory=dict)

    def add(self, node: Node) -> Box:
        """The interval of the next node, from the boxes of its inputs."""
        found, noise = noisy_step(node, [self.boxes[name] for name in node.inputs], unit=self.unit)
        if noise is not None:
            self.noises[node.name] = noise
        self.boxes[node.name] = found
        return found

    def lower(self, weights: Tensor, target: str, shares: Mapping[str, Share] | None = None) -> Tensor:
        """Lower bounds (B, S) of linear functions of a node.

        Args:
            weights: (B, S, ...) of the node's output.
            target: its name; the boxes of all nodes before it are known.
            shares: slopes of activations that are not CROWN's own.
        """
        pending, constant = {target: weights}, weights.new_zeros(weights.shape[:2])
        for node in reversed(self.graph.nodes):
            if node.name not in pending:
                continue
            carried = pending.pop(node.name)
            if node.kind == "input":
                return constant + settle(carried, self.boxes[node.name], careful=self.unit > 0)
            slopes, added = self._step(node, carried, shares)
            constant = constant + added
            for name, slope in zip(node.inputs, slopes, strict=True):
                pending[name] = pending[name] + slope if name in pending else slope
        return constant

    def _step(self, node: Node, carried: Tensor, shares: Mapping[str, Share] | None) -> Step:
        boxes = [self.boxes[name] for name in node.inputs]
        drawn = self._lines(node, boxes[0], shares) if node.kind in ACTIVATIONS else None
        slopes, constant = through(node, carried, boxes, drawn)
        noise = self.noises.get(node.name)
        return slopes, constant if noise is None else constant - total(carried.abs() * noise.unsqueeze(1))

    def _lines(self, node: Node, box: Box, shares: Mapping[str, Share] | None) -> Lines:
        if shares is not None and node.name in shares:
            return lines(node, box, shares[node.name])
        if node.name not in self.drawn:
            self.drawn[node.name] = lines(node, box)
        return self.drawn[node.name]


def relax(graph: Graph, box: Box, *, unit: float, effort: Effort) -> Relaxed:
    """Boxes of all layers around a box of images.

    Raises:
        Unboundable: no bound of a node is known.
    """
    first = graph.nodes[0].name
    found = Relaxed(graph, unit, {first: box})
    users = _users(graph)
    boxed, exact = {first}, {first}
    for node in graph.nodes[1:]:
        found.add(node)
        if node.kind in MOVED and node.inputs[0] in boxed:
            boxed.add(node.name)
        if (node.kind in SUMS and node.inputs[0] in boxed) or (node.kind in MOVED and node.inputs[0] in exact):
            exact.add(node.name)
        matters = node.name not in exact and node.kind not in BENT and any(user.kind in BENT for user in users[node.name])
        if effort.neurons and matters:
            _tighten(found, node, users[node.name], effort)
    return found


def _users(graph: Graph) -> dict[str, list[Node]]:
    found: dict[str, list[Node]] = {node.name: [] for node in graph.nodes}
    for node in graph.nodes:
        for name in node.inputs:
            found[name].append(node)
    return found


def _tighten(relaxed: Relaxed, node: Node, users: list[Node], effort: Effort) -> None:
    """Bound a layer's neurons by CROWN where it matters to the activations that read them."""
    box = relaxed.boxes[node.name]
    bent_BN = _bent(box, users).flatten(1)
    count = int(bent_BN.sum(1).max())
    widest = max(known.low[0].numel() for known in relaxed.boxes.values())
    if count == 0 or count > effort.neurons or 2 * count * widest > effort.numbers * effort.passes:
        return
    order_BM = torch.argsort(bent_BN.to(torch.int8), dim=1, descending=True, stable=True)[:, :count]
    low_BN, high_BN = box.low.flatten(1).clone(), box.high.flatten(1).clone()
    rows_a_pass = max(1, effort.numbers // (2 * widest * len(order_BM)))
    for place_BM in torch.split(order_BM, rows_a_pass, dim=1):
        batch, rows = place_BM.shape
        weights = low_BN.new_zeros((batch, rows, low_BN.shape[1])).scatter_(2, place_BM.unsqueeze(2), 1.0)
        weights = torch.cat([weights, -weights], 1).reshape(batch, 2 * rows, *box.low.shape[1:])
        bound_BS = relaxed.lower(weights, node.name)
        low_BM, high_BM = bound_BS[:, :rows], -bound_BS[:, rows:]
        if effort.intersect:
            low_BM = torch.maximum(low_BM, low_BN.gather(1, place_BM))
            high_BM = torch.minimum(high_BM, high_BN.gather(1, place_BM))
        low_BN, high_BN = low_BN.scatter(1, place_BM, low_BM), high_BN.scatter(1, place_BM, high_BM)
    relaxed.boxes[node.name] = Box(low_BN.reshape(box.low.shape), high_BN.reshape(box.high.shape))


def _bent(box: Box, users: list[Node]) -> Tensor:
    """Whether an activation that reads a neuron is not straight over its box, (B, ...)."""
    found = torch.zeros_like(box.low, dtype=torch.bool)
    for user in users:
        ends = corners(user, box.low.ndim) if user.kind in CLIPS else None
        if ends is not None and user.kind != "quantise":
            first, last = ends
            found |= ((box.low < first) & (box.high > first)) | ((box.low < last) & (box.high > last))
        elif user.kind in BENT:
            found |= box.high > box.low
    return found
