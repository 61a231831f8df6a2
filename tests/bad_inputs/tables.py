"""Rows F, I and K where a table names the images: labels, targets, paths, encodings. Eight good rows stand before the bad ones."""

from pathlib import Path

from tests.bad_inputs.case import REPAIR, Build, Case, Result, file, only, picture, put, table

NFC, NFD = "caf\u00e9", "cafe\u0301"


def row(identity: str, line: str, expect: str, **more: object) -> Case:
    """One row more, beside an image of its own."""
    options = {"dataset": "image_table", **more}
    return Case(identity, joined(file("img/x.png", picture(50)), table(line)), expect, **options)


def joined(*steps: Build) -> Build:
    return only(*reversed(steps))


def target(identity: str, value: str, expect: str) -> Case:
    """A row whose target is this text."""
    rows = table(f"img/x.png,a,{value}", header="path,label,size")
    return Case(identity, joined(file("img/x.png", picture(50)), rows), expect, dataset="image_table", options={"target": "size"})


def text(identity: str, data: bytes, expect: str, **more: object) -> Case:
    """A table that is not one."""
    return Case(identity, only(file("img/0.png", picture(1)), file("labels.csv", data)), expect, dataset="image_table", **more)


def utf16(folder: Path) -> None:
    table()(folder)
    path = folder / "labels.csv"
    path.write_bytes(path.read_text(encoding="utf-8").encode("utf-16"))


def whole(count: int) -> object:
    def check(result: Result) -> None:
        assert (result.card["samples"], result.card["classes"]) == (count, ["a", "b"])

    return check


def deep(folder: Path) -> None:
    """Pictures in a folder below the table's, named from the table."""
    table()(folder / "deep")


def numbers_stay_text(result: Result) -> None:
    assert result.card["classes"] == ["00123", "1e5", "NA", "null"]


def as_text(folder: Path) -> None:
    rows = []
    for number, name in enumerate(("00123", "1e5", "NA", "null") * 3):
        put(folder, f"{number}.png", picture(number))
        rows.append(f"{number}.png,{name}")
    put(folder, "labels.csv", "path,label\n" + "\n".join(rows) + "\n")


NUMBER = r"labels\.csv line 10: size must be a finite number: received"

CASES = [
    Case("F1 a header and no rows", only(file("labels.csv", "path,label\n")), r"labels\.csv has a header and no rows", dataset="image_table"),
    Case("F1 no table", only(file("img/0.png", picture(1))), r"the table \S+labels\.csv does not exist", dataset="image_table", cli=True),
    text("F1 a table of no bytes", b"", r"labels\.csv is empty: expected a header with the columns path, label"),
    Case("F6 one class in the table", only(*[file(f"{n}.png", picture(n)) for n in range(4)],
         file("labels.csv", "path,label\n" + "".join(f"{n}.png,a\n" for n in range(4)))), r"one class only \(a 4\)", dataset="image_table"),
    row("F7 a row of a file that is not there", "img/gone.png,a\nimg/x.png,b",
        r"1 of 10 files that labels\.csv names do not exist in \S+: img/gone\.png \(line 10\)", cli=True),
    row("F7 twelve rows of files that are not there", "\n".join(["img/x.png,a", *[f"img/gone{n}.png,a" for n in range(12)]]),
        r"12 of 21 files .* and 2 more"),
    Case("F7 an image that no row names", joined(file("img/x.png", picture(50)), table()),
         r"1 images in \S+ have no row in labels\.csv: img/x\.png; add rows, or set dataset\.unlisted=ignore", dataset="image_table"),
    Case("F7 the same, ignored on request", joined(file("img/x.png", picture(50)), table()), dataset="image_table",
         options={"unlisted": "ignore"}, kind=REPAIR, then=whole(8)),
    Case("F7 a file named twice", table("img/0.png,a"), r"labels\.csv names 'img/0\.png' twice, in lines 2 and 10: remove one",
         dataset="image_table"),
    row("F7 a row without a label", "img/x.png,", r"1 rows of labels\.csv have no label: img/x\.png \(line 10\)"),
    row("F7 a label of spaces", "img/x.png,   ", r"1 rows of labels\.csv have no label: img/x\.png \(line 10\)"),
    Case("F8 equal images in two rows, two labels", joined(file("img/x.png", picture(0)), table("img/x.png,b")),
         r"the same image has two labels: img/0\.png is 'a' and img/x\.png is 'b'; remove one, or set ingest\.conflicts=drop",
         dataset="image_table"),
    row("F12 labels A and a", "img/x.png,A", r"the classes 'A' and 'a' differ only by case, .*: merge them into one, for example"),
    row("F12 a label with a space", "img/x.png,a ", r"the classes 'a' and 'a ' differ only by case, spaces"),
    Case("F12 labels of two Unicode forms", joined(file("x.png", picture(50)), file("y.png", picture(51)),
         file("labels.csv", f"path,label\nx.png,{NFC}\ny.png,{NFD}\n")), r"differ only by case, spaces or Unicode form: merge",
         dataset="image_table"),
    target("F14 NaN", "nan", rf"{NUMBER} 'nan'"),
    target("F14 infinite", "inf", rf"{NUMBER} 'inf'"),
    target("F14 minus infinite", "-Infinity", rf"{NUMBER} '-Infinity'"),
    target("F14 a word", "large", rf"{NUMBER} 'large'"),
    target("F14 no target", "", rf"{NUMBER} ''"),
    target("F14 a decimal comma", '"1,5"', rf"{NUMBER} '1,5'"),
    target("F14 a unit in the cell", "12 mm", rf"{NUMBER} '12 mm'"),
    target("F14 too large for a float", "1e999", rf"{NUMBER} '1e999'"),
    text("I1 Latin-1", "path,label\nimg/0.png,caf\u00e9\n".encode("latin-1"),
         r"labels\.csv is not utf-8: byte \d+ cannot be read; save it as UTF-8 or set its encoding"),
    Case("I1 UTF-16 without saying so", utf16, r"labels\.csv is not utf-8: byte 0 cannot be read", dataset="image_table"),
    Case("I1 UTF-16, stated", utf16, dataset="image_table", options={"encoding": "utf-16"}, kind=REPAIR, then=whole(8)),
    Case("I1 an encoding that does not exist", table(), r"unknown encoding 'utf-9': for example utf-8", dataset="image_table",
         options={"encoding": "utf-9"}),
    Case("I1 a byte order mark", lambda folder: (table()(folder), put(folder, "labels.csv", b"\xef\xbb\xbf" + (folder / "labels.csv").read_bytes())),
         dataset="image_table", kind=REPAIR, then=whole(8)),
    text("I2 a NUL character", b"path,label\nimg/0.png,a\0b\n", r"labels\.csv holds a NUL character"),
    row("I3 a row of three cells", "img/x.png,a,b", r"labels\.csv line 10: expected 2 cells, received 3"),
    row("I3 a row of one cell", "img/x.png", r"labels\.csv line 10: expected 2 cells, received 1"),
    row("I3 an open quotation mark", 'img/x.png,"a', r"labels\.csv line \d+: unexpected end of data"),
    text("I3 a column twice", b"path,label,label\nimg/0.png,a,b\n", r"labels\.csv has the column 'label' more than once"),
    text("I3 another name for the column", b"path,lable\nimg/0.png,a\n",
         r"labels\.csv has no column 'label' \(dataset\.label\): did you mean 'lable'\?", cli=True),
    text("I3 semicolons", b"path;label\nimg/0.png;a\n", r"labels\.csv has no column 'path' \(dataset\.path\)"),
    row("I4 a cell of 200 KiB", "img/x.png," + "a" * 200_000, r"labels\.csv line 10: field larger than field limit"),
    Case("I5 labels that look like numbers stay text", as_text, dataset="image_table", kind=REPAIR, then=numbers_stay_text),
    row("K6 a path of 300 bytes", "img/" + "n" * 300 + ".png,a\nimg/x.png,b", r"labels\.csv line 10: .*(longer than|too long)"),
    row("K6 a path of 5,000 bytes", "img/" + "n/" * 2500 + "x.png,a\nimg/x.png,b", r"labels\.csv line 10: .*(longer than|too long)"),
    row("K9 a path that leaves the folder", "../x.png,a", r"labels\.csv line 10: the path '\.\./x\.png' leaves the folder", cli=True),
    row("K9 an absolute path", "/etc/passwd,a", r"labels\.csv line 10: the path '/etc/passwd' leaves the folder"),
    row("K9 backslashes", r"img\x.png,a", r"labels\.csv line 10: 'img\\\\x\.png' is not a path with forward slashes"),
    row("K9 an empty path", ",a", r"labels\.csv line 10: '' is not a path"),
    row("K9 a link that a row names", "img/link.png,a\nimg/x.png,b", r"labels\.csv line 10: .*link\.png is a link"),
    Case("K9 the table outside the folder", table(), r"dataset\.file: the path '\.\./labels\.csv' leaves the folder",
         dataset="image_table", options={"file": "../labels.csv"}),
    Case("F14 neither label nor target", table(), r"dataset\.label and dataset\.target are both null: name the column",
         dataset="image_table", options={"label": None, "target": None}),
    Case("F7 an unknown rule for images without a row", table(), r"dataset\.unlisted must be stop or ignore: received 'warn'",
         dataset="image_table", options={"unlisted": "warn"}),
]  # fmt: skip
CASES[[case.id for case in CASES].index("K9 a link that a row names")] = Case(
    "K9 a link that a row names",
    joined(lambda folder: (folder / "img/link.png").symlink_to("0.png"), table("img/link.png,a")),
    r"labels\.csv line 10: .*link\.png is a link; .*: copy the file itself", dataset="image_table",
)  # fmt: skip
