"""What every attack promises, checked after each: an attack that breaks one is a bug of ours and ends the stage.

N samples, C channels, H height, W width, K columns of a decoded prediction.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.adversarial.ball import distance, slack

TOLERANCE = 1e-5  # of a loss, by which another batch size may change it


@dataclass(frozen=True)
class Seen:
    """Images, and what the model makes of them.

    Attributes:
        x_NCHW: pixels in [0, 1].
        prediction_NK: decoded.
        loss_N: of each sample.
        wrong_N: whether its class is wrong; never for a value.
    """

    x_NCHW: Tensor
    prediction_NK: NDArray[np.float32]
    loss_N: Tensor
    wrong_N: Tensor


def check_promises(clean: Seen, after: Seen, *, eps: float, norm: str) -> None:
    """Hold an attack to its promises.

    Args:
        clean: the images before.
        after: and after.
        eps: radius.
        norm: linf or l2.

    Raises:
        RuntimeError: an image left its ball or [0, 1], or a sample is better off: a mistake set right, or a lower loss without a
            new mistake.
    """
    moved = float(distance(after.x_NCHW, clean.x_NCHW, norm).max()) if len(clean.x_NCHW) else 0.0
    low, high = (float(after.x_NCHW.min()), float(after.x_NCHW.max())) if len(clean.x_NCHW) else (0.0, 0.0)
    lower_N = after.loss_N < clean.loss_N - TOLERANCE * (1 + clean.loss_N.abs())
    fallen = int((lower_N & ~(after.wrong_N & ~clean.wrong_N)).sum())
    righted = int((clean.wrong_N & ~after.wrong_N).sum())
    if not moved <= eps + slack(eps):
        raise RuntimeError(f"an attack of radius {eps:.5f} ({norm}) moved an image by {moved:.5f}")
    if low < 0 or high > 1:
        raise RuntimeError(f"an attack left the range [0, 1] of pixels: {low:.5f} to {high:.5f}")
    if fallen or not bool(torch.isfinite(after.loss_N).all()):
        raise RuntimeError(f"an attack lowered the loss of {fallen} of {len(clean.loss_N)} samples, or made it not finite")
    if righted:
        raise RuntimeError(f"an attack set {righted} wrong predictions right: attacked accuracy would exceed the clean one")
