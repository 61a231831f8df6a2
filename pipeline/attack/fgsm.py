"""Fast gradient sign method, by foolbox, on any per-sample loss.

Source: Goodfellow, Shlens and Szegedy 2015, arXiv 1412.6572, section 4: x + eps * sign(gradient of the loss at x).
Differs in: the loss is the caller's closure, so classification and regression are attacked alike; a sample whose loss would
fall keeps its clean pixels.

B batch, C channels, H height, W width.
"""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from pipeline.core.contracts import LossOf
from pipeline.core.errors import PersonError

with warnings.catch_warnings():  # foolbox 3.3.4 imports scipy.ndimage by its old name
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    from eagerpy.astensor import astensor, astensor_
    from foolbox.attacks.fast_gradient_method import LinfFastGradientAttack
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
            pixels_BCHW = x.raw.detach().clone().requires_grad_()
            loss = loss_fn(astensor(pixels_BCHW)).raw
            slope = torch.autograd.grad(loss, pixels_BCHW, allow_unused=True)[0] if loss.requires_grad else None
        if slope is None:
            raise PersonError(
                "gradient attacks need a model that can be differentiated with respect to its input, and this one cannot: "
                "choose another model, or no attack with  attack=[none]"
            )
        return astensor(loss.detach()), astensor(slope)


def climb(attack: Any, loss_of: LossOf, x_BCHW: Tensor, *, eps: float, rng: torch.Generator) -> Tensor:
    """Run one of foolbox's gradient attacks on a closure.

    Args:
        attack: an attack of foolbox with `ClosureGradient` mixed in.
        loss_of: images -> loss of each sample (B,).
        x_BCHW: images in [0, 1]; untouched.
        eps: radius of the L-infinity ball, pixels in [0, 1].
        rng: seeds the random start; torch's global generator is left as it was.

    Returns:
        Images (B, C, H, W) inside the ball and in [0, 1]; where the attack lowered a sample's loss, its clean pixels.

    Raises:
        ValueError: pixels outside [0, 1], or a closure that does not return one loss a sample.
        PersonError: the model cannot be differentiated.
    """
    if len(x_BCHW) == 0:
        return x_BCHW.clone()
    low, high = float(x_BCHW.min()), float(x_BCHW.max())
    if not 0 <= low <= high <= 1:
        raise ValueError(f"expected pixels in [0, 1]: received {low:.3g} to {high:.3g}")
    clean_B = _losses(loss_of, x_BCHW)
    start = int(torch.randint(2**62, (1,), generator=rng))
    labels_B = torch.zeros(len(x_BCHW), dtype=torch.int64)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(start)
        found_BCHW = attack.run(Closure(loss_of), x_BCHW.detach().clone(), Misclassification(labels_B), epsilon=eps)
    raised_B = _losses(loss_of, found_BCHW) > clean_B
    return torch.where(raised_B.view(-1, 1, 1, 1), found_BCHW.detach(), x_BCHW.detach())


def check_radius(eps: float, radii: Sequence[float]) -> None:
    """Refuse radii that are no radii.

    Raises:
        PersonError: eps is not within 0 to 1, or a multiple of it is not positive.
    """
    if not 0 <= eps <= 1:
        raise PersonError(f"attack eps must be within 0 to 1 (pixels in [0, 1]; 2/255 is 0.00784): received {eps}")
    if not radii or min(radii) <= 0:
        raise PersonError(f"attack radii must be a list of positive multiples of eps: received {list(radii)}")


def _losses(loss_of: LossOf, x_BCHW: Tensor) -> Tensor:
    with torch.no_grad():
        loss_B = loss_of(x_BCHW)
    if loss_B.shape != (len(x_BCHW),):
        raise ValueError(f"loss_of must return one loss a sample, ({len(x_BCHW)},): received {tuple(loss_B.shape)}")
    return loss_B


class _FastGradient(ClosureGradient, LinfFastGradientAttack):  # type: ignore[misc]
    """Foolbox's FGSM on a closure."""


class Fgsm:
    """One step of size eps along the sign of the gradient.

    Args:
        eps: radius of the L-infinity ball, pixels in [0, 1].
        radii: multiples of eps at which the curve is drawn.
    """

    def __init__(self, *, eps: float, radii: Sequence[float] = (1.0,)) -> None:
        check_radius(eps, radii)
        self.eps = eps
        self.radii = tuple(radii)

    def __call__(self, loss_of: LossOf, x_BCHW: Tensor, rng: torch.Generator) -> Tensor:
        """Adversarial images (B, C, H, W); see `climb`."""
        return climb(_FastGradient(random_start=False), loss_of, x_BCHW, eps=self.eps, rng=rng)
