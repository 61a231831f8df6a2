"""Write samples as Arrow IPC shards whose borders and names follow the content.

A shard ends after a sample whose id hashes to 0 modulo the target count, so an insertion, a change or a deletion rewrites the
shard that it lies in and no other. A file bears the hash of what its rows say (an id is a hash of pixels), so an unchanged
shard has an unchanged name: DVC moves only the others. `shards.json` lists the names in order. Rows are written in batches of
a few MB as they come, which bounds memory. What they say, pixels and masks aside, stands in `rows.arrow` once more
(`pipeline.core.shard_rows`).

Content-defined borders: Muthitacharoen et al. 2001, A low-bandwidth network file system, section 3.1; here the unit is a
sample and the hash that of its id, so no window is needed.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np
import orjson
import pyarrow as pa

from pipeline.core.columns import column
from pipeline.core.record import Pixels, Sample
from pipeline.core.shard_files import PIECE_BYTES, ShardSink
from pipeline.core.shard_rows import FACTS, SCHEMA, RowsWriter, rows_of_shard

if TYPE_CHECKING:
    from pipeline.core.store import Samples

FOLDER = "shards"
ORDER = "shards.json"
PARTIAL = "open.partial"  # a shard that is still being written
SHARD_BYTES = 4 << 20  # pixels of a shard, on average: what one changed sample rewrites
LAYOUT = f"{SCHEMA.names} {SCHEMA.metadata}".encode()  # said once: Arrow takes longer to say it than SHA-256 to hash it
BATCH_BYTES = 4 << 20  # pixels of a record batch: what writing holds in memory
LONGEST = 8  # times the target count, should no border come; without it one shard in e^8 would be longer
SHAPE = ("height", "width", "channels")
PLAIN = [name for name in FACTS if name not in (*SHAPE, "boxes", "keypoints")]  # stored as the record has them


@dataclass(slots=True)
class Kept:
    """A sample whose pixels and mask lie in a store that was written before; its facts may be new.

    Attributes:
        sample: the record; of its pixels only the shape is looked at, and its mask is not.
        source: the older store.
        position: where the pixels lie in it.
    """

    sample: Sample
    source: "Samples"
    position: int


class Watch(Protocol):
    """Sees what is written while it is in memory, so that nobody has to read it again."""

    def pixels(self, images_BHWC: Pixels) -> None:
        """A piece of the open shard, images of one shape; the array is only lent."""

    def shard(self, name: str, checksum: int) -> None:
        """The open shard is whole, under this name; XXH3-64 of its file."""


def write_shards(
    directory: Path, samples: Iterable[Sample | Kept], *, shard_size: int | None = None, kept: Mapping[str, Path] | None = None,
    watch: Watch | None = None,
) -> int:  # fmt: skip
    """Write samples in order to `directory/shards/<hash>.arrow` and list the files in `directory/shards.json`.

    Args:
        directory: the artifact.
        samples: what to write; their order is the order of the store.
        shard_size: samples of a shard on average, a power of two is best; by default from the bytes of the first one.
        kept: name -> file of shards written before; one of equal content is linked and not written again.
        watch: see `ShardWriter`.

    Returns:
        The number of samples written; with none, one empty shard is written, so that the artifact is valid.
    """
    total = 0
    with ShardWriter(directory, shard_size=shard_size, kept=kept, watch=watch) as writer:
        for sample in samples:
            writer.add(sample)
            total += 1
    return total


class ShardWriter:
    """Takes samples one by one; use it as a context, which closes the last shard. See `write_shards`.

    Attributes:
        names: files in order.
        linked: how many of them were there before.
    """

    def __init__(
        self, directory: Path, *, shard_size: int | None = None, kept: Mapping[str, Path] | None = None,
        watch: Watch | None = None,
    ) -> None:  # fmt: skip
        """`watch` sees every shard that is written and not linked; its images must have one shape."""
        self.directory, self.folder, self.kept, self.watch = directory, directory / FOLDER, kept or {}, watch
        self.folder.mkdir(parents=True)
        self._index = RowsWriter(directory)
        self.names: list[str] = []
        self.linked = 0
        self._target, self._batch = shard_size or 0, 0
        self._rows: list[Sample | Kept] = []
        self._count = 0  # rows of the open shard, those already written included
        self._known = True  # every row of the open shard so far lies in an older store
        self._file: tuple[Any, Any, ShardSink] | None = None
        self._hash = _start()
        self._room = np.empty(0, np.uint8)  # pixels of one batch; the same memory serves all

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None:
            if self._count or not self.names:
                self._close()
            (self.directory / ORDER).write_text(json.dumps(self.names, indent=0) + "\n", encoding="utf-8")
        elif self._file is not None:
            for part in self._file:
                part.close()
        self._index.close()

    def add(self, row: Sample | Kept) -> None:
        """Add one sample."""
        kept = isinstance(row, Kept)
        sample = row.sample if isinstance(row, Kept) else row
        if not self._batch:
            size = max(int(np.prod(sample.pixels_HWC.shape)), 1)
            self._target = self._target or 1 << max(round(np.log2(SHARD_BYTES / size)), 0)
            self._batch = max(BATCH_BYTES // size, 1)
        self._rows.append(row)
        self._count += 1
        self._known = self._known and kept
        if is_border(sample.id, self._target) or self._count >= LONGEST * self._target:
            self._close()
        elif not self._known and len(self._rows) >= self._batch:
            self._write_whole_batches()

    def _write_whole_batches(self) -> None:
        while len(self._rows) >= self._batch:
            self._write(self._rows[: self._batch])
            del self._rows[: self._batch]

    def _close(self) -> None:
        if self._known and self._count:
            name = self._name_of(self._rows)
            if name in self.kept:
                link(self.kept[name], self.folder / name)
                self.linked += 1
                first = self._rows[0]
                known = first.source.rows_from(first.position, self._count) if isinstance(first, Kept) else None
                self._begin(name, known)
                return
        if self._batch:
            self._write_whole_batches()
        self._write(self._rows)
        assert self._file is not None
        for part in self._file:
            part.close()
        name = f"{self._hash.hexdigest()[:20]}.arrow"
        (self.folder / PARTIAL).replace(self.folder / name)
        if self.watch is not None:
            self.watch.shard(name, self._file[-1].checksum)
        self._begin(name)

    def _begin(self, name: str, known: pa.RecordBatch | None = None) -> None:
        """The shard of this name is there, and these are its rows; the next one begins."""
        self._index.add(rows_of_shard(self.folder / name) if known is None else known)
        self.names.append(name)
        self._rows, self._count, self._known, self._file, self._hash = [], 0, True, None, _start()

    def _name_of(self, rows: list[Sample | Kept]) -> str:
        total = _start()
        for start in range(0, len(rows), self._batch):
            some = rows[start : start + self._batch]
            total.update(_said(_facts(some), [mask_of(row) for row in some]))
        return f"{total.hexdigest()[:20]}.arrow"

    def _write(self, rows: list[Sample | Kept]) -> None:
        if self._file is None:
            sink = ShardSink(self.folder / PARTIAL, checked=self.watch is not None)
            file = pa.PythonFile(sink, "w")
            self._file = pa.ipc.new_file(file, SCHEMA), file, sink
        if not rows:
            return
        facts, masks = _facts(rows), [mask_of(row) for row in rows]
        self._hash.update(_said(facts, masks))
        sizes = np.asarray(facts["height"], np.int64) * facts["width"] * facts["channels"]
        offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        if len(self._room) < offsets[-1]:
            self._room = np.empty(offsets[-1], np.uint8)
        pixels_N = self._room[: offsets[-1]]
        for some in pieces(len(rows), int(sizes[0])):
            _gather(rows[some], offsets[some], pixels_N)
            if self.watch is not None:
                shape = [facts[name][0] for name in SHAPE]
                self.watch.pixels(pixels_N[offsets[some.start] : offsets[some.stop]].reshape(-1, *shape))
        arrays = {name: column(facts[name], SCHEMA.field(name).type) for name in FACTS}
        arrays["mask"] = column([bytes(mask) for mask in masks], pa.binary())
        buffers = [None, pa.py_buffer(offsets), pa.py_buffer(pixels_N)]
        arrays["pixels"] = pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(rows), buffers)
        self._file[0].write_batch(pa.record_batch([arrays[name] for name in SCHEMA.names], schema=SCHEMA))


def is_border(identity: str, target: int) -> bool:
    """Whether a shard ends after the sample of this id."""
    return int.from_bytes(hashlib.blake2b(identity.encode(), digest_size=8).digest(), "big") % target == 0


def link(source: Path, target: Path) -> None:
    """One more name for a file that is never written again; a copy where the file system has no links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _start() -> Any:
    return hashlib.sha256(LAYOUT)


def pieces(count: int, size: int) -> list[slice]:
    """How the rows of a batch are worked on: a few at a time, of `size` bytes each."""
    step = max(1, PIECE_BYTES // max(size, 1))
    return [slice(start, min(start + step, count)) for start in range(0, count, step)]


def _gather(rows: list[Sample | Kept], offsets: Any, pixels_N: Pixels) -> None:
    """Copy the pixels of rows to where they begin; neighbours in an older store go at once."""
    first = 0
    while first < len(rows):
        last, row, start = first + 1, rows[first], offsets[first]
        if isinstance(row, Kept):
            while last < len(rows) and _follows(rows[last], row, last - first):
                last += 1
            row.source.copy(row.position, row.position + last - first, pixels_N[start:])
        else:
            pixels_N[start : start + row.pixels_HWC.size] = row.pixels_HWC.reshape(-1)
        first = last


def _follows(row: Sample | Kept, first: Kept, distance: int) -> bool:
    """Whether a row lies so far behind another one of the same older store."""
    return isinstance(row, Kept) and row.source is first.source and row.position == first.position + distance


def _facts(rows: list[Sample | Kept]) -> dict[str, list[Any]]:
    samples = [row.sample if isinstance(row, Kept) else row for row in rows]
    facts = dict(zip(PLAIN, map(list, zip(*map(attrgetter(*PLAIN), samples), strict=True)), strict=True))
    facts |= dict(zip(SHAPE, map(list, zip(*(sample.pixels_HWC.shape for sample in samples), strict=True)), strict=True))
    facts["boxes"] = [[float(value) for box in sample.boxes for value in box] for sample in samples]
    facts["keypoints"] = [[float(value) for point in sample.keypoints for value in point] for sample in samples]
    return facts


def _said(facts: dict[str, list[Any]], masks: list[Any]) -> bytes:
    """What rows say, for the name of their shard; the id stands for the pixels."""
    hashes = [mask_digest(mask) for mask in masks]
    told = facts | {"target": np.asarray(facts["target"], np.float64).view(np.int64)}  # JSON has no word for NaN and infinity
    return orjson.dumps([told[name] for name in FACTS] + [hashes], option=orjson.OPT_SERIALIZE_NUMPY)


def mask_of(row: Sample | Kept) -> Any:
    """The bytes of a row's mask; empty for none."""
    if isinstance(row, Kept):
        return row.source.mask_bytes(row.position)
    return b"" if row.mask_HW is None else np.ascontiguousarray(row.mask_HW).data.cast("B")


def mask_digest(mask: Any) -> str:
    """SHA-256 of a mask's bytes (uint8, row by row), "" for none."""
    return hashlib.sha256(memoryview(mask).cast("B")).hexdigest() if mask is not None and len(mask) else ""
