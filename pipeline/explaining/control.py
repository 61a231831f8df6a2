"""A network that knows nothing, to ask whether an explanation shows the trained one.

Source: Adebayo et al. 2018, "Sanity checks for saliency maps", arXiv 1810.03292, section 3: compare maps of the trained network
with those of one whose parameters were randomised. Differs in: every tensor's elements are shuffled instead of drawn anew, so
that each layer keeps its scale, and the statistics of batch norms are measured again, so that signals neither die nor explode.

B batch, C channels, H height, W width.
"""

import copy

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def randomised(model: nn.Module, x_BCHW: Tensor, rng: torch.Generator) -> nn.Module:
    """A copy of the network with shuffled weights, in evaluation mode; the original is untouched.

    Args:
        model: the trained network.
        x_BCHW: images for the statistics of batch norms; with fewer than two these stay.
        rng: of the shuffles.
    """
    other = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in other.parameters():
            order = torch.randperm(parameter.numel(), generator=rng)
            parameter.copy_(parameter.flatten()[order].view_as(parameter))
        norms = [module for module in other.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]
        if norms and len(x_BCHW) > 1:
            for norm in norms:
                norm.reset_running_stats()
                norm.momentum = None  # a plain average
                norm.train()
            other(x_BCHW)
    return other.eval()


def rank_correlation(first_BHW: NDArray[np.float32], second_BHW: NDArray[np.float32]) -> NDArray[np.float64]:
    """Spearman's rank correlation of each pair of maps, (B,); 0 where one of them is constant."""
    from scipy.stats import rankdata

    values = []
    for first_HW, second_HW in zip(first_BHW, second_BHW, strict=True):
        ranks = [rankdata(map_HW.ravel()) for map_HW in (first_HW, second_HW)]
        spreads = [float(rank.std()) for rank in ranks]
        centred = [rank - rank.mean() for rank in ranks]
        values.append(float((centred[0] * centred[1]).mean() / (spreads[0] * spreads[1])) if min(spreads) > 0 else 0.0)
    return np.asarray(values)
