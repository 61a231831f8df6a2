"""Sheets of errors: the worst ones, and the most frequent kinds of mistake with examples of each.

Letters: N samples.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core import pictures
from pipeline.core.section import Picture

Pixels = NDArray[np.uint8]
BLANK = np.full((8, 8, 1), 255, dtype=np.uint8)
WORST, KINDS = "mistakes.png", "kinds.png"


def worst(
    badness_N: NDArray[Any], title_of: Callable[[int], str], pixels_of: Callable[[int], Pixels], path: Path, *,
    most: int, dpi: int,
) -> list[Picture]:  # fmt: skip
    """The worst mistakes, the worst first; none where there is no mistake.

    Args:
        badness_N: how bad each prediction is; at or below zero is no mistake.
        title_of: row -> words above its image.
        pixels_of: row -> image.
        path: the PNG to write.
        most: how many.
        dpi: dots an inch.
    """
    order = [int(row) for row in np.argsort(-badness_N, kind="stable")[:most] if badness_N[row] > 0]
    if not order:
        return []
    pictures.sheet([pixels_of(row) for row in order], [title_of(row) for row in order], path, columns=6, dpi=dpi)
    return [Picture(path.name, f"The {len(order)} worst mistakes, the worst first: what the model said, and the truth.")]


def kinds(
    pairs: tuple[Sequence[str], Sequence[str]], badness_N: NDArray[Any], pixels_of: Callable[[int], Pixels], path: Path, *,
    shape: tuple[int, int], dpi: int,
) -> list[Picture]:  # fmt: skip
    """The most frequent kinds of mistake, a row each, its worst examples; none where truth and prediction always agree.

    Args:
        pairs: truth and prediction of each sample in words; a kind is a pair that differs.
        badness_N: how bad each prediction is; orders the examples.
        pixels_of: row -> image.
        path: the PNG to write.
        shape: number of kinds, examples of each.
        dpi: dots an inch.
    """
    most, each = shape
    actual, said = pairs
    count = Counter((a, s) for a, s in zip(actual, said, strict=True) if a != s)
    chosen = sorted(count, key=lambda pair: (-count[pair], pair))[:most]
    if not chosen or each < 1:
        return []
    images: list[Pixels] = []
    titles: list[str] = []
    for pair in chosen:
        rows = [row for row in np.argsort(-badness_N, kind="stable").tolist() if (actual[row], said[row]) == pair][:each]
        images += [pixels_of(row) for row in rows] + [BLANK] * (each - len(rows))
        titles += [f"is {pair[0]}\nsaid {pair[1]}\n{number} of {count[pair]:,}" for number in range(1, len(rows) + 1)]
        titles += [""] * (each - len(rows))
    pictures.sheet(images, titles, path, columns=each, dpi=dpi)
    share = sum(count[pair] for pair in chosen) / sum(count.values())
    caption = f"The most frequent kinds of mistake, a row each, the worst first; {share:.0%} of all mistakes are of them."
    return [Picture(path.name, caption)]
