"""What the trained model of a workspace says of images that it has not seen, and where they lie among those it has.

B batch, H height, W width, C channels, K classes, D features, N images, P pixels of a thumbnail.
"""

import inspect
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml
from numpy.typing import NDArray

from pipeline.core.artifact import digest, read_json
from pipeline.core.errors import PersonError
from pipeline.core.parts import build, is_off
from pipeline.core.record import Floats, Pixels
from pipeline.images.decode import Decoder

BATCH = 32
THUMBNAIL = 16  # pixels of a side


@dataclass(frozen=True)
class Labeller:
    """A trained classifier, ready for files.

    Attributes:
        classes: in the order of the model's outputs.
        model: which one, for people: stage and digest.
        decode: bytes of an image file to pixels (H, W, C), as ingest does it.
        predict: pixels (B, H, W, C) to probabilities (B, K).
        features: pixels (B, H, W, C) to features (B, D) of the workspace's embedder, or None where it is off.
        seen: ids of the samples that the workspace holds.
        known_MD: features of its train split; (0, 0) where there are none.
    """

    classes: list[str]
    model: str
    decode: Callable[[bytes], Pixels]
    predict: Callable[[Pixels], Floats]
    features: Callable[[Pixels], Floats] | None
    seen: frozenset[str]
    known_MD: Floats


@dataclass(frozen=True)
class Opinion:
    """What a labeller says of N images: probabilities, places and thumbnails in one order."""

    probability_NK: Floats
    feature_ND: Floats
    thumbnail_NP: Floats


def open_labeller(root: Path, *, space: str) -> Labeller:
    """Open what `dvc repro` left in data/: the exported model, or the trained one where nothing was exported.

    Args:
        root: of the project.
        space: `features` (of the embedder) or `predictions`.

    Raises:
        PersonError: no trained model, or one that does not classify.
    """
    composed, ingest = root / "data/compose/config.yaml", root / "data/ingest"
    if not composed.is_file() or not (ingest / "card.json").is_file():
        raise PersonError(f"there is no trained model in {root / 'data'}: run  dvc repro  first, or  dvc pull  to fetch one")
    cfg, card = yaml.safe_load(composed.read_text(encoding="utf-8")), read_json(ingest / "card.json")
    task = build(cfg["task"], card=card)
    if not task.categories:
        raise PersonError(f"this workspace's task is {task.name}: a queue of proposals needs one that chooses a class")
    predict, model = _model(root, cfg, task)
    taken = {name: value for name, value in cfg["ingest"].items() if name in inspect.signature(Decoder.__init__).parameters}
    place = None if is_off(cfg["embedder"]) or space == "predictions" else build(cfg["embedder"]).features
    ids, known_MD = _known(root)
    return Labeller(
        list(card["classes"]), model, Decoder(**taken).decode, predict, place, frozenset(ids),
        known_MD if place is not None else np.zeros((0, 0), np.float32),
    )  # fmt: skip


def judge(labeller: Labeller, images: Iterable[Pixels]) -> Opinion:
    """Run the model, and the embedder where there is one, over images in batches."""
    waiting: Iterator[Pixels] = iter(images)
    probabilities, features, thumbnails = [], [], []
    while chunk := list(islice(waiting, BATCH)):
        pixels_BHWC = np.stack(chunk)
        probabilities.append(labeller.predict(pixels_BHWC))
        features.append(probabilities[-1] if labeller.features is None else labeller.features(pixels_BHWC))
        thumbnails += [thumbnail(pixels_HWC) for pixels_HWC in chunk]
    if not probabilities:
        raise PersonError("none of the images is new and can be read: there is nothing to label")
    return Opinion(np.concatenate(probabilities), np.concatenate(features), np.stack(thumbnails))


def thumbnail(pixels_HWC: Pixels) -> NDArray[np.float32]:
    """A small grey picture, (P,), grey levels: images that differ little in it are near duplicates."""
    small: Any = cv2.resize(pixels_HWC.mean(axis=2).astype(np.float32), (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA)
    return np.asarray(small.reshape(-1), np.float32)


def _model(root: Path, cfg: dict[str, Any], task: Any) -> tuple[Callable[[Pixels], Floats], str]:
    """The exported model in its own runtime; the trained network where nothing was exported."""
    exported = [path for path in sorted((root / "data/export").glob("model.*")) if path.stat().st_size]
    if exported and not is_off(cfg["exporter"]):
        return build(cfg["exporter"]).load(exported[0]), f"data/export {digest(root / 'data/export')[:12]}"
    if not (root / "data/train/model.json").is_file():
        raise PersonError(f"there is no trained model in {root / 'data'}: run  dvc repro  first, or  dvc pull  to fetch one")
    from pipeline.training.predict import predict
    from pipeline.training.saved_model import load_model

    network = load_model(root / "data/train")

    def run(pixels_BHWC: Pixels) -> Floats:
        return predict(network, task, list(pixels_BHWC), total=len(pixels_BHWC))

    return run, f"data/train {digest(root / 'data/train')[:12]}"


def _known(root: Path) -> tuple[list[str], Floats]:
    """Ids of every sample of the workspace, and the features of those in its train split."""
    from pipeline.core.store import open_samples

    ids = list(open_samples(root / "data/ingest").ids)
    features, split = root / "data/embed/features.npy", root / "data/split/split.json"
    if not features.is_file() or not split.is_file():
        return ids, np.zeros((0, 0), np.float32)
    matrix = np.load(features, mmap_mode="r")
    train = set(read_json(split)["train"])
    lines = (root / "data/embed/ids.txt").read_text(encoding="utf-8").split()
    rows = [row for row, identity in enumerate(lines) if identity in train]
    return ids, np.asarray(matrix[rows], np.float32) if len(matrix) else np.zeros((0, 0), np.float32)
