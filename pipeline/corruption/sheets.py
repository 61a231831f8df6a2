"""Pictures of corruptions: one small chart each, and one image under all of them.

N samples, K columns of a prediction.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core import pictures
from pipeline.corruption.measure import Cell, places_of

DPI = 110
ACROSS = 6  # charts in a row
SHOWN = 3  # severities of a corruption on the sheet
TILE = 1.2  # inches
LETTERS = 20  # of a line that fits above a tile


@dataclass(frozen=True)
class Shares:
    """Errors to draw.

    Attributes:
        cells: the clean one first.
        numbers: `<corruption>_<severity>_error` -> `value`, `low`, `high`; also with `reference_` before it.
        reference: name of the baseline, "" for none.
    """

    cells: Sequence[Cell]
    numbers: dict[str, dict[str, float]]
    reference: str

    def line(self, name: str, prefix: str = "") -> tuple[list[int], NDArray[np.float64]]:
        """Severities from 0 (clean) on, and value, low and high at each, (3, points)."""
        at = [(0, f"{prefix}clean_error")] + [
            (self.cells[c][1], f"{prefix}{name}_{self.cells[c][1]}_error") for c in places_of(self.cells)[name]
        ]
        kept = [(severity, self.numbers[key]) for severity, key in at if key in self.numbers]
        lines = [[entry[end] for _, entry in kept] for end in ("value", "low", "high")]
        return [severity for severity, _ in kept], np.asarray(lines)


def curves(shares: Shares, path: Path, *, label: str) -> None:
    """A chart for each corruption: the model's error with its interval, and the baseline's, dashed; a placard without any."""
    names = list(places_of(shares.cells))
    if not names:
        pictures.placard("nothing was tried", path)
        return
    across = min(ACROSS, len(names))
    down = math.ceil(len(names) / across)
    fig = pictures.figure(max(3.2, 1.55 * across), 0.3 + 1.35 * down)
    grid = fig.subplots(down, across, sharex=True, sharey=True, squeeze=False)
    for place, axes in enumerate(grid.ravel()):
        if place >= len(names):
            axes.axis("off")
            continue
        severity, found = shares.line(names[place])
        axes.fill_between(severity, found[1], found[2], color=pictures.BLUE, alpha=0.18, linewidth=0)
        axes.plot(severity, found[0], color=pictures.BLUE, marker="o", markersize=2.5, linewidth=1.4)
        if shares.reference:
            severity, found = shares.line(names[place], "reference_")
            axes.plot(severity, found[0], color=pictures.GREY, linestyle="--", linewidth=1.2)
        axes.set_title(names[place].replace("_", " "), fontsize=8)
        axes.set_xticks(range(6))
        axes.tick_params(labelsize=7)
        axes.set_ylim(bottom=0)
        pictures.grid(axes)
    fig.supxlabel("severity (0 = clean)", fontsize=8.5)
    fig.supylabel(label, fontsize=8.5)
    pictures.save(fig, path, DPI)


def sheet(
    cells: Sequence[Cell], image: Callable[[Cell], NDArray[np.uint8]], said: Callable[[int], str], path: Path
) -> None:  # fmt: skip
    """One image in every corruption at up to three severities, three corruptions a row; the clean one comes last.

    Args:
        cells: the clean one first.
        image: the image in a cell, uint8 (H, W, C).
        said: what the model says of it in the cell of this number.
        path: the PNG to write.
    """
    if len(cells) == 1:
        pictures.placard("nothing was tried", path)
        return
    places = places_of(cells)
    many = max(len(numbers) for numbers in places.values())
    kept = sorted({0, many // 2, many - 1}) if many > SHOWN else list(range(many))
    order = [numbers[k] for numbers in places.values() for k in kept if k < len(numbers)] + [0]
    lines = [[f"{cells[c][0].replace('_', ' ')} {cells[c][1] or ''}".strip(), said(c)] for c in order]
    titles = ["\n".join(pictures.shorten(line, LETTERS) for line in pair) for pair in lines]
    pictures.sheet([image(cells[c]) for c in order], titles, path, columns=3 * len(kept), dpi=DPI, tile=TILE)


def plainest(badness_N: NDArray[Any]) -> int:
    """The sample to show: the one that the model gets most right without corruption."""
    return int(np.argmin(badness_N))
