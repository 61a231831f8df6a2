"""Images that excite a network: activation maximisation from noise, and deep dream from an image.

Source: Erhan et al. 2009, "Visualizing higher-layer features of a deep network" (gradient ascent on the input); Mordvintsev et
al. 2015, "Inceptionism" (normalised gradients at several scales; the mean square of a layer as the score). Differs in: a step
that does not raise the score of an image is taken back and shrunk, so activations never fall; the scales are box blurs of the
gradient instead of resized images.

B batch, C channels, H height, W width, S steps.
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

NOISE = 0.02  # standard deviation of the start's noise around grey, pixels in [0, 1]
SCALE = 3  # a blur is that much wider than the one before
WIDEST = 8  # the widest blur is the shorter side over this
SHRINK, GROW = 0.25, 1.2  # of a step, after one that was taken back and after one that was not


def start(count: int, shape: tuple[int, int, int], rng: np.random.Generator) -> Tensor:
    """The same grey noise `count` times, (B, C, H, W)."""
    noise_1CHW = torch.from_numpy(rng.normal(0.5, NOISE, (1, *shape)).astype(np.float32)).clamp(0, 1)
    return noise_1CHW.repeat(count, 1, 1, 1)


def ascend(
    score_of: Callable[[Tensor], Tensor], x_BCHW: Tensor, *, steps: int, step: float
) -> tuple[Tensor, NDArray[np.float64]]:
    """Climb, each image by itself.

    Args:
        score_of: scores (B,), each of its own image.
        x_BCHW: where to start, pixels in [0, 1].
        steps: gradient steps.
        step: size of the first one, root mean square in pixels; it shrinks after a step that failed, else it grows.

    Returns:
        The images, and the score of each at the start and after every step, (S + 1, B); it never falls.
    """
    score_B, slope_BCHW = _slope(score_of, x_BCHW)
    size_B111 = torch.full((len(x_BCHW), 1, 1, 1), step)
    history = [score_B]
    for _ in range(steps):
        tried_BCHW = (x_BCHW + size_B111 * direction(slope_BCHW)).clamp(0, 1)
        new_B, new_slope_BCHW = _slope(score_of, tried_BCHW)
        better_B111 = (new_B > score_B)[:, None, None, None]
        x_BCHW = torch.where(better_B111, tried_BCHW, x_BCHW)
        slope_BCHW = torch.where(better_B111, new_slope_BCHW, slope_BCHW)
        score_B = torch.where(better_B111[:, 0, 0, 0], new_B, score_B)
        size_B111 = size_B111 * torch.where(better_B111, GROW, SHRINK)
        history.append(score_B)
    return x_BCHW, torch.stack(history).double().numpy()


def direction(slope_BCHW: Tensor) -> Tensor:
    """The gradient and its blurs, each of root mean square one, added and brought to root mean square one."""
    widest = max(1, min(slope_BCHW.shape[2:]) // WIDEST)
    added_BCHW, width = torch.zeros_like(slope_BCHW), 1
    while width <= widest:
        added_BCHW = added_BCHW + _unit(_box(slope_BCHW, width))
        width *= SCALE
    return _unit(added_BCHW)


class Energy:
    """Mean square of a layer's output, (B,): what deep dream amplifies.

    Args:
        model: the network.
        layer: one of its modules.
    """

    def __init__(self, model: nn.Module, layer: nn.Module) -> None:
        self.model, self.layer = model, layer

    def __call__(self, x_BCHW: Tensor) -> Tensor:
        """Energy of each image."""
        kept: list[Tensor] = []
        handle = self.layer.register_forward_hook(lambda _, __, output: kept.append(output))
        try:
            self.model(x_BCHW)
        finally:
            handle.remove()
        return kept[-1].square().flatten(1).mean(1)


class Towards:
    """Weighted outputs, (B,): image b is scored by row b of the weights.

    Args:
        model: the network.
        weight_BK: of its outputs.
    """

    def __init__(self, model: nn.Module, weight_BK: Tensor) -> None:
        self.model, self.weight_BK = model, weight_BK

    def __call__(self, x_BCHW: Tensor) -> Tensor:
        """Score of each image."""
        score_B: Tensor = (self.model(x_BCHW) * self.weight_BK).sum(1)
        return score_B


def _slope(score_of: Callable[[Tensor], Tensor], x_BCHW: Tensor) -> tuple[Tensor, Tensor]:
    with torch.enable_grad():
        x_BCHW = x_BCHW.detach().clone().requires_grad_()
        score_B = score_of(x_BCHW)
        (slope_BCHW,) = torch.autograd.grad(score_B.sum(), x_BCHW)
    return score_B.detach(), slope_BCHW


def _box(x_BCHW: Tensor, width: int) -> Tensor:
    """Mean over a square of odd width, one direction after the other; outside the image there is nothing to count."""
    x_BCHW = functional.avg_pool2d(x_BCHW, (width, 1), 1, (width // 2, 0), count_include_pad=False)
    return functional.avg_pool2d(x_BCHW, (1, width), 1, (0, width // 2), count_include_pad=False)


def _unit(x_BCHW: Tensor) -> Tensor:
    return x_BCHW / x_BCHW.square().mean((1, 2, 3), keepdim=True).sqrt().clamp_min(1e-12)
