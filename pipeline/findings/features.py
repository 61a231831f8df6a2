"""Features for the simple methods of quality: principal components of what embed published, or of thumbnails; and outliers.

N samples, D features, K components.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import PersonError
from pipeline.findings.duplicates import Thumbnails

FITTED = 4000  # samples that the components are fitted on, evenly over the source
BLOCK = 1024
NEIGHBOURS = 5  # whose mean distance says how alone a sample is
COMPARED = 20_000  # samples that each one is compared with at most
Doubles = NDArray[np.float64]


def read(embed: Path, ids: list[str], thumbnails: Thumbnails) -> tuple[NDArray[Any], str]:
    """Features (N, D) and where they are from; thumbnails where embed is off.

    Raises:
        PersonError: embed's rows are not the samples of ingest.
    """
    matrix: NDArray[Any] = np.load(embed / "features.npy", mmap_mode="r")
    if not matrix.size:
        return thumbnails.image_NTT.reshape(len(ids), -1), "thumbnails"
    if (embed / "ids.txt").read_text(encoding="utf-8").split() != ids:
        raise PersonError("the features of embed are not those of the samples that ingest holds: run  dvc repro quality")
    return matrix, "the embedder's features"


def components(matrix_ND: NDArray[Any], count: int, seed: int) -> Doubles:
    """The first components (N, K) of standardised features, of variance 1; fitted on an even subset, applied block by block."""
    from sklearn.decomposition import PCA

    rows = np.unique(np.linspace(0, len(matrix_ND) - 1, FITTED).astype(np.int64))
    fitted = np.asarray(matrix_ND[rows], dtype=np.float32)
    mean, deviation = fitted.mean(axis=0), fitted.std(axis=0)
    scale = np.where(deviation > 1e-6 * max(float(deviation.max()), 1e-12), deviation, np.inf)
    count = max(1, min(count, len(rows) - 1, int(np.isfinite(scale).sum())))
    model = PCA(count, svd_solver="randomized", random_state=seed).fit((fitted - mean) / scale)
    found = np.empty((len(matrix_ND), count))
    for start in range(0, len(matrix_ND), BLOCK):
        found[start : start + BLOCK] = model.transform((matrix_ND[start : start + BLOCK] - mean) / scale)
    widest = max(float(np.sqrt(model.explained_variance_[0])), 1e-9)
    scaled: Doubles = found / np.maximum(np.sqrt(model.explained_variance_), 1e-3 * widest)
    return scaled


def unit(matrix_ND: NDArray[Any]) -> NDArray[np.float32]:
    """Rows of length 1, for cosines."""
    length = np.linalg.norm(matrix_ND, axis=1, keepdims=True)
    scaled: NDArray[np.float32] = (matrix_ND / np.maximum(length, 1e-9)).astype(np.float32)
    return scaled


def loneliness(x_NK: Doubles) -> Doubles:
    """Mean distance (N,) to the five nearest other samples."""
    rows = np.unique(np.linspace(0, len(x_NK) - 1, COMPARED).astype(np.int64))
    others, count = x_NK[rows], min(NEIGHBOURS, len(rows) - 1)
    square = (others**2).sum(axis=1)
    found = np.empty(len(x_NK))
    for start in range(0, len(x_NK), BLOCK):
        block = x_NK[start : start + BLOCK]
        distance = np.maximum((block**2).sum(axis=1)[:, None] - 2 * block @ others.T + square[None], 0.0)
        distance[start + np.arange(len(block))[:, None] == rows[None]] = np.inf
        nearest = np.partition(distance, max(count - 1, 0), axis=1)[:, :count]
        found[start : start + BLOCK] = np.sqrt(nearest).mean(axis=1) if count else 0.0
    return found


def oddness(value_N: Doubles) -> Doubles:
    """How many robust standard deviations each value lies above the median (1.4826 times the median absolute deviation).

    All zero where more than half of the values are equal.
    """
    middle = np.median(value_N)
    spread = 1.4826 * float(np.median(np.abs(value_N - middle)))
    odd: Doubles = (value_N - middle) / spread if spread > 1e-12 else np.zeros(len(value_N))
    return odd
