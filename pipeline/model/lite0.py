"""Transfer from EfficientNet-Lite0 (Tan & Le 2019, arXiv 1905.11946; the Lite variant drops squeeze-excitation and swish).

Mean and maximum of several levels are pooled: a crack is a local texture, and the last level's mean alone loses it (measured
on ELPV by blocks with a linear head: AUROC .824 for the last mean, .837 with mean and maximum of four levels).
With `trainable_blocks: 0` the trunk is frozen and training runs on the features that embed computed once.

B batch, C channels, H height, W width, D features, K outputs.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.backbone.lite0 import BLOCKS, DISTRIBUTION, build_lite0, check_features, feature_count, load_lite0, pooled_features
from pipeline.backbone.weights import Origin


class Head(nn.Module):
    """Standardised features, dropout, one linear layer."""

    mean: Tensor
    std: Tensor

    def __init__(self, dimension: int, outputs: int, *, dropout: float) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(dimension))
        self.register_buffer("std", torch.ones(dimension))
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(dimension, outputs)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, features_BD: Tensor) -> Tensor:
        """(B, D) -> raw outputs (B, K)."""
        return self.linear(self.dropout((features_BD - self.mean) / self.std))  # type: ignore[no-any-return]


class Lite0(nn.Module):
    """EfficientNet-Lite0 with a linear head on pooled features of several levels.

    Args:
        levels: blocks (0 to 6) whose output is pooled, beside the final 1280 channels.
        pool: which statistics over height and width: mean, max.
        trainable_blocks: how many of the seven blocks, from the last, are fine-tuned; 0 freezes the trunk.
        dropout: before the head.
        l2: penalty on the squared weights of the head.
        trunk_rate: learning rate of the trunk, as a factor of train.lr.
        weights_sha256: of the pretrained weights.
        channels, height, width_pixels, outputs, mean, std: from the data; mean and std are not used, since the trunk has its own.

    Raises:
        ValueError: trainable_blocks is not within 0 to 7.
    """

    def __init__(
        self, *, channels: int, height: int, width_pixels: int, outputs: int, mean: Sequence[float], std: Sequence[float],
        levels: Sequence[int] = (2, 4, 6), pool: Sequence[str] = ("mean", "max"), trainable_blocks: int = 0, dropout: float = 0.0,
        l2: float = 0.0, trunk_rate: float = 0.1, weights_sha256: str = "", pretrained: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        if not 0 <= trainable_blocks <= BLOCKS:
            raise ValueError(f"model.trainable_blocks must be within 0 to {BLOCKS}: received {trainable_blocks}")
        check_features(levels, pool)
        self.levels, self.pool, self.trainable_blocks = tuple(levels), tuple(pool), trainable_blocks
        self.l2, self.trunk_rate, self.weights_sha256 = l2, trunk_rate, weights_sha256
        self.network = load_lite0(weights_sha256) if pretrained else build_lite0()
        self.origin: Origin | None = None
        if pretrained:
            self.origin = {"from": "package", "file": DISTRIBUTION, "sha256": weights_sha256}
        self.network.requires_grad_(False)
        for block in self._trained_modules():
            block.requires_grad_(True)
        self.head = Head(feature_count(self.levels, self.pool), outputs, dropout=dropout)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Pixels in [0, 1], (B, C, H, W) -> raw outputs (B, K)."""
        return self.head(self.features(x_BCHW))  # type: ignore[no-any-return]

    def features(self, x_BCHW: Tensor) -> Tensor:
        """Pooled features (B, D)."""
        return pooled_features(self.network, x_BCHW, self.levels, self.pool)

    def train(self, mode: bool = True) -> "Lite0":
        """Batch norm of the trunk keeps its ImageNet statistics: batches here are small and of one kind."""
        super().train(mode)
        self.network.eval()
        return self

    def trunk(self) -> dict[str, Any] | None:
        """What embed must have computed for training to run on its features; None when the trunk is trained."""
        if self.trainable_blocks:
            return None
        return {"name": "lite0", "weights_sha256": self.weights_sha256, "levels": list(self.levels), "pool": list(self.pool)}

    def fit_head(self, features_ND: Tensor) -> None:
        """Set the head's standardisation from the train split's features (N, D)."""
        self.head.mean.copy_(features_ND.mean(0))
        self.head.std.copy_(features_ND.std(0).clamp_min(1e-6))

    def penalty(self) -> Tensor:
        """L2 penalty of the head: with it and cross-entropy the head is a logistic regression."""
        return self.l2 * self.head.linear.weight.square().sum()

    def learning_rates(self) -> dict[str, float]:
        """The trunk learns more slowly than the new head."""
        return {"network": self.trunk_rate}

    def _trained_modules(self) -> list[nn.Module]:
        if self.trainable_blocks == 0:
            return []
        network: Any = self.network
        return [*list(network.blocks)[BLOCKS - self.trainable_blocks :], network.conv_head, network.bn2]
