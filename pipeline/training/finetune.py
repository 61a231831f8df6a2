"""Train a changed network on for some steps, so that it regains what the change cost.

B batch, C channels, H height, W width, K outputs.
"""

import math
from typing import Any

import numpy as np
import torch
from torch import nn

from pipeline.core.errors import PersonError
from pipeline.core.keyed import seed as keyed_seed
from pipeline.core.progress import track
from pipeline.training.predict import to_batch
from pipeline.training.subset import Subset


def finetune(
    network: nn.Module, teacher: nn.Module, task: Any, train: Subset, *, steps: int, batch_size: int, lr: float, distil: float,
    seed: int,
) -> nn.Module:  # fmt: skip
    """Train in place, towards the truth and the outputs of the network that it came from (Hinton et al. 2015, arXiv 1503.02531).

    Args:
        network: what is trained; it ends in evaluation mode.
        teacher: the network before the change, in evaluation mode.
        task: loss of raw outputs.
        train: samples of the train split.
        steps: optimiser steps (AdamW, one warm step in ten, then a cosine).
        batch_size: samples a step.
        lr: peak learning rate.
        distil: weight of the mean squared difference from the teacher's raw outputs, beside the task's loss.
        seed: of the draws.

    Raises:
        PersonError: the loss is not finite.
    """
    optimiser = torch.optim.AdamW(network.parameters(), lr=lr, weight_decay=0.01)
    warm = max(1, steps // 10)
    weight = torch.from_numpy(train.weight.astype(np.float32))
    truth = torch.from_numpy(np.ascontiguousarray(train.truth))
    network.requires_grad_(requires_grad=True).train()
    torch.manual_seed(keyed_seed(seed, "finetune"))
    for step in track(range(steps), what="train on", total=steps):
        rows = np.random.default_rng(keyed_seed(seed, "finetune", step)).permutation(len(train))[:batch_size]
        x_BCHW = to_batch([train.samples.pixels(int(train.positions[row])) for row in rows])
        for group in optimiser.param_groups:
            group["lr"] = lr * min((step + 1) / warm, 0.5 + 0.5 * math.cos(math.pi * step / steps))
        optimiser.zero_grad()
        with torch.no_grad():
            wanted_BK = teacher(x_BCHW)
        found_BK = network(x_BCHW)
        weight_B = weight[torch.from_numpy(rows)]
        loss = (task.losses(found_BK, truth[torch.from_numpy(rows)]) * weight_B).sum() / weight_B.sum()
        loss = loss + distil * (found_BK - wanted_BK).square().mean()
        if not math.isfinite(loss.item()):
            raise PersonError(f"the loss of training on is not finite at step {step}: lower compress.tune_lr")
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
    network.requires_grad_(requires_grad=False).eval()  # of a traced network it returns nothing
    return network
