"""What people are shown of a policy, and the draws that its audit judges; both are taken over from an earlier run of the same."""

import hashlib
import json
import pickle
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.augmentation.audit import Epoch
from pipeline.augmentation.augmented import LOOKED
from pipeline.core import pictures
from pipeline.core.artifact import read_json, write_json
from pipeline.core.contracts import Transform
from pipeline.core.epoch import drawing, order
from pipeline.core.keyed import generator
from pipeline.core.record import Pixels, Sample
from pipeline.core.section import Picture
from pipeline.core.shard_files import checksum
from pipeline.images.decode import sample_id

SHOWN, DRAWS = 6, 5  # rows of the sheet, and draws beside each original
ALONE = 35  # pictures of single steps, at most
AUDITED, BATCH, EPOCHS, WORKERS = 128, 8, 2, 2  # draws of an epoch of the audit, of a batch; epochs; imitated workers
TOLD = "told.json"


@dataclass(frozen=True)
class Looks:
    """What an earlier run with the same settings looked at.

    Attributes:
        items: where it is kept; None keeps nothing.
        settings: policy, seed and code, as JSON.
    """

    items: Path | None
    settings: Any

    def again(self, name: str, said: Any, out: Path, make: Callable[[], tuple[Any, Sequence[str]]]) -> Any:
        """What `make` tells, and the files that it writes into `out`: those of the earlier run, where that said the same.

        Args:
            name: of what is made.
            said: all that decides what is made, beside the settings, as JSON.
            out: the artifact.
            make: returns what it tells, as JSON, and the names of its files.
        """
        key = hashlib.sha256(json.dumps([self.settings, said], sort_keys=True).encode()).hexdigest()
        folder = None if self.items is None else self.items / LOOKED / name
        kept = None if folder is None else _kept(folder, key)
        if folder is not None and kept is not None:
            for file in kept["files"]:
                shutil.copyfile(folder / file, out / file)
            return kept["told"]
        told, files = make()
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            for file in files:
                shutil.copyfile(out / file, folder / file)
            write_json(folder / TOLD, {"key": key, "told": told, "files": {file: checksum(folder / file) for file in files}})
        return told


def _kept(folder: Path, key: str) -> Any | None:
    """What was told under this key; None for nothing, or where it or one of its files is damaged."""
    try:
        kept = read_json(folder / TOLD)
        whole = kept["key"] == key and all(checksum(folder / file) == total for file, total in kept["files"].items())
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
    return kept if whole else None


def passes(policy: Transform, probe: Pixels, *, seed: int) -> list[Epoch]:
    """Epochs of one probe image, drawn as one process would and as several workers would."""
    some, found = [f"audit {number}" for number in range(AUDITED)], []
    for workers in (0, WORKERS):
        for epoch in range(EPOCHS):
            ids = [some[place] for place in order(len(some), seed=seed, epoch=epoch)]
            draws, steps = _drawn(policy, probe, [drawing(seed, epoch, identity) for identity in ids], workers=max(1, workers))
            found.append(Epoch(workers, epoch, ids, draws, BATCH, steps=steps))
    return found


def _drawn(
    policy: Transform, probe: Pixels, chances: Sequence[np.random.Generator], *, workers: int
) -> tuple[list[str], list[list[dict[str, float]]]]:
    """Hash and numbers of each draw; batches go round to workers, each with a copy of the policy, the last one working first."""
    found: dict[int, tuple[str, list[dict[str, float]]]] = {}
    for worker in reversed(range(workers)):
        copy: Transform = pickle.loads(pickle.dumps(policy))  # noqa: S301  # our own object, as a worker would get it
        for place in range(len(chances)):
            if place // BATCH % workers == worker:
                found[place] = sample_id(copy(probe, chances[place])), copy.applied()
    return [found[place][0] for place in sorted(found)], [found[place][1] for place in sorted(found)]


def sheets(out: Path, policy: Transform, parents: Sequence[Sample], *, seed: int) -> list[Picture]:
    """Draw the parents beside draws of the policy, and each step of the policy by itself."""
    if not parents:
        pictures.placard("no training samples", out / "before_after.png")
        return [Picture("before_after.png", "There are no training samples.")]
    images, titles = [], []
    for sample in parents:
        draws = [policy(sample.pixels_HWC, drawing(seed, copy, sample.id)) for copy in range(DRAWS)]
        images += [sample.pixels_HWC, *draws]
        titles += [pictures.shorten(sample.name, 22), *(f"draw {copy + 1}" for copy in range(DRAWS))]
    pictures.sheet(images, titles, out / "before_after.png", columns=1 + DRAWS)
    alone = [("original", parents[0].pixels_HWC), *_alone(policy, parents[0].pixels_HWC, seed=seed)]
    pictures.sheet([image for _, image in alone], [title for title, _ in alone], out / "alone.png", columns=6)
    return [
        Picture("before_after.png", "Training samples (left) and five draws of the policy for each."),
        Picture("alone.png", "Each step of the policy by itself, at the ends of its ranges; is it still what its label says?"),
    ]  # fmt: skip


def _alone(policy: Transform, pixels_HWC: Pixels, *, seed: int) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Each step at its ends; of one without ranges, the three of sixteen draws that change the image most."""
    steps = policy.alone()
    names = [name for name, _ in steps[:ALONE]]
    for name, step in steps[:ALONE]:
        draws = {
            made.tobytes(): made for made in (step(pixels_HWC, generator(seed, "alone", name, number)) for number in range(16))
        }
        far = sorted(draws.values(), key=lambda made: -float(np.abs(made.astype(np.int16) - pixels_HWC).mean()))
        fixed = "end)" in name or len(names) > 6
        for image in far[: 1 if fixed else 3]:
            yield name, image
