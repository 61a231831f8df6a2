"""Samples on disk: Arrow IPC shards that any Arrow reader opens, and that numpy maps without a copy.

    import pyarrow as pa
    table = pa.ipc.open_file(pa.memory_map("data/ingest/shards/00000.arrow")).read_all()

Pixels are stored decoded (uint8, HWC), so training never decodes and a sample's bytes never depend on a codec.
Columns: id, name, label, target, weight, group, order, origin, parent, height, width, channels, pixels.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.core.contracts import Sample

SCHEMA = pa.schema([
    ("id", pa.string()), ("name", pa.string()), ("label", pa.int32()), ("target", pa.float32()), ("weight", pa.float32()),
    ("group", pa.string()), ("order", pa.int64()), ("origin", pa.string()), ("parent", pa.string()),
    ("height", pa.int32()), ("width", pa.int32()), ("channels", pa.int32()), ("pixels", pa.large_binary()),
])  # fmt: skip
FACTS = [name for name in SCHEMA.names if name != "pixels"]


def write_shards(directory: Path, samples: Iterable[Sample], *, shard_size: int = 512) -> int:
    """Write samples in order to `directory/shards/00000.arrow`, ...; memory stays at one shard.

    Returns:
        The number of samples written; with none, one empty shard is written, so that the artifact is valid.
    """
    folder = directory / "shards"
    folder.mkdir(parents=True)
    total = number = 0
    rows: list[dict[str, Any]] = []
    for sample in samples:
        rows.append(_row(sample))
        total += 1
        if len(rows) == shard_size:
            _write(folder / f"{number:05d}.arrow", rows)
            number, rows = number + 1, []
    if rows or number == 0:
        _write(folder / f"{number:05d}.arrow", rows)
    return total


@dataclass(frozen=True)
class Samples:
    """Samples of one artifact, memory-mapped; indexing costs one small copy-free view.

    Attributes:
        directory: the artifact that holds `shards/`.
        columns: every column but the pixels, as numpy arrays of length n.
    """

    directory: Path
    tables: list[pa.Table] = field(repr=False)
    starts: NDArray[np.int64] = field(repr=False)
    columns: dict[str, NDArray[Any]] = field(repr=False)

    def __len__(self) -> int:
        return int(self.starts[-1])

    @property
    def ids(self) -> list[str]:
        """Sample ids, in stored order."""
        return [str(identity) for identity in self.columns["id"]]

    @cached_property
    def index(self) -> dict[str, int]:
        """Sample id -> position."""
        return {identity: position for position, identity in enumerate(self.ids)}

    def pixels(self, position: int) -> NDArray[np.uint8]:
        """The image at a position: read-only uint8, HWC, a view into the mapped file."""
        shard = int(np.searchsorted(self.starts, position, side="right")) - 1
        row = position - int(self.starts[shard])
        buffer = self.tables[shard]["pixels"][row].as_buffer()
        shape = tuple(int(self.columns[name][position]) for name in ("height", "width", "channels"))
        pixels = np.frombuffer(buffer, dtype=np.uint8).reshape(shape)
        pixels.flags.writeable = False
        return pixels

    def sample(self, position: int) -> Sample:
        """The whole record at a position."""
        facts: dict[str, Any] = {
            name: self.columns[name][position].item() if name in _NUMERIC else str(self.columns[name][position])
            for name in _RECORD
        }
        return Sample(pixels_HWC=self.pixels(position), **facts)

    def __iter__(self) -> Iterator[Sample]:
        return (self.sample(position) for position in range(len(self)))

    def positions(self, ids: Iterable[str]) -> NDArray[np.int64]:
        """Positions of these ids.

        Raises:
            KeyError: an id is not stored here.
        """
        return np.asarray([self.index[identity] for identity in ids], dtype=np.int64)


_NUMERIC = {"label", "target", "weight", "order"}
_RECORD = ["id", "name", "label", "target", "weight", "group", "order", "origin", "parent"]


def open_samples(directory: Path) -> Samples:
    """Open the samples of an artifact."""
    tables = []
    for path in sorted((directory / "shards").glob("*.arrow")):
        with path.open("rb"):  # an open that Python sees, so that the guard of the runner sees it too
            tables.append(pa.ipc.open_file(pa.memory_map(str(path))).read_all())
    starts = np.cumsum([0, *(table.num_rows for table in tables)])
    facts = pa.concat_tables([table.select(FACTS) for table in tables])
    columns = {name: facts[name].to_numpy(zero_copy_only=False) for name in FACTS}
    return Samples(directory=directory, tables=tables, starts=starts, columns=columns)


def _row(sample: Sample) -> dict[str, Any]:
    height, width, channels = sample.pixels_HWC.shape
    record = {name: getattr(sample, name) for name in _RECORD}
    return {**record, "height": height, "width": width, "channels": channels, "pixels": sample.pixels_HWC.tobytes()}


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, SCHEMA) as writer:
        writer.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), max_chunksize=len(rows) or 1)
