"""Formats that a sample store could have, each behind the same four functions; `benchmarks.stores` measures them.

Every format is handed the same records (id, label, pixels of uint8) in the same order and the same number of samples a file.
`write(folder, records, per_file)`, `load(folder) -> reader`, `gather(reader, positions) -> (B, H, W)`, `epoch(reader)` yields
arrays in stored order. `append`, where a library has its own way of adding records to a written store, is `append(folder,
records, per_file)`. `plain(folder)` counts the samples with nothing but the library's own public reader.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

BATCH = 256
COLUMNS = pa.schema([("id", pa.string()), ("label", pa.int32()), ("pixels", pa.large_binary())])


@dataclass(frozen=True)
class Record:
    """One sample: id, class, pixels (H, W) uint8."""

    id: str
    label: int
    pixels: np.ndarray


@dataclass(frozen=True)
class Format:
    """A candidate.

    Attributes:
        name: for the table.
        package: that must be importable.
        write, load, gather, epoch, plain: see the module; gather is None where the library reads in order only.
        append: see the module, or None.
    """

    name: str
    package: str
    write: Callable[[Path, Sequence[Record], int], object]
    load: Callable[[Path], Any]
    gather: Callable[[Any, np.ndarray], np.ndarray] | None
    epoch: Callable[[Any], Iterable[np.ndarray]]
    plain: Callable[[Path], int]
    append: Callable[[Path, Sequence[Record], int], object] | None = None


def formats(side: int) -> list[Format]:
    """Every candidate for square images of `side` pixels, ours first."""
    image = partial(_image, side=side)
    return [
        Format("ours: Arrow, borders by content", "pyarrow", _ours_write, _ours_load, _ours_gather, _ours_epoch, _arrow_plain),
        Format("Arrow, a fixed number a file", "pyarrow", _arrow_write, _arrow_load, partial(_arrow_gather, image=image),
               partial(_arrow_epoch, image=image), _arrow_plain),
        Format("Parquet (pyarrow)", "pyarrow", _parquet_write, _parquet_load, partial(_parquet_gather, image=image),
               partial(_parquet_epoch, image=image), _parquet_plain),
        Format("HF datasets", "datasets", _hf_write, _hf_load, partial(_hf_gather, image=image), partial(_hf_epoch, image=image),
               lambda folder: len(_hf_load(folder))),
        Format("Lance", "lance", _lance_write, _lance_load, partial(_lance_gather, image=image),
               partial(_lance_epoch, image=image), lambda folder: int(_lance_load(folder).count_rows()), _lance_append),
        Format("LitData", "litdata", _lit_write, _lit_load, partial(_lit_gather, image=image), partial(_lit_epoch, image=image),
               lambda folder: len(_lit_load(folder))),
        Format("WebDataset", "webdataset", _web_write, _web_load, None, partial(_web_epoch, image=image), _web_plain,
               _web_append),
    ]  # fmt: skip


def _image(data: bytes, *, side: int) -> np.ndarray:
    return np.frombuffer(data, dtype=np.uint8).reshape(side, side)


def _table(records: Sequence[Record]) -> pa.Table:
    columns = [[r.id for r in records], [r.label for r in records], [r.pixels.tobytes() for r in records]]
    return pa.table([pa.array(values, field.type) for values, field in zip(columns, COLUMNS, strict=True)], schema=COLUMNS)


def _parts(records: Sequence[Record], per_file: int) -> Iterator[tuple[int, Sequence[Record]]]:
    for number, start in enumerate(range(0, len(records), per_file)):
        yield number, records[start : start + per_file]


# ---------------------------------------------------------------------------------------------------------------------- ours
def _ours_write(folder: Path, records: Sequence[Record], per_file: int) -> None:
    from pipeline.core.record import Sample
    from pipeline.core.store import write_shards

    samples = (Sample(id=r.id, pixels_HWC=r.pixels[..., None], label=r.label, name=r.id) for r in records)
    write_shards(folder, samples, shard_size=per_file)


def _ours_load(folder: Path) -> Any:
    from pipeline.core.store import open_samples

    return open_samples(folder)


def _ours_gather(reader: Any, positions: np.ndarray) -> np.ndarray:
    return reader.batch(positions)[..., 0]


def _ours_epoch(reader: Any) -> Iterator[np.ndarray]:
    for start in range(0, len(reader), BATCH):
        yield reader.batch(np.arange(start, min(start + BATCH, len(reader))))


# --------------------------------------------------------------------------------------------------------------------- Arrow
def _arrow_write(folder: Path, records: Sequence[Record], per_file: int) -> None:
    folder.mkdir(parents=True)
    for number, part in _parts(records, per_file):
        with pa.OSFile(str(folder / f"{number:05d}.arrow"), "wb") as sink, pa.ipc.new_file(sink, COLUMNS) as writer:
            writer.write_table(_table(part))


def _arrow_load(folder: Path) -> pa.Table:
    return pa.concat_tables(pa.ipc.open_file(pa.memory_map(str(path))).read_all() for path in sorted(folder.glob("**/*.arrow")))


def _arrow_gather(reader: pa.Table, positions: np.ndarray, *, image: Callable[[bytes], np.ndarray]) -> np.ndarray:
    pixels = reader["pixels"]
    return np.stack([image(pixels[int(position)].as_buffer()) for position in positions])


def _arrow_epoch(reader: pa.Table, *, image: Callable[[bytes], np.ndarray]) -> Iterator[np.ndarray]:
    for batch in reader.select(["pixels"]).to_batches(max_chunksize=BATCH):
        yield np.stack([image(cell.as_buffer()) for cell in batch["pixels"]])


def _arrow_plain(folder: Path) -> int:
    return sum(pa.ipc.open_file(pa.memory_map(str(path))).read_all().num_rows for path in folder.glob("**/*.arrow"))


# ------------------------------------------------------------------------------------------------------------------- Parquet
def _parquet_write(folder: Path, records: Sequence[Record], per_file: int) -> None:
    import pyarrow.parquet as pq

    folder.mkdir(parents=True)
    for number, part in _parts(records, per_file):
        pq.write_table(_table(part), folder / f"{number:05d}.parquet", row_group_size=BATCH, use_dictionary=False)


def _parquet_load(folder: Path) -> Any:
    import pyarrow.dataset as ds

    return ds.dataset(folder, format="parquet")


def _parquet_gather(reader: Any, positions: np.ndarray, *, image: Callable[[bytes], np.ndarray]) -> np.ndarray:
    return np.stack([image(cell.as_buffer()) for cell in reader.take(pa.array(positions), columns=["pixels"])["pixels"]])


def _parquet_epoch(reader: Any, *, image: Callable[[bytes], np.ndarray]) -> Iterator[np.ndarray]:
    for batch in reader.to_batches(columns=["pixels"], batch_size=BATCH):
        if batch.num_rows:
            yield np.stack([image(cell.as_buffer()) for cell in batch["pixels"]])


def _parquet_plain(folder: Path) -> int:
    return int(_parquet_load(folder).count_rows())


# --------------------------------------------------------------------------------------------------------------- HF datasets
def _hf_write(folder: Path, records: Sequence[Record], per_file: int) -> None:
    import datasets

    datasets.disable_progress_bars()
    made = datasets.Dataset(datasets.table.InMemoryTable(_table(records)))
    made.save_to_disk(str(folder), num_shards=-(-len(records) // per_file))


def _hf_load(folder: Path) -> Any:
    import datasets

    return datasets.load_from_disk(str(folder))


def _hf_gather(reader: Any, positions: np.ndarray, *, image: Callable[[bytes], np.ndarray]) -> np.ndarray:
    return np.stack([image(data) for data in reader[positions.tolist()]["pixels"]])


def _hf_epoch(reader: Any, *, image: Callable[[bytes], np.ndarray]) -> Iterator[np.ndarray]:
    for batch in reader.select_columns(["pixels"]).iter(batch_size=BATCH):
        yield np.stack([image(data) for data in batch["pixels"]])


# --------------------------------------------------------------------------------------------------------------------- Lance
def _lance_write(folder: Path, records: Sequence[Record], per_file: int, *, mode: str = "create") -> None:
    import lance

    lance.write_dataset(_table(records), str(folder), mode=mode, max_rows_per_file=per_file)


def _lance_append(folder: Path, records: Sequence[Record], per_file: int) -> None:
    _lance_write(folder, records, per_file, mode="append")


def _lance_load(folder: Path) -> Any:
    import lance

    return lance.dataset(str(folder))


def _lance_gather(reader: Any, positions: np.ndarray, *, image: Callable[[bytes], np.ndarray]) -> np.ndarray:
    return np.stack([image(cell.as_buffer()) for cell in reader.take(positions.tolist(), columns=["pixels"])["pixels"]])


def _lance_epoch(reader: Any, *, image: Callable[[bytes], np.ndarray]) -> Iterator[np.ndarray]:
    for batch in reader.to_batches(columns=["pixels"], batch_size=BATCH):
        yield np.stack([image(cell.as_buffer()) for cell in batch["pixels"]])


# ------------------------------------------------------------------------------------------------------------------- LitData
def _lit_write(folder: Path, records: Sequence[Record], per_file: int) -> None:
    from litdata.streaming.writer import BinaryWriter

    folder.mkdir(parents=True)
    writer = BinaryWriter(str(folder), chunk_size=per_file)
    for number, record in enumerate(records):
        writer.add_item(number, {"id": record.id, "label": record.label, "pixels": record.pixels.tobytes()})
    writer.done()
    writer.merge(1)


def _lit_load(folder: Path) -> Any:
    import litdata

    return litdata.StreamingDataset(str(folder), shuffle=False, drop_last=False)


def _lit_gather(reader: Any, positions: np.ndarray, *, image: Callable[[bytes], np.ndarray]) -> np.ndarray:
    return np.stack([image(reader[int(position)]["pixels"]) for position in positions])


def _lit_epoch(reader: Any, *, image: Callable[[bytes], np.ndarray]) -> Iterator[np.ndarray]:
    yield from _stacked(image(item["pixels"]) for item in reader)


# ---------------------------------------------------------------------------------------------------------------- WebDataset
def _web_write(folder: Path, records: Sequence[Record], per_file: int) -> None:
    folder.mkdir(parents=True)
    _web_append(folder, records, per_file)


def _web_append(folder: Path, records: Sequence[Record], per_file: int) -> None:
    import webdataset

    first = len(list(folder.glob("*.tar")))
    for number, part in _parts(records, per_file):
        with webdataset.TarWriter(str(folder / f"{first + number:05d}.tar"), mtime=0) as sink:
            for record in part:
                meta = json.dumps({"label": record.label}).encode()
                sink.write({"__key__": record.id, "json": meta, "pixels": record.pixels.tobytes()})


def _web_load(folder: Path) -> Any:
    import webdataset

    return webdataset.WebDataset([str(path) for path in sorted(folder.glob("*.tar"))], shardshuffle=False, empty_check=False)


def _web_epoch(reader: Any, *, image: Callable[[bytes], np.ndarray]) -> Iterator[np.ndarray]:
    yield from _stacked(image(item["pixels"]) for item in reader)


def _web_plain(folder: Path) -> int:
    return sum(1 for _ in _web_load(folder))


def _stacked(images: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    held: list[np.ndarray] = []
    for pixels in images:
        held.append(pixels)
        if len(held) == BATCH:
            yield np.stack(held)
            held = []
    if held:
        yield np.stack(held)
