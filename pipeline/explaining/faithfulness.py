"""Deletion and insertion: does the score fall when what a map calls important is taken away, and come back with it?

Source: Petsiuk et al. 2018, "RISE", arXiv 1806.07421, section 4.2 (both curves); Samek et al. 2017, "Evaluating the visualization
of what a deep neural network has learned", arXiv 1509.06321, section III (regions instead of pixels). Differs in: regions of a
grid, blurred instead of greyed, because single pixels of another grey are noise that no training image has; the score is the
caller's and not a probability, which is flat where a network is sure; and one number is reported, the area between the insertion
and the deletion curve. It is zero in expectation for every order that is drawn at random, whatever its resolution, since both
curves then are the same in expectation; so no second reference is needed.

C channels, H height, W width, P points of a curve, R regions.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.core.contracts import ScoreOf
from pipeline.explaining.regions import blurred

BATCH = 16  # images a pass


def rank(map_HW: NDArray[np.float32], region_HW: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Place of each region in the order of its mean, the highest first, (R,); ties are broken at random."""
    count_R = np.bincount(region_HW.ravel())
    mean_R = np.bincount(region_HW.ravel(), weights=map_HW.ravel().astype(np.float64)) / count_R
    place_R = np.empty(len(count_R), dtype=np.int64)
    place_R[np.lexsort((rng.permutation(len(count_R)), -mean_R))] = np.arange(len(count_R))
    return place_R


def curves(
    score_of: ScoreOf, x_1CHW: Tensor, place_R: NDArray[np.int64], region_HW: NDArray[np.int64], *, steps: int
) -> NDArray[np.float64]:
    """Scores while regions go in order (deletion) and while they come back in order (insertion), (2, P), P = steps + 1.

    Point p stands for p / steps of the regions. Deletion starts at the image and ends at what is left of it; insertion the
    other way round.
    """
    share_P = np.arange(steps + 1) / steps
    first_PHW = torch.from_numpy(place_R[region_HW][None] < np.rint(share_P * len(place_R))[:, None, None])[:, None]
    rest_1CHW = blurred(x_1CHW)
    deleted_PCHW = torch.where(first_PHW, rest_1CHW, x_1CHW)
    inserted_PCHW = torch.where(first_PHW, x_1CHW, rest_1CHW)[1:-1]  # its ends are those of deletion
    images_MCHW = torch.cat([deleted_PCHW, inserted_PCHW])
    with torch.no_grad():
        found = [score_of(images_MCHW[start : start + BATCH]) for start in range(0, len(images_MCHW), BATCH)]
    score_M = torch.cat(found).double().numpy()
    deletion_P = score_M[: steps + 1]
    insertion_P = np.concatenate([deletion_P[-1:], score_M[steps + 1 :], deletion_P[:1]])
    return np.stack([deletion_P, insertion_P])


def gain(curves_2P: NDArray[np.float64]) -> float:
    """Area between insertion and deletion, in units of the score; above zero means that the order is better than chance."""
    difference_P = curves_2P[1] - curves_2P[0]
    return float((difference_P[1:] + difference_P[:-1]).mean() / 2)
