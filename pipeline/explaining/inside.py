"""A look inside a network: what excites it, what its layers look for and answer, which training samples it takes for alike.

C channels, F filters, H height, W width, K outputs, N samples, S steps.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.core.keyed import generator
from pipeline.explaining import ascent, layers, pages
from pipeline.explaining.features import Features, agreement, features_of, nearest
from pipeline.explaining.measuring import BATCH, Case

CLASSES = 6  # that are dreamt of
DEPTHS, CHANNELS = 4, 5  # layers and channels on the picture of activations
QUERIES = 6  # samples on the picture of neighbours


@dataclass(frozen=True)
class Climb:
    """One gradient ascent on the input.

    Attributes:
        title: what was raised.
        score_S: at the start and after every step; it never falls.
        image_HWC: the end, pixels in [0, 1].
    """

    title: str
    score_S: NDArray[np.float64]
    image_HWC: NDArray[np.float32]


@dataclass(frozen=True)
class Neighbours:
    """Training samples that are nearest inside the network.

    Attributes:
        rows: of the prototypes, nearest first, (N, neighbours).
        own: mean error of the predictions, were the neighbours' truths right.
        chance: the same with the truths of all prototypes.
    """

    rows: NDArray[np.int64]
    own: float
    chance: float


def climbs(case: Case, x_1CHW: Tensor, goals: list[tuple[str, NDArray[np.float32]]]) -> list[Climb]:
    """What excites the network: each goal from noise, then one convolution in the middle from an image (deep dream).

    Args:
        case: the network.
        x_1CHW: the image.
        goals: titles, and weights of the outputs (K,).
    """
    steps, step = int(case.options["ascent_steps"]), float(case.options["ascent_step"])
    shape = (int(x_1CHW.shape[1]), int(x_1CHW.shape[2]), int(x_1CHW.shape[3]))
    begin_BCHW = ascent.start(len(goals), shape, generator(case.seed, "explain", "ascent"))
    weight_BK = torch.from_numpy(np.stack([weight_K for _, weight_K in goals]))
    x_BCHW, score_SB = ascent.ascend(ascent.Towards(case.model, weight_BK), begin_BCHW, steps=steps, step=step)
    found = [Climb(title, score_SB[:, number], shown(x_BCHW[number])) for number, (title, _) in enumerate(goals)]
    places = layers.convolutions(case.model, lambda: case.model(x_1CHW))
    if places:
        name, layer = places[len(places) // 2]
        dream_1CHW, score_S1 = ascent.ascend(ascent.Energy(case.model, layer), x_1CHW, steps=steps, step=step)
        found.append(Climb(f"deep dream: {name}", score_S1[:, 0], shown(dream_1CHW[0])))
    return found


def goals_of(task: Any, outputs: int) -> list[tuple[str, NDArray[np.float32]]]:
    """What to raise: the logit of each class, at most `CLASSES`, or the value and its opposite."""
    unit_KK = np.eye(outputs, dtype=np.float32)
    if task.categories:
        return [(str(task.truth_text(number)), unit_KK[number]) for number in range(min(outputs, CLASSES))]
    return [("a higher value", unit_KK[0]), ("a lower value", -unit_KK[0])]


def neighbours(
    case: Case, x_NCHW: Tensor, x_MCHW: Tensor, *, prediction_NK: NDArray[np.float32], truth_M: NDArray[Any]
) -> Neighbours:
    """The prototypes (M) nearest to each sample in what the network knows before its last layer."""
    features = Features(case.model, x_MCHW[:1])
    query_ND, prototype_MD = (features_of(features, torch.split(images, BATCH)) for images in (x_NCHW, x_MCHW))
    rows = nearest(query_ND, prototype_MD, int(case.options["neighbours"]))
    return Neighbours(rows, *agreement(case.task, prediction_NK, rows, truth_M))


def draw_neighbours(
    found: Neighbours, images: pages.Images, prototypes: pages.Images, *, says: list[str], truths: list[str], path: Path
) -> None:
    """Each sample, and the training samples nearest to it, with their truths."""
    tiles: list[NDArray[Any]] = []
    titles: list[str] = []
    for number, row in enumerate(found.rows[:QUERIES]):
        tiles += [images[number], *(prototypes[int(place)] for place in row)]
        titles += [says[number], *(truths[int(place)] for place in row)]
    pages.rows(tiles, titles, 1 + found.rows.shape[1], path)


def draw_layers(case: Case, x_1CHW: Tensor, path: Path) -> None:
    """Activations of some convolutions on one image."""
    places = layers.convolutions(case.model, lambda: case.model(x_1CHW))
    answers = layers.activations(case.model, x_1CHW, places, layers=DEPTHS, channels=CHANNELS)
    pages.activations(shown(x_1CHW[0]), answers, CHANNELS, path)


def draw_filters(case: Case, x_1CHW: Tensor, path: Path) -> tuple[int, float | None]:
    """Filters of the first layer; return how many there are, and which share of them is structured."""
    places = layers.convolutions(case.model, lambda: case.model(x_1CHW))
    found = layers.first_filters(case.model, places, (x_1CHW.shape[1], x_1CHW.shape[2], x_1CHW.shape[3]))
    pages.filters(found, path)
    return len(found), layers.structured(found, generator(case.seed, "explain", "filters"))


def shown(x_CHW: Tensor) -> NDArray[np.float32]:
    """An image as a sheet takes it (H, W, C)."""
    image_HWC: NDArray[np.float32] = x_CHW.permute(1, 2, 0).numpy()
    return image_HWC
