"""What an attack sees of a model: a closure that gives the loss of each sample, and, for those that ask, more.

An attack that needs the loss alone works with any closure. `Victim` also gives raw outputs and truths (attacks of class margins),
a goal for targeted attacks, and counts its passes.

B batch, C channels, H height, W width, K outputs.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pipeline.core.contracts import LossOf
from pipeline.core.errors import PersonError


@dataclass
class Passes:
    """Images that went through a network, forward and backward."""

    forward: int = 0
    backward: int = 0

    @property
    def total(self) -> int:
        """Both together: the unit in which attacks are compared."""
        return self.forward + self.backward


class Victim:
    """A model under attack, with the truths of a batch. Called with images (B, C, H, W) it gives the loss of each, (B,).

    Args:
        model: images in [0, 1] -> raw outputs (B, K).
        task: gives the losses; `categories` classes, or 0 for a value.
        truth_B: truths of the batch.
        passes: counted here; a new counter by default.
    """

    def __init__(self, model: Callable[[Tensor], Tensor], task: Any, truth_B: Tensor, passes: Passes | None = None) -> None:
        self.model = model
        self.task = task
        self.truth_B = truth_B
        self.passes = Passes() if passes is None else passes

    @property
    def categories(self) -> int:
        """Number of classes, or 0 for a value."""
        return int(self.task.categories)

    def __call__(self, x_BCHW: Tensor) -> Tensor:
        """Loss of each sample (B,)."""
        losses_B: Tensor = self.task.losses(self.outputs(x_BCHW), self.truth_B)
        return losses_B

    def outputs(self, x_BCHW: Tensor) -> Tensor:
        """Raw outputs (B, K)."""
        output_BK = self.model(x_BCHW)
        self.passes.forward += len(x_BCHW)
        if output_BK.requires_grad:
            output_BK.register_hook(self._returned)  # type: ignore[no-untyped-call]
        return output_BK

    def rows(self, index_B: Tensor) -> "Victim":
        """The same model with some rows of the batch."""
        return Victim(self.model, self.task, self.truth_B[index_B], self.passes)

    def wrong(self, output_BK: Tensor) -> Tensor:
        """Whether each prediction is another class than the truth, (B,) bool; never for a value."""
        if not self.categories:
            return torch.zeros(len(output_BK), dtype=torch.bool, device=output_BK.device)
        return output_BK.argmax(1) != self.truth_B

    def far_goal(self, x_BCHW: Tensor) -> Tensor:
        """The goal of a targeted attack on each sample, (B,), as a truth of the task.

        A class: the least likely one (A. Kurakin, I. Goodfellow and S. Bengio, "Adversarial Machine Learning at Scale", ICLR
        2017, arXiv 1611.01236, section 2). A value: the end of the target's range that lies further from the truth.
        """
        if self.categories:
            with torch.no_grad():
                output_BK = self.outputs(x_BCHW).clone()
            output_BK[torch.arange(len(output_BK)), self.truth_B] = torch.inf
            return output_BK.argmin(1)
        low, high = (float(self.task.card["target"][end]) for end in ("low", "high"))
        return torch.where(self.truth_B < (low + high) / 2, high, low).to(self.truth_B.dtype)

    def toward(self, goal_B: Tensor) -> LossOf:
        """A closure that rises as each sample nears its goal: minus the loss that the goal would have as a truth."""
        return lambda x_BCHW: -self.task.losses(self.outputs(x_BCHW), goal_B)

    def _returned(self, gradient: Tensor) -> None:
        self.passes.backward += len(gradient)


def judge(loss_of: LossOf, x_BCHW: Tensor) -> tuple[Tensor, Tensor]:
    """Loss of each sample and whether its class is wrong, (B,) each, from one pass; plain closures know no class.

    Raises:
        ValueError: the closure does not return one loss a sample.
    """
    with torch.no_grad():
        if isinstance(loss_of, Victim):
            output_BK = loss_of.outputs(x_BCHW)
            loss_B, wrong_B = loss_of.task.losses(output_BK, loss_of.truth_B), loss_of.wrong(output_BK)
        else:
            loss_B, wrong_B = loss_of(x_BCHW), torch.zeros(len(x_BCHW), dtype=torch.bool, device=x_BCHW.device)
    if loss_B.shape != (len(x_BCHW),):
        raise ValueError(f"loss_of must return one loss a sample, ({len(x_BCHW)},): received {tuple(loss_B.shape)}")
    return loss_B, wrong_B


def better(after: tuple[Tensor, Tensor], before: tuple[Tensor, Tensor]) -> Tensor:
    """Which samples an attack made worse off, (B,) bool: newly wrong, or of a higher loss and not right again.

    Args:
        after: losses and wrongs of the attacked images, as `judge` gives them.
        before: of the images that they would replace.
    """
    raised_B, (_, wrong_B), (_, was_B) = after[0] > before[0], after, before
    return (wrong_B & ~was_B) | (raised_B & (wrong_B | ~was_B))


def needs_victim(loss_of: LossOf, what: str) -> Victim:
    """The closure, if it is a `Victim`.

    Raises:
        PersonError: a plain closure, which has no classes to aim at.
    """
    if not isinstance(loss_of, Victim):
        raise PersonError(f"{what} needs the model's outputs and truths: hand it a pipeline.adversarial.victim.Victim")
    return loss_of
