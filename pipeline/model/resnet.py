"""A small residual network, trained from scratch.

He et al. 2016, "Identity Mappings in Deep Residual Networks" (arXiv 1603.05027): pre-activation basic blocks, figure 1b.
Differs in: a 3x3 stem, max and mean pooling side by side before the head (small defects survive the maximum).

B batch, C channels, H height, W width, F features, K outputs.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.backbone.weights import Origin, load_pretrained


class Block(nn.Module):
    """Pre-activation basic block: BN, ReLU, 3x3, BN, ReLU, 3x3, plus the shortcut."""

    def __init__(self, before: int, after: int, *, stride: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(before)
        self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        same = stride == 1 and before == after
        self.shortcut = nn.Identity() if same else nn.Conv2d(before, after, 1, stride, bias=False)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """(B, before, H, W) -> (B, after, H / stride, W / stride)."""
        active_BCHW = functional.relu(self.norm1(x_BCHW))
        residual_BCHW = self.conv2(functional.relu(self.norm2(self.conv1(active_BCHW))))
        return residual_BCHW + self.shortcut(active_BCHW)  # type: ignore[no-any-return]


class ResNet(nn.Module):
    """Residual network of `stages` resolutions, each halving the side and doubling the width.

    Args:
        width: channels of the first stage.
        blocks: blocks a stage.
        stages: resolutions; the input's shorter side should be at least 2 ** (stages - 1) pixels.
        dropout: before the head.
        weights: a .safetensors file of such a network to start from, or null; the head may be for other classes.
        weights_sha256: of that file, or null; a changed file of the same name is only seen with it.
        pretrained: false ignores `weights`.
        channels, height, width_pixels, outputs, mean, std: from the data.

    Raises:
        ValueError: the image is too small for the number of stages.
        PersonError: weights of another shape.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, *, channels: int, height: int, width_pixels: int, outputs: int, mean: Sequence[float], std: Sequence[float],
        width: int = 16, blocks: int = 1, stages: int = 3, dropout: float = 0.1, weights: str | None = None,
        weights_sha256: str | None = None, pretrained: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        if min(height, width_pixels) < 2 ** (stages - 1):
            raise ValueError(
                f"model.stages={stages} needs images of at least {2 ** (stages - 1)} pixels: received {height}x{width_pixels}"
            )
        self.register_buffer("mean", torch.tensor(mean).view(1, channels, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, channels, 1, 1))
        widths = [width * 2**number for number in range(stages)]
        layers: list[nn.Module] = [nn.Conv2d(channels, width, 3, 1, 1, bias=False)]
        before = width
        for number, after in enumerate(widths):
            for block in range(blocks):
                layers.append(Block(before, after, stride=2 if number and block == 0 else 1))
                before = after
        self.trunk_layers = nn.Sequential(*layers, nn.BatchNorm2d(before), nn.ReLU())
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(2 * before, outputs)
        self.origin: Origin | None = None
        if weights is not None and pretrained:
            self.origin = load_pretrained(self, weights=weights, sha256=weights_sha256, head=("head.weight", "head.bias"))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Pixels in [0, 1], (B, C, H, W) -> raw outputs (B, K)."""
        h_BFhw = self.trunk_layers((x_BCHW - self.mean) / self.std)
        pooled_BF = torch.cat([h_BFhw.mean((2, 3)), h_BFhw.amax((2, 3))], dim=1)
        return self.head(self.dropout(pooled_BF))  # type: ignore[no-any-return]
