"""Which unlabelled samples are worth a person's time: the uncertain ones, spread over what there is.

N samples that wait, M samples whose labels are known, K classes, D features, P pixels of a thumbnail.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
BLOCK = 256  # known samples compared at a time


def entropy(probability_NK: Floats) -> NDArray[np.float64]:
    """Entropy of each prediction over that of a uniform one, in [0, 1] (Shannon 1948; Settles 2009, section 3.1)."""
    p_NK = np.clip(probability_NK.astype(np.float64), 1e-12, 1)
    nats_N = -(p_NK * np.log(p_NK)).sum(axis=1)
    share_N: NDArray[np.float64] = np.clip(nats_N / np.log(p_NK.shape[1]), 0, 1)
    return share_N


def margin(probability_NK: Floats) -> NDArray[np.float64]:
    """1 - (largest probability - second largest), in [0, 1]: 1 where two classes tie (Scheffer et al. 2001)."""
    ordered_NK = np.sort(probability_NK.astype(np.float64), axis=1)
    doubt_N: NDArray[np.float64] = 1 - (ordered_NK[:, -1] - ordered_NK[:, -2])
    return doubt_N


MEASURES = {"margin": margin, "entropy": entropy}


@dataclass(frozen=True)
class Wish:
    """What a queue should hold.

    Attributes:
        count: samples to choose.
        diversity: 0 takes the most uncertain, 1 those that lie farthest from what is known and chosen.
        near: a sample whose thumbnail differs by less (root mean square, grey levels) from a chosen one is its twin.
    """

    count: int
    diversity: float
    near: float


@dataclass(frozen=True)
class Choice:
    """What was chosen.

    Attributes:
        positions: of the chosen samples, the most wanted first.
        twins: position -> positions of near duplicates that it stands for, in order; nobody is asked about these.
    """

    positions: list[int]
    twins: dict[int, list[int]]


def choose(feature_ND: Floats, doubt_N: Floats, thumbnail_NP: Floats, *, wish: Wish, known_MD: Floats | None = None) -> Choice:
    """Choose one sample after the other: the largest doubt^(1 - diversity) x distance^diversity among those that are left.

    The distance is that to the nearest sample which is chosen or known already. With `diversity` 1 and known samples this is the
    greedy k-centre of Sener & Savarese 2018, "Active learning for convolutional neural networks: a core-set approach",
    algorithm 1; with 0 it is plain uncertainty sampling. Ties go to the earlier sample.

    Args:
        feature_ND: where samples lie.
        doubt_N: how uncertain the model is, in [0, 1].
        thumbnail_NP: small grey pictures, grey levels.
        wish: how many, how diverse.
        known_MD: features of samples whose labels are known; None or M = 0 for none.
    """
    place_ND, place_MD = scaled(feature_ND, known_MD)
    far_N = nearest_of(place_ND, place_MD)
    left_N = np.ones(len(place_ND), dtype=bool)
    chosen: list[int] = []
    twins: dict[int, list[int]] = {}
    while len(chosen) < wish.count and left_N.any():
        scale = float(far_N[np.isfinite(far_N) & left_N].max(initial=0.0)) or 1.0
        spread_N = np.where(np.isfinite(far_N), far_N / scale, 1.0)
        gain_N = np.maximum(doubt_N, 1e-9) ** (1 - wish.diversity) * np.maximum(spread_N, 1e-9) ** wish.diversity
        best = int(np.argmax(np.where(left_N, gain_N, -1.0)))
        chosen.append(best)
        left_N[best] = False
        apart_N = np.sqrt(((thumbnail_NP - thumbnail_NP[best]) ** 2).mean(axis=1))
        same = np.flatnonzero(left_N & (apart_N < wish.near))
        left_N[same] = False
        if len(same):
            twins[best] = [int(position) for position in same]
        far_N = np.minimum(far_N, np.sqrt(((place_ND - place_ND[best]) ** 2).sum(axis=1)))
    return Choice(chosen, twins)


def scaled(feature_ND: Floats, known_MD: Floats | None) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Both about their common mean, divided by one number, so that the root mean square norm is 1.

    One number for all features, as in the paper: a scale for each would let features that hardly ever change pick the outliers.
    """
    known = np.zeros((0, feature_ND.shape[1]), np.float32) if known_MD is None or not len(known_MD) else known_MD
    both = np.concatenate([feature_ND, known]).astype(np.float32)
    both -= both.mean(axis=0)
    both /= float(np.sqrt((both.astype(np.float64) ** 2).sum(axis=1).mean())) or 1.0
    return both[: len(feature_ND)], both[len(feature_ND) :]


def nearest_of(place_ND: Floats, known_MD: Floats) -> NDArray[np.float64]:
    """Distance of each sample to the nearest known one, (N,); infinite where none is known."""
    square_N = np.full(len(place_ND), np.inf)
    own_N = (place_ND.astype(np.float64) ** 2).sum(axis=1)
    for start in range(0, len(known_MD), BLOCK):
        block_BD = known_MD[start : start + BLOCK].astype(np.float64)
        cross_NB = place_ND.astype(np.float64) @ block_BD.T
        square_NB = own_N[:, None] - 2 * cross_NB + (block_BD**2).sum(axis=1)[None]
        square_N = np.minimum(square_N, square_NB.min(axis=1))
    distance_N: NDArray[np.float64] = np.sqrt(np.maximum(square_N, 0))
    return distance_N
