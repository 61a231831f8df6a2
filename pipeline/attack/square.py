"""The square attack, by pyautoattack: a black box that asks for outputs alone, so it needs no gradient.

Source: M. Andriushchenko, F. Croce, N. Flammarion and M. Hein, "Square Attack: a query-efficient black-box adversarial attack via
random search", ECCV 2020, arXiv 1912.00049, algorithms 1 and 2. What differs: see `pipeline.adversarial.hunt`.

B batch, C channels, H height, W width.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from pipeline.adversarial.ball import check_ball
from pipeline.adversarial.hunt import hunt, square
from pipeline.core.contracts import LossOf
from pipeline.core.errors import PersonError


class Square:
    """Random squares of change, kept where they harm.

    Args:
        eps: radius of the ball, pixels in [0, 1].
        radii: multiples of eps at which the curve is drawn.
        norm: linf or l2.
        queries: images that the model is asked about, for each sample.
        share: of the image that the first square covers.
    """

    gradients = False

    def __init__(
        self, *, eps: float, radii: Sequence[float] = (1.0,), norm: str = "linf", queries: int = 100, share: float = 0.8
    ) -> None:
        check_ball(eps, radii, norm)
        if queries < 1 or not 0 < share <= 1:
            raise PersonError(f"attack.square needs queries >= 1 and 0 < share <= 1: received {queries} and {share}")
        self.eps = eps
        self.radii = tuple(radii)
        self.norm = norm
        self.queries = queries
        self.share = share

    def __call__(self, loss_of: LossOf, x_BCHW: Tensor, rng: torch.Generator) -> Tensor:
        """Adversarial images (B, C, H, W); see `pipeline.adversarial.hunt.hunt`."""
        return hunt([square(self.queries, self.share)], loss_of, x_BCHW, eps=self.eps, norm=self.norm, rng=rng)
