"""What the rows of all shards say, pixels and masks aside, once more in one file: a store of many shards opens as one of few.

Record batch number i of `rows.arrow` describes shard number i of `shards.json`: the columns of the shard but `mask` and `pixels`,
and where in the shard's file those begin and how many bytes they are. It is written while the shards are, and holds nothing that
they do not: where it is missing, the shards themselves are asked.
"""

import mmap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.core.columns import column
from pipeline.core.errors import PersonError

ROWS = "rows.arrow"
BUFFERED = 1 << 20  # bytes of it: a batch a shard is some thirty writes of a few bytes each
SCHEMA = pa.schema([
    ("id", pa.string()), ("name", pa.string()), ("label", pa.int32()), ("target", pa.float32()), ("weight", pa.float32()),
    ("group", pa.string()), ("origin", pa.string()), ("parent", pa.string()), ("given", pa.string()),
    ("source_bytes", pa.int64()), ("source_height", pa.int32()), ("source_width", pa.int32()),
    ("height", pa.int32()), ("width", pa.int32()), ("channels", pa.int32()),
    ("boxes", pa.list_(pa.float32())), ("keypoints", pa.list_(pa.float32())),
    ("mask", pa.binary()), ("pixels", pa.large_binary()),
], metadata={
    "kind": "image", "axes": "height,width,channels", "dtype": "uint8", "unit": "grey level, 0 to 255",
    "mask": "uint8 class of each pixel, height x width; 0 background, 255 ignore; empty for none",
    "boxes": "x0, y0, x1, y1 in pixels, class index; flat", "keypoints": "x, y in pixels; flat; -1, -1 out of sight",
})  # fmt: skip
LARGE = ("mask", "pixels")
FACTS = [name for name in SCHEMA.names if name not in LARGE]
PLACES = ("pixels_at", "pixels_bytes", "mask_at", "mask_bytes")
ROWS_SCHEMA = pa.schema(
    [*(SCHEMA.field(name) for name in FACTS), *((name, pa.int64()) for name in PLACES)],
    metadata={"places": "byte in the file of the shard, and bytes; record batch i describes shard i of shards.json"},
)
pa.set_memory_pool(pa.system_memory_pool())  # it gives back what is freed; the others kept 8 MB, and 1 KB for each sample


def rows_of_shard(path: Path) -> pa.RecordBatch:
    """What the file of a shard says of its rows, as one batch of `rows.arrow`; the file is not held.

    Nothing is read ahead (pyarrow's own map asks for all pixels): a tenth of the time where the file is not in memory.

    Raises:
        PersonError: the shard is of an older format.
    """
    whole = _mapped(path, whole=False)
    table = pa.ipc.open_file(pa.BufferReader(whole)).read_all()
    if table.schema.names != SCHEMA.names:
        raise PersonError(f"{path} is of an older version: run  dvc repro")
    found: dict[str, list[NDArray[np.int64]]] = {name: [np.zeros(0, np.int64)] for name in PLACES}
    for batch in table.to_batches():
        for large, kind in (("pixels", np.int64), ("mask", np.int32)):
            _, offsets, data = batch.column(large).buffers()
            ends = np.frombuffer(offsets, dtype=kind, count=batch.num_rows + 1).astype(np.int64)
            found[f"{large}_at"].append(ends[:-1] + (data.address - whole.address if data is not None and data.size else 0))
            found[f"{large}_bytes"].append(np.diff(ends))
    numbers = {name: np.concatenate(parts) for name, parts in found.items()}
    facts = table.select(FACTS).combine_chunks().to_batches()
    columns = facts[0].columns if facts else [column([], SCHEMA.field(name).type) for name in FACTS]
    places = [column(numbers[name], pa.int64()) for name in PLACES]
    return _copied(pa.record_batch([*columns, *places], schema=ROWS_SCHEMA))


def read_rows(folder: Path, files: Path, names: Sequence[str], order: Sequence[str]) -> list[pa.RecordBatch]:
    """One batch a shard; from `folder/rows.arrow`, where it is there and describes the shards of `order`, else from the shards.

    Args:
        folder: holds `rows.arrow`.
        files: holds the shards.
        names: whose rows are asked for.
        order: the shards that `rows.arrow` describes, in its order.

    Raises:
        PersonError: a shard is of an older format.
    """
    path = folder / ROWS
    known: dict[str, int] = {}
    if order and path.is_file():
        reader = pa.ipc.open_file(pa.BufferReader(_mapped(path, whole=True)))
        if reader.schema.names == ROWS_SCHEMA.names and reader.num_record_batches == len(order):
            known = {name: number for number, name in enumerate(order)}
    return [reader.get_batch(known[name]) if name in known else rows_of_shard(files / name) for name in names]


def _mapped(path: Path, *, whole: bool) -> pa.Buffer:
    """The bytes of a file; `whole` says whether all of them will be read."""
    with path.open("rb") as file:
        window = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    if not whole:
        window.madvise(mmap.MADV_RANDOM)
    return pa.py_buffer(window)


def _copied(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The same batch in memory of its own."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return pa.ipc.open_stream(sink.getvalue()).read_next_batch()


class RowsWriter:
    """Writes `rows.arrow`, one batch a shard; nothing stays in memory.

    Args:
        directory: of the artifact.
    """

    def __init__(self, directory: Path) -> None:
        self._file: Any = pa.output_stream(str(directory / ROWS), buffer_size=BUFFERED)
        self._writer: Any = pa.ipc.new_file(self._file, ROWS_SCHEMA)

    def add(self, batch: pa.RecordBatch) -> None:
        """The next shard."""
        self._writer.write_batch(batch)

    def close(self) -> None:
        """The last shard was added; a second time does nothing."""
        if not self._file.closed:
            self._writer.close()
            self._file.close()
