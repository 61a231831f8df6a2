"""A vision transformer for small images, trained from scratch.

Dosovitskiy et al. 2021, "An Image is Worth 16x16 Words" (arXiv 2010.11929), equations 1 to 4: patch embedding, class token,
learned positions, pre-norm blocks. Width, heads and depth of the smallest are DeiT-tiny's (Touvron et al. 2021, arXiv 2012.12877,
table 1), and so is stochastic depth (Huang et al. 2016, arXiv 1603.09382). Differs in: small patches, for images of 8 to 64 px.

B batch, C channels, H height, W width, T tokens, D width of a token, K outputs, h heads, d width of a head.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.backbone.weights import Origin, load_pretrained


class Attention(nn.Module):
    """Multi-head self-attention (Vaswani et al. 2017, section 3.2.2)."""

    def __init__(self, width: int, *, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        mixed_BhTd = functional.scaled_dot_product_attention(*self._parts(x_BTD))
        return self.out(mixed_BhTd.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]

    def weights(self, x_BTD: Tensor) -> Tensor:
        """What each token looks at, (B, h, T, T); rows sum to one."""
        query_BhTd, key_BhTd, _ = self._parts(x_BTD)
        scores_BhTT: Tensor = query_BhTd @ key_BhTd.transpose(2, 3) / query_BhTd.shape[3] ** 0.5
        return scores_BhTT.softmax(3)

    def _parts(self, x_BTD: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        parts_BThd = self.qkv(x_BTD).unflatten(2, (3, self.heads, -1))
        query, key, value = parts_BThd.permute(2, 0, 3, 1, 4).unbind(0)
        return query, key, value


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)); while training a sample skips each with probability `drop_path`."""

    def __init__(self, width: int, *, heads: int, mlp_ratio: float, dropout: float, drop_path: float) -> None:
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(width, eps=1e-6), Attention(width, heads=heads)
        inner = round(width * mlp_ratio)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = nn.Sequential(nn.Linear(width, inner), nn.GELU(), nn.Dropout(dropout), nn.Linear(inner, width))
        self.dropout, self.drop_path = nn.Dropout(dropout), drop_path

    def forward(self, x_BTD: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        x_BTD = x_BTD + self._kept(self.dropout(self.attention(self.norm1(x_BTD))))
        return x_BTD + self._kept(self.dropout(self.mlp(self.norm2(x_BTD))))

    def _kept(self, residual_BTD: Tensor) -> Tensor:
        if not self.training or self.drop_path == 0:
            return residual_BTD
        keep_B11 = torch.rand(len(residual_BTD), 1, 1, device=residual_BTD.device) >= self.drop_path
        return residual_BTD * keep_B11 / (1 - self.drop_path)


class Vit(nn.Module):
    """Vision transformer.

    Args:
        patch: side of a patch in pixels; must divide height and width.
        width: of a token; a multiple of `heads`.
        depth: blocks.
        heads: of each attention.
        mlp_ratio: units of the hidden layer of a block's perceptron, as a multiple of `width`.
        dropout: after attention and in the perceptron.
        drop_path: probability that the last block is skipped; it rises linearly from 0 at the first.
        weights: a .safetensors file of such a network to start from, or null; the head may be for other classes.
        weights_sha256: of that file, or null; a changed file of the same name is only seen with it.
        pretrained: false ignores `weights`.
        channels, height, width_pixels, outputs, mean, std: from the data.

    Raises:
        ValueError: the patch does not divide the image, the heads do not divide the width, or a number is out of range.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, *, channels: int, height: int, width_pixels: int, outputs: int, mean: Sequence[float], std: Sequence[float],
        patch: int = 4, width: int = 192, depth: int = 12, heads: int = 3, mlp_ratio: float = 4.0, dropout: float = 0.0,
        drop_path: float = 0.1, weights: str | None = None, weights_sha256: str | None = None, pretrained: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        if patch < 1 or height % patch or width_pixels % patch:
            raise ValueError(f"model.patch must divide the image of {height}x{width_pixels} pixels: received {patch}")
        if heads < 1 or width % heads:
            raise ValueError(f"model.width must be a multiple of model.heads={heads}: received {width}")
        if depth < 1 or not 0 <= drop_path < 1:
            raise ValueError(f"model.depth must be 1 or more, model.drop_path in [0, 1): received {depth} and {drop_path}")
        self.register_buffer("mean", torch.tensor(mean).view(1, channels, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, channels, 1, 1))
        self.patches = nn.Conv2d(channels, width, patch, patch)
        self.token = nn.Parameter(torch.zeros(1, 1, width))
        self.position = nn.Parameter(torch.zeros(1, 1 + (height // patch) * (width_pixels // patch), width))
        rates = [drop_path * number / max(1, depth - 1) for number in range(depth)]
        self.blocks = nn.Sequential(
            *(Block(width, heads=heads, mlp_ratio=mlp_ratio, dropout=dropout, drop_path=rate) for rate in rates)
        )
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.head = nn.Linear(width, outputs)
        self._start()
        self.origin: Origin | None = None
        if weights is not None and pretrained:
            self.origin = load_pretrained(self, weights=weights, sha256=weights_sha256, head=("head.weight", "head.bias"))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Pixels in [0, 1], (B, C, H, W) -> raw outputs (B, K)."""
        patches_BTD = self.patches((x_BCHW - self.mean) / self.std).flatten(2).transpose(1, 2)
        tokens_BTD = torch.cat([self.token.expand(x_BCHW.shape[0], -1, -1), patches_BTD], dim=1) + self.position
        return self.head(self.norm(self.blocks(tokens_BTD))[:, 0])  # type: ignore[no-any-return]

    def _start(self) -> None:
        """Truncated normal of deviation 0.02 for weights and positions, zero for biases, as in DeiT's code."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)
        nn.init.trunc_normal_(self.position, std=0.02)
        nn.init.trunc_normal_(self.token, std=0.02)
