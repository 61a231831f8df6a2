"""Occlusion sensitivity, by captum.

Source: Zeiler and Fergus 2014, arXiv 1311.2901, section 4.2: a window of flat grey slides over the image, and each pixel gets
the mean fall of the score over the windows that cover it. Differs in: the grey is the image's own mean of each channel.

It needs no gradient and no network behind the score, so any callable can be explained.

B batch, C channels, H height, W width.
"""

import torch
from torch import Tensor

from pipeline.core.contracts import ScoreOf
from pipeline.core.errors import PersonError
from pipeline.explaining.regions import mean_of
from pipeline.explaining.score import check_finite


class Occlusion:
    """Fall of the score when a window is covered.

    Args:
        window: side of the window, as a share of the image's shorter side.
        stride: step of the window, as a share of its side.
        batch: covered images a pass; changes speed and memory alone.

    Raises:
        PersonError: an argument is out of range.
    """

    def __init__(self, *, window: float, stride: float, batch: int) -> None:
        if not (0 < window <= 1 and 0 < stride <= 1 and batch >= 1):
            raise PersonError("explainer.occlusion: expected window and stride in (0, 1] and batch of 1 or more: "
                              f"received window={window}, stride={stride}, batch={batch}")  # fmt: skip
        self.window, self.stride, self.batch = window, stride, batch

    def __call__(self, score_of: ScoreOf, x_BCHW: Tensor) -> Tensor:
        """Maps (B, H, W), float32; negative where the score rises without the place.

        Raises:
            PersonError: a score is not finite.
        """
        from captum.attr import Occlusion as Captum

        side = max(1, round(self.window * min(x_BCHW.shape[2:])))
        step = max(1, round(self.stride * side))
        channels = x_BCHW.shape[1]
        maps = []
        for x_CHW in x_BCHW.detach():
            x_1CHW = x_CHW[None]
            found_1CHW = Captum(score_of).attribute(
                x_1CHW, sliding_window_shapes=(channels, side, side), strides=(channels, step, step), baselines=mean_of(x_1CHW),
                perturbations_per_eval=self.batch,
            )  # fmt: skip
            maps.append(found_1CHW[:, 0])
        return check_finite(torch.cat(maps).float(), method="Occlusion")
