"""A short training to find out whether samples help: a linear head on features, or a small network on small images.

B batch, C channels, H height, W width, N samples, D features, K outputs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.core.keyed import generator
from pipeline.core.keyed import seed as keyed_seed

WIDTH = 16  # channels of the first layer of the small network


@dataclass(frozen=True)
class Pool:
    """Samples to train on.

    Attributes:
        x: features (N, D) float32, or uint8 images (N, H, W, C).
        truth_N: truths of the task.
        weight_N: of the loss.
    """

    x: NDArray[Any]
    truth_N: NDArray[Any]
    weight_N: NDArray[np.float32]

    def shuffled(self, order: NDArray[np.int64]) -> "Pool":
        """The same samples, each with the truth and weight of another."""
        return Pool(self.x, self.truth_N[order], self.weight_N[order])


@dataclass(frozen=True)
class Recipe:
    """Numbers of the training; equal for every arm.

    Attributes:
        steps: optimiser steps.
        batch_size: samples a step.
        lr: peak learning rate of AdamW, which falls linearly to zero.
    """

    steps: int
    batch_size: int
    lr: float


def predict(
    real: Pool, held: NDArray[Any], *, extra: Pool | None = None, share: float = 0.0, task: Any, recipe: Recipe, seed: int
) -> NDArray[np.float32]:  # fmt: skip
    """Train from scratch and predict the held-out samples.

    The first weights and the real samples of each step depend on the seed alone, so that two arms of one seed are a pair: they
    differ only in the places of a batch that `extra` takes.

    Args:
        real: training samples.
        held: what to predict, as `Pool.x`.
        extra: samples that take `share` of the places of each batch, on average.
        share: in [0, 1].
        task: gives the losses and the decoding.
        recipe: numbers of the training.
        seed: of the pair.

    Returns:
        Decoded predictions (N, K).
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(keyed_seed(seed, "trial", "init"))
        network = _network(real.x, task.outputs())
    optimiser = torch.optim.AdamW(network.parameters(), recipe.lr)
    falling = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 1.0 / recipe.steps, recipe.steps)
    for places in _places(real, extra, share=share, recipe=recipe, seed=seed):
        x = np.concatenate([pool.x[where] for pool, where in places])
        truth_B = torch.from_numpy(np.concatenate([pool.truth_N[where] for pool, where in places]))
        weight_B = torch.from_numpy(np.concatenate([pool.weight_N[where] for pool, where in places]))
        optimiser.zero_grad()
        loss = (task.losses(network(_tensor(x)), truth_B) * weight_B).sum() / weight_B.sum()
        loss.backward()
        optimiser.step()
        falling.step()
    network.eval()
    with torch.inference_mode():
        blocks = [task.decode(network(_tensor(held[start : start + 256]))) for start in range(0, len(held), 256)]
    predicted_NK: NDArray[np.float32] = torch.cat(blocks).numpy()
    return predicted_NK


def _places(
    real: Pool, extra: Pool | None, *, share: float, recipe: Recipe, seed: int
) -> list[list[tuple[Pool, NDArray[np.int64]]]]:  # fmt: skip
    """Of each step, which samples of which pool."""
    shape = (recipe.steps, recipe.batch_size)
    real_SB = generator(seed, "trial", "real").integers(0, len(real.truth_N), shape)
    if extra is None or share == 0:
        return [[(real, real_B)] for real_B in real_SB]
    taken_SB = generator(seed, "trial", "taken").random(shape) < share
    extra_SB = generator(seed, "trial", "extra").integers(0, len(extra.truth_N), shape)
    return [
        [(real, real_B[~taken_B]), (extra, extra_B[taken_B])]
        for real_B, taken_B, extra_B in zip(real_SB, taken_SB, extra_SB, strict=True)
    ]


def _network(x: NDArray[Any], outputs: int) -> nn.Module:
    if x.ndim == 2:
        head = nn.Linear(x.shape[1], outputs)
        nn.init.zeros_(head.weight)
        return head
    layers: list[nn.Module] = []
    plan: Sequence[int] = (x.shape[3], WIDTH, 2 * WIDTH, 4 * WIDTH)
    for before, after in pairwise(plan):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.GroupNorm(4, after), nn.ReLU(), nn.MaxPool2d(2, ceil_mode=True)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * plan[-1], outputs))


def _tensor(x: NDArray[Any]) -> Tensor:
    if x.ndim == 2:
        return torch.from_numpy(np.ascontiguousarray(x, dtype=np.float32))
    return torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2), dtype=np.float32)) / 127.5 - 1
