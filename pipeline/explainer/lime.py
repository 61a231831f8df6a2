"""LIME, by captum.

Source: Ribeiro et al. 2016, arXiv 1602.04938, equation 1: regions of the image are switched off at random, and a weighted ridge
regression from "which ones were on" to the score gives each region its weight. Differs in: the regions are a grid and not the
superpixels of a segmentation; a region that is off takes the image's own mean of each channel.

It needs no gradient and no network behind the score, so any callable can be explained.

B batch, C channels, H height, W width, R regions.
"""

from typing import Any

import torch
from torch import Tensor

from pipeline.core.contracts import ScoreOf
from pipeline.core.errors import PersonError
from pipeline.explaining.regions import grid, mean_of
from pipeline.explaining.score import check_finite


class Lime:
    """Weights of regions in a local linear model.

    Args:
        regions: along the image's shorter side.
        samples: images with regions switched off that are scored for each image.
        kernel_width: of the weight exp(-d^2 / width^2) of a sample, d the cosine distance between its switches and all on.
        penalty: of the ridge regression.
        seed: of the switches; each image gets the same ones.
        batch: images a pass; changes speed and memory alone.

    Raises:
        PersonError: an argument is out of range.
    """

    def __init__(self, *, regions: int, samples: int, kernel_width: float, penalty: float, seed: int, batch: int) -> None:
        if min(regions, samples, batch) < 1 or kernel_width <= 0 or penalty <= 0:
            raise PersonError("explainer.lime: expected regions, samples and batch of 1 or more, others above 0: "
                              f"received regions={regions}, samples={samples}, batch={batch}, kernel_width={kernel_width}, "
                              f"penalty={penalty}")  # fmt: skip
        self.regions, self.samples, self.batch = regions, samples, batch
        self.kernel_width, self.penalty, self.seed = kernel_width, penalty, seed

    def __call__(self, score_of: ScoreOf, x_BCHW: Tensor) -> Tensor:
        """Maps (B, H, W), float32: the weight of each pixel's region; the global random state stays as it was.

        Raises:
            PersonError: a score is not finite.
        """
        from captum._utils.models.linear_model import SkLearnRidge
        from captum.attr import Lime as Captum

        height, width = x_BCHW.shape[2:]
        region_11HW = torch.from_numpy(grid(height, width, self.regions))[None, None]
        maps = []
        for x_CHW in x_BCHW.detach():
            x_1CHW = x_CHW[None]
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(self.seed)
                surrogate = Captum(score_of, SkLearnRidge(alpha=self.penalty), self._weight)
                found_1CHW = surrogate.attribute(
                    x_1CHW, baselines=mean_of(x_1CHW), feature_mask=region_11HW.expand_as(x_1CHW), n_samples=self.samples,
                    perturbations_per_eval=self.batch,
                )  # fmt: skip
            maps.append(found_1CHW[:, 0])
        return check_finite(torch.cat(maps).float(), method="LIME")

    def _weight(self, _: Tensor, __: Tensor, on_1R: Tensor, **___: Any) -> Tensor:
        """Weight of a sample by how many regions are on: the cosine between its switches and all on is sqrt(on / R)."""
        distance = 1 - on_1R.float().mean().sqrt()
        return torch.exp(-distance.square() / self.kernel_width**2)
