"""Perceptual hashes of images under the eight symmetries of a square, and pairs of hashes that differ in a few bits.

N images, H height, W width.
"""

from collections.abc import Iterator
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 32  # pixels that an image is brought to before the transform
LOW = 8  # lowest frequencies of each axis that make the hash: 64 bits
BANDS, WIDTH = 4, 16  # pieces of a hash that are looked up, and bits of each
SYMMETRIES = 8
BLOCK = 1024  # images transformed at a time
WEIGHTS = np.uint64(1) << np.arange(63, -1, -1, dtype=np.uint64)


def small(grey_HW: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The image that is hashed: 32 x 32, Lanczos, as ImageHash has it."""
    return np.asarray(Image.fromarray(grey_HW).resize((SIDE, SIDE), Image.Resampling.LANCZOS))


def turned(image_HW: NDArray[Any], symmetry: int) -> NDArray[Any]:
    """One of the eight symmetries of a square image: bit 0 mirrors left-right, bit 1 up-down, bit 2 swaps the axes first."""
    image_HW = image_HW.swapaxes(-1, -2) if symmetry & 4 else image_HW
    image_HW = image_HW[..., ::-1, :] if symmetry & 2 else image_HW
    return image_HW[..., ::-1] if symmetry & 1 else image_HW


def phash(small_N: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Hashes (N, 8) of images (N, 32, 32), one for each symmetry; the first equals `imagehash.phash` bit for bit.

    A bit says whether a cosine coefficient is above the median of the 64 lowest ones. A mirrored image has the same
    coefficients with the odd ones negated, a transposed one has them transposed, so one transform serves all eight.

    Source: Zauner 2010, "Implementation and benchmarking of perceptual image hash functions", section 3.2; ImageHash 4.3.
    """
    low_N = _low(small_N)
    odd = np.where(np.arange(LOW) % 2, -1.0, 1.0)
    hashes = np.empty((len(small_N), SYMMETRIES), dtype=np.uint64)
    for symmetry in range(SYMMETRIES):
        seen_N = low_N.swapaxes(-1, -2) if symmetry & 4 else low_N
        seen_N = seen_N * odd[:, None] if symmetry & 2 else seen_N
        seen_N = (seen_N * odd if symmetry & 1 else seen_N).reshape(len(seen_N), LOW * LOW)
        bits = seen_N > np.median(seen_N, axis=1, keepdims=True)
        hashes[:, symmetry] = (bits * WEIGHTS).sum(axis=1, dtype=np.uint64)
    return hashes


def invariants(small_N: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Descriptors (N, 63), of length 1, that no symmetry and no change of brightness or contrast moves.

    The magnitudes of the low cosine coefficients, each beside its transposed one, the larger first.
    """
    low_N = np.abs(_low(small_N))
    low_N[:, 0] /= np.sqrt(2)  # as in the orthonormal transform
    low_N[:, :, 0] /= np.sqrt(2)
    other_N = low_N.swapaxes(-1, -2)
    upper = np.triu(np.ones((LOW, LOW), dtype=bool))
    flat_N = np.where(upper, np.maximum(low_N, other_N), np.minimum(low_N, other_N)).reshape(len(low_N), -1)[:, 1:]
    length_N = np.linalg.norm(flat_N, axis=1, keepdims=True)
    unit_N: NDArray[np.float32] = (flat_N / np.maximum(length_N, 1e-9)).astype(np.float32)
    return unit_N


def _low(small_N: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The lowest cosine coefficients (N, 8, 8), block by block."""
    from scipy.fft import dctn

    low_N = np.empty((len(small_N), LOW, LOW))
    for start in range(0, len(small_N), BLOCK):
        low_N[start : start + BLOCK] = dctn(small_N[start : start + BLOCK].astype(np.float64), axes=(-2, -1))[:, :LOW, :LOW]
    return low_N


def near(hash_N8: NDArray[np.uint64], radius: int, limit: int = 5_000_000) -> NDArray[np.int64]:
    """Pairs (P, 2), i < j, of which one symmetry of j's hash is within `radius` bits of i's hash.

    Multi-index hashing (Norouzi, Punjani, Fleet 2012, section 3): hashes within r bits agree within floor(r / 4) bits in one
    of four pieces, so each piece is looked up in a table under all changes of that few bits; every pair is found.

    Args:
        hash_N8: as `phash` gives them.
        radius: bits, 0 to 11.
        limit: distinct pairs after which no more are sought, in a set of images that are all alike.

    Raises:
        ValueError: the radius is outside its range.
    """
    if not 0 <= radius < 3 * BANDS:
        raise ValueError(f"the radius must be 0 to {3 * BANDS - 1} bits: received {radius}")
    total = len(hash_N8)
    base_N = hash_N8[:, 0]
    codes = np.zeros(0, dtype=np.int64)
    waiting: list[NDArray[np.int64]] = []
    for first, second in _lookups(hash_N8, radius // BANDS):
        close = np.bitwise_count(base_N[first] ^ hash_N8[second[0], second[1]]) <= radius
        lower, upper = np.minimum(first, second[0])[close], np.maximum(first, second[0])[close]
        waiting.append((lower * total + upper)[lower < upper])
        if sum(len(part) for part in waiting) > limit:
            codes, waiting = np.unique(np.concatenate([codes, *waiting])), []
            if len(codes) > limit:
                break
    codes = np.unique(np.concatenate([codes, *waiting]))[:limit]
    return np.stack(np.divmod(codes, max(total, 1)), axis=1)


def _lookups(hash_N8: NDArray[np.uint64], changed: int) -> Iterator[tuple[NDArray[np.int64], tuple[NDArray[np.int64], int]]]:
    """For each piece, symmetry and change of bits: rows of the table, and (row, symmetry) of the hash that asked."""
    masks = [sum(1 << bit for bit in bits) for count in range(changed + 1) for bits in combinations(range(WIDTH), count)]
    for band in range(BANDS):
        pieces_N8 = ((hash_N8 >> np.uint64(band * WIDTH)) & np.uint64(2**WIDTH - 1)).astype(np.int64)
        rows = np.argsort(pieces_N8[:, 0], kind="stable")
        starts = np.searchsorted(pieces_N8[rows, 0], np.arange(2**WIDTH + 1))
        for symmetry in range(SYMMETRIES):
            for mask in masks:
                keys = pieces_N8[:, symmetry] ^ mask
                counts = starts[keys + 1] - starts[keys]
                asked = np.repeat(np.arange(len(keys)), counts)
                within = np.arange(len(asked)) - np.repeat(np.cumsum(counts) - counts, counts)
                yield rows[starts[keys][asked] + within], (asked, symmetry)
