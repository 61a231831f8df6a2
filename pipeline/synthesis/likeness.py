"""How like two sets of samples are, in an embedding that the caller states: kernel and Frechet distance, precision and recall.

N, M samples of the two sets, D features, K nearest neighbours.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Features = NDArray[np.float32] | NDArray[np.float64]
Doubles = NDArray[np.float64]

FLOOR = 0.5  # a feature that varies less over the reference is divided by this share of the mean standard deviation
NEIGHBOURS = 3  # k of the manifold estimate; Kynkaanniemi et al. 2019 use 3
BLOCK = 1024  # rows of a distance matrix held at a time


@dataclass(frozen=True)
class Scale:
    """Brings features to mean 0 and variance 1 of a reference set, so that no feature rules by its unit.

    Attributes:
        mean_D: of the reference.
        deviation_D: of the reference, at least `FLOOR` times its mean over the features.
    """

    mean_D: Doubles
    deviation_D: Doubles

    @classmethod
    def of(cls, reference_ND: Features) -> "Scale":
        """Fit to a reference, which must be of the train split alone."""
        deviation_D = reference_ND.std(axis=0, dtype=np.float64)
        floor = FLOOR * float(deviation_D.mean()) or 1.0
        return cls(reference_ND.mean(axis=0, dtype=np.float64), np.maximum(deviation_D, floor))

    def __call__(self, x_ND: Features) -> Doubles:
        """Standardised features (N, D)."""
        scaled_ND: Doubles = (x_ND - self.mean_D) / self.deviation_D
        return scaled_ND


def kernel_distance(x_ND: Features, y_MD: Features) -> float:
    """KID: the unbiased squared maximum mean discrepancy under the kernel (x.y / D + 1)^3; it may be a little below zero.

    Source: Binkowski, Sutherland, Arbel, Gretton 2018, "Demystifying MMD GANs", section 4; the estimator is equation 3 of
    Gretton et al. 2012, "A kernel two-sample test". One estimate over all samples instead of a mean over blocks.

    Raises:
        ValueError: fewer than two samples in a set.
    """
    n, m = len(x_ND), len(y_MD)
    if min(n, m) < 2:
        raise ValueError(f"a kernel distance needs two samples of each set: received {n} and {m}")
    x_ND, y_MD = x_ND.astype(np.float64), y_MD.astype(np.float64)
    width = x_ND.shape[1]
    within_x, within_y, across = ((a @ b.T / width + 1) ** 3 for a, b in ((x_ND, x_ND), (y_MD, y_MD), (x_ND, y_MD)))
    own_x = (within_x.sum() - np.trace(within_x)) / (n * (n - 1))
    own_y = (within_y.sum() - np.trace(within_y)) / (m * (m - 1))
    return float(own_x + own_y - 2 * across.mean())


def frechet_distance(x_ND: Features, y_MD: Features) -> float:
    """Squared Frechet distance of two normal distributions fitted to the sets (Heusel et al. 2017, equation 6).

    |m_x - m_y|^2 + tr(S_x + S_y - 2 (S_x S_y)^(1/2)). The trace of the root is the sum of the singular values of A B', where
    A and B are the centred samples over sqrt(N - 1): no root of a near-singular matrix is taken, and fewer samples than features
    are no trouble. Few samples still bias it upwards: compare sets of equal size.

    Raises:
        ValueError: fewer than two samples in a set.
    """
    if min(len(x_ND), len(y_MD)) < 2:
        raise ValueError(f"a Frechet distance needs two samples of each set: received {len(x_ND)} and {len(y_MD)}")
    means = [z.mean(axis=0, dtype=np.float64) for z in (x_ND, y_MD)]
    roots = [(z - mean) / np.sqrt(len(z) - 1) for z, mean in zip((x_ND, y_MD), means, strict=True)]
    small: list[Any] = [np.linalg.qr(root, mode="r") if len(root) > root.shape[1] else root for root in roots]
    shared = np.linalg.svd(small[0] @ small[1].T, compute_uv=False).sum()
    spread = sum(float((root**2).sum()) for root in roots)
    return float(max(0.0, ((means[0] - means[1]) ** 2).sum() + spread - 2 * shared))


def precision_recall(real_ND: Features, made_MD: Features, *, neighbours: int = NEIGHBOURS) -> dict[str, float]:
    """Share of made samples inside the real manifold (precision), and of real ones inside that of the made (recall).

    Source: Kynkaanniemi et al. 2019, "Improved precision and recall metric for assessing generative models", equation 1. A sample
    lies inside a set's manifold where it is no farther from one of its members than that one's k-th nearest other member.

    Raises:
        ValueError: a set has no more than k samples.
    """
    if min(len(real_ND), len(made_MD)) <= neighbours:
        raise ValueError(f"a manifold needs more than {neighbours} samples: received {len(real_ND)} and {len(made_MD)}")
    return {
        "precision": _inside(made_MD, real_ND, neighbours=neighbours),
        "recall": _inside(real_ND, made_MD, neighbours=neighbours),
    }


def spread(x_ND: Features, condition_N: NDArray[np.int64]) -> dict[int, float]:
    """Root mean square distance of two samples of one condition, for each condition that has two."""
    found = {}
    for kind in np.unique(condition_N):
        inside_ND = x_ND[condition_N == kind].astype(np.float64)
        if len(inside_ND) > 1:
            found[int(kind)] = float(np.sqrt(2 * inside_ND.var(axis=0, ddof=1).sum()))
    return found


def variety(made: Mapping[int, float], real: Mapping[int, float]) -> float:
    """Smallest quotient of the spreads of a condition, synthetic over real; 1 where no condition can be compared."""
    return min((made[kind] / real[kind] for kind in made if real.get(kind, 0.0) > 0), default=1.0)


def likeness(held_ND: Features, other_MD: Features) -> dict[str, float]:
    """Every measure of a set against held-out real samples; both are cut to one size, since few samples bias the distances."""
    count = min(len(held_ND), len(other_MD))
    held_ND, other_MD = held_ND[:count], other_MD[:count]
    return {
        "kernel_distance": kernel_distance(held_ND, other_MD),
        "frechet_distance": frechet_distance(held_ND, other_MD),
        **precision_recall(held_ND, other_MD),
    }


def position(found: Mapping[str, float], best: Mapping[str, float], worst: Mapping[str, float]) -> float:
    """Where a set stands between real samples (0) and noise (1), by kernel distance to the same held-out samples.

    Args:
        found: `likeness` of the set.
        best: of other real samples.
        worst: of images whose pixels were shuffled.

    Returns:
        NaN where the noise is no farther from the held-out samples than other real samples are: then nothing can be told.
    """
    span = worst["kernel_distance"] - best["kernel_distance"]
    return (found["kernel_distance"] - best["kernel_distance"]) / span if span > 0 else float("nan")


def distances(x_ND: Features, y_MD: Features) -> Doubles:
    """Euclidean distance of each pair, (N, M)."""
    x_ND, y_MD = x_ND.astype(np.float64), y_MD.astype(np.float64)
    square_NM = (x_ND**2).sum(axis=1)[:, None] - 2 * x_ND @ y_MD.T + (y_MD**2).sum(axis=1)[None]
    root_NM: Doubles = np.sqrt(np.maximum(square_NM, 0.0))
    return root_NM


def _inside(query_ND: Features, set_MD: Features, *, neighbours: int) -> float:
    own_MM = distances(set_MD, set_MD)
    np.fill_diagonal(own_MM, -1.0)  # a member is its own nearest, whatever rounding says
    radius_M = np.partition(own_MM, neighbours, axis=1)[:, neighbours]
    inside = [
        (distances(query_ND[start : start + BLOCK], set_MD) <= radius_M).any(axis=1) for start in range(0, len(query_ND), BLOCK)
    ]
    return float(np.concatenate(inside).mean())
