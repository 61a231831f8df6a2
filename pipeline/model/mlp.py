"""A multi-layer perceptron on raw pixels: the smallest network, for small images and for comparison.

B batch, C channels, H height, W width, K outputs.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn


class Mlp(nn.Module):
    """Fully connected layers with ReLU.

    Args:
        hidden: units of each hidden layer.
        dropout: after each hidden layer.
        channels, height, width_pixels, outputs, mean, std: from the data.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, *, channels: int, height: int, width_pixels: int, outputs: int, mean: Sequence[float], std: Sequence[float],
        hidden: Sequence[int] = (64, 64), dropout: float = 0.1,
    ) -> None:  # fmt: skip
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, channels, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, channels, 1, 1))
        sizes = [channels * height * width_pixels, *hidden]
        layers: list[nn.Module] = []
        for before, after in pairwise(sizes):
            layers += [nn.Linear(before, after), nn.ReLU(), nn.Dropout(dropout)]
        self.layers = nn.Sequential(*layers, nn.Linear(sizes[-1], outputs))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Pixels in [0, 1], (B, C, H, W) -> raw outputs (B, K)."""
        return self.layers(((x_BCHW - self.mean) / self.std).flatten(1))  # type: ignore[no-any-return]
