"""Tables of people: CSV that a spreadsheet wrote, or Parquet, read strictly; CSV for people, written byte-stable and defused."""

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from io import StringIO
from math import isfinite
from pathlib import Path
from typing import Any

from pipeline.core.errors import PersonError, near_match

FORMULA = ("=", "+", "-", "@", "\t", "\r")


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a table: UTF-8, newline line ends, None as an empty cell, text that starts like a formula behind an apostrophe."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([defuse(cell) for cell in row] for row in rows)


def defuse(cell: object) -> object:
    r"""Put an apostrophe before text that a spreadsheet would run (OWASP, CSV injection); numbers stay as they are.

    A carriage return, which Python's writer would leave bare, is written as `\r`.
    """
    if not isinstance(cell, str):
        return cell
    return ("'" if cell.startswith(FORMULA) else "") + cell.replace("\r", "\\r")


class Row(dict[str, str]):
    """One row of a table: column -> text.

    Attributes:
        line: of the file, or the row of a Parquet table, counted from 1.
        unit: what is counted: line or row.
    """

    line: int = 0
    unit: str = "line"

    @property
    def place(self) -> str:
        """Where it stands, for errors: `line 3`."""
        return f"{self.unit} {self.line}"


def read_table(path: Path, columns: Mapping[str, str], *, encoding: str) -> list[Row]:
    """Read a person's CSV or, where the name ends in .parquet, Parquet table; every cell becomes text.

    Args:
        path: the file.
        columns: configuration key -> column that it names; each must be there.
        encoding: of a CSV file; a byte order mark is dropped.

    Raises:
        PersonError: see `read_csv` and `read_parquet`.
    """
    if path.suffix.lower() in (".parquet", ".pq"):
        return read_parquet(path, columns)
    return read_csv(path, columns, encoding=encoding)


def parquet_columns(path: Path) -> list[str]:
    """Names of the columns of a Parquet table.

    Raises:
        PersonError: it is not Parquet.
    """
    with _parquet(path) as file:
        return list(file.schema_arrow.names)


def read_parquet(path: Path, columns: Mapping[str, str]) -> list[Row]:
    """Read columns of a Parquet table; null is an empty cell, a number its shortest exact text, a time its ISO form.

    Raises:
        PersonError: no such file, not Parquet, an unknown column (near match), a repeated one, or one that holds no plain cells.
    """
    if not path.is_file():
        raise PersonError(f"the table {path} does not exist")
    wanted = sorted(set(columns.values()))
    with _parquet(path) as file:
        _check_header(path, file.schema_arrow.names, columns)
        for name in wanted:
            _check_plain(path, name, file.schema_arrow.field(name).type)
        table = file.read(columns=wanted)
        cells = {name: [_text(value) for value in _exact(table[name]).to_pylist()] for name in wanted}
    rows = []
    for number, values in enumerate(zip(*cells.values(), strict=True), start=1):
        row = Row(zip(wanted, values, strict=True))
        row.line, row.unit = number, "row"
        rows.append(row)
    return rows


@contextmanager
def _parquet(path: Path) -> Iterator[Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            yield file
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        said = " ".join(str(error).split())[:120]
        raise PersonError(f"{path.name} cannot be read as Parquet ({said}): write it again, or use CSV") from error


def moment(text: str) -> tuple[str, float]:
    """What kind of time a cell holds, and a number to order it by.

    Returns:
        `number`, `date` (ISO 8601 without a zone) or `date with a zone`; then the number, or the seconds.

    Raises:
        ValueError: it is neither a finite number nor an ISO date.

    >>> moment("2024-03-01") < moment("2024-03-01T00:00:01")
    True
    """
    try:
        value = float(text)
    except ValueError:
        when = datetime.fromisoformat(text.strip())
        kind = "date" if when.tzinfo is None else "date with a zone"
        elapsed = (when if when.tzinfo else when.replace(tzinfo=UTC)) - datetime(1970, 1, 1, tzinfo=UTC)
        return kind, elapsed.total_seconds()
    if not isfinite(value):
        raise ValueError(text)
    return "number", value


def read_csv(path: Path, columns: Mapping[str, str], *, encoding: str) -> list[Row]:
    """Read a person's table; every cell stays text.

    Args:
        path: the file.
        columns: configuration key -> column that it names; each must be there.
        encoding: of the file; a byte order mark is dropped.

    Raises:
        PersonError: no such file, wrong encoding (with the byte), an unknown column (near match), a repeated column, a row of
            another length, a NUL character.
    """
    if not path.is_file():
        raise PersonError(f"the table {path} does not exist: add it, or set the name of yours (dataset.file)")
    try:
        text = path.read_bytes().decode(encoding).removeprefix("\ufeff")
    except LookupError as error:
        raise PersonError(f"unknown encoding {encoding!r}: for example utf-8, utf-16 or latin-1") from error
    except UnicodeDecodeError as error:
        raise PersonError(
            f"{path.name} is not {encoding}: byte {error.start} cannot be read; save it as UTF-8 or set its "
            f"encoding (dataset.encoding=latin-1, utf-16, ...)"
        ) from error
    if "\0" in text:
        raise PersonError(f"{path.name} holds a NUL character: it is not a text file, or not {encoding}; save it as CSV in UTF-8")
    reader = csv.reader(StringIO(text, newline=""), strict=True)
    try:
        lines = [(reader.line_num, cells) for cells in reader if cells]
    except csv.Error as error:
        raise PersonError(
            f"{path.name} line {reader.line_num}: {error}: correct that line, or a quotation mark that an earlier one leaves open"
        ) from error
    if not lines:
        raise PersonError(f"{path.name} is empty: expected a header with the columns {', '.join(columns.values())}")
    header = lines[0][1]
    _check_header(path, header, columns)
    return [_row(path, header, line, cells) for line, cells in lines[1:]]


def _check_plain(path: Path, name: str, kind: Any) -> None:
    from pyarrow import types

    inner = kind.value_type if types.is_dictionary(kind) else kind
    plain = (types.is_string, types.is_large_string, types.is_integer, types.is_floating, types.is_boolean, types.is_temporal,
             types.is_decimal, types.is_null)  # fmt: skip
    if not any(check(inner) for check in plain):
        raise PersonError(f"{path.name}: the column {name!r} holds {kind}: expected text, numbers or times")


def _exact(column: Any) -> Any:
    """Times as microseconds, those with a zone in UTC: Python has no finer ones, and a machine may not know the zone."""
    import pyarrow as pa

    if not pa.types.is_timestamp(column.type):
        return column
    return column.cast(pa.timestamp("us", tz="UTC" if column.type.tz else None), safe=False)


def _text(value: object) -> str:
    if value is None:
        return ""
    return value.isoformat() if isinstance(value, date | datetime) else str(value)


def _check_header(path: Path, header: list[str], columns: Mapping[str, str]) -> None:
    for name in header:
        if header.count(name) > 1:
            raise PersonError(f"{path.name} has the column {name!r} more than once: rename or remove one of them")
    for key, name in columns.items():
        if name not in header:
            raise PersonError(f"{path.name} has no column {name!r} ({key}): {near_match(name, header)}")


def _row(path: Path, header: list[str], line: int, cells: list[str]) -> Row:
    if len(cells) != len(header):
        raise PersonError(f"{path.name} line {line}: expected {len(header)} cells, received {len(cells)}")
    row = Row(zip(header, cells, strict=True))
    row.line = line
    return row
