"""Mixup and CutMix: a batch whose images are each made of two, and a loss that is made of two likewise.

Sources: H. Zhang, M. Cisse, Y. N. Dauphin and D. Lopez-Paz, "mixup: Beyond Empirical Risk Minimization", ICLR 2018, arXiv
1710.09412, section 2; S. Yun et al., "CutMix: Regularization Strategy to Train Strong Classifiers with Localizable Features",
ICCV 2019, arXiv 1905.04899, equations 1 and 2 and algorithm A1. As in both authors' code, one share is drawn for a batch and
partners are a permutation of it. The loss is the weighted sum of the losses for both truths, which for cross-entropy equals the
loss for the mixed label, and serves any task; each truth counts with the weight of its own sample.

B batch, C channels, H height, W width.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pipeline.core.errors import PersonError, near_match
from pipeline.core.keyed import generator

KINDS = ("none", "mixup", "cutmix")


@dataclass(frozen=True)
class Mixed:
    """A mixed batch.

    Attributes:
        x_BCHW: the images.
        share: of the sample itself in each of them; the rest is its partner's.
        partner_B: place of each one's partner in the batch, or None where nothing was mixed.
    """

    x_BCHW: Tensor
    share: float = 1.0
    partner_B: Tensor | None = None

    def weigh(
        self, losses: Callable[[Tensor], Tensor], truth_B: Tensor, weight_B: Tensor, part: slice = slice(None)
    ) -> Tensor:  # fmt: skip
        """Weighted losses of a part of the batch, (B,): for the samples' own truths, and for their partners', by their shares.

        Args:
            losses: from truths of the part to its losses.
            truth_B: of the whole batch.
            weight_B: of the whole batch.
            part: places in the batch; partners may lie outside.
        """
        own_B: Tensor = losses(truth_B[part]) * weight_B[part]
        if self.partner_B is None:
            return own_B
        partner_B = self.partner_B[part]
        other_B = losses(truth_B[partner_B]) * weight_B[partner_B]
        return self.share * own_B + (1 - self.share) * other_B


@dataclass(frozen=True)
class Mixer:
    """Mixes batches; what it draws is a function of (seed, step, rank) alone, so that a resumed run draws the same.

    Attributes:
        kind: none, mixup or cutmix.
        alpha: the share is drawn from Beta(alpha, alpha).
        seed: of the draws.

    Raises:
        PersonError: an unknown kind, or alpha is not positive.
    """

    kind: str
    alpha: float
    seed: int

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise PersonError(f"train.mix {self.kind!r} is not known: {near_match(self.kind, KINDS)}")
        if not self.alpha > 0:
            raise PersonError(f"train.mix_alpha must be positive: received {self.alpha}")

    def check(self, *, images: bool) -> None:
        """Raise PersonError where there are no images to mix."""
        if self.kind != "none" and not images:
            raise PersonError(
                f"train.mix={self.kind} mixes images, but this model is trained on features that embed cached: "
                "set  train.mix=none, or train on images with a model whose trunk is not frozen (model.trainable_blocks above 0)"
            )

    def __call__(self, x_BCHW: Tensor, step: int, rank: int) -> Mixed:
        """Mix one batch; the input is not changed."""
        if self.kind == "none":
            return Mixed(x_BCHW)
        rng = generator(self.seed, "mix", step, rank)
        share = float(rng.beta(self.alpha, self.alpha))
        partner_B = torch.from_numpy(rng.permutation(len(x_BCHW))).to(x_BCHW.device)
        if self.kind == "mixup":
            return Mixed(share * x_BCHW + (1 - share) * x_BCHW[partner_B], share, partner_B)
        top, bottom, left, right = _box(rng, share, height=x_BCHW.shape[2], width=x_BCHW.shape[3])
        mixed_BCHW = x_BCHW.clone()
        mixed_BCHW[:, :, top:bottom, left:right] = x_BCHW[partner_B, :, top:bottom, left:right]
        cut = (bottom - top) * (right - left) / (x_BCHW.shape[2] * x_BCHW.shape[3])
        return Mixed(mixed_BCHW, 1 - cut, partner_B)


def _box(rng: np.random.Generator, share: float, *, height: int, width: int) -> tuple[int, int, int, int]:
    """Rows and columns to cut: sides are sqrt(1 - share) of the image's, the centre is uniform, and the frame cuts it off."""
    side = np.sqrt(1 - share)
    down, across = int(height * side), int(width * side)
    row, column = int(rng.integers(height)), int(rng.integers(width))
    top, left = max(row - down // 2, 0), max(column - across // 2, 0)
    return top, min(row - down // 2 + down, height), left, min(column - across // 2 + across, width)
