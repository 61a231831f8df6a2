"""The loss of a batch, where a recipe hardens the model against an adversary: `train.robust`.

A kind is a callable `(model, x_BCHW, weigh, key) -> losses (B,)`. `weigh(f)` makes weighted losses of the batch out of
`f(truth_B) -> losses (B,)`, mixed images and their partners included; `key` is (step, rank, first row of the part), so that what
is drawn is a function of the seed and the step alone and a resumed run draws the same. A new kind is one entry of `KINDS`.

Source of `adversarial`: A. Madry et al., "Towards Deep Learning Models Resistant to Adversarial Attacks", ICLR 2018, arXiv
1706.06083, equation 2.1: the loss of the worst images inside a ball, which projected gradient descent looks for. `attack_share`
below 1 mixes in the loss of the images themselves: I. J. Goodfellow, J. Shlens and C. Szegedy, "Explaining and Harnessing
Adversarial Examples", ICLR 2015, arXiv 1412.6572, section 6. Differs in: the radius may rise over the first steps
(`robust_ramp`), and the adversary sees the network as it predicts (batch norm with its running statistics, no dropout), so that
it leaves these statistics alone.

B batch, C channels, H height, W width.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.core.errors import PersonError, near_match
from pipeline.core.keyed import seed as keyed_seed

Key = tuple[int, int, int]
Weigh = Callable[[Callable[[Tensor], Tensor]], Tensor]
Hardener = Callable[[nn.Module, Tensor, Weigh, Key], Tensor]


@dataclass(frozen=True)
class Ramp:
    """The radius at a step.

    Attributes:
        eps: radius of the L-infinity ball in the end, pixels in [0, 1].
        steps: over which it rises to `eps` in a straight line; 0 has it there from the first step.
    """

    eps: float
    steps: float

    def __call__(self, step: int) -> float:
        """Radius at this step, counted from 0."""
        return self.eps * min(1.0, (step + 1) / self.steps) if self.steps > 1 else self.eps


@dataclass(frozen=True)
class Plain:
    """The loss of the images themselves."""

    task: Any

    def __call__(self, model: nn.Module, x_BCHW: Tensor, weigh: Weigh, key: Key) -> Tensor:
        """Weighted losses (B,)."""
        output_BK = model(x_BCHW)
        return weigh(lambda truth_B: self.task.losses(output_BK, truth_B))


@dataclass(frozen=True)
class Adversarial:
    """The loss of images that projected gradient descent found near the batch's.

    Attributes:
        task: gives the losses.
        ramp: of the radius.
        steps: gradient steps of the adversary.
        rel_step: size of each, as a share of the radius.
        share: of the adversary's images in the loss; the rest is the images' own.
        seed: of the random starts.

    Raises:
        PersonError: a number is out of range.
    """

    task: Any
    ramp: Ramp
    steps: int
    rel_step: float
    share: float
    seed: int

    def __post_init__(self) -> None:
        if self.steps < 1 or not 0 < self.rel_step <= 2 or not 0 < self.share <= 1:
            raise PersonError(
                "train.robust=adversarial needs attack_steps >= 1, 0 < attack_rel_step <= 2 and 0 < attack_share <= 1: received "
                f"{self.steps}, {self.rel_step} and {self.share}"
            )

    def __call__(self, model: nn.Module, x_BCHW: Tensor, weigh: Weigh, key: Key) -> Tensor:
        """Weighted losses (B,)."""
        plain = Plain(self.task)
        eps = self.ramp(key[0])
        worst_BCHW = self.attack(model, x_BCHW, weigh, key) if eps > 0 else x_BCHW
        losses_B = plain(model, worst_BCHW, weigh, key)
        if self.share == 1:
            return losses_B
        return self.share * losses_B + (1 - self.share) * plain(model, x_BCHW, weigh, key)

    def attack(self, model: nn.Module, x_BCHW: Tensor, weigh: Weigh, key: Key) -> Tensor:
        """Images inside the ball of this step, (B, C, H, W); gradients and buffers of the model stay as they are."""
        from pipeline.adversarial.climb import ascend, projected_gradient

        attack = projected_gradient("linf", steps=self.steps, rel_step=self.rel_step, random_start=True)
        rng = torch.Generator().manual_seed(keyed_seed(self.seed, "robust", *key))

        def loss_of(images_BCHW: Tensor) -> Tensor:
            return Plain(self.task)(model, images_BCHW, weigh, key)

        with predicting(model):
            return ascend(attack, loss_of, x_BCHW.clamp(0, 1), eps=self.ramp(key[0]), rng=rng)


@contextmanager
def _predicting(model: nn.Module) -> Any:
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def predicting(model: nn.Module) -> AbstractContextManager[None]:
    """The network in evaluation mode for a while; every module then returns to its own mode."""
    return _predicting(model)


def _adversarial(recipe: Mapping[str, Any], task: Any, ramp: Ramp, seed: int) -> Hardener:
    return Adversarial(
        task, ramp, steps=recipe["attack_steps"], rel_step=recipe["attack_rel_step"], share=recipe["attack_share"], seed=seed
    )


def _certified(recipe: Mapping[str, Any], task: Any, ramp: Ramp, _: int) -> Hardener:
    from pipeline.training.certified import Certified

    return Certified(task, ramp, final=ramp.eps, share=recipe["bound_share"], crown=recipe["robust"] == "crown_ibp")


KINDS: dict[str, Callable[[Mapping[str, Any], Any, Ramp, int], Hardener]] = {
    "none": lambda _recipe, task, _ramp, _seed: Plain(task),
    "adversarial": _adversarial,
    "ibp": _certified,
    "crown_ibp": _certified,
}


def hardener_of(recipe: Mapping[str, Any], task: Any, *, seed: int, images: bool) -> Hardener:
    """What `train.robust` names.

    Args:
        recipe: conf/train; `robust_eps`, `robust_ramp` (share of the steps) and what the kind reads beside them.
        task: gives the losses.
        seed: of the adversary's draws.
        images: whether the model sees images, and not cached features.

    Raises:
        PersonError: an unknown kind, a radius outside the input range, or a model that is trained on features.
    """
    kind = recipe.get("robust", "none")
    if kind not in KINDS:
        raise PersonError(f"train.robust {kind!r} is not known: {near_match(str(kind), KINDS)}")
    if kind != "none" and not images:
        raise PersonError(
            f"train.robust={kind} disturbs images, but this model is trained on features that embed cached: "
            "set  train.robust=none, or train on images with a model whose trunk is not frozen (model.trainable_blocks above 0)"
        )
    eps, share = float(recipe.get("robust_eps", 0.0)), float(recipe.get("robust_ramp", 0.0))
    if not 0 <= eps <= 1 or not 0 <= share <= 1:
        raise PersonError(f"train.robust_eps and robust_ramp must lie in [0, 1]: received {eps:g} and {share:g}")
    return KINDS[kind](recipe, task, Ramp(eps, share * recipe["max_steps"]), seed)
