"""The score that explainers explain, and what they may ask of it.

B batch, C channels, H height, W width, K outputs.
"""

from typing import Any

import torch
from torch import Tensor, nn

from pipeline.core.contracts import ScoreOf
from pipeline.core.errors import PersonError


class Score:
    """The score of changed copies of one image: the logit of the class that was predicted for that image, or the value.

    The class is held while the image changes: were it the largest logit of each copy, an image whose evidence is taken away
    would be scored by the class that wins then, and its evidence would look worthless. The weights of the outputs are the
    gradient of the task's score at the image, so no task is named here: one-hot for classes, 1 for a value.

    Args:
        model: the network, in evaluation mode.
        task: whose `score` says what counts.
        x_1CHW: the image.
    """

    def __init__(self, model: nn.Module, task: Any, x_1CHW: Tensor) -> None:
        self.model = model
        with torch.no_grad():
            output_1K = model(x_1CHW)
        with torch.enable_grad():
            output_1K = output_1K.detach().clone().requires_grad_()
            (self.weight_1K,) = torch.autograd.grad(task.score(output_1K).sum(), output_1K)

    def __call__(self, x_BCHW: Tensor) -> Tensor:
        """Score of each image (B,)."""
        score_B: Tensor = (self.model(x_BCHW) * self.weight_1K).sum(dim=1)
        return score_B


def network_of(score_of: ScoreOf, *, method: str, remedy: str) -> nn.Module:
    """The network behind a score.

    Raises:
        PersonError: there is none, so a method that looks into layers has nothing to look into.
    """
    model = getattr(score_of, "model", None)
    if not isinstance(model, nn.Module):
        raise PersonError(f"{method} looks into a network's layers: expected score_of.model to be one; {remedy}")
    return model


def check_differentiable(score_of: ScoreOf, x_BCHW: Tensor, *, method: str, remedy: str) -> None:
    """Score one image and see whether a gradient comes back.

    Raises:
        PersonError: the score does not depend on the image differentiably, as with an exported model or rounded weights.
    """
    with torch.enable_grad():
        score_B = score_of(x_BCHW[:1].detach().clone().requires_grad_())
    if not score_B.requires_grad:
        raise PersonError(f"{method}: the score of this network cannot be differentiated with respect to its input; {remedy}")


def check_finite(map_BHW: Tensor, *, method: str) -> Tensor:
    """The maps themselves.

    Raises:
        PersonError: a value is not finite.
    """
    if not bool(torch.isfinite(map_BHW).all()):
        raise PersonError(f"{method} gave values that are not finite: the network's activations overflow; train it again")
    return map_BHW
