"""Foolbox's gradient attacks on any per-sample loss.

Source: I. J. Goodfellow, J. Shlens and C. Szegedy, "Explaining and Harnessing Adversarial Examples", ICLR 2015, arXiv 1412.6572,
section 4; A. Madry et al., "Towards Deep Learning Models Resistant to Adversarial Attacks", ICLR 2018, arXiv 1706.06083, section
2.1. Differs in: the loss is the caller's closure, so classification and regression are attacked alike; a sample that would be
better off keeps its clean pixels.

B batch, C channels, H height, W width.
"""

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pipeline.adversarial.ball import check_images
from pipeline.adversarial.victim import better, judge
from pipeline.core.contracts import LossOf
from pipeline.core.errors import PersonError

with warnings.catch_warnings():  # foolbox 3.3.4 imports scipy.ndimage by its old name
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    from eagerpy.astensor import astensor, astensor_
    from foolbox.attacks.fast_gradient_method import L2FastGradientAttack, LinfFastGradientAttack
    from foolbox.attacks.projected_gradient_descent import L2ProjectedGradientDescentAttack, LinfProjectedGradientDescentAttack
    from foolbox.criteria import Misclassification
    from foolbox.models.base import Model
    from foolbox.types import Bounds


class Closure(Model):
    """What foolbox takes for a model: it returns the loss of each sample instead of logits. Pixels lie in [0, 1]."""

    def __init__(self, loss_of: LossOf) -> None:
        self.loss_of = loss_of

    @property
    def bounds(self) -> Any:
        """Range of the pixels."""
        return Bounds(0.0, 1.0)

    def __call__(self, inputs: Any) -> Any:
        """Losses (B,), as the same kind of tensor as the input."""
        x, restore = astensor_(inputs)
        return restore(astensor(self.loss_of(x.raw)))


class ClosureGradient:
    """For foolbox's gradient attacks: climb the summed closure, and take gradients with respect to the pixels alone."""

    def get_loss_fn(self, model: Closure, labels: Any) -> Callable[[Any], Any]:
        """The sum of the samples' losses; labels play no part, since the closure holds them."""
        return lambda inputs: model(inputs).sum()

    def value_and_grad(self, loss_fn: Callable[[Any], Any], x: Any) -> tuple[Any, Any]:
        """Loss and its gradient at x; nothing is accumulated in the model's parameters.

        Raises:
            PersonError: the loss does not depend on the pixels in a way that can be differentiated.
        """
        with torch.enable_grad():
            pixels_BCHW = x.raw.detach().requires_grad_()
            loss = loss_fn(astensor(pixels_BCHW)).raw
            slope = torch.autograd.grad(loss, pixels_BCHW, allow_unused=True)[0] if loss.requires_grad else None
        if slope is None:
            raise undifferentiable()
        return astensor(loss.detach()), astensor(slope)


class _LinfFast(ClosureGradient, LinfFastGradientAttack):  # type: ignore[misc]
    """Foolbox's FGSM on a closure."""


class _L2Fast(ClosureGradient, L2FastGradientAttack):  # type: ignore[misc]
    """Foolbox's fast gradient method on a closure."""


class _LinfProjected(ClosureGradient, LinfProjectedGradientDescentAttack):  # type: ignore[misc]
    """Foolbox's PGD on a closure."""


class _L2Projected(ClosureGradient, L2ProjectedGradientDescentAttack):  # type: ignore[misc]
    """Foolbox's PGD on a closure."""


def undifferentiable() -> PersonError:
    """What to say where a model has no gradient."""
    return PersonError(
        "gradient attacks need a model that can be differentiated with respect to its input, and this one cannot: "
        "choose another model, the black-box attack with  attack=[square], or no attack with  attack=[none]"
    )


def fast_gradient(norm: str) -> Any:
    """One step of the whole radius along the gradient (its sign, or its direction in l2)."""
    return {"linf": _LinfFast, "l2": _L2Fast}[norm](random_start=False)


def projected_gradient(norm: str, *, steps: int, rel_step: float, random_start: bool) -> Any:
    """Several steps, each projected back into the ball; `rel_step` is the size of one as a share of the radius."""
    kind = {"linf": _LinfProjected, "l2": _L2Projected}[norm]
    return kind(rel_stepsize=rel_step, steps=steps, random_start=random_start)


def ascend(attack: Any, aim: LossOf, x_BCHW: Tensor, *, eps: float, rng: torch.Generator) -> Tensor:
    """Run one of foolbox's gradient attacks on a closure, wherever it leads.

    Args:
        attack: of `fast_gradient` or `projected_gradient`.
        aim: images -> what should rise, of each sample (B,).
        x_BCHW: images in [0, 1]; untouched.
        eps: radius, in the attack's norm.
        rng: seeds the random start; torch's global generator is left as it was.

    Raises:
        PersonError: the closure cannot be differentiated.
    """
    start = int(torch.randint(2**62, (1,), generator=rng))
    labels_B = torch.zeros(len(x_BCHW), dtype=torch.int64, device=x_BCHW.device)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(start)
        found_BCHW: Tensor = attack.run(Closure(aim), x_BCHW.detach().clone(), Misclassification(labels_B), epsilon=eps)
    return found_BCHW.detach()


def climb(
    attack: Any, loss_of: LossOf, x_BCHW: Tensor, *, eps: float, rng: torch.Generator, aim: LossOf | None = None
) -> Tensor:  # fmt: skip
    """Run one of foolbox's gradient attacks and keep what harms.

    Args:
        attack: of `fast_gradient` or `projected_gradient`.
        loss_of: images -> loss of each sample (B,).
        x_BCHW: images in [0, 1]; untouched.
        eps: radius, in the attack's norm.
        rng: seeds the random start.
        aim: what is climbed instead of the loss, as a targeted attack does.

    Returns:
        Images (B, C, H, W) inside the ball and in [0, 1]; where the attack lowered a sample's loss, or set a wrong class right,
        its clean pixels.

    Raises:
        ValueError: pixels outside [0, 1], or a closure that does not return one loss a sample.
        PersonError: the model cannot be differentiated.
    """
    if len(x_BCHW) == 0:
        return x_BCHW.clone()
    check_images(x_BCHW, eps, "l2" if isinstance(attack, _L2Fast | _L2Projected) else "linf")
    clean = judge(loss_of, x_BCHW)
    found_BCHW = ascend(attack, aim or loss_of, x_BCHW, eps=eps, rng=rng)
    kept_B = better(judge(loss_of, found_BCHW), clean)
    return torch.where(kept_B.view(-1, 1, 1, 1), found_BCHW, x_BCHW.detach())
