"""Crops: whether one picture is a part of another, enlarged to the same size. Shown to a person, never a stop.

P pairs, T side of a thumbnail.
"""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.findings.duplicates import Pair
from pipeline.findings.rows import RowsLike

SHARES = (0.95, 0.925, 0.9, 0.875, 0.85, 0.8)  # of the whole picture's side that a crop may show
SMALLEST = 32  # pixels of a thumbnail's side below which a crop cannot be told
SMOOTH = 1.0  # pixels: the grids of a crop and of the whole do not fall together
COARSE = (0.94, 0.875, 0.81)  # the same at half the size, where most pairs are dropped
COARSE_GAIN = 0.75  # GAIN at half the size
SLIP = 0.1  # of the correlation that half the size may take away
GAIN = 0.5  # the crop must explain the pair so much better than the whole does: its distance from 1 in shares of the whole's

Images = dict[int, NDArray[np.float32]]


def find_crops(thumb_NTT: RowsLike, pair_P2: NDArray[np.int64], likeness: float) -> list[Pair]:
    """Those of some pairs of which one is a crop of the other; `symmetry` is 0.

    Normalised cross-correlation of the shrunk crop over all places of the whole (Lewis 1995, equation 1), both ways.

    Args:
        thumb_NTT: thumbnails, uint8.
        pair_P2: proposed pairs of positions.
        likeness: correlation that a crop must reach.
    """
    if thumb_NTT.shape[-1] < SMALLEST or not len(pair_P2):
        return []
    smooth = {int(place): _smooth(thumb_NTT[place]) for place in np.unique(pair_P2)}
    coarse = {place: _halved(image) for place, image in smooth.items()}
    templates = {place: _templates(image, COARSE) for place, image in coarse.items()}
    found = []
    for first, second in pair_P2.tolist():
        best, whole = _best(coarse, templates, first, second)
        if best < likeness - SLIP or 1 - best > COARSE_GAIN * (1 - whole):
            continue
        best, whole = _best(smooth, {place: _templates(smooth[place], SHARES) for place in (first, second)}, first, second)
        if best >= likeness and 1 - best <= GAIN * (1 - whole):
            found.append(Pair(first, second, best, 0))
    return found


def _best(images: Images, templates: dict[int, list[Any]], first: int, second: int) -> tuple[float, float]:
    """Largest correlation of a crop of either with the other, and that of the two wholes."""
    ways = ((first, second), (second, first))
    best = max(_correlation(images[whole], template) for whole, part in ways for template in templates[part])
    return best, _correlation(images[first], images[second])


def _halved(image_TT: NDArray[np.float32]) -> NDArray[np.float32]:
    half = len(image_TT) // 2
    return np.ascontiguousarray(image_TT.reshape(half, 2, half, 2).mean(axis=(1, 3)))


def _templates(image_TT: NDArray[np.float32], shares: tuple[float, ...]) -> list[NDArray[np.float32]]:
    sides = sorted({round(share * len(image_TT)) for share in shares}, reverse=True)
    made: list[Any] = [cv2.resize(image_TT, (side, side), interpolation=cv2.INTER_AREA) for side in sides]
    return made


def _correlation(image_TT: NDArray[np.float32], template: NDArray[np.float32]) -> float:
    if template.std() < 1:
        return -1.0
    answer: Any = cv2.matchTemplate(image_TT, template, cv2.TM_CCOEFF_NORMED)
    return float(np.nan_to_num(answer, nan=-1.0, posinf=-1.0, neginf=-1.0).max())


def _smooth(thumb_TT: NDArray[np.uint8]) -> NDArray[np.float32]:
    blurred: Any = cv2.GaussianBlur(np.asarray(thumb_TT, dtype=np.float32), (0, 0), SMOOTH, borderType=cv2.BORDER_REFLECT_101)
    return np.asarray(blurred, dtype=np.float32)
