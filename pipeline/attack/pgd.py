"""Projected gradient descent, by foolbox, on any per-sample loss.

Source: Madry et al. 2018, arXiv 1706.06083, section 2.1: repeated steps, each projected back into the ball, from a random start.
Targeted: Kurakin et al. 2017, arXiv 1611.01236, section 2, "step least likely class". Differs in: see
`pipeline.adversarial.climb`; a targeted attack keeps what harms, whether or not it reached its goal.

B batch, C channels, H height, W width.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from pipeline.adversarial.ball import check_ball
from pipeline.adversarial.climb import climb, projected_gradient
from pipeline.adversarial.victim import needs_victim
from pipeline.core.contracts import LossOf
from pipeline.core.errors import PersonError


class Pgd:
    """Several steps inside the ball.

    Args:
        eps: radius of the ball, pixels in [0, 1].
        radii: multiples of eps at which the curve is drawn.
        norm: linf or l2.
        steps: gradient steps.
        rel_step: size of a step, as a share of eps; steps * rel_step should exceed 2 so that the far side can be reached.
        random_start: start at a random point of the ball instead of at x.
        targeted: climb towards a goal (`Victim.far_goal`) instead of away from the truth.
    """

    def __init__(
        self, *, eps: float, radii: Sequence[float] = (1.0,), norm: str = "linf", steps: int = 10, rel_step: float = 0.25,
        random_start: bool = True, targeted: bool = False,
    ) -> None:  # fmt: skip
        check_ball(eps, radii, norm)
        if steps < 1 or not 0 < rel_step <= 2:
            raise PersonError(f"attack.pgd needs steps >= 1 and 0 < rel_step <= 2: received steps={steps}, rel_step={rel_step}")
        self.eps = eps
        self.radii = tuple(radii)
        self.norm = norm
        self.steps = steps
        self.rel_step = rel_step
        self.random_start = random_start
        self.targeted = targeted

    def __call__(self, loss_of: LossOf, x_BCHW: Tensor, rng: torch.Generator) -> Tensor:
        """Adversarial images (B, C, H, W); see `pipeline.adversarial.climb.climb`."""
        attack = projected_gradient(self.norm, steps=self.steps, rel_step=self.rel_step, random_start=self.random_start)
        aim = None
        if self.targeted and len(x_BCHW):
            victim = needs_victim(loss_of, "a targeted attack")
            aim = victim.toward(victim.far_goal(x_BCHW))
        return climb(attack, loss_of, x_BCHW, eps=self.eps, rng=rng, aim=aim)
