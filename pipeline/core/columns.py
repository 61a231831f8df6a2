"""Columns to Arrow and back by their buffers. `pa.array` and `to_numpy` import pandas wherever it is installed: .25 s a stage."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Values = Sequence[Any] | NDArray[Any]


class Columns(Mapping[str, NDArray[Any]]):
    """Columns of a table by name, each turned into an array when it is asked for, and once.

    Args:
        table: holds the columns.
        names: of those that are offered.
        ready: arrays that are there already.
    """

    def __init__(self, table: pa.Table, names: Sequence[str], ready: Mapping[str, NDArray[Any]]) -> None:
        self._table, self._found = table, dict(ready)
        self._names = (*names, *ready)

    def __getitem__(self, name: str) -> NDArray[Any]:
        if name not in self._found:
            if name not in self._names:
                raise KeyError(name)
            self._found[name] = values_of(self._table[name])
        return self._found[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __contains__(self, name: object) -> bool:
        return name in self._names


class Some(Mapping[str, NDArray[Any]]):
    """Rows of columns, taken when a column is asked for.

    Args:
        columns: arrays of length n.
        rows: positions of those that are offered, or a mask of n.
    """

    def __init__(self, columns: Mapping[str, NDArray[Any]], rows: NDArray[Any]) -> None:
        self._columns, self._rows = columns, rows

    def __getitem__(self, name: str) -> NDArray[Any]:
        found: NDArray[Any] = self._columns[name][self._rows]
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)


def column(values: Values, kind: pa.DataType) -> pa.Array:
    """One column, as `pa.array(values, type=kind)` makes it.

    Args:
        values: text, bytes, numbers, or lists of numbers; none of them None.
        kind: string or binary, a number of fixed width, or a list of those.

    Raises:
        ValueError: another type, or an integer that the type cannot hold.
    """
    if pa.types.is_list(kind):
        flat = column([value for row in values for value in row], kind.value_type)
        return pa.Array.from_buffers(kind, len(values), [None, _ends(values)], children=[flat])
    if pa.types.is_string(kind):
        values = [value.encode() for value in values]
    elif not pa.types.is_binary(kind):
        if not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
            raise ValueError(f"expected text, bytes, numbers or lists of numbers, received {kind}")
        return pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(_numbers(values, kind.to_pandas_dtype()))])
    return pa.Array.from_buffers(kind, len(values), [None, _ends(values), pa.py_buffer(b"".join(values))])


def values_of(found: pa.ChunkedArray) -> NDArray[Any]:
    """A column of text (as objects, one for equal ones) or of numbers, as `to_numpy` gives it.

    Raises:
        ValueError: another type, or a value is missing.
    """
    text, number = pa.types.is_string(found.type), pa.types.is_integer(found.type) or pa.types.is_floating(found.type)
    if found.null_count or not (text or number):
        raise ValueError(f"expected text or numbers and none missing, received {found.type} with {found.null_count} missing")
    if text:
        seen: dict[bytes, str] = {}
        texts = [text for chunk in _joined(found) for text in _texts(chunk, seen)]
        objects = np.empty(len(texts), dtype=object)
        objects[:] = texts
        return objects
    kind = np.dtype(found.type.to_pandas_dtype())
    parts = [np.frombuffer(chunk.buffers()[1], kind, len(chunk), chunk.offset * kind.itemsize) for chunk in _joined(found)]
    return np.concatenate(parts) if parts else np.zeros(0, kind)


def lengths_of(found: pa.ChunkedArray) -> NDArray[np.int64]:
    """How many values each row of a column of lists has."""
    parts = [np.diff(_places(chunk)) for chunk in _joined(found)]
    return np.concatenate([np.zeros(0, np.int64), *parts])


def _joined(found: pa.ChunkedArray) -> list[pa.Array]:
    """A column of many small chunks as one, which costs less than to look at each.

    It is a table that is joined: a column by itself fails above the 2 GiB of text that one chunk can hold (`ArrowInvalid`), where
    the table keeps more than one.
    """
    joined = pa.table({"": found}).combine_chunks().column(0)
    return [chunk for chunk in joined.chunks if len(chunk)]


def _texts(chunk: pa.Array, seen: dict[bytes, str]) -> list[str]:
    """The text of each row; equal ones share an object."""
    data = chunk.buffers()[2]
    raw = b"" if data is None else memoryview(data).tobytes()
    rows = [raw[start:end] for start, end in pairwise(_places(chunk).tolist())]
    return [seen[row] if row in seen else seen.setdefault(row, row.decode()) for row in rows]


def _places(chunk: pa.Array) -> NDArray[np.int32]:
    """Where the values of each row begin, and where the last row ends."""
    return np.frombuffer(chunk.buffers()[1], np.int32, len(chunk) + 1, chunk.offset * 4) if len(chunk) else np.zeros(1, np.int32)


def _ends(values: Values) -> pa.Buffer:
    """Where each value begins, and where the last one ends."""
    return pa.py_buffer(np.fromiter(accumulate(map(len, values), initial=0), np.int32, len(values) + 1))


def _numbers(values: Values, kind: Any) -> Any:
    try:
        return np.asarray(values, dtype=kind)
    except OverflowError as error:
        raise ValueError(f"a number does not fit into {np.dtype(kind).name}") from error
