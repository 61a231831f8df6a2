"""Reading a person's table strictly, and writing one that no spreadsheet runs."""

import csv

import pytest

from pipeline.core.errors import PersonError
from pipeline.core.table import defuse, read_csv, write_csv

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
    (b"path,label,label\na,b,c\n", "t.csv has the column 'label' more than once"),
    (b"path,label\na,b\nc\n", "t.csv line 3: expected 2 cells, received 1"),
    (b"path,label\na,b\0\n", "t.csv holds a NUL character: it is not a text file, or not utf-8"),
    (b"path,label\na,\xe4\n", BAD_BYTE),
    (b'path,label\na,"b\n', "t.csv line 2: unexpected end of data"),
    (b"path,label\na," + b"x" * 140_000 + b"\n", "t.csv line 2: field larger than field limit (131072)"),
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
