"""What a training step sees: images augmented by a keyed draw, or the features of a frozen trunk.

B batch, C channels, H height, W width, D features, N samples.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from pipeline.core.contracts import Transform
from pipeline.core.keyed import generator
from pipeline.core.store import Samples
from pipeline.training.stream import Key

Item = dict[str, Tensor]


@dataclass(frozen=True)
class Labels:
    """Truth and weight of each of N samples, and their ids.

    Attributes:
        truth: int64 classes or float32 values, (N,).
        weight: float32, (N,).
        ids: N sample ids.
    """

    truth: NDArray[Any]
    weight: NDArray[np.float32]
    ids: Sequence[str]


class PixelInputs(Dataset[Item]):
    """Images of several artifacts as one set; item (epoch, index) is augmented by a draw keyed by (seed, epoch, id).

    Args:
        parts: (samples, positions) of each artifact, in the order of `labels`.
        labels: of all of them.
        policy: augmentation, or None.
        seed: of the draws.
    """

    def __init__(
        self, parts: Sequence[tuple[Samples, NDArray[np.int64]]], labels: Labels, *, policy: Transform | None, seed: int
    ) -> None:
        self.parts, self.labels, self.policy, self.seed = parts, labels, policy, seed
        self.place = [(part, int(position)) for part, (_, positions) in enumerate(parts) for position in positions]

    def __len__(self) -> int:
        return len(self.place)

    def __getitem__(self, key: Key) -> Item:
        epoch, index = key
        part, position = self.place[index]
        pixels_HWC = self.parts[part][0].pixels(position)
        if self.policy is not None:
            pixels_HWC = self.policy(pixels_HWC, generator(self.seed, "augment", epoch, self.labels.ids[index]))
        return {"x": to_tensor(pixels_HWC), **_label(self.labels, index)}


class FeatureInputs(Dataset[Item]):
    """Rows of a feature matrix (N, D) instead of images; there is nothing to augment."""

    def __init__(self, features_ND: NDArray[np.float32], labels: Labels) -> None:
        self.features_ND, self.labels = features_ND, labels

    def __len__(self) -> int:
        return len(self.features_ND)

    def __getitem__(self, key: Key) -> Item:
        _, index = key
        return {"x": torch.from_numpy(np.array(self.features_ND[index])), **_label(self.labels, index)}


def to_tensor(pixels_HWC: NDArray[np.uint8]) -> Tensor:
    """uint8 (H, W, C) -> float32 in [0, 1], (C, H, W)."""
    return torch.from_numpy(pixels_HWC.transpose(2, 0, 1).astype(np.float32, order="C")) / 255.0


def read_features(directory: Path, ids: Sequence[str]) -> NDArray[np.float32]:
    """Rows of embed's matrix for these ids, (N, D)."""
    matrix = np.load(directory / "features.npy", mmap_mode="r")
    row = {identity: number for number, identity in enumerate((directory / "ids.txt").read_text(encoding="utf-8").split())}
    return np.asarray(matrix[[row[identity] for identity in ids]], dtype=np.float32)


def balanced(truth: NDArray[Any], weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """Weights times the inverse frequency of each class, mean 1 over the samples (King & Zeng 2001, "prior correction")."""
    classes, inverse, counts = np.unique(truth, return_inverse=True, return_counts=True)
    return (weight * len(truth) / (len(classes) * counts[inverse])).astype(np.float32)


def _label(labels: Labels, index: int) -> Item:
    return {
        "truth": torch.as_tensor(labels.truth[index]), "weight": torch.as_tensor(labels.weight[index]),
        "index": torch.as_tensor(index),
    }  # fmt: skip
