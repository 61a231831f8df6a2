"""10 % of a training split with a validation split, and an embedding that saw neither; read by benchmarks.synthesis.

N training images, M validation images, H height, W width, C channels, D features.
"""

import gzip
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.elpv_run import ROOT
from pipeline.core.config import compose
from pipeline.core.keyed import generator
from pipeline.core.parts import build
from pipeline.images.resize import small

FASHION = Path("/usr/share/datasets/fashion-mnist")
CLOTHES = ["top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot"]
HIDDEN = 64  # features of the small network

Pixels = NDArray[np.uint8]
Embedding = Callable[[Pixels], NDArray[Any]]


@dataclass(frozen=True)
class Data:
    """What one benchmark reads; the test split of the data is not in it.

    Attributes:
        name: for people, with the size of the images.
        card: classes, height, width, channels.
        train, label_N: uint8 images (N, H, W, C) and their classes.
        held, label_M: of validation.
        groups: of validation; cells of a group are resampled together.
        embed: uint8 images of the data's size -> features (., D).
        policy: key of conf/transform, the classical augmentation.
        headlines: metrics of the task.
        simulator: key of conf/generator, "" for none.
    """

    name: str
    card: dict[str, Any]
    train: Pixels
    label_N: NDArray[np.int64]
    held: Pixels
    label_M: NDArray[np.int64]
    groups: list[str]
    embed: Embedding
    policy: str
    headlines: tuple[str, ...]
    simulator: str = ""

    @property
    def by_head(self) -> bool:
        """Whether the arms train a head on the features, or a small network on the images."""
        return self.card["height"] > 64


def fashion(*, limit: int, side: int) -> Data:
    """A tenth of `limit` images, shrunk to `side` pixels; the embedding is a small network trained on 10,000 others."""
    if not (FASHION / "train-images-idx3-ubyte.gz").is_file():
        sys.exit(f"error: {FASHION} is missing: run  apt-get install dataset-fashion-mnist")
    raw = [gzip.decompress((FASHION / f"train-{name}-ubyte.gz").read_bytes()) for name in ("images-idx3", "labels-idx1")]
    images = np.frombuffer(raw[0], np.uint8, offset=16).reshape(-1, 28, 28, 1)
    labels = np.frombuffer(raw[1], np.uint8, offset=8).astype(np.int64)
    order = generator(0, "benchmark", "fashion").permutation(len(images))
    parts = [order[: limit // 10], order[10_000:12_000], order[20_000:30_000]]
    return _small_images(
        f"Fashion-MNIST of {side} pixels", CLOTHES, [(small(images[part], side), labels[part]) for part in parts]
    )


def digits(*, side: int) -> Data:
    """A tenth (179) of the 1,797 digits of 8 pixels; 600 others are for validation, 1,018 for the embedding."""
    from sklearn.datasets import load_digits

    loaded = load_digits()
    images = (loaded.images * 15.9375).round().astype(np.uint8)[..., None]
    order = generator(0, "benchmark", "digits").permutation(len(images))
    parts = [order[:179], order[179:779], order[779:]]
    names = [str(number) for number in range(10)]
    return _small_images("digits of 8 pixels", names, [(small(images[part], side), loaded.target[part]) for part in parts])


def elpv(*, size: int) -> Data:
    """10 % of the cells outside the test block, and frozen EfficientNet-Lite0 features; half of the groups are for validation."""
    cfg = compose(ROOT / "conf", experiment="solar_cells", overrides=["logger=none"])
    dataset = build(cfg["dataset"], source=ROOT)
    entries = list(dataset.entries())
    first = len(entries) // cfg["splitter"]["folds"]  # the first block is the test of the default split
    tested = {entry.group for entry in entries[:first]}
    rest = [entry for entry in entries[first:] if entry.group not in tested]
    names = sorted({entry.group for entry in rest})
    held_groups = {names[place] for place in generator(0, "benchmark", "groups").permutation(len(names))[: len(names) // 2]}
    held = [entry for entry in rest if entry.group in held_groups]
    other = [entry for entry in rest if entry.group not in held_groups]
    order = generator(0, "benchmark", "elpv").permutation(len(other))[: len(rest) // 10]
    train = [other[place] for place in order]
    embedder = build(cfg["embedder"])

    def embed(seen: Pixels) -> NDArray[Any]:
        return np.concatenate([embedder.features(seen[start : start + size]) for start in range(0, len(seen), size)])

    images = [np.stack([_grey(entry.read()) for entry in part]) for part in (train, held)]
    labels = [np.asarray([entry.label for entry in part], np.int64) for part in (train, held)]
    card = {**dataset.card(), "height": 300, "width": 300, "channels": 1}
    return Data("ELPV", card, images[0], labels[0], images[1], labels[1], [str(entry.group) for entry in held], embed,
                "symmetries", ("auroc", "balanced_accuracy"), "cells")  # fmt: skip


def _small_images(name: str, classes: list[str], parts: list[tuple[Pixels, NDArray[Any]]]) -> Data:
    (train, label_N), (held, label_M), (other, label) = parts
    card = {"classes": classes, "height": train.shape[1], "width": train.shape[2], "channels": 1}
    embed = Learnt(other, label.astype(np.int64), kinds=len(classes))
    return Data(name, card, train, label_N.astype(np.int64), held, label_M.astype(np.int64), [""] * len(held), embed,
                "light", ("accuracy",))  # fmt: skip


class Learnt:
    """The last hidden layer of a small network, trained 600 steps at first use on images that no arm sees.

    Args:
        images: uint8 (N, H, W, 1).
        labels: (N,).
        kinds: classes.
    """

    def __init__(self, images: Pixels, labels: NDArray[np.int64], *, kinds: int) -> None:
        self.images, self.labels, self.kinds, self.layers = images, labels, kinds, torch.nn.Sequential()

    @torch.no_grad()
    def __call__(self, seen: Pixels) -> NDArray[Any]:
        """Features (., 64)."""
        if not len(self.layers):
            self._train()
        return np.concatenate([self.layers(_tensor(seen[start : start + 512])).numpy() for start in range(0, len(seen), 512)])

    @torch.enable_grad()
    def _train(self) -> None:
        torch.manual_seed(0)
        self.layers = torch.nn.Sequential(
            torch.nn.Conv2d(1, 16, 3, padding=1), torch.nn.ReLU(), torch.nn.MaxPool2d(2),
            torch.nn.Conv2d(16, 32, 3, padding=1), torch.nn.ReLU(), torch.nn.MaxPool2d(2),
            torch.nn.Flatten(), torch.nn.Linear(32 * (self.images.shape[1] // 4) ** 2, HIDDEN), torch.nn.ReLU(),
        )  # fmt: skip
        head, rng = torch.nn.Linear(HIDDEN, self.kinds), generator(0, "benchmark", "embedding")
        optimiser = torch.optim.AdamW([*self.layers.parameters(), *head.parameters()], 2e-3)
        for _ in range(600):
            chosen = rng.integers(0, len(self.images), 128)
            optimiser.zero_grad()
            score_BK = head(self.layers(_tensor(self.images[chosen])))
            torch.nn.functional.cross_entropy(score_BK, torch.from_numpy(self.labels[chosen])).backward()  # type: ignore[no-untyped-call]
            optimiser.step()


def _tensor(images: Pixels) -> torch.Tensor:
    """uint8 (N, H, W, C) -> float32 (N, C, H, W) in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2), dtype=np.float32)) / 127.5 - 1


def _grey(encoded: bytes) -> Pixels:
    pixels: Any = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_GRAYSCALE)
    return np.asarray(pixels, np.uint8)[:, :, None]
