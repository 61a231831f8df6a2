"""Reading a person's table strictly, and writing one that no spreadsheet runs."""

import csv
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.core.errors import PersonError
from pipeline.core.table import defuse, moment, parquet_columns, read_csv, read_parquet, read_table, write_csv

MEND = ": correct that line, or a quotation mark that an earlier one leaves open"
BAD_BYTE = (
    "t.csv is not utf-8: byte 13 cannot be read; save it as UTF-8 or set its encoding (dataset.encoding=latin-1, utf-16, ...)"
)
COLUMNS = {"dataset.path": "path", "dataset.label": "label"}


def test_rows_carry_the_line_of_the_file(tmp_path):
    table = tmp_path / "t.csv"
    table.write_bytes(b'path,label,more\r\na.png,"two\r\nlines",1\r\n\r\nb.png,y,2\r\n')
    rows = read_csv(table, COLUMNS, encoding="utf-8")
    assert [(row["path"], row["label"], row.line) for row in rows] == [("a.png", "two\r\nlines", 3), ("b.png", "y", 5)]


@pytest.mark.parametrize(("data", "encoding"), [
    (b"\xef\xbb\xbfpath,label\na,\xc3\xa4\n", "utf-8"),
    ("path,label\na,ä\n".encode("utf-16"), "utf-16"),
    ("path,label\na,ä\n".encode("latin-1"), "latin-1"),
])  # fmt: skip
def test_encodings_and_byte_order_mark(tmp_path, data, encoding):
    (tmp_path / "t.csv").write_bytes(data)
    assert read_csv(tmp_path / "t.csv", COLUMNS, encoding=encoding) == [{"path": "a", "label": "ä"}]


@pytest.mark.parametrize(("data", "line"), [
    (b"", "t.csv is empty: expected a header with the columns path, label"),
    (b"path,lable\na,b\n", "t.csv has no column 'label' (dataset.label): did you mean 'lable'? (options: lable, path)"),
    (b"path,label,label\na,b,c\n", "t.csv has the column 'label' more than once: rename or remove one of them"),
    (b"path,label\na,b\nc\n", "t.csv line 3: expected 2 cells, received 1"),
    (b"path,label\na,b\0\n", "t.csv holds a NUL character: it is not a text file, or not utf-8; save it as CSV in UTF-8"),
    (b"path,label\na,\xe4\n", BAD_BYTE),
    (b'path,label\na,"b\n', f"t.csv line 2: unexpected end of data{MEND}"),
    (b"path,label\na," + b"x" * 140_000 + b"\n", f"t.csv line 2: field larger than field limit (131072){MEND}"),
])  # fmt: skip
def test_a_bad_table_is_refused_with_its_line(tmp_path, data, line):
    (tmp_path / "t.csv").write_bytes(data)
    with pytest.raises(PersonError) as caught:
        read_csv(tmp_path / "t.csv", COLUMNS, encoding="utf-8")
    assert str(caught.value) == line


def test_missing_table_and_unknown_encoding(tmp_path):
    with pytest.raises(PersonError, match="does not exist"):
        read_csv(tmp_path / "t.csv", COLUMNS, encoding="utf-8")
    (tmp_path / "t.csv").write_text("path,label\n")
    with pytest.raises(PersonError, match="unknown encoding 'utf8000'"):
        read_csv(tmp_path / "t.csv", COLUMNS, encoding="utf8000")


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-cmd", "@SUM(A1)", "\t=1", "\r=1"])
def test_formula_cells_are_defused(tmp_path, cell):
    write_csv(tmp_path / "t.csv", ["a", "b"], [[cell, -1.5]])
    with (tmp_path / "t.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [["a", "b"], ["'" + cell.replace("\r", "\\r"), "-1.5"]]
    assert defuse("plain") == "plain"


def parquet(table, **columns):
    pq.write_table(pa.table(columns), table)
    return table


def test_cells_of_parquet_become_text(tmp_path):
    zone = timezone(timedelta(hours=2))
    table = parquet(
        tmp_path / "t.parquet", path=["a", None], whole=[1, -2], real=[0.1, float("nan")], flag=[True, False],
        day=[date(2024, 3, 1), None], when=[datetime(2024, 3, 1, 12, 30), None],  # noqa: DTZ001
        zoned=pa.array([datetime(2024, 3, 1, 12, 30, tzinfo=zone), None], pa.timestamp("ms", "Europe/Paris")),
        fine=pa.array([1_709_294_400_123_456_789, None], pa.timestamp("ns")), money=[Decimal("1.50"), None],
        kind=pa.array(["x", "y"]).dictionary_encode(),
    )  # fmt: skip
    names = parquet_columns(table)
    rows = read_table(table, {f"dataset.{name}": name for name in names}, encoding="latin-1")
    assert rows[0] == {"path": "a", "whole": "1", "real": "0.1", "flag": "True", "day": "2024-03-01", "when": "2024-03-01T12:30:00",
                       "zoned": "2024-03-01T10:30:00+00:00", "fine": "2024-03-01T12:00:00.123456", "money": "1.50", "kind": "x"}  # fmt: skip
    assert [rows[1][name] for name in ("path", "real", "day", "when", "zoned")] == ["", "nan", "", "", ""]
    assert [row.place for row in rows] == ["row 1", "row 2"]
    assert read_parquet(table, {"dataset.label": "kind"}) == [{"kind": "x"}, {"kind": "y"}]  # no other column is read


def test_a_bad_parquet_table_is_one_line(tmp_path):
    (tmp_path / "t.parquet").write_bytes(b"path,label\na,b\n")
    cases = [
        (tmp_path / "t.parquet", r"t.parquet cannot be read as Parquet \(.*\): write it again, or use CSV"),
        (parquet(tmp_path / "u.parquet", path=["a"], lable=["b"]), r"u.parquet has no column 'label' \(dataset.label\): did you mean 'lable'"),
        (parquet(tmp_path / "v.parquet", path=["a"], label=[[1, 2]]), r"v.parquet: the column 'label' holds list<.*>: expected text, numbers"),
        (parquet(tmp_path / "w.parquet", path=["a"], label=[b"x"]), r"w.parquet: the column 'label' holds binary: expected text"),
        (tmp_path / "no.parquet", "no.parquet does not exist"),
    ]  # fmt: skip
    whole = parquet(tmp_path / "x.parquet", path=["a"] * 1000, label=["b"] * 1000).read_bytes()
    (tmp_path / "x.parquet").write_bytes(whole[: len(whole) // 2])
    cases.append((tmp_path / "x.parquet", "x.parquet cannot be read as Parquet"))
    for table, line in cases:
        with pytest.raises(PersonError, match=line) as caught:
            read_parquet(table, COLUMNS)
        assert "\n" not in str(caught.value)


def test_moments_are_ordered_within_their_kind():
    day = datetime(2024, 3, 1, tzinfo=UTC).timestamp()
    assert moment("2024-03-01") == ("date", day)
    assert moment(" 2024-03-01T00:00:01 ") == ("date", day + 1)
    assert moment("2024-03-01T02:00:00+02:00") == ("date with a zone", day)
    assert moment("2024-03-01T00:00:00Z") == ("date with a zone", day)
    assert moment("1e3") == ("number", 1000.0)
    for text in ("", "yesterday", "nan", "inf", "2024-13-01", "01/03/2024", "12:30"):
        with pytest.raises(ValueError):
            moment(text)
