"""What ingest knows of single files from the run before, so that only new and changed ones are decoded.

`items/known.json` holds, for each file, its size, times and inode with the key of its content, and for each key what became of
it: the id of its pixels and the hash of its mask, or why it was refused. A key is SHA-256 over the file's bytes, the crop, the
mask's bytes, boxes, keypoints, the settings of the decoder and the fingerprint of the stage's code. `items/shards/` holds the
shards of that run as further names of the same files, with a XXH3-64 and the tally of each, `items/rows.arrow` what they say.

A file whose size, times and inode are those of the run before is not read again, unless it changed less than `RACY` before it
was looked at (as git does); the change time cannot be set back by a program. The list carries its own hash
(`pipeline.intake.known`). A shard counts as it was while size, time and inode are the same, since reading all old pixels would
cost more than a few new ones; otherwise its XXH3-64 decides. `python -m pipeline verify --deep` reads them all. With or without
this folder the artifact is the same.
"""

import hashlib
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.record import Box, Entry, OnDisk
from pipeline.core.shard_files import RACY, checksum, is_whole, settled
from pipeline.core.shard_rows import ROWS
from pipeline.core.shards import FOLDER, link, mask_digest
from pipeline.core.store import Samples, open_shards, shard_names
from pipeline.images.decoding import Refused, Taken
from pipeline.intake.known import KnownList, read_known
from pipeline.intake.tally import Counted, Tally, tally

LIST = "known.json"


@dataclass(slots=True)
class Earlier:
    """A file whose pixels lie in the older store.

    Attributes:
        position: of its pixels.
        boxes, keypoints: as they were moved then.
        size: width and height of the file's upright image.
    """

    position: int
    boxes: tuple[Box, ...]
    keypoints: tuple[tuple[float, float], ...]
    size: tuple[int, int]


@dataclass(slots=True)
class Look:
    """What is known of one entry.

    Attributes:
        key: of its content; "" where it was not read.
        stamp: size, times and inode of each of its files; empty where there are none to look at.
        outcome: what became of it, or None for unknown.
        data, mask: what had to be read.
        length: bytes of the image's file; 0 for pixels from a package.
        known: what was remembered of it, where that still holds without a look inside.
    """

    key: str
    stamp: list[int]
    outcome: Refused | Earlier | None = None
    data: bytes | NDArray[np.uint8] = b""
    mask: bytes | None = None
    length: int = 0
    known: list[Any] | None = None


@dataclass
class Counts:
    """What a run did, for people; never part of the artifact."""

    files: int = 0
    known: int = 0
    read: int = 0
    decoded: int = 0
    shards: int = 0
    linked: int = 0


class Items:
    """The knowledge of the run before, and that of this one.

    Args:
        folder: where it is kept; None keeps nothing.
        settings: whatever decides what becomes of a file's bytes, as JSON.
        largest: bytes; a larger file cannot be an image of the accepted size and is not read.

    Attributes:
        counts: what was done.
        store: the samples of the run before, or None.
        kept: name -> file of the shards that can be linked.
        watch: counts what a `ShardWriter` writes.
    """

    def __init__(self, folder: Path | None, settings: Any, *, largest: int) -> None:
        self.folder, self.largest = folder, largest
        self.settings = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
        self.counts = Counts()
        self.store: Samples | None = None
        self._masked = False  # whether the store has masks at all
        self.kept: dict[str, Path] = {}
        self._known: dict[str, list[Any]] = {}
        self._outcomes: dict[str, list[Any]] = {}
        self._shards: dict[str, tuple[int, Tally]] = {}
        self._safe = time.time_ns() - RACY
        self.watch = Counted(self._shards)
        if folder is not None:
            self._load(folder)
            self._now = KnownList(folder / LIST)

    def look(self, entry: Entry) -> Look:
        """What is known of an entry; its files are read only if need be.

        Raises:
            OSError: a file cannot be read.
        """
        self.counts.files += 1
        known = self._known.pop(entry.name, None)
        data: bytes | NDArray[np.uint8] | None = None
        if known is None and isinstance(entry.read, OnDisk) and entry.read_mask is None:
            facts, data = entry.read.with_facts(self.largest)  # it would be read anyway: one look at its path instead of two
            stamp = _numbers(facts)
        else:
            stamp = _stamp(entry)
        if (size := max(stamp[::4], default=0)) > self.largest:
            what = "too large" if stamp[0] == size else "its mask is too large"
            return Look("", stamp, Refused(f"{what}: {size} bytes, and an image of max_pixels has at most {self.largest}"))
        more = _more(entry)
        if known is not None and stamp and known[2:] == stamp and known[0] == more:
            outcome = self._outcome(known[1])
            if outcome is not None:
                self.counts.known += 1
                return Look(known[1], stamp, outcome, length=stamp[0], known=known)
        data = entry.read() if data is None else data
        look = Look("", stamp, None, data, None if entry.read_mask is None else entry.read_mask())
        look.length = len(look.data) if isinstance(look.data, bytes) else 0
        self.counts.read += 1
        look.key = _key(look, f"{self.settings} {more}")
        look.outcome = self._outcome(look.key)
        self.counts.known += look.outcome is not None
        return look

    def remember(self, entry: Entry, look: Look, outcome: Taken | Refused | None) -> None:
        """Keep what became of an entry for the next run; None where it was known before."""
        if self.folder is None or not look.key:
            return
        if look.known is not None:
            self._now.add("files", entry.name, look.known)
            self._now.add("outcomes", look.key, self._outcomes[look.key])
            return
        if outcome is None:
            said = self._outcomes[look.key]
        elif isinstance(outcome, Taken):
            decoded = outcome.decoded
            said = [outcome.id, decoded.boxes, decoded.keypoints, decoded.size, mask_digest(decoded.mask_HW)]
        elif outcome.lasting:
            said = [outcome.reason]
        else:
            return
        self._now.add("outcomes", look.key, said)
        if look.stamp and max(*look.stamp[1::4], *look.stamp[2::4]) < self._safe:
            self._now.add("files", entry.name, [_more(entry), look.key, *look.stamp])

    def tally(self, directory: Path) -> Tally:
        """The tally of an artifact's shards; only shards that are new are read."""
        total = Tally()
        for name in shard_names(directory):
            if name not in self._shards:
                found = tally(open_shards(directory, directory / FOLDER, [name], mapped=False))
                self._shards[name] = checksum(directory / FOLDER / name) if self.folder else 0, found
            total = total + self._shards[name][1]
        return total

    def save(self, directory: Path) -> None:
        """Keep the shards of an artifact and what was remembered in this run, and forget the rest."""
        if self.folder is None:
            return
        folder, names = self.folder / FOLDER, shard_names(directory)
        self.tally(directory)
        (self.folder / LIST).unlink(missing_ok=True)  # there is none until all of it is there
        folder.mkdir(exist_ok=True)
        for name in names:
            if name not in self.kept:
                (folder / name).unlink(missing_ok=True)
                link(directory / FOLDER / name, folder / name)
        for path in folder.iterdir():
            if path.name not in names:
                path.unlink()
        told = {name: facts for name, facts in self._shards.items() if name in names}
        shards = {name: (checked, found.plain(), settled(f"{folder}/{name}")) for name, (checked, found) in told.items()}
        (self.folder / ROWS).unlink(missing_ok=True)
        link(directory / ROWS, self.folder / ROWS)
        self._now.finish([self.settings, shards, names, checksum(self.folder / ROWS)])
        self._known, self._outcomes, self.store = {}, {}, None  # they have served, and are large

    def _load(self, folder: Path) -> None:
        found = read_known(folder / LIST)
        if found is None or found[0][0] != self.settings:
            return
        (_, shards, order, rows), blocks = found
        files = {name: folder / FOLDER / name for name in shards}
        self._shards.update(
            (name, (checked, Tally.of(said)))
            for name, (checked, said, stamp) in shards.items()
            if is_whole(f"{folder}/{FOLDER}/{name}", checked, stamp)
        )
        self.kept = {name: files[name] for name in self._shards}
        for kind, block in blocks:
            (self._known if kind == "files" else self._outcomes).update(block)
        if self.kept:
            whole = (folder / ROWS).is_file() and checksum(folder / ROWS) == rows
            self.store = open_shards(folder, folder / FOLDER, list(self.kept), mapped=False, order=order if whole else [])
            self._masked = bool(self.store.places["mask_bytes"].any())

    def _outcome(self, key: str) -> Refused | Earlier | None:
        said = self._outcomes.get(key)
        if said is None:
            return None
        if len(said) == 1:
            return Refused(said[0])
        position = None if self.store is None else self.store.index.get(said[0])
        if position is None or mask_digest(self._mask(position)) != said[4]:
            return None  # of files with equal pixels the store holds the first one's mask
        boxes = tuple((x0, y0, x1, y1, kind) for x0, y0, x1, y1, kind in said[1]) if said[1] else ()
        points = tuple((x, y) for x, y in said[2]) if said[2] else ()
        return Earlier(position, boxes, points, (said[3][0], said[3][1]))

    def _mask(self, position: int) -> bytes | memoryview | None:
        return self.store.mask_bytes(position) if self._masked and self.store is not None else None


def damaged(folder: Path) -> list[str]:
    """Shards of an items folder whose bytes are not those that were written, whatever their size and times say.

    Args:
        folder: the `items` of `Items`.
    """
    found = read_known(folder / LIST)
    shards = {} if found is None else found[0][1]
    paths = {name: folder / FOLDER / name for name in shards}
    return [name for name, path in paths.items() if not path.is_file() or checksum(path) != shards[name][0]]


def _stamp(entry: Entry) -> list[int]:
    """Size, times and inode of an entry's files, four numbers each; empty where one of them is not known to be a file."""
    found: list[int] = []
    for read in (entry.read,) if entry.read_mask is None else (entry.read, entry.read_mask):
        path = read.path if isinstance(read, OnDisk) else _path(read)
        if path is None:
            return []
        found += _numbers(os.stat(path))  # noqa: PTH116 - once a file, and Path.stat takes twice as long
    return found


def _numbers(facts: os.stat_result) -> list[int]:
    return [facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_ino]


def _path(read: Callable[[], Any]) -> Path | None:
    owner = getattr(read, "__self__", None)
    return owner if isinstance(owner, Path) and read == owner.read_bytes else None


def _more(entry: Entry) -> str:
    """What decides the outcome beside the bytes of the files."""
    if entry.crop is None and not entry.boxes and not entry.keypoints:
        return ""
    return repr((entry.crop, entry.boxes, entry.keypoints))


def _key(look: Look, rest: str) -> str:
    shape = "" if isinstance(look.data, bytes) else f" {look.data.shape}"
    total = hashlib.sha256(f"{rest} {len(look.data)}{shape} {look.mask is not None}\n".encode())
    total.update(look.data if isinstance(look.data, bytes) else np.ascontiguousarray(look.data).data)
    total.update(look.mask or b"")
    return total.hexdigest()
