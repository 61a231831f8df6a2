"""Balls that a perturbation must stay in, and how far an image moved.

Radii are in pixels in [0, 1]: of the largest change of a pixel (linf), or of the Euclidean length of all changes (l2).

B batch, C channels, H height, W width.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from pipeline.core.errors import PersonError, near_match

NORMS = ("linf", "l2")
ROUNDING = 1e-6  # of a pixel in [0, 1], float32


def check_ball(eps: float, radii: Sequence[float], norm: str) -> None:
    """Refuse what is no ball.

    Raises:
        PersonError: an unknown norm, eps outside the input range, or a multiple of it that is not positive.
    """
    if norm not in NORMS:
        raise PersonError(f"attack norm {norm!r} is not known: {near_match(norm, NORMS)}")
    if norm == "linf" and not 0 <= eps <= 1:
        raise PersonError(
            "attack eps must be within 0 to 1 (pixels in [0, 1]; 2/255 is 0.00784314), at every multiple in radii: "
            f"received {eps:g}"
        )
    if not 0 <= eps < math.inf:
        raise PersonError(f"attack eps must be zero or positive: received {eps:g}")
    if not radii or min(radii) <= 0:
        raise PersonError(f"attack radii must be a list of positive multiples of eps: received {list(radii)}")


def check_images(x_BCHW: Tensor, eps: float, norm: str) -> None:
    """Refuse images that an attack cannot start from.

    Raises:
        ValueError: pixels outside [0, 1].
        PersonError: an l2 ball that holds every image there is.
    """
    low, high = float(x_BCHW.min()), float(x_BCHW.max())
    if not 0 <= low <= high <= 1:
        raise ValueError(f"expected pixels in [0, 1]: received {low:.3g} to {high:.3g}")
    most = math.sqrt(x_BCHW[0].numel())
    if norm == "l2" and eps > most:
        raise PersonError(f"attack eps must be at most {most:.4g}, the l2 distance from black to white here: received {eps:g}")


def distance(one_BCHW: Tensor, other_BCHW: Tensor, norm: str) -> Tensor:
    """How far images lie apart, (B,)."""
    change_BD = (one_BCHW - other_BCHW).flatten(1)
    return change_BD.abs().amax(1) if norm == "linf" else torch.linalg.vector_norm(change_BD, dim=1)


def slack(eps: float) -> float:
    """What rounding in float32 may add to a radius."""
    return ROUNDING * max(1.0, eps)


def eight_bit(x_BCHW: Tensor, clean_BCHW: Tensor, eps: float, norm: str) -> Tensor:
    """The same perturbation as an image of 8 bits can carry it, inside the same ball around `clean_BCHW`.

    A deployed model is given whole grey levels. Levels are rounded to the nearest; one that would leave the ball (l2: of an image
    that would) is rounded towards the clean image instead.

    Args:
        x_BCHW: perturbed images in [0, 1].
        clean_BCHW: whole grey levels, k / 255.
        eps: radius.
        norm: of the ball.

    Returns:
        uint8 (B, C, H, W).
    """
    clean_levels = torch.round(255 * clean_BCHW)
    change = 255 * x_BCHW - clean_levels
    near, inward = torch.round(change), torch.trunc(change)
    if norm == "linf":
        reach = math.floor(255 * eps + 1e-4)
        kept = near.clamp(-reach, reach)
    else:
        outside_B = distance((clean_levels + near) / 255, clean_BCHW, norm) > eps + slack(eps)
        kept = torch.where(outside_B.view(-1, 1, 1, 1), inward, near)
    return (clean_levels + kept).clamp(0, 255).to(torch.uint8)
