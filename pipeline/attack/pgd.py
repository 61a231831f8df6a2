"""Projected gradient descent, by foolbox, on any per-sample loss.

Source: Madry et al. 2018, arXiv 1706.06083, section 2.1: repeated signed steps, each projected back into the ball, from a
random start. Differs in: the loss is the caller's closure; a sample whose loss would fall keeps its clean pixels.

B batch, C channels, H height, W width.
"""

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor

from pipeline.attack.fgsm import ClosureGradient, check_radius, climb
from pipeline.core.contracts import LossOf
from pipeline.core.errors import PersonError

with warnings.catch_warnings():  # foolbox 3.3.4 imports scipy.ndimage by its old name
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    from foolbox.attacks.projected_gradient_descent import LinfProjectedGradientDescentAttack


class _ProjectedGradient(ClosureGradient, LinfProjectedGradientDescentAttack):  # type: ignore[misc]
    """Foolbox's PGD on a closure."""


class Pgd:
    """Several signed steps inside the ball.

    Args:
        eps: radius of the L-infinity ball, pixels in [0, 1].
        radii: multiples of eps at which the curve is drawn.
        steps: gradient steps.
        rel_step: size of a step, as a share of eps; steps * rel_step should exceed 2 so that the far side can be reached.
        random_start: start at a random point of the ball instead of at x.
    """

    def __init__(
        self, *, eps: float, radii: Sequence[float] = (1.0,), steps: int = 10, rel_step: float = 0.25, random_start: bool = True
    ) -> None:
        check_radius(eps, radii)
        if steps < 1 or not 0 < rel_step <= 2:
            raise PersonError(f"attack.pgd needs steps >= 1 and 0 < rel_step <= 2: received steps={steps}, rel_step={rel_step}")
        self.eps = eps
        self.radii = tuple(radii)
        self.steps = steps
        self.rel_step = rel_step
        self.random_start = random_start

    def __call__(self, loss_of: LossOf, x_BCHW: Tensor, rng: torch.Generator) -> Tensor:
        """Adversarial images (B, C, H, W); see `pipeline.attack.fgsm.climb`."""
        attack = _ProjectedGradient(rel_stepsize=self.rel_step, steps=self.steps, random_start=self.random_start)
        return climb(attack, loss_of, x_BCHW, eps=self.eps, rng=rng)
