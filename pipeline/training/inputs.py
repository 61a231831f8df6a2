"""What a training step sees: images augmented by a keyed draw, or the features of a frozen trunk.

B batch, C channels, H height, W width, D features, N samples.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from pipeline.core.artifact import read_json
from pipeline.core.contracts import Transform
from pipeline.core.epoch import drawing
from pipeline.core.launch import short_sockets
from pipeline.core.store import Samples
from pipeline.training.stream import BatchStream, Key, Keys, StepStream

Item = dict[str, Tensor]
WHITE = np.float32(255)


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
        self.part_N = np.repeat(np.arange(len(parts)), [len(positions) for _, positions in parts])
        self.position_N = np.concatenate([np.asarray(positions, dtype=np.int64) for _, positions in parts])

    def __len__(self) -> int:
        return len(self.position_N)

    def __getitem__(self, key: Key) -> Item:
        """One item: `x` (C, H, W), `truth`, `weight` and `index`."""
        epoch, index = key
        pixels_HWC = self.parts[self.part_N[index]][0].pixels(int(self.position_N[index]))
        return {"x": to_tensor(self._augmented(pixels_HWC, epoch, index)), **_label(self.labels, index)}

    def batch(self, epoch_B: NDArray[np.int64], index_B: NDArray[np.int64]) -> Item:
        """A whole batch, gathered and converted at once: the same bits as its items, stacked."""
        pixels_BHWC = self._gathered(index_B)
        if self.policy is not None:
            keys = zip(pixels_BHWC, epoch_B.tolist(), index_B.tolist(), strict=True)
            pixels_BHWC = np.stack([self._augmented(pixels_HWC, epoch, index) for pixels_HWC, epoch, index in keys])
        return {"x": to_tensors(pixels_BHWC), **_labels(self.labels, index_B)}

    def _augmented(self, pixels_HWC: NDArray[np.uint8], epoch: int, index: int) -> NDArray[np.uint8]:
        if self.policy is None:
            return pixels_HWC
        return self.policy(pixels_HWC, drawing(self.seed, epoch, self.labels.ids[index]))

    def _gathered(self, index_B: NDArray[np.int64]) -> NDArray[np.uint8]:
        position_B = self.position_N[index_B]
        if len(self.parts) == 1:
            return self.parts[0][0].batch(position_B)
        part_B = self.part_N[index_B]
        if (part_B == part_B[0]).all():
            return self.parts[int(part_B[0])][0].batch(position_B)
        found = {int(part): self.parts[part][0].batch(position_B[part_B == part]) for part in np.unique(part_B)}
        pixels_BHWC = np.empty((len(index_B), *next(iter(found.values())).shape[1:]), dtype=np.uint8)
        for part, images_BHWC in found.items():
            pixels_BHWC[part_B == part] = images_BHWC
        return pixels_BHWC


class FeatureInputs(Dataset[Item]):
    """Rows of a feature matrix (N, D) instead of images; there is nothing to augment."""

    def __init__(self, features_ND: NDArray[np.float32], labels: Labels) -> None:
        self.features_ND, self.labels = features_ND, labels

    def __len__(self) -> int:
        return len(self.features_ND)

    def __getitem__(self, key: Key) -> Item:
        _, index = key
        return {"x": torch.from_numpy(np.array(self.features_ND[index])), **_label(self.labels, index)}

    def batch(self, epoch_B: NDArray[np.int64], index_B: NDArray[np.int64]) -> Item:
        """A whole batch: the same bits as its items, stacked."""
        return {"x": torch.from_numpy(self.features_ND[index_B]), **_labels(self.labels, index_B)}


class Batches(Dataset[Item]):
    """Whole batches of inputs, by arrays of epochs and indices."""

    def __init__(self, inputs: PixelInputs | FeatureInputs) -> None:
        self.inputs = inputs

    def __getitem__(self, keys: Keys) -> Item:
        return self.inputs.batch(*keys)


def batch_of(inputs: PixelInputs | FeatureInputs, rows: Sequence[int]) -> Item:
    """The batch of these rows in epoch 0, which is all there is where nothing is augmented."""
    index_B = np.asarray(rows, dtype=np.int64)
    return inputs.batch(np.zeros_like(index_B), index_B)


def load(inputs: PixelInputs | FeatureInputs, stream: StepStream, *, workers: int) -> DataLoader[Item]:
    """The loader that training draws from: each step one batch of this process's share, in the order of the stream.

    Args:
        inputs: what is drawn from.
        stream: which samples, and in which order.
        workers: processes that prepare batches ahead; how many there are changes no bit.
    """
    if workers:
        short_sockets()
    return DataLoader(
        Batches(inputs), batch_size=None, sampler=BatchStream(stream), num_workers=workers, collate_fn=_as_it_is,
        pin_memory=torch.cuda.is_available(),
    )  # fmt: skip


def to_tensor(pixels_HWC: NDArray[np.uint8]) -> Tensor:
    """uint8 (H, W, C) -> float32 in [0, 1], (C, H, W)."""
    return torch.from_numpy(pixels_HWC.transpose(2, 0, 1).astype(np.float32, order="C")) / 255.0


def to_tensors(pixels_BHWC: NDArray[np.uint8]) -> Tensor:
    """uint8 (B, H, W, C) -> float32 in [0, 1], (B, C, H, W): the bits of `to_tensor` for each."""
    planes_BCHW = planes(pixels_BHWC)
    x_BCHW = np.empty(planes_BCHW.shape, dtype=np.float32)
    np.divide(planes_BCHW.reshape(-1), WHITE, out=x_BCHW.reshape(-1))  # converts and divides in one pass
    return torch.from_numpy(x_BCHW)


def planes(pixels_BHWC: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Channels first, (B, C, H, W), contiguous: as bytes, four times less to move than as floats; OpenCV parts them fastest."""
    count, height, width, channels = pixels_BHWC.shape
    if channels == 1:
        return pixels_BHWC.reshape(count, 1, height, width)
    planes_BCHW = np.empty((count, channels, height, width), dtype=np.uint8)
    for channel, plane in enumerate(cv2.split(pixels_BHWC.reshape(count * height, width, channels))):
        planes_BCHW[:, channel] = plane.reshape(count, height, width)
    return planes_BCHW


def read_features(directory: Path, ids: Sequence[str]) -> NDArray[np.float32]:
    """Rows of embed's matrix for these ids, (N, D)."""
    matrix = np.load(directory / "features.npy", mmap_mode="r")
    row = {identity: number for number, identity in enumerate((directory / "ids.txt").read_text(encoding="utf-8").split())}
    return np.asarray(matrix[[row[identity] for identity in ids]], dtype=np.float32)


def is_cached(model: nn.Module, embed: Path) -> bool:
    """Whether the model's trunk is frozen and embed holds exactly its features."""
    describe: Any = getattr(model, "trunk", None)
    trunk = describe() if describe is not None else None
    return trunk is not None and read_json(embed / "embedder.json").get("trunk") == trunk


def balanced(truth: NDArray[Any], weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """Weights times the inverse frequency of each class, mean 1 over the samples (King & Zeng 2001, "prior correction")."""
    classes, inverse, counts = np.unique(truth, return_inverse=True, return_counts=True)
    return (weight * len(truth) / (len(classes) * counts[inverse])).astype(np.float32)


def _as_it_is(batch: Any) -> Any:
    return batch


def _labels(labels: Labels, index_B: NDArray[np.int64]) -> Item:
    return {
        "truth": torch.from_numpy(labels.truth[index_B]), "weight": torch.from_numpy(labels.weight[index_B]),
        "index": torch.from_numpy(np.array(index_B)),
    }  # fmt: skip


def _label(labels: Labels, index: int) -> Item:
    return {
        "truth": torch.as_tensor(labels.truth[index]), "weight": torch.as_tensor(labels.weight[index]),
        "index": torch.as_tensor(index),
    }  # fmt: skip
