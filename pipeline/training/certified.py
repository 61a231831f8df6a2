"""Training for proofs: the loss of the worst outputs that bounds allow inside a ball, `train.robust=ibp` and `crown_ibp`.

Sources: S. Gowal et al., "On the Effectiveness of Interval Bound Propagation for Training Verifiably Robust Models" (arXiv
1810.12715), equation 12: (1 - k) times the loss of the images plus k times that of the worst outputs; radius and k rise over the
first steps. H. Zhang et al., "Towards Stable and Efficient Training of Verifiably Robust Neural Networks", ICLR 2020 (arXiv
1906.06316), equation 10: the worst outputs mixed from CROWN-IBP's bounds at the start to interval bounds in the end. Differs in:
batch norm inside the bounds uses the statistics of the clean batch while training, as the network itself does; for a real value
the worse end of its bounds.

B batch, C channels, H height, W width, K outputs.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.core.errors import PersonError
from pipeline.verification.backward import Relaxed
from pipeline.verification.graph import Graph
from pipeline.verification.intervals import Box, ball, propagate
from pipeline.verification.margins import all_margins
from pipeline.verification.tails import tail, tail_lower
from pipeline.verification.tracing import from_module

Weigh = Callable[[Callable[[Tensor], Tensor]], Tensor]
BatchNorm = nn.modules.batchnorm._BatchNorm  # noqa: SLF001 - the common class of 1d and 2d has no public name


@dataclass
class Certified:
    """The loss of a batch and of its worst outputs.

    Attributes:
        task: gives the losses; with classes the worst outputs are those of every other class at its highest margin.
        radius: of the L-infinity ball at a step, pixels in [0, 1].
        final: radius in the end.
        share: k in the end, in (0, 1].
        crown: mix in CROWN-IBP's bounds, from all at a radius of 0 to none at the final one.

    Raises:
        PersonError: the share is out of range.
    """

    task: Any
    radius: Callable[[int], float]
    final: float
    share: float
    crown: bool
    known: list[tuple[nn.Module, Graph]] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise PersonError(f"train.bound_share must lie in (0, 1]: received {self.share}")

    def __call__(self, model: nn.Module, x_BCHW: Tensor, weigh: Weigh, key: tuple[int, int, int]) -> Tensor:
        """Weighted losses (B,)."""
        eps = self.radius(key[0])
        x_BCHW = x_BCHW.clamp(0, 1)
        with _statistics(model) as found:
            output_BK = model(x_BCHW)
        clean_B = weigh(lambda truth_B: self.task.losses(output_BK, truth_B))
        risen = eps / self.final if self.final else 1.0
        with torch.autocast(x_BCHW.device.type, enabled=False):  # bounds in eight bits of precision bound nothing
            graph = with_statistics(self._graph(model, x_BCHW), found)
            bounds = Bounds(graph, ball(x_BCHW, eps), crown=1 - risen if self.crown else 0.0)
            worst_B = weigh(lambda truth_B: self._worst(bounds, truth_B))
        share = self.share * risen
        return (1 - share) * clean_B + share * worst_B

    def _worst(self, bounds: "Bounds", truth_B: Tensor) -> Tensor:
        """Largest loss (B,) that the bounds allow."""
        if not self.task.categories:
            low_BK, high_BK = bounds.outputs()
            return torch.maximum(self.task.losses(low_BK, truth_B), self.task.losses(high_BK, truth_B))
        losses_B: Tensor = self.task.losses(-bounds.margins(truth_B, self.task.categories), truth_B)
        return losses_B

    def _graph(self, model: nn.Module, x_BCHW: Tensor) -> Graph:
        """The graph of the live module, made once. Two images of the batch are its example."""
        if not self.known or self.known[0][0] is not model:
            example_BCHW = x_BCHW[:1].repeat(2, 1, 1, 1)
            self.known[:] = [(model, from_module(model, example_BCHW, live=True))]
        return self.known[0][1]


@dataclass
class Bounds:
    """Differentiable bounds of a batch.

    Attributes:
        graph: with live constants.
        box: of the images.
        crown: share of CROWN-IBP's bounds in them.
    """

    graph: Graph
    box: Box
    crown: float
    boxes: dict[str, Box] = field(default_factory=dict)

    def __post_init__(self) -> None:
        keep = None if self.crown else {node.name for node in tail(self.graph)}
        self.boxes = propagate(self.graph, self.box, keep=keep)

    def lower(self, weights_BSK: Tensor) -> Tensor:
        """Lower bounds (B, S) of linear functions of the outputs."""
        found_BS = tail_lower(self.graph, self.boxes, weights_BSK)
        if not self.crown:
            return found_BS
        crown_BS = Relaxed(self.graph, 0.0, self.boxes).lower(weights_BSK, self.graph.output.name)
        return self.crown * crown_BS + (1 - self.crown) * found_BS

    def margins(self, truth_B: Tensor, count: int) -> Tensor:
        """Lower bounds (B, K) of the truth's output minus each; 0 for the truth itself."""
        return self.lower(all_margins(truth_B, count).to(self.box.low))

    def outputs(self) -> Box:
        """Bounds (B, K) of the outputs."""
        count = self.boxes[self.graph.output.name].low.shape[1]
        unit_BKK = torch.eye(count).to(self.box.low).expand(len(self.box.low), -1, -1)
        return Box(self.lower(unit_BKK), -self.lower(-unit_BKK))


Statistics = dict[int, tuple[Tensor, Tensor]]


@contextmanager
def _statistics(model: nn.Module) -> Iterator[Statistics]:
    """Mean and variance of what enters each batch norm that is in training mode, by the identity of its running mean."""
    found: Statistics = {}

    def keep(module: Any, inputs: tuple[Tensor, ...]) -> None:
        dims = [dim for dim in range(inputs[0].ndim) if dim != 1]
        variance, mean = torch.var_mean(inputs[0].float(), dims, correction=0)
        found[id(module.running_mean)] = (mean, variance)

    hooks = [
        module.register_forward_pre_hook(keep)
        for module in model.modules()
        if isinstance(module, BatchNorm) and module.training and module.track_running_stats
    ]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def with_statistics(graph: Graph, found: Statistics) -> Graph:
    """The graph whose batch norms use these statistics instead of their stored ones."""
    if not found:
        return graph
    nodes = []
    for node in graph.nodes:
        own = found.get(id(node.constants.get("mean"))) if node.kind == "batch_norm" else None
        constants = node.constants if own is None else {**node.constants, "mean": own[0], "variance": own[1]}
        nodes.append(replace(node, constants=constants))
    return Graph(tuple(nodes))
