"""From what is kept of each image to pairs that show one picture: propose, set the bar, verify; and the same for crops.

N images, D features, T side of a thumbnail.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pipeline.findings import phash
from pipeline.findings.crops import find_crops
from pipeline.findings.duplicates import NEAREST, SEARCHED, Bar, Pair, Thumbnails, neighbours, proposals, set_bar, verify
from pipeline.findings.rows import RowsLike

CROPS = 6  # nearest neighbours that are held to be crops of each other


@dataclass(frozen=True)
class Looks:
    """What is kept of the looks of a set of images.

    Attributes:
        small_N: (N, 32, 32) as `phash.small` makes them.
        thumb_NTT: as `measures.thumbnail` makes them.
        noise_N: `noise` of `measures.measure`.
        clipped_N: `clipped` of `measures.measure`.
        pixels: of one full image.
    """

    small_N: RowsLike
    thumb_NTT: RowsLike
    noise_N: NDArray[np.float64]
    clipped_N: NDArray[np.float64]
    pixels: int

    @cached_property
    def thumbnails(self) -> Thumbnails:
        """Small thumbnails for comparing."""
        return Thumbnails(self.thumb_NTT, self.noise_N, self.clipped_N, self.pixels)


@dataclass(frozen=True)
class Copies:
    """Pairs of near duplicates and the bar that they passed."""

    pairs: list[Pair]
    bar: Bar
    proposed: int


def find_copies(looks: Looks, *, radius: int, slack: float, floor: float, ceiling: float, certain: float) -> Copies:
    """Pairs of images that show one picture; the arguments are those of `proposals`, `set_bar` and `verify`."""
    bar = set_bar(looks.thumbnails, slack=slack, floor=floor, ceiling=ceiling)
    proposed = proposals(looks.small_N, looks.thumbnails.usable_N, radius)
    return Copies(verify(looks.thumbnails, proposed, bar, certain=certain), bar, len(proposed))


def find_crops_among(looks: Looks, unit_ND: NDArray[np.float32] | None, copies: Copies) -> list[Pair]:
    """Pairs of which one seems to be a crop of the other and that are no near duplicates.

    Args:
        looks: of the images.
        unit_ND: features of length 1 whose nearest neighbours are looked at beside those of the symmetric descriptor.
        copies: what `find_copies` found; a crop must reach the same bar.
    """
    rows = np.flatnonzero(looks.thumbnails.usable_N)
    if len(rows) < 2 or len(rows) > SEARCHED:
        return []
    known = {(pair.first, pair.second) for pair in copies.pairs}
    proposed = [neighbours(phash.invariants(looks.small_N[rows]), NEAREST)]
    if unit_ND is not None:
        proposed.append(neighbours(unit_ND[rows], CROPS))
    pairs = rows[np.unique(np.concatenate(proposed), axis=0)]
    found = find_crops(looks.thumb_NTT, pairs, copies.bar.likeness)
    return [pair for pair in found if (pair.first, pair.second) not in known]
