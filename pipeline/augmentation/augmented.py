"""Augmented samples of real ones by keyed draws, of which only those of new or changed parents are drawn again.

A draw is known by its parent (an id is a hash of pixels), the parent's mask, boxes and keypoints, the copy and the attempt;
policy, seed and code name the folder in which it is kept. With or without what is kept, the samples are the same bytes.
"""

import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from pipeline.core import listed
from pipeline.core.contracts import Transform
from pipeline.core.epoch import drawing
from pipeline.core.record import Box, Pixels, Sample
from pipeline.core.shard_rows import ROWS
from pipeline.core.shards import FOLDER, ORDER, Kept, link
from pipeline.core.store import Samples, open_samples, shard_names
from pipeline.images.decode import sample_id

ATTEMPTS = 8  # draws for one copy before it is given up as a repetition
DRAWS, FEATURES = "draws.json", "features.npy"
LOOKED = "looked"  # see pipeline.augmentation.looked


@dataclass(frozen=True)
class Memory:
    """Draws of an earlier run with the same policy, seed and code.

    Attributes:
        samples: the augmented samples of that run, or None.
        draws: key of a draw -> id of the image that it gave, those that were refused included, with the hash of what moved with
            it, if anything did.
        features: (N, D) of the samples, or (0, 0).
        shards: name -> file.
        sums: name of a shard -> XXH3-64 of its file.
    """

    samples: Samples | None = None
    draws: dict[str, str] = field(default_factory=dict, repr=False)
    features: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 0), np.float32), repr=False)
    shards: dict[str, Path] = field(default_factory=dict, repr=False)
    sums: dict[str, int] = field(default_factory=dict, repr=False)

    def place(self, drawn: str) -> int | None:
        """Where what a draw gave lies, or None; of several that gave equal pixels, one's mask, boxes and keypoints lie there."""
        place = None if self.samples is None else self.samples.index.get(drawn.partition(":")[0])
        return place if self.samples is None or place is None or drawn == _said(self.samples, place) else None


class Sums:
    """Notes the checksum of every shard that is written."""

    def __init__(self, sums: dict[str, int]) -> None:
        self.sums = dict(sums)

    def pixels(self, images_BHWC: Pixels) -> None:
        """Not looked at."""

    def shard(self, name: str, checksum: int) -> None:
        """XXH3-64 of a shard's file."""
        self.sums[name] = checksum


def remember(items: Path | None, settings: Any) -> Memory:
    """What is kept in `items` under these settings; nothing where it was made with others, or is damaged."""
    folder = _folder(items, settings)
    told = None if folder is None else listed.whole(folder)
    if folder is None or told is None:
        return Memory()
    features = np.load(folder / FEATURES) if FEATURES in told else np.zeros((0, 0), np.float32)
    shards = {name: folder / FOLDER / name for name in shard_names(folder)}
    sums = {name: told[f"{FOLDER}/{name}"] for name in shards}
    return Memory(open_samples(folder), orjson.loads((folder / DRAWS).read_bytes()), features, shards, sums)


def keep(
    items: Path | None, settings: Any, made: Samples, draws: dict[str, str], *, sums: dict[str, int], before: Memory
) -> None:  # fmt: skip
    """Keep the samples that were made for the next run, in place of whatever was kept before.

    Args:
        items: where.
        settings: whatever decides what a draw gives, as JSON.
        made: the samples.
        draws: see `Memory`.
        sums: XXH3-64 of each shard.
        before: what `remember` gave; it must not be read any more.
    """
    folder = _folder(items, settings)
    if items is None or folder is None:
        return
    partial, out = items / "new.partial", made.directory
    shutil.rmtree(partial, ignore_errors=True)
    if before.shards:  # most of what lies there stays, and need not be linked again
        (folder / listed.SUMS).unlink()
        folder.rename(partial)
    (partial / FOLDER).mkdir(parents=True, exist_ok=True)
    names = shard_names(out)
    for name in before.shards.keys() - set(names):
        (partial / FOLDER / name).unlink()
    for name in set(names) - before.shards.keys():
        link(out / FOLDER / name, partial / FOLDER / name)
    for name in (ORDER, ROWS, FEATURES):
        (partial / name).unlink(missing_ok=True)
        if (out / name).is_file():
            link(out / name, partial / name)
    (partial / DRAWS).write_bytes(orjson.dumps(draws))
    listed.note(partial, {f"{FOLDER}/{name}": sums[name] for name in names})
    for old in items.iterdir():
        if old != partial and old.name != LOOKED:
            shutil.rmtree(old)
    partial.rename(folder)


def _folder(items: Path | None, settings: Any) -> Path | None:
    said = json.dumps(settings, sort_keys=True).encode()
    return None if items is None else items / hashlib.sha256(said).hexdigest()[:20]


@dataclass
class Drawing:
    """Augmented samples by draws keyed by (seed, copy, id of the parent), none of them with the pixels of another sample.

    Attributes:
        policy: a part of `pipeline/transform`.
        seed: of the draws.
        taken: ids of samples that exist; a draw that gives one of them again is repeated.
        memory: draws of an earlier run.
        repeated: copies that were given up because every draw gave an image that exists.
        draws: key of each draw -> id of its image.
        sources: for each sample, in order, its place in `memory`, or -1 where it was drawn.
        computed: ids of parents that were drawn from, not remembered.
    """

    policy: Transform
    seed: int
    taken: set[str] = field(repr=False)
    memory: Memory = field(default_factory=Memory, repr=False)
    repeated: int = 0
    draws: dict[str, str] = field(default_factory=dict, repr=False)
    sources: list[int] = field(default_factory=list, repr=False)
    computed: set[str] = field(default_factory=set, repr=False)

    def all(self, samples: Samples, parents: list[str], *, copies: int) -> Iterator[Sample | Kept]:
        """Every copy of every parent, in the stored order of the parents."""
        facts = _Facts(samples)
        for parent in parents:
            position = samples.index[parent]
            key = f"{parent}:{_annotations(samples, position)}"
            for copy in range(copies):
                name = f"{key}:{copy}"
                made = self._remembered(facts, position, name, copy) or self._drawn(samples, position, name, copy)
                if made is None:
                    self.repeated += 1
                    continue
                self.sources.append(made.position if isinstance(made, Kept) else -1)
                yield made

    def _remembered(self, facts: "_Facts", position: int, key: str, copy: int) -> Kept | None:
        """The copy as it was drawn before; None where it was not, or where the choice among the draws is another now."""
        seen: dict[str, str] = {}
        for attempt in range(ATTEMPTS):
            name = f"{key}:{attempt}"
            drawn = self.memory.draws.get(name)
            if drawn is None:
                return None
            seen[name] = drawn
            identity = drawn.partition(":")[0]
            if identity in self.taken:
                continue
            place = self.memory.place(drawn)
            if place is None:
                return None
            self.draws |= seen
            self.taken.add(identity)
            old = self.memory.samples
            assert old is not None
            sample = facts.copy(position, copy, id=identity, boxes=old.boxes(place), keypoints=old.keypoints(place))
            return Kept(sample, old, place)
        return None

    def _drawn(self, samples: Samples, position: int, key: str, copy: int) -> Sample | None:
        parent = samples.sample(position)
        self.computed.add(parent.id)
        rng = drawing(self.seed, copy, parent.id)
        for attempt in range(ATTEMPTS):
            made = self.policy.whole(parent, rng)
            identity = sample_id(made.pixels_HWC)
            moved = _moved(b"" if made.mask_HW is None else made.mask_HW.tobytes(), made.boxes, made.keypoints)
            self.draws[f"{key}:{attempt}"] = f"{identity}:{moved}" if moved else identity
            if identity not in self.taken:
                self.taken.add(identity)
                return _of(made, identity, copy, parent=parent.id)
        return None


def _of(sample: Sample, identity: str, copy: int, *, parent: str) -> Sample:
    return replace(
        sample, id=identity, name=_name(sample.name, copy), origin="augmented", parent=parent, given="",
        source_bytes=0, source_height=0, source_width=0,
    )  # fmt: skip


def _name(parent: str, copy: int) -> str:
    return f"{parent} (augmented, copy {copy + 1})"


class _Facts:
    """What a copy has from its parent, read without the parent's pixels and mask, which cost a read."""

    def __init__(self, samples: Samples) -> None:
        names = ("id", "name", "group", "label", "target", "weight", "order")
        self._rows = list(zip(*(samples.columns[name].tolist() for name in names), strict=True))
        self._shapes = list(zip(*(samples.columns[name].tolist() for name in ("height", "width", "channels")), strict=True))
        self._blank: dict[tuple[int, ...], Pixels] = {}

    def copy(self, position: int, copy: int, **own: Any) -> Sample:
        """The record of a copy with facts of its own; its pixels have their shape alone."""
        parent, name, group, label, target, weight, order = self._rows[position]
        shape = self._shapes[position]
        if shape not in self._blank:
            self._blank[shape] = np.broadcast_to(np.uint8(0), shape)
        return Sample(
            pixels_HWC=self._blank[shape], label=label, target=target, weight=weight, group=group, order=order,
            name=_name(name, copy), origin="augmented", parent=parent, **own,
        )  # fmt: skip


def _annotations(samples: Samples, position: int) -> str:
    """Hash of what moves with the image, "" for none."""
    if not samples.annotated:
        return ""
    return _moved(samples.mask_bytes(position), samples.boxes(position), samples.keypoints(position))


def _said(samples: Samples, position: int) -> str:
    """A sample as `Memory.draws` names it."""
    moved = _annotations(samples, position)
    return f"{samples.ids[position]}:{moved}" if moved else samples.ids[position]


def _moved(mask: bytes | memoryview, boxes: Sequence[Box], points: Sequence[tuple[float, float]]) -> str:
    if not (len(mask) or boxes or points):
        return ""
    total = hashlib.sha256(json.dumps([boxes, points]).encode())
    total.update(mask)
    return total.hexdigest()[:20]
