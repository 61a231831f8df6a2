"""ODIN: the softmax at a high temperature, after a small step that raises it.

Source: Liang, Li and Srikant 2018, Enhancing The Reliability of Out-of-distribution Image Detection in Neural Networks,
arXiv 1706.02690, equations 1 and 2; by pytorch-ood. It needs two passes forward and one back, and its gradient is no part of an
exported graph, so it cannot travel.

B samples, C channels, H height, W width.
"""

import torch
from torch import Tensor, nn

from pipeline.core.errors import PersonError
from pipeline.outlier.library import detectors
from pipeline.outlier.view import Fitted, Known, Seen, State


class Odin:
    """The negated largest probability at a high temperature, of inputs moved towards the predicted class.

    Args:
        temperature: that the logits are divided by.
        eps: size of the step, pixels in [0, 1].

    Raises:
        PersonError: a temperature that is not positive, or a step outside the range of the pixels.
    """

    needs = ("classes", "gradients")

    def __init__(self, *, temperature: float = 1000.0, eps: float = 0.0014) -> None:
        if not temperature > 0:
            raise PersonError(f"detector.odin.temperature must be positive: received {temperature}")
        if not 0 <= eps <= 1:
            raise PersonError(f"detector.odin.eps must be within 0 to 1 (pixels in [0, 1]): received {eps}")
        self.temperature = temperature
        self.eps = eps

    def fit(self, known: Known) -> Fitted:
        """Nothing is fitted; what is judged must hold its images and the network.

        Raises:
            PersonError: when it scores: the network cannot be differentiated with respect to its input.
        """

        def score(seen: Seen) -> Tensor:
            assert seen.network is not None
            assert seen.x_BCHW is not None
            _check_slope(seen.network, seen.x_BCHW[:1])
            part = detectors().ODIN(seen.network, eps=self.eps, temperature=self.temperature)
            found_B: Tensor = part.predict(seen.x_BCHW)
            return found_B

        return Fitted(score, {})

    def graph(self, state: State) -> None:
        """None: a gradient is no part of an exported graph."""


def _check_slope(network: nn.Module, x_BCHW: Tensor) -> None:
    with torch.enable_grad():
        leaf_BCHW = x_BCHW.detach().clone().requires_grad_()
        output_BK = network(leaf_BCHW)
        slope = torch.autograd.grad(output_BK.sum(), leaf_BCHW, allow_unused=True)[0] if output_BK.requires_grad else None
    if slope is None:
        raise PersonError(
            "detector=odin needs a model that can be differentiated with respect to its input, and this one cannot: "
            "leave it out, such as  detector=[softmax,energy]"
        )
