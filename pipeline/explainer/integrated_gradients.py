"""Integrated gradients, by captum.

Source: Sundararajan et al. 2017, arXiv 1703.01365, equation 1: gradients of the score along the straight line from a baseline
to the image, averaged and multiplied by the difference, so that a map adds up to the difference of the two scores (completeness).
Differs in: the integral is Gauss-Legendre quadrature (captum's), and channels are added up.

B batch, C channels, H height, W width.
"""

import torch
from torch import Tensor

from pipeline.core.contracts import ScoreOf
from pipeline.core.errors import PersonError
from pipeline.explaining.regions import mean_of
from pipeline.explaining.score import check_differentiable, check_finite

STIFF = "choose maps that need no gradient:  explainer=[occlusion]  or  explainer=[lime]"


class IntegratedGradients:
    """Gradients integrated from a baseline.

    Args:
        steps: points of the quadrature; each is one forward and one backward pass.
        baseline: grey level of the baseline in [0, 1]; None takes the image's own mean of each channel.
        batch: points a pass; changes speed and memory alone.

    Raises:
        PersonError: an argument is out of range.
    """

    def __init__(self, *, steps: int, baseline: float | None, batch: int) -> None:
        if steps < 1 or batch < 1 or (baseline is not None and not 0 <= baseline <= 1):
            raise PersonError("explainer.integrated_gradients: expected steps and batch of 1 or more, baseline null or 0 to 1: "
                              f"received steps={steps}, baseline={baseline}, batch={batch}")  # fmt: skip
        self.steps, self.baseline, self.batch = steps, baseline, batch

    def __call__(self, score_of: ScoreOf, x_BCHW: Tensor) -> Tensor:
        """Maps (B, H, W), float32; negative where a place speaks against the score.

        Raises:
            PersonError: the score cannot be differentiated, or a gradient is not finite.
        """
        from captum.attr import IntegratedGradients as Captum

        check_differentiable(score_of, x_BCHW, method="Integrated gradients", remedy=STIFF)
        maps = []
        for x_CHW in x_BCHW.detach():
            x_1CHW = x_CHW[None]
            rest_1CHW = mean_of(x_1CHW) if self.baseline is None else torch.full_like(x_1CHW, self.baseline)
            with torch.enable_grad():
                found_1CHW = Captum(score_of).attribute(
                    x_1CHW, rest_1CHW, n_steps=self.steps, internal_batch_size=min(self.batch, self.steps)
                )
            maps.append(found_1CHW.detach().sum(1))
        return check_finite(torch.cat(maps).float(), method="Integrated gradients")
