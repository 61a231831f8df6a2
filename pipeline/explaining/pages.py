"""The pictures of the stage `explain`, each one PNG.

C channels, E explainers, F filters, H height, W width, N samples, P points of a curve.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.pictures import BLUE, GREY, ORANGE, figure, grid, placard, save, sheet
from pipeline.explaining.regions import averaged

DPI = 110
COLUMNS = 6  # of a sheet, about
FILTERS = 32  # of the first layer that are shown
OPACITY = 0.65  # of a map at its maximum
SMOOTH, BRIGHTEST = 0.02, 0.995  # of a map: share of the side that is averaged; quantile of its positive values that is brightest

Images = Sequence[NDArray[Any]]


def overlay(pixels_HWC: NDArray[Any], map_HW: NDArray[np.float32]) -> NDArray[np.float32]:
    """The image in grey under its map in colour, float (H, W, 3).

    A map is averaged over a fiftieth of the side, negative values are cut, and the brightest half percent of the others sets the
    scale: pixels of a fine map could not be seen otherwise.

    Args:
        pixels_HWC: uint8, or float in [0, 1].
        map_HW: of it.
    """
    import matplotlib as mpl

    scale = 255 if pixels_HWC.dtype == np.uint8 else 1
    grey_HW = pixels_HWC.astype(np.float32).mean(axis=2) / scale
    shown_HW = averaged(map_HW, round(min(map_HW.shape) * SMOOTH))
    top = float(np.quantile(shown_HW[shown_HW > 0], BRIGHTEST)) if bool((shown_HW > 0).any()) else 0.0
    share_HW = np.clip(shown_HW / top, 0, 1) if top > 0 else np.zeros_like(map_HW)
    colour_HWC = np.asarray(mpl.colormaps["inferno"](share_HW))[..., :3]
    weight_HW1 = OPACITY * share_HW[..., None]
    mixed_HWC: NDArray[np.float32] = (grey_HW[..., None] * (1 - weight_HW1) + colour_HWC * weight_HW1).astype(np.float32)
    return mixed_HWC


def beside(
    images: Images, maps: Sequence[NDArray[np.float32]], path: Path, *, first: Sequence[str], rest: Sequence[Sequence[str]]
) -> None:
    """Each image followed by its overlays.

    Args:
        images: N, (H, W, C).
        maps: for each column after the first, maps (N, H, W) or more.
        path: the PNG.
        first: title of each image.
        rest: for each column after the first, N titles.
    """
    tiles: list[NDArray[Any]] = []
    titles: list[str] = []
    for number, pixels_HWC in enumerate(images):
        tiles += [pixels_HWC, *(overlay(pixels_HWC, column[number]) for column in maps)]
        titles += [first[number], *(column[number] for column in rest)]
    width = 1 + len(maps)
    sheet(tiles, titles, path, columns=width * max(1, COLUMNS // width), dpi=DPI)


def curves(found: dict[str, NDArray[np.float64]], path: Path) -> None:
    """Mean deletion and insertion curves of each explainer.

    Args:
        found: name -> curves of each sample (N, 2, P); the last one is the order of chance.
        path: the PNG.
    """
    *names, chance = found
    fig = figure(0.8 + 2.6 * len(names), 2.7)
    panels = fig.subplots(1, len(names), sharey=True, squeeze=False)[0]
    for axes, name in zip(panels, names, strict=True):
        deletion_P, insertion_P = found[name].mean(axis=0)
        share_P = 100 * np.arange(len(deletion_P)) / (len(deletion_P) - 1)
        axes.fill_between(share_P, deletion_P, insertion_P, color="#e5e7eb", linewidth=0)
        for number, chance_P in enumerate(found[chance].mean(axis=0)):
            axes.plot(share_P, chance_P, color=GREY, linestyle=":", linewidth=1, label=None if number else chance)
        axes.plot(share_P, deletion_P, color=ORANGE, label="deletion")
        axes.plot(share_P, insertion_P, color=BLUE, label="insertion")
        axes.set_title(name)
        axes.set_xlabel("regions, most important first (%)")
        grid(axes)
    panels[0].set_ylabel("score, mean of the samples")
    panels[0].legend(loc="best")
    save(fig, path, DPI)


def filters(filter_FkkC: NDArray[np.float32], path: Path) -> None:
    """Weights of the first layer; each filter has its own scale, and grey (or equal colours) is zero."""
    if not len(filter_FkkC):
        placard("no layer of this network sees pixels", path)
        return
    shown = filter_FkkC[:FILTERS]
    top_F111 = np.maximum(np.abs(shown).max(axis=(1, 2, 3), keepdims=True), 1e-12)
    sheet(list(0.5 + 0.5 * shown / top_F111), [""] * len(shown), path, columns=16, dpi=DPI, tile=0.6)


def activations(pixels_HWC: NDArray[Any], answers: list[tuple[str, NDArray[np.float32]]], channels: int, path: Path) -> None:
    """One image, and what some channels of layers of rising depth answer to it; each channel has its own scale."""
    if not answers:
        placard("this network has no convolution that sees places", path)
        return
    tiles: list[NDArray[Any]] = []
    titles: list[str] = []
    for depth, (name, answer_Chw) in enumerate(answers):
        missing = channels - len(answer_Chw)
        tiles += [pixels_HWC if depth == 0 else np.ones((8, 8)), *map(_stretched, answer_Chw), *([np.ones((8, 8))] * missing)]
        titles += ["image" if depth == 0 else "", name, *([""] * (channels - 1))]
    sheet(tiles, titles, path, columns=1 + channels, dpi=DPI)


def rows(tiles: Images, titles: Sequence[str], columns: int, path: Path) -> None:
    """A plain sheet; without tiles a placard."""
    if tiles:
        sheet(tiles, titles, path, columns=columns, dpi=DPI)
    else:
        placard("nothing to show", path)


def _stretched(answer_hw: NDArray[np.float32]) -> NDArray[np.float32]:
    low, high = float(answer_hw.min()), float(answer_hw.max())
    shown: NDArray[np.float32] = (answer_hw - low) / (high - low if high > low else 1.0)
    return shown
