"""Near duplicates: one picture stored twice, re-encoded, resized, mirrored, turned, brightened, with noise, or in grey.

Perceptual hashes and a symmetric descriptor propose pairs; an aligned correlation of thumbnails decides. How alike two
*different* pictures of a set can be depends on the set (two solar cells of one module correlate at .998), so the bar is set
by the set itself: by how alike a picture is to its thirtieth neighbour, which is no copy.

N images, P pairs, T side of a small thumbnail.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.findings import phash
from pipeline.findings.phash import SYMMETRIES, turned
from pipeline.findings.rows import RowsLike

COMPARED = 16  # pixels of the side at which pairs are compared: white noise of the full image is averaged away
NEIGHBOUR = 30  # the neighbour that stands for a different picture; clusters of more copies raise the bar
QUANTILE = 0.99  # of that likeness over the set: its most crowded corner sets the bar
QUERIES = 600  # images whose neighbours are looked at for the bar
NEAREST = 10  # neighbours of the descriptor that are proposed
SEARCHED = 60_000  # images above which the descriptor, whose cost is quadratic, proposes nothing
FLAT = 2.0  # grey levels; a thumbnail of less contrast has nothing to compare
ROUNDING = 0.5  # grey levels by which a re-encoded thumbnail may differ everywhere
CLIPPED = 0.01  # of the variance that is lost where all values are clipped; measured on photographs brightened by 1.3
AVERAGED = 4  # pixels of an image in one of its thumbnail, below which its detail cannot be told from noise
RELIABLE = 0.9  # an image of more noise than this leaves of its thumbnail's variance is not compared
SLIP = 0.15  # of a correlation that clipping may take away, before grey levels are matched
BLOCK = 1024

Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class Bar:
    """What a pair must reach.

    Attributes:
        likeness: correlation above which two pictures of this set are one.
        crowd: likeness of the set's most crowded pictures to their thirtieth neighbour.
    """

    likeness: float
    crowd: float


@dataclass(frozen=True)
class Pair:
    """Two samples that show one picture, at positions `first` < `second`."""

    first: int
    second: int
    likeness: float
    symmetry: int


class Thumbnails:
    """Small thumbnails, brought to mean 0 and length 1.

    Args:
        thumb_NTT: uint8, as `measures.thumbnail` makes them.
        noise_N: standard deviation of white noise in the full images, grey levels.
        clipped_N: share of values in the full images that are 255.
        pixels: of a full image.
    """

    def __init__(self, thumb_NTT: RowsLike, noise_N: Doubles, clipped_N: Doubles, pixels: int) -> None:
        side = min(COMPARED, thumb_NTT.shape[-1])
        fold = thumb_NTT.shape[-1] // side
        self.side = side
        self.image_NTT = np.empty((len(thumb_NTT), side, side), dtype=np.float32)
        for start in range(0, len(thumb_NTT), BLOCK):
            block = np.asarray(thumb_NTT[start : start + BLOCK], dtype=np.float32)
            self.image_NTT[start : start + BLOCK] = block.reshape(len(block), side, fold, side, fold).mean(axis=(2, 4))
        centred = self.image_NTT - self.image_NTT.mean(axis=(1, 2), keepdims=True)
        deviation_N = centred.std(axis=(1, 2), dtype=np.float64)
        averaged = pixels / side**2
        white_N = noise_N**2 / averaged if averaged >= AVERAGED else 0.0 * noise_N
        variance_N = np.maximum(deviation_N**2, 1e-9)
        self.clean_N: Doubles = np.clip(1 - white_N / variance_N, 0.0, 1.0)
        self.reliability_N: Doubles = np.clip(self.clean_N - ROUNDING**2 / variance_N - CLIPPED * clipped_N, 0.0, 1.0)
        self.slip_N: Doubles = np.where(clipped_N > 0.001, SLIP, SLIP / 10)
        self.usable_N: NDArray[np.bool_] = (deviation_N >= FLAT) & (self.reliability_N >= RELIABLE)
        self.thumb_NTT, self.fold = thumb_NTT, fold
        length = np.linalg.norm(centred, axis=(1, 2), keepdims=True)
        self.unit_NTT = centred / np.maximum(length, 1e-6)

    def __len__(self) -> int:
        return len(self.unit_NTT)

    def flat(self, symmetry: int = 0) -> NDArray[np.float32]:
        """The unit thumbnails under a symmetry, (N, T * T)."""
        return np.ascontiguousarray(turned(self.unit_NTT, symmetry)).reshape(len(self), -1)

    def matched(self, first: int, second: int, symmetry: int) -> float:
        """Correlation after the darker one's grey levels were brought to the distribution of the brighter one."""
        one, other = np.asarray(self.thumb_NTT[first]), np.asarray(turned(self.thumb_NTT[second], symmetry))
        dark, bright = (one, other) if one.mean() <= other.mean() else (other, one)
        brought = np.empty(bright.size)
        brought[np.argsort(dark, axis=None, kind="stable")] = np.sort(bright, axis=None)
        x, y = self._folded(brought.reshape(bright.shape)), self._folded(bright)
        return float((x * y).sum() / max(float(np.sqrt((x * x).sum() * (y * y).sum())), 1e-9))

    def _folded(self, image_TT: NDArray[Any]) -> Doubles:
        small = image_TT.astype(np.float64).reshape(self.side, self.fold, self.side, self.fold).mean(axis=(1, 3))
        centred: Doubles = small - small.mean()
        return centred


def set_bar(thumbnails: Thumbnails, *, slack: float, floor: float, ceiling: float) -> Bar:
    """The correlation that a pair of this set must reach.

    Args:
        thumbnails: of the whole set.
        slack: share of the distance between 1 and the likeness of different pictures that a copy may differ by.
        floor: the bar is never below.
        ceiling: nor above; what agrees that well is one picture in any set.
    """
    rows = np.flatnonzero(thumbnails.usable_N)
    if len(rows) < 4:
        return Bar(floor, 0.0)
    asked = rows[np.unique(np.linspace(0, len(rows) - 1, QUERIES).astype(np.int64))]
    likeness = np.full((len(asked), len(rows)), -1.0, dtype=np.float32)
    query = thumbnails.flat()[asked]
    for symmetry in range(SYMMETRIES):
        np.maximum(likeness, query @ thumbnails.flat(symmetry)[rows].T, out=likeness)
    likeness[asked[:, None] == rows[None]] = -1.0
    place = min(NEIGHBOUR, max(1, len(rows) // 4)) - 1
    kth = -np.partition(-likeness, place, axis=1)[:, place]
    crowd = float(np.quantile(kth, QUANTILE))
    return Bar(float(np.clip(1 - slack * (1 - crowd), floor, ceiling)), crowd)


def proposals(small_N: RowsLike, usable_N: NDArray[np.bool_], radius: int) -> NDArray[np.int64]:
    """Pairs (P, 2), i < j, that may be one picture.

    Args:
        small_N: images of 32 x 32 as `phash.small` makes them.
        usable_N: which of them have something to compare.
        radius: bits of the perceptual hash that may differ.
    """
    rows = np.flatnonzero(usable_N)
    if len(rows) < 2:
        return np.zeros((0, 2), dtype=np.int64)
    images_N = small_N[rows]
    found = [phash.near(phash.phash(images_N), radius)]
    if len(rows) <= SEARCHED:
        found.append(neighbours(phash.invariants(images_N), NEAREST))
    return rows[np.unique(np.concatenate(found), axis=0)]


def neighbours(unit_ND: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """Pairs (P, 2), i < j, of each row and its nearest ones by cosine; rows are of length 1."""
    count = min(count, len(unit_ND) - 1)
    pairs = []
    for start in range(0, len(unit_ND), BLOCK):
        cosine = unit_ND[start : start + BLOCK] @ unit_ND.T
        own = np.arange(len(cosine))
        cosine[own, start + own] = -2.0
        near = np.argpartition(-cosine, count - 1, axis=1)[:, :count]
        pairs.append(np.stack([np.repeat(start + own, count), near.ravel()], axis=1))
    return np.unique(np.sort(np.concatenate(pairs), axis=1), axis=0) if pairs else np.zeros((0, 2), dtype=np.int64)


def verify(thumbnails: Thumbnails, pair_P2: NDArray[np.int64], bar: Bar, *, certain: float) -> list[Pair]:
    """Those of the proposed pairs that show one picture.

    A pair passes when its likeness, once noise is allowed for, reaches the bar of the set and `certain`. Noise is allowed for by
    the correction for attenuation (Spearman 1904): the correlation over the root of both reliabilities. The darker one's
    grey levels are first brought to the distribution of the brighter one, so that brightness, gamma and clipping do not count.
    """
    kept = []
    for start in range(0, len(pair_P2), BLOCK):
        block = pair_P2[start : start + BLOCK]
        likeness, symmetry = _aligned(thumbnails, block)
        reliable = np.sqrt(thumbnails.reliability_N[block].prod(axis=1))
        clean = np.sqrt(thumbnails.clean_N[block].prod(axis=1))
        wanted = np.maximum(bar.likeness * clean, certain * reliable)
        close = likeness > wanted - thumbnails.slip_N[block].max(axis=1)
        for (first, second), best, turn, needed in zip(
            block[close], likeness[close], symmetry[close], wanted[close], strict=True
        ):
            found = float(best) if best >= needed else thumbnails.matched(int(first), int(second), int(turn))
            if found >= needed:
                kept.append(Pair(int(first), int(second), found, int(turn)))
    return kept


def _aligned(thumbnails: Thumbnails, pair_P2: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Largest correlation of each pair over the symmetries, and which symmetry of the second gives it."""
    first = thumbnails.unit_NTT[pair_P2[:, 0]]
    second = thumbnails.unit_NTT[pair_P2[:, 1]]
    likeness = np.stack([np.einsum("pij,pij->p", first, turned(second, turn)) for turn in range(SYMMETRIES)])
    return likeness.max(axis=0), likeness.argmax(axis=0)


def clusters(pairs: Iterable[tuple[int, int]], ids: Sequence[str]) -> dict[str, str]:
    """Union-find over pairs: sample id -> name of its cluster, which is the smallest id in it; singles are not named."""
    parents: dict[int, int] = {}

    def root(place: int) -> int:
        while parents.setdefault(place, place) != place:
            parents[place] = parents[parents[place]]
            place = parents[place]
        return place

    for first, second in pairs:
        parents[root(first)] = root(second)
    names: dict[int, str] = {}
    for place in parents:
        names[root(place)] = min(names.get(root(place), ids[place]), ids[place])
    return {ids[place]: names[root(place)] for place in sorted(parents)}


def conflicting(named: Mapping[str, str], meaning: Mapping[str, Any], tolerance: float) -> list[str]:
    """Names of the clusters whose members' labels differ by more than a tolerance (0 for classes), sorted."""
    members: dict[str, list[float]] = {}
    for identity, name in named.items():
        members.setdefault(name, []).append(float(meaning[identity]))
    return sorted(name for name, values in members.items() if max(values) - min(values) > tolerance)
