"""Everything that is measured of explainers: maps, controls, curves, and the planted cue.

H height, W width, N samples, n of them that are compared with the controls, P points of a curve.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.core.keyed import generator, seed
from pipeline.core.progress import track
from pipeline.explaining import cue, faithfulness
from pipeline.explaining.control import randomised, rank_correlation
from pipeline.explaining.features import Features
from pipeline.explaining.regions import grid
from pipeline.explaining.score import Score

BATCH = 32  # images of a pass without gradients
CHANCE = "order of chance"
Maps = dict[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Case:
    """A network, what it does, and what is asked of it.

    Attributes:
        model: in evaluation mode, without gradients of its parameters.
        task: whose score is explained.
        explainers: by name.
        options: the numbers of `explain` in conf.
        seed: of the run.
    """

    model: nn.Module
    task: Any
    explainers: Mapping[str, Any]
    options: Mapping[str, Any]
    seed: int


@dataclass(frozen=True)
class Cues:
    """The planted cue.

    Attributes:
        planted: images that are new to the probe, on which it tells the cue; without any, one on which it does not.
        found: what each explainer made of them.
        maps: of each explainer, (cues, H, W).
        told: share of all images that were held from the probe, with and without the cue, that it tells rightly.
    """

    planted: cue.Planted
    found: dict[str, cue.Found]
    maps: Maps
    told: float


def maps_and_controls(case: Case, x_NCHW: Tensor) -> tuple[Maps, Maps]:
    """Maps of each explainer (N, H, W), and those of networks with shuffled weights (controls, n, H, W) of the first n."""
    rngs = [torch.Generator().manual_seed(seed(case.seed, "explain", number)) for number in range(int(case.options["controls"]))]
    networks = [case.model, *(randomised(case.model, x_NCHW[:BATCH], rng) for rng in rngs)]
    found: dict[str, list[NDArray[np.float32]]] = {name: [] for name in case.explainers}
    cells = [(network, name) for network in networks for name in case.explainers]
    for network, name in track(cells, what="maps", total=len(cells)):
        images = x_NCHW if network is case.model else x_NCHW[: int(case.options["controlled"])]
        found[name].append(explained(case.explainers[name], network, case.task, images))
    return {name: made[0] for name, made in found.items()}, {name: np.stack(made[1:]) for name, made in found.items()}


def explained(explainer: Any, network: nn.Module, task: Any, x_NCHW: Tensor) -> NDArray[np.float32]:
    """Maps (N, H, W), one image at a time, since each has a class of its own."""
    maps = [explainer(Score(network, task, x_1CHW), x_1CHW) for x_1CHW in torch.split(x_NCHW, 1)]
    found_NHW: NDArray[np.float32] = torch.cat(maps).numpy().astype(np.float32)
    return found_NHW


def correlations(maps: Maps, others: Maps) -> dict[str, NDArray[np.float64]]:
    """Rank correlation of each map with its controls, mean over the controls, (n,)."""
    return {
        name: np.stack([rank_correlation(maps[name][: len(other)], other) for other in made]).mean(axis=0)
        for name, made in others.items()
    }


def curves(case: Case, x_NCHW: Tensor, maps: Maps, ids: Sequence[str]) -> dict[str, NDArray[np.float64]]:
    """Deletion and insertion curves (N, 2, P) of each explainer, and last those of an order of chance."""
    region_HW = grid(x_NCHW.shape[2], x_NCHW.shape[3], int(case.options["regions"]))
    found: dict[str, list[NDArray[np.float64]]] = {name: [] for name in [*maps, CHANCE]}
    for number in track(range(len(ids)), what="faithfulness", total=len(ids)):
        x_1CHW = x_NCHW[number : number + 1]
        score_of = Score(case.model, case.task, x_1CHW)
        for name, made in found.items():
            rng = generator(case.seed, "explain", name, ids[number])
            map_HW = maps[name][number] if name in maps else rng.random(region_HW.shape).astype(np.float32)
            place_R = faithfulness.rank(map_HW, region_HW, rng)
            made.append(faithfulness.curves(score_of, x_1CHW, place_R, region_HW, steps=int(case.options["steps"])))
    return {name: np.stack(made) for name, made in found.items()}


def cues(case: Case, x_MCHW: Tensor) -> Cues:
    """Plant the cue, fit the probe to some images, and explain its score on others whose verdict the cue alone turns.

    The probe is fitted to all but twice `cues` of them, and at least to half; of the others the first `cues` are explained on
    which it says no without the square and yes with it, as elsewhere the image speaks louder than the square.

    Raises:
        ValueError: there are fewer than two images.
    """
    if len(x_MCHW) < 2:
        raise ValueError(f"a probe needs an image to learn from and one to explain: received {len(x_MCHW)}")
    rng = generator(case.seed, "explain", "cue")
    x_MCHW = x_MCHW[torch.from_numpy(rng.permutation(len(x_MCHW)))]
    wanted = int(case.options["cues"])
    count = min(2 * wanted, len(x_MCHW) // 2)
    held, known = cue.plant(x_MCHW[:count], rng), cue.plant(x_MCHW[count:], rng)
    probe = cue.fit_probe(Features(case.model, x_MCHW[:1]), known, batch=BATCH)
    told, turned_N = cue.told(probe, held, batch=BATCH)
    rows = np.flatnonzero(turned_N)[:wanted]
    held = held.take(rows if len(rows) else np.arange(1))
    found, maps = {}, {}
    for name, explainer in track(case.explainers.items(), what="planted cue", total=len(case.explainers)):
        found[name], maps[name] = cue.localise(explainer, probe, held, share=told)
    return Cues(held, found, maps, told)
