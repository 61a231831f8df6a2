"""Structured pruning: whole channels go, with everything that depends on them, so that the network is faster on any processor.

Source: Fang et al. 2023, DepGraph, arXiv 2301.12900 (torch-pruning): layers that share channels are pruned together; the channels
with the smallest weights (group L2 norm, normalised by layer) go first, of the whole network or by the same share of each layer.

B batch, C channels, H height, W width.
"""

import copy
import warnings
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from pipeline.core.errors import PersonError


class Prune:
    """Takes channels away.

    Args:
        share: of the channels (0 to 1).
        everywhere: the same share of each layer; else the least important of the whole network.
        round_to: channels a layer keeps are a multiple of this, which kernels like.

    Raises:
        PersonError: a share outside (0, 1).
    """

    order = 0

    def __init__(self, *, share: float = 0.5, everywhere: bool = True, round_to: int = 4) -> None:
        if not 0 < share < 1:
            raise PersonError(f"shrinker.prune.share must lie between 0 and 1: received {share}")
        self.share, self.everywhere, self.round_to = share, everywhere, round_to

    def shrink(self, network: nn.Module, batches: Callable[[], Iterable[Tensor]]) -> nn.Module:
        """A copy with fewer channels.

        Args:
            network: pixels in [0, 1] (B, C, H, W) -> raw outputs; its last layer keeps its outputs.
            batches: images of the train split; the first one shows how layers depend on each other.

        Raises:
            PersonError: a network whose layers cannot be told apart, or in which nothing can go.
        """
        import torch_pruning

        small = copy.deepcopy(network).eval().requires_grad_(requires_grad=True)
        example_BCHW = next(iter(batches()))[:2].clone()
        layers = [module for module in small.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
        if len(layers) < 2:
            raise PersonError("a network of one layer has no channels to prune: choose  shrinker=none")
        before = sum(parameter.numel() for parameter in small.parameters())
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                torch_pruning.pruner.BasePruner(
                    small, example_BCHW, importance=torch_pruning.importance.GroupMagnitudeImportance(p=2),
                    pruning_ratio=self.share, global_pruning=not self.everywhere, ignored_layers=[layers[-1]],
                    round_to=self.round_to,
                ).step()  # fmt: skip
                with torch.no_grad():
                    small(example_BCHW)
        except (RuntimeError, ValueError, KeyError, AttributeError, IndexError, AssertionError) as error:
            told = (str(error).splitlines() or [""])[0][:160]
            raise PersonError(
                f"this network cannot be pruned by channels ({type(error).__name__}: {told}): choose  shrinker=[project]"
            ) from error
        if sum(parameter.numel() for parameter in small.parameters()) >= before:
            raise PersonError("pruning took nothing away: raise shrinker.prune.share, or lower shrinker.prune.round_to")
        return small.eval()
