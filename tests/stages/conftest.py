"""A small store and split for tests of stages, as ingest and split publish them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from pipeline.core.artifact import write_json
from pipeline.core.record import Sample
from pipeline.core.store import write_shards
from pipeline.images.decode import sample_id


@dataclass(frozen=True)
class Folders:
    """What ingest and split published."""

    ingest: Path
    split: Path
    ids: dict[str, list[str]]


@pytest.fixture
def published(tmp_path):
    """A function `(name=, classes=, channels=, height=, width=, counts=, poison=, target=, origin=)` -> Folders.

    Two folders of equal arguments hold equal samples; `poison` is a grey level that val and test get, with absurd targets;
    `target` puts the target on the card; `origin` maps a split to the origin of its samples.
    """

    def build(name="store", *, classes=("even", "odd"), channels=1, height=8, width=8, counts=(40, 10, 10), poison=None, target=False,
              origin=()):  # fmt: skip
        rng = np.random.default_rng(0)
        samples, ids = [], {"train": [], "val": [], "test": []}
        for split, count in zip(ids, counts, strict=True):
            for _ in range(count):
                number = len(samples)
                pixels = rng.integers(20, 200, (height, width, channels), dtype=np.uint8)
                if poison is not None and split != "train":
                    pixels[:] = poison
                    pixels[0, 0, 0] = number  # ids stay unique
                target = number / 10 if split == "train" or poison is None else 1e6
                label = number % len(classes) if classes else -1
                samples.append(Sample(
                    id=sample_id(pixels), pixels_HWC=pixels, label=label, target=target, weight=1 / (number + 1),
                    group=f"g{number // 4}", order=number, name=f"image {number}", origin=dict(origin).get(split, "real"),
                ))  # fmt: skip
                ids[split].append(samples[-1].id)
        ingest, folder = tmp_path / name / "ingest", tmp_path / name / "split"
        ingest.mkdir(parents=True)
        folder.mkdir()
        write_shards(ingest, samples, shard_size=16)
        card = {"name": "toy", "classes": list(classes), "channels": channels, "height": height, "width": width}
        if target:
            card["target"] = {"name": "level", "unit": "", "low": 0.0, "high": 10.0}
        write_json(ingest / "card.json", card)
        write_json(folder / "split.json", ids)
        return Folders(ingest, folder, ids)

    return build
