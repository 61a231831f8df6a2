"""CSV for people, who edit it with a spreadsheet: read strictly, written byte-stable, and no cell of ours runs as a formula."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from io import StringIO
from pathlib import Path

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
        line: of the file, counted from 1.
    """

    line: int = 0


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
        raise PersonError(f"the table {path} does not exist")
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
        raise PersonError(f"{path.name} holds a NUL character: it is not a text file, or not {encoding}")
    reader = csv.reader(StringIO(text, newline=""), strict=True)
    try:
        lines = [(reader.line_num, cells) for cells in reader if cells]
    except csv.Error as error:
        raise PersonError(f"{path.name} line {reader.line_num}: {error}") from error
    if not lines:
        raise PersonError(f"{path.name} is empty: expected a header with the columns {', '.join(columns.values())}")
    header = lines[0][1]
    _check_header(path, header, columns)
    return [_row(path, header, line, cells) for line, cells in lines[1:]]


def _check_header(path: Path, header: list[str], columns: Mapping[str, str]) -> None:
    for name in header:
        if header.count(name) > 1:
            raise PersonError(f"{path.name} has the column {name!r} more than once")
    for key, name in columns.items():
        if name not in header:
            raise PersonError(f"{path.name} has no column {name!r} ({key}): {near_match(name, header)}")


def _row(path: Path, header: list[str], line: int, cells: list[str]) -> Row:
    if len(cells) != len(header):
        raise PersonError(f"{path.name} line {line}: expected {len(header)} cells, received {len(cells)}")
    row = Row(zip(header, cells, strict=True))
    row.line = line
    return row
