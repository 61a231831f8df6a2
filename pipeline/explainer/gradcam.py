"""Grad-CAM, by captum.

Source: Selvaraju et al. 2017, arXiv 1610.02391, equations 1 and 2: channels of a convolution's output weighted by the mean
gradient of the score, summed, negative values cut. Differs in: the score is the caller's (a logit, or a predicted value), and
the convolution is found by itself; maps are brought to the image's size bilinearly and keep their scale.

B batch, C channels, H height, W width.
"""

import torch
from torch import Tensor, nn

from pipeline.core.contracts import ScoreOf
from pipeline.core.errors import PersonError, near_match
from pipeline.explaining.layers import convolutions
from pipeline.explaining.score import check_differentiable, check_finite, network_of

OFF = "choose a model with convolutions, or other maps, such as  explainer=[integrated_gradients]  or  explainer=[occlusion]"
STIFF = "choose maps that need no gradient:  explainer=[occlusion]  or  explainer=[lime]"


class GradCam:
    """Gradient-weighted class activation maps.

    Args:
        layer: name of a convolution, as in `model.named_modules()`; None takes the last one, in the order of execution, whose
            output is larger than 1x1 (squeeze-and-excitation holds convolutions of 1x1, which see no place).
    """

    def __init__(self, *, layer: str | None = None) -> None:
        self.layer = layer

    def __call__(self, score_of: ScoreOf, x_BCHW: Tensor) -> Tensor:
        """Maps (B, H, W), not negative, float32; `score_of.model` is the network.

        Raises:
            PersonError: the network has no suitable convolution, no layer of that name, or cannot be differentiated.
        """
        from captum.attr import LayerAttribution, LayerGradCam

        model = network_of(score_of, method="Grad-CAM", remedy=OFF)
        layer = self._chosen(model, score_of, x_BCHW[:1])
        pixels_BCHW = x_BCHW.detach().clone().requires_grad_()
        with torch.enable_grad():
            map_B1hw = LayerGradCam(score_of, layer).attribute(pixels_BCHW, relu_attributions=True)
        whole_B1HW = LayerAttribution.interpolate(map_B1hw.detach(), tuple(x_BCHW.shape[2:]), interpolate_mode="bilinear")
        return check_finite(whole_B1HW[:, 0].float(), method="Grad-CAM")

    def _chosen(self, model: nn.Module, score_of: ScoreOf, x_1CHW: Tensor) -> nn.Module:
        """The named layer, or the last convolution that still sees places; the score is seen to have a gradient on the way."""
        named = {name: module for name, module in model.named_modules() if isinstance(module, nn.Conv2d)}
        if not named:
            raise PersonError(f"Grad-CAM needs a network with convolutions, and {type(model).__name__} has none: {OFF}")
        if self.layer is not None:
            if self.layer not in named:
                raise PersonError(f"explainer.layer: there is no convolution {self.layer!r}; {near_match(self.layer, named)}")
            check_differentiable(score_of, x_1CHW, method="Grad-CAM", remedy=STIFF)
            return named[self.layer]
        seen = convolutions(model, lambda: check_differentiable(score_of, x_1CHW, method="Grad-CAM", remedy=STIFF))
        if not seen:
            raise PersonError(f"every convolution of {type(model).__name__} has an output of 1x1 for this image size: {OFF}")
        return seen[-1][1]
