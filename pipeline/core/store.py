"""Samples on disk: Arrow IPC shards that any Arrow reader opens.

    import json, pyarrow as pa
    first = json.load(open("data/ingest/shards.json"))[0]
    table = pa.ipc.open_file(pa.memory_map(f"data/ingest/shards/{first}")).read_all()

Pixels are stored decoded (uint8, HWC), so training never decodes and a sample's bytes never depend on a codec. Columns: id,
name, label, target, weight, group, origin, parent, given, source_bytes, source_height, source_width (of its file), height, width,
channels, boxes (flat, 5 each), keypoints (flat, 2 each), mask (empty for none), pixels; the schema's metadata states kind, axes,
type and unit. The order of the rows is that of the source; reading numbers them as `order`. `pipeline.core.shards` writes them.

A small store is mapped and a large one is read, see `pipeline.core.shard_files`.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.core.columns import Columns, lengths_of, values_of
from pipeline.core.errors import PersonError
from pipeline.core.record import Box, Sample
from pipeline.core.shard_files import ShardFiles
from pipeline.core.shard_rows import FACTS, PLACES, ROWS_SCHEMA, read_rows
from pipeline.core.shards import FOLDER, ORDER, Kept, write_shards

__all__ = ["Kept", "Samples", "open_samples", "write_shards"]


@dataclass(frozen=True)
class Samples:
    """Samples of one artifact; opening reads all but pixels and masks, and those are read when they are asked for.

    Attributes:
        directory: the artifact that holds `shards/`.
        columns: every column but pixels, mask, boxes and keypoints, as numpy arrays of length n, and `order`; each is made when
            it is asked for.
        allowed: (n,) whether a sample may be read, or None for all.
    """

    directory: Path
    columns: Mapping[str, NDArray[Any]] = field(repr=False)
    files: ShardFiles = field(repr=False)
    places: dict[str, NDArray[np.int64]] = field(repr=False)
    rows: list[pa.RecordBatch] = field(repr=False)
    allowed: NDArray[np.bool_] | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.columns["order"])

    def __reduce__(self) -> tuple[Any, ...]:
        """Another process opens the files again; no pixel is sent."""
        return _reopened, (self.directory, self.allowed)

    @cached_property
    def ids(self) -> list[str]:
        """Sample ids, in stored order."""
        found: list[str] = self.columns["id"].tolist()
        return found

    @cached_property
    def index(self) -> dict[str, int]:
        """Sample id -> position."""
        return {identity: position for position, identity in enumerate(self.ids)}

    @cached_property
    def _filled(self) -> dict[str, list[bool]]:
        """Whether a sample has boxes, and keypoints."""
        return {name: (lengths_of(found) > 0).tolist() for name, found in self._lists.items()}

    @cached_property
    def _lists(self) -> dict[str, pa.ChunkedArray]:
        """Boxes and keypoints, flat."""
        table = pa.Table.from_batches(self.rows, ROWS_SCHEMA)
        return {name: table[name] for name in _LISTS}

    @cached_property
    def annotated(self) -> bool:
        """Whether any sample has a mask, boxes or keypoints."""
        return bool(self.places["mask_bytes"].any()) or any(any(filled) for filled in self._filled.values())

    def rows_from(self, position: int, count: int) -> pa.RecordBatch | None:
        """The batch of `rows.arrow` that says what these rows say, where they are the rows of one shard."""
        number = int(self.places["shard"][position])
        begins = position == 0 or self.places["shard"][position - 1] != number
        return self.rows[number] if begins and len(self.rows[number]) == count else None

    def only(self, ids: Iterable[str]) -> "Samples":
        """The same samples, of which pixels, masks and records of any other id raise AssertionError.

        Raises:
            KeyError: an id is not stored here.
        """
        allowed = np.zeros(len(self), dtype=bool)
        allowed[self.positions(ids)] = True
        return replace(self, allowed=allowed if self.allowed is None else allowed & self.allowed)

    def pixels(self, position: int) -> NDArray[np.uint8]:
        """The image at a position: read-only uint8, HWC."""
        self._check(position)
        places = self.places
        data = self.files.read(places["shard"][position], places["pixels_at"][position], places["pixels_bytes"][position])
        return np.frombuffer(data, dtype=np.uint8).reshape(self._shape(position))

    def batch(self, positions: Sequence[int] | NDArray[np.int64]) -> NDArray[np.uint8]:
        """Images of one shape at some positions: a new uint8 array (B, H, W, C)."""
        rows = np.asarray(positions, dtype=np.int64)
        for position in rows if self.allowed is not None else ():
            self._check(int(position))
        size = int(self.places["pixels_bytes"][rows[0]])
        assert (self.places["pixels_bytes"][rows] == size).all(), "images of several sizes do not fit into one batch"
        images_BN = self.files.gather(self.places["shard"][rows], self.places["pixels_at"][rows], size)
        return images_BN.reshape(len(rows), *self._shape(int(rows[0])))

    def copy(self, first: int, last: int, out_N: NDArray[np.uint8]) -> None:
        """Pixels of the images from one position up to another, one after the other, to the beginning of an array of bytes."""
        for position in range(first, last) if self.allowed is not None else ():
            self._check(position)
        shards, starts, sizes = (self.places[name][first:last] for name in ("shard", "pixels_at", "pixels_bytes"))
        ends = starts + sizes
        breaks = np.flatnonzero((starts[1:] != ends[:-1]) | (shards[1:] != shards[:-1])) + 1
        filled = 0
        for begin, end in zip([0, *breaks], [*breaks, last - first], strict=True):  # neighbours in one go
            size = int(ends[end - 1] - starts[begin])
            self.files.fill(int(shards[begin]), int(starts[begin]), out_N[filled : filled + size])
            filled += size

    def mask(self, position: int) -> NDArray[np.uint8] | None:
        """The mask at a position: read-only uint8, HW; None for none."""
        data = self.mask_bytes(position)
        return np.frombuffer(data, dtype=np.uint8).reshape(self._shape(position)[:2]) if len(data) else None

    def mask_bytes(self, position: int) -> bytes | memoryview:
        """The mask as it is stored; empty for none."""
        self._check(position)
        size = self.places["mask_bytes"][position]
        return self.files.read(self.places["shard"][position], self.places["mask_at"][position], size) if size else b""

    def boxes(self, position: int) -> tuple[Box, ...]:
        """The boxes at a position."""
        if not self._filled["boxes"][position]:
            return ()
        flat = self._lists["boxes"][position].as_py()
        return tuple((x0, y0, x1, y1, int(kind)) for x0, y0, x1, y1, kind in zip(*[iter(flat)] * 5, strict=True))

    def keypoints(self, position: int) -> tuple[tuple[float, float], ...]:
        """The keypoints at a position."""
        if not self._filled["keypoints"][position]:
            return ()
        flat = self._lists["keypoints"][position].as_py()
        return tuple(zip(*[iter(flat)] * 2, strict=True))

    def sample(self, position: int) -> Sample:
        """The whole record at a position."""
        facts: dict[str, Any] = {name: self.columns[name][position] for name in _RECORD}
        facts |= {name: facts[name].item() for name in _NUMERIC}
        return Sample(
            pixels_HWC=self.pixels(position), mask_HW=self.mask(position), boxes=self.boxes(position),
            keypoints=self.keypoints(position), **facts,
        )  # fmt: skip

    def __iter__(self) -> Iterator[Sample]:
        return (self.sample(position) for position in range(len(self)))

    def positions(self, ids: Iterable[str]) -> NDArray[np.int64]:
        """Positions of these ids.

        Raises:
            KeyError: an id is not stored here.
        """
        return np.asarray([self.index[identity] for identity in ids], dtype=np.int64)

    def _check(self, position: int) -> None:
        if self.allowed is not None:
            assert self.allowed[position], f"the sample {self.ids[position]} is not among those that may be read here"

    def _shape(self, position: int) -> tuple[int, int, int]:
        columns = self.columns
        return int(columns["height"][position]), int(columns["width"][position]), int(columns["channels"][position])


_SOURCE = ("source_bytes", "source_height", "source_width")
_NUMERIC = ("label", "target", "weight", "order", *_SOURCE)
_RECORD = ("id", "name", "label", "target", "weight", "group", "order", "origin", "parent", "given", *_SOURCE)
_LISTS = ("boxes", "keypoints")
_PLAIN = [name for name in FACTS if name not in _LISTS]


def open_samples(directory: Path) -> Samples:
    """Open the samples of an artifact.

    Raises:
        PersonError: the artifact is of an older format, or a shard is missing.
    """
    names = shard_names(directory)
    return open_shards(directory, directory / FOLDER, names, order=names)


def shard_names(directory: Path) -> list[str]:
    """Files of an artifact's shards, in order.

    Raises:
        PersonError: the artifact is of an older format.
    """
    path = directory / ORDER
    if not path.is_file():
        raise PersonError(f"{directory} holds no {ORDER}: it is no artifact with samples, or of an older version: run  dvc repro")
    names: list[str] = json.loads(path.read_text(encoding="utf-8"))
    return names


def open_shards(
    directory: Path, folder: Path, names: Sequence[str], *, mapped: bool = True, order: Sequence[str] = ()
) -> Samples:
    """Open the shards of these names in a folder, in this order.

    Args:
        directory: may hold `rows.arrow`.
        folder: of the shards.
        names: of the shards.
        mapped: False maps none of them, however small they are.
        order: the shards that `rows.arrow` describes; empty to ask the shards themselves.

    Raises:
        PersonError: a shard is of an older format.
    """
    rows = read_rows(directory, folder, names, order)
    table = pa.Table.from_batches(rows, ROWS_SCHEMA)
    places = {name: values_of(table[name]) for name in PLACES}
    places["shard"] = np.repeat(np.arange(len(rows), dtype=np.int64), [len(batch) for batch in rows])
    return Samples(
        directory=directory,
        columns=Columns(table, _PLAIN, {"order": np.arange(len(table), dtype=np.int64)}),
        files=ShardFiles([folder / name for name in names], mapped=mapped),
        places=places,
        rows=rows,
    )


def _reopened(directory: Path, allowed: NDArray[np.bool_] | None) -> Samples:
    return replace(open_samples(directory), allowed=allowed)
