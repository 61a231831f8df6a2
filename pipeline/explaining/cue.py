"""A cue whose place is known, planted into images, and a probe of the network that tells it: does an explainer find the place?

Source: Zhang et al. 2018, "Top-down neural attention by excitation backprop", arXiv 1608.00507, section 4.1 (the pointing game).
Differs in: what must be found is not an object that people marked, which a network may ignore with good reason, but a checkered
square at a random place of one quarter of the image after the other. A ridge regression on the network's features before its
last layer tells images with it from the same images without it, so that square, and nothing else, is what the probe's score
was fitted to; the trained layers stay as they are.

B batch, C channels, H height, W width, D features, N images.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.explaining.features import Features
from pipeline.explaining.regions import averaged

SHARE = 0.3  # of the shorter side: the square's side
FIELDS = 4  # of the checker along the square's side
LEVELS = (0.0, 1.0)  # grey of its fields
SLACK = 0.05  # of the shorter side: how far outside the square the brightest point may lie (15 of 300 pixels, as in the source)
RIDGE = 0.1  # weight of the penalty against one mean squared feature


@dataclass(frozen=True)
class Planted:
    """Images with and without the cue.

    Attributes:
        with_NCHW: with the cue.
        without_NCHW: the same ones without it.
        inside_NHW: where the cue is.
    """

    with_NCHW: Tensor
    without_NCHW: Tensor
    inside_NHW: NDArray[np.bool_]

    def take(self, rows: NDArray[np.int64]) -> "Planted":
        """These images."""
        return Planted(self.with_NCHW[rows], self.without_NCHW[rows], self.inside_NHW[rows])


@dataclass(frozen=True)
class Found:
    """What an explainer made of the planted cue.

    Attributes:
        hits: of each image, whether the map's brightest point lies on the cue, (N,).
        mass: of each image, the share of the map's positive values that lies on it, (N,).
        area: share of the image that the cue covers: what mass is on average for a map that knows nothing.
        told: share of the images, with and without the cue, that the probe tells rightly; all of them new to it.
    """

    hits: NDArray[np.bool_]
    mass: NDArray[np.float64]
    area: float
    told: float


def plant(x_NCHW: Tensor, rng: np.random.Generator) -> Planted:
    """Put a checkered square into each image, at a random place of one quarter after the other: no fixed map can find many."""
    height, width = x_NCHW.shape[2:]
    side = max(2, round(SHARE * min(height, width)))
    field = max(1, round(side / FIELDS))
    check_ss = (np.indices((side, side)) // field).sum(axis=0) % 2
    square_ss = torch.from_numpy(np.asarray(LEVELS)[check_ss]).to(x_NCHW.dtype)
    marked_NCHW = x_NCHW.clone()
    inside_NHW = np.zeros((len(x_NCHW), height, width), dtype=np.bool_)
    for number in range(len(x_NCHW)):
        later = divmod(number % 4, 2)  # the second half of the rows, of the columns
        row, column = (_place(length, side, second, rng) for length, second in zip((height, width), later, strict=True))
        marked_NCHW[number, :, row : row + side, column : column + side] = square_ss
        inside_NHW[number, row : row + side, column : column + side] = True
    return Planted(marked_NCHW, x_NCHW, inside_NHW)


class Probe:
    """A score of the cue: the network's features before its last layer, and one linear layer fitted to the cue alone.

    Args:
        features: of the network; `model` is the network, for explainers that look into layers.
        weight_D: of each feature.
        bias: so that the score is above zero where the cue is.
    """

    def __init__(self, features: Features, weight_D: Tensor, bias: float) -> None:
        self.features, self.weight_D, self.bias = features, weight_D, bias

    @property
    def model(self) -> nn.Module:
        """The network."""
        return self.features.model

    def __call__(self, x_BCHW: Tensor) -> Tensor:
        """Score of each image (B,)."""
        return self.features(x_BCHW) @ self.weight_D + self.bias


def fit_probe(features: Features, planted: Planted, *, batch: int) -> Probe:
    """Ridge regression of +1 (with the cue) and -1 (without) on standardised features, in its dual form."""
    found_MD = torch.cat([_features(features, planted.with_NCHW, batch), _features(features, planted.without_NCHW, batch)])
    side_M = torch.ones(len(found_MD), dtype=torch.float64)
    side_M[len(found_MD) // 2 :] = -1
    mean_D, std_D = found_MD.mean(0), found_MD.std(0)
    scale_D = torch.where(std_D > 1e-9, 1 / std_D.clamp_min(1e-9), torch.zeros_like(std_D))
    standard_MD = (found_MD - mean_D) * scale_D
    kernel_MM = standard_MD @ standard_MD.T / standard_MD.shape[1]
    penalty_MM = RIDGE * torch.eye(len(side_M), dtype=torch.float64)
    dual_M = torch.linalg.solve(kernel_MM + penalty_MM, side_M)
    weight_D = (standard_MD.T @ dual_M) * scale_D / standard_MD.shape[1]
    return Probe(features, weight_D.float(), -float(mean_D @ weight_D))


def told(probe: Probe, planted: Planted, *, batch: int) -> tuple[float, NDArray[np.bool_]]:
    """How well the probe tells the cue.

    Returns:
        Share of the images, with and without the cue, that it tells rightly; and of each pair whether it tells both: there the
        square alone turns the verdict.
    """
    with torch.no_grad():
        marked_N = torch.cat([probe(x_BCHW) > 0 for x_BCHW in torch.split(planted.with_NCHW, batch)])
        plain_N = torch.cat([probe(x_BCHW) <= 0 for x_BCHW in torch.split(planted.without_NCHW, batch)])
    return float(torch.cat([marked_N, plain_N]).double().mean()), (marked_N & plain_N).numpy()


def localise(explainer: Any, probe: Probe, planted: Planted, *, share: float) -> tuple[Found, NDArray[np.float32]]:
    """Explain the probe's score on each image with the cue; return what was found and the maps (N, H, W).

    Args:
        explainer: of the room.
        probe: that was fitted to other images.
        planted: images to explain.
        share: of the images that the probe tells rightly.
    """
    maps = [explainer(probe, x_CHW[None]) for x_CHW in planted.with_NCHW]
    map_NHW: NDArray[np.float32] = torch.cat(maps).numpy().astype(np.float32)
    slack = round(SLACK * min(map_NHW.shape[1:]))
    hits = [hit(map_HW, inside_HW, slack) for map_HW, inside_HW in zip(map_NHW, planted.inside_NHW, strict=True)]
    positive_NHW = np.maximum(map_NHW.astype(np.float64), 0)
    total_N = positive_NHW.sum((1, 2))
    mass_N = (positive_NHW * planted.inside_NHW).sum((1, 2)) / np.where(total_N > 0, total_N, 1)
    return Found(np.asarray(hits, dtype=np.bool_), mass_N, float(planted.inside_NHW.mean()), share), map_NHW


def hit(map_HW: NDArray[np.float32], inside_HW: NDArray[np.bool_], slack: int) -> bool:
    """Whether the brightest point lies in the region or at most `slack` pixels outside; a flat map points nowhere.

    Maps are averaged over windows of `slack` pixels before, as single pixels of a fine map are noise.
    """
    if float(map_HW.max()) <= float(map_HW.min()):
        return False
    row, column = np.unravel_index(int(np.argmax(averaged(map_HW, slack))), map_HW.shape)
    rows, columns = np.nonzero(inside_HW.any(1))[0], np.nonzero(inside_HW.any(0))[0]
    return bool(rows[0] - slack <= row <= rows[-1] + slack and columns[0] - slack <= column <= columns[-1] + slack)


def _place(length: int, side: int, second: int, rng: np.random.Generator) -> int:
    """Start of the square along one axis: in the first half, or in the second one."""
    low = min(length // 2, length - side) if second else 0
    high = length - side if second else max(0, length // 2 - side)
    return int(rng.integers(low, high + 1))


def _features(features: Features, x_NCHW: Tensor, batch: int) -> Tensor:
    with torch.no_grad():
        return torch.cat([features(x_BCHW) for x_BCHW in torch.split(x_NCHW, batch)]).double()
