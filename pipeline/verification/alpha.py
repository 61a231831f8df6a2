"""Linear bounds with chosen slopes: alpha-CROWN.

Xu et al. 2021, "Fast and Complete: Enabling Complete Verification with Rapid and Massively Parallel Incomplete Verifiers" (arXiv
2011.13824), section 3.1: any slope of a line below an unstable ReLU is sound, so the slopes are climbed by gradient steps until
the bound is as high as it gets. Differs in: only the last bounds are climbed, inner ones stay CROWN's; clipping at two sides has
slopes to choose on both; the best bound of each function is kept, and CROWN's own slopes are where the climb starts, so that the
result is never below CROWN's.

B batch, S functions, K outputs.
"""

import torch
from torch import Tensor

from pipeline.verification.backward import Relaxed
from pipeline.verification.relaxation import CLIPS, Share, adaptive


def climb(relaxed: Relaxed, weights_BSK: Tensor, *, steps: int, rate: float, decay: float) -> Tensor:
    """Lower bounds (B, S) of linear functions of the outputs, after so many gradient steps on the slopes.

    Args:
        relaxed: the network around a box.
        weights_BSK: of its outputs.
        steps: of Adam.
        rate: of its steps, in shares of the largest slope.
        decay: factor of the rate after each step.
    """
    target = relaxed.graph.output.name
    with torch.no_grad():
        best_BS = relaxed.lower(weights_BSK, target)
    shares = _starts(relaxed, weights_BSK)
    parameters = [part for share in shares.values() for part in share]
    if not parameters or steps == 0:
        return best_BS
    climber = torch.optim.Adam(parameters, lr=rate, maximize=True)
    schedule = torch.optim.lr_scheduler.ExponentialLR(climber, decay)
    for number in range(steps + 1):
        with torch.enable_grad():
            bound_BS = relaxed.lower(weights_BSK, target, shares)
        best_BS = torch.maximum(best_BS, bound_BS.detach())
        if number == steps:
            break
        gradients = torch.autograd.grad(bound_BS.sum(), parameters, allow_unused=True)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        climber.step()
        schedule.step()
        with torch.no_grad():
            for parameter in parameters:
                parameter.clamp_(0, 1)
    return best_BS


def _starts(relaxed: Relaxed, weights_BSK: Tensor) -> dict[str, Share]:
    """CROWN's own shares of every piecewise straight activation, one for each function."""
    found = {}
    for node in relaxed.graph.nodes:
        if node.kind not in CLIPS:
            continue
        box = relaxed.boxes[node.inputs[0]]
        own = adaptive(node, box)
        size = (box.low.shape[0], weights_BSK.shape[1], *box.low.shape[1:])
        found[node.name] = Share(*(part.expand(size).clone().requires_grad_() for part in own))
    return found
