"""The attacks of AutoAttack at a share of their passes, by pyautoattack.

Source: Croce and Hein 2020, arXiv 2003.01690. What differs: see `pipeline.adversarial.hunt`.

B batch, C channels, H height, W width.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from pipeline.adversarial.ball import check_ball
from pipeline.adversarial.hunt import ensemble, hunt
from pipeline.adversarial.victim import Victim
from pipeline.core.contracts import LossOf
from pipeline.core.errors import PersonError


class Ensemble:
    """APGD on cross-entropy and on targeted ratios, FAB and Square, each on the samples that still stand.

    Args:
        eps: radius of the ball, pixels in [0, 1].
        radii: multiples of eps at which the curve is drawn.
        norm: linf or l2.
        steps: gradient steps of each APGD run.
        first: steps of a short run before the others, in which most samples of an undefended model fall; 0 leaves it out.
        targets: most likely wrong classes that targeted APGD aims at, at most.
        fab_steps: steps of FAB on each of its classes; 0 leaves it out.
        fab_targets: classes of FAB, at most.
        queries: of Square, which sees no gradient; 0 leaves it out.
    """

    def __init__(
        self, *, eps: float, radii: Sequence[float] = (1.0,), norm: str = "linf", steps: int = 40, first: int = 5,
        targets: int = 9, fab_steps: int = 10, fab_targets: int = 1, queries: int = 100,
    ) -> None:  # fmt: skip
        check_ball(eps, radii, norm)
        if steps < 1 or min(first, targets, fab_steps, fab_targets, queries) < 0:
            raise PersonError(
                "attack.ensemble needs steps >= 1 and first, targets, fab_steps, fab_targets and queries >= 0: received "
                f"{steps}, {first}, {targets}, {fab_steps}, {fab_targets} and {queries}"
            )
        self.eps = eps
        self.radii = tuple(radii)
        self.norm = norm
        self.steps = steps
        self.first = first
        self.targets = targets
        self.fab_steps = fab_steps
        self.fab_targets = fab_targets
        self.queries = queries

    def __call__(self, loss_of: LossOf, x_BCHW: Tensor, rng: torch.Generator) -> Tensor:
        """Adversarial images (B, C, H, W); see `pipeline.adversarial.hunt.hunt`."""
        classes = loss_of.categories if isinstance(loss_of, Victim) else 0
        steps = [count for count in (self.first, self.steps) if count]
        shots = ensemble(
            classes, steps=steps, targets=self.targets, fab_steps=self.fab_steps, fab_targets=self.fab_targets,
            queries=self.queries,
        )  # fmt: skip
        return hunt(shots, loss_of, x_BCHW, eps=self.eps, norm=self.norm, rng=rng)
