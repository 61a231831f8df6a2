"""Fast gradient sign method, by foolbox, on any per-sample loss.

Source: Goodfellow, Shlens and Szegedy 2015, arXiv 1412.6572, section 4: x + eps * sign(gradient of the loss at x). In l2 the step
has the direction of the gradient and the length eps. Differs in: see `pipeline.adversarial.climb`.

B batch, C channels, H height, W width.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from pipeline.adversarial.ball import check_ball
from pipeline.adversarial.climb import climb, fast_gradient
from pipeline.core.contracts import LossOf


class Fgsm:
    """One step of size eps along the sign of the gradient.

    Args:
        eps: radius of the ball, pixels in [0, 1].
        radii: multiples of eps at which the curve is drawn.
        norm: linf or l2.
    """

    def __init__(self, *, eps: float, radii: Sequence[float] = (1.0,), norm: str = "linf") -> None:
        check_ball(eps, radii, norm)
        self.eps = eps
        self.radii = tuple(radii)
        self.norm = norm

    def __call__(self, loss_of: LossOf, x_BCHW: Tensor, rng: torch.Generator) -> Tensor:
        """Adversarial images (B, C, H, W); see `climb`."""
        return climb(fast_gradient(self.norm), loss_of, x_BCHW, eps=self.eps, rng=rng)
