"""Rows F and K: what can be wrong with a folder of classes, its labels, its names and its paths."""

import os
from pathlib import Path

from tests.bad_inputs.case import (
    QUARANTINE,
    REPAIR,
    Build,
    Case,
    Result,
    after,
    encoded,
    file,
    good,
    only,
    picture,
    pixels,
    put,
)  # fmt: skip

NFC, NFD = "caf\u00e9", "cafe\u0301"


def classes_of(*names: str) -> Build:
    return lambda folder: good(folder, names)


def folder_of(name: str) -> Build:
    return lambda folder: (folder / name).mkdir(parents=True)


def link(name: str, target: str) -> Build:
    def build(folder: Path) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to(target)

    return build


def outside(folder: Path) -> None:
    """A link to a folder beside the data, with a picture in it."""
    put(folder.parent / "elsewhere", "secret.png", picture(5))
    (folder / "cat" / "more").symlink_to(folder.parent / "elsewhere")


def counted(total: int, *, quarantined: int = 0) -> object:
    def check(result: Result) -> None:
        assert (result.card["samples"], result.card["quarantined"]) == (total, quarantined)

    return check


def two_classes(result: Result) -> None:
    assert result.card["classes"] == ["cat", "dog"]
    assert result.quarantine == {}


def made_backwards(folder: Path) -> None:
    """Files and folders in another order of creation."""
    for kind, name in reversed(list(enumerate(("cat", "dog")))):
        for number in reversed(range(6)):
            put(folder, f"{name}/{number:02d}.png", picture(100_000 + 1000 * kind + number))


def same_order(result: Result) -> None:
    assert result.card["classes"] == ["cat", "dog"]
    wanted = [f"{name}/{number:02d}.png" for name in ("cat", "dog") for number in range(6)]
    assert result.samples.columns["name"].tolist() == wanted


def few(name: str, count: int) -> Build:
    return lambda folder: [put(folder, f"{name}/{n}.png", picture(5000 + n)) for n in range(count)]


def many(folder: Path) -> None:
    for number in range(80):
        put(folder, f"cat/more-{number}.png", picture(7000 + number))


def stored_under(name: str) -> object:
    def check(result: Result) -> None:
        assert f"cat/{name}" in result.samples.columns["name"].tolist()

    return check


PAIR = encoded(pixels(31), "PNG")
TWIN = encoded(pixels(31), "BMP")
EXPECTED = r"expected .*CLASS/image\.jpg with at least two class folders"

F_CASES = [
    Case("F1 empty folder", only(), rf"the data folder \S+ is empty: {EXPECTED}", cli=True),
    Case("F1 no folder", lambda folder: None, r"the data folder \S+ does not exist: set `source` in params\.yaml", cli=True),
    Case("F1 a file for a folder", lambda folder: put(folder.parent, folder.name, "x"), r"the data folder \S+ is a file: set `source`"),
    Case("F1 hidden files alone", only(file(".DS_Store", "x"), file("cat/.keep", ""), file("dog/.keep", "")),
         r"the data folder \S+ is empty: expected"),
    Case("F1 no image among the files", only(file("cat/a.heic", "x"), file("dog/b.heic", "x"), file("dog/c.txt", "x")),
         r"no images in \S+ \(found 2 \.heic, 1 \.txt; accepted endings: \.png"),
    Case("F1 every image unusable", only(*[file(f"{kind}/{n}.jpg", "x") for kind in ("cat", "dog") for n in range(3)]),
         r"no usable sample among 6 files: cat/0\.jpg: not an image"),
    Case("F2 empty class folder", after(folder_of("emu")),
         r"no images in the class folder \S+/emu \(images of each class: cat 6, dog 6, emu 0\): add some, or remove", cli=True),
    Case("F2 class folder of texts", after(file("emu/notes.txt", "x")), r"no images in the class folder \S+/emu .*: add some, or remove"),
    Case("F2 class folder of hidden files", after(file("emu/.a.png", picture(5))), r"no images in the class folder \S+/emu"),
    Case("F3 .ipynb_checkpoints", after(file(".ipynb_checkpoints/a.png", picture(5))), kind=REPAIR, then=two_classes),
    Case("F3 __MACOSX", after(file("__MACOSX/._a.png", picture(5)), file("cat/._00.png", "x")), kind=REPAIR, then=two_classes),
    Case("F3 Thumbs.db and desktop.ini", after(file("cat/Thumbs.db", "x"), file("desktop.ini", "x")), kind=REPAIR, then=two_classes),
    Case("F3 other files beside the images", after(file("cat/a.txt", "x")), r"not looked at: 1 \.txt", kind=REPAIR, then=two_classes),
    Case("F4 a class of one", after(few("emu", 1)),
         r"the class 'emu' has 1 usable samples, expected at least 2 \(samples of each class: cat 6, dog 6, emu 1\): add", cli=True),
    Case("F4 a class whose images are one image", after(file("emu/1.png", PAIR), file("emu/2.png", TWIN)),
         r"the class 'emu' has 1 usable samples"),
    Case("F4 a class whose images are unusable", after(file("emu/1.png", "x"), file("emu/2.png", "x")),
         r"the class 'emu' has 0 usable samples|2 of 14 files .*cannot be used.*emu/1\.png"),
    Case("F6 one class folder", classes_of("cat"), rf"1 class folders in \S+ \(cat 6\): {EXPECTED}"),
    Case("F6 images in no class folder", only(file("1.png", picture(1)), file("2.png", picture(2))),
         r"0 class folders in \S+ \(2 images in no class folder\): expected"),
    Case("F8 equal images, two labels", after(file("cat/x.png", PAIR), file("dog/y.png", PAIR)),
         r"the same image has two labels: cat/x\.png is 'cat' and dog/y\.png is 'dog'; remove one, or set ingest\.conflicts=drop", cli=True),
    Case("F8 equal pixels in two formats, two labels", after(file("cat/x.png", PAIR), file("dog/y.bmp", TWIN)),
         r"the same image has two labels: cat/x\.png is 'cat' and dog/y\.bmp is 'dog'"),
    Case("F8 both dropped on request", after(file("cat/x.png", PAIR), file("dog/y.png", PAIR)), r"conflict: the same image as",
         ingest={"conflicts": "drop"}, kind=REPAIR, then=counted(12, quarantined=2)),
    Case("F10 the same file twice", after(file("cat/x.png", PAIR), file("cat/y.png", PAIR)),
         r"duplicate: the same image as cat/x\.png", kind=REPAIR, then=counted(13, quarantined=1)),
    Case("F10 the same pixels in two formats", after(file("cat/x.png", PAIR), file("cat/y.bmp", TWIN)),
         r"duplicate: the same image as cat/x\.png", kind=REPAIR, then=counted(13, quarantined=1)),
    Case("F11 one class fourteen times the other", after(many), r"The classes are uneven: the largest has 86 samples, the smallest 6",
         kind=REPAIR),
    Case("F12 Cat and cat", classes_of("Cat", "cat"), r"'Cat'.* and .*'cat'.* differ only by case", cli=True),
    Case("F12 a space at the end", classes_of("cat", "cat "), r"the classes 'cat' and 'cat ' differ only by .*spaces.*: merge them into one"),
    Case("F12 two Unicode forms", classes_of(NFC, NFD), r"differ only by case.* Unicode form"),
    Case("F13 made in another order", made_backwards, kind=REPAIR, then=same_order),
]  # fmt: skip

K_CASES = [
    Case("K1 A.png and a.png", after(file("cat/A.png", picture(5)), file("cat/a.png", picture(6))),
         r"two files differ only by case or Unicode form, .*'cat/(A|a)\.png' and 'cat/(A|a)\.png'; rename one", cli=True),
    Case("K1 a.png and a.PNG", after(file("cat/a.png", picture(5)), file("cat/a.PNG", picture(6))), r"two files differ only by case"),
    Case("K1 deeper folders", after(file("cat/X/a.png", picture(5)), file("cat/x/a.png", picture(6))), r"two files differ only by case"),
    Case("K2 twins of two Unicode forms", after(file(f"cat/{NFC}.png", picture(5)), file(f"cat/{NFD}.png", picture(6))),
         r"two files differ only by case or Unicode form.*; rename one"),
    Case("K2 one name in decomposed form", after(file(f"cat/{NFD}.png", picture(5))), kind=REPAIR, then=stored_under(f"{NFD}.png")),
    Case("K3 a file name of Latin-1 bytes", after(file(b"cat/caf\xe9.png", picture(5))),
         r"the name b'cat/caf\\xe9\.png' in \S+ is not UTF-8: rename it", cli=True),
    Case("K3 a folder name of Latin-1 bytes", after(file(b"caf\xe9/1.png", picture(5)), file(b"caf\xe9/2.png", picture(6))),
         r"caf\\xe9.* is not UTF-8: rename it"),
    Case("K4 newline in a name", after(file("cat/two\nlines.png", picture(5))), kind=REPAIR, then=stored_under("two\nlines.png")),
    Case("K4 tab in a name", after(file("cat/a\tb.png", picture(5))), kind=REPAIR, then=stored_under("a\tb.png")),
    Case("K4 leading dash", after(file("cat/-rf.png", picture(5))), kind=REPAIR, then=stored_under("-rf.png")),
    Case("K4 spaces and quotes", after(file("cat/ a 'b\" c.png", picture(5))), kind=REPAIR, then=stored_under(" a 'b\" c.png")),
    Case("K4 newline in the name of a bad file", after(file("cat/two\nlines.png", "x")), r"two\\?.lines\.png: not an image",
         kind=QUARANTINE, cli=True),
    Case("K5 HTML in a file's name", after(file("cat/<img src=x onerror=alert(1)>.png", picture(5))), kind=REPAIR,
         then=stored_under("<img src=x onerror=alert(1)>.png")),
    Case("K5 HTML in a class", classes_of("<b>cat<b>", "dog"), kind=REPAIR,
         then=lambda result: result.card["classes"].index("<b>cat<b>")),
    Case("K6 a name of 255 bytes", after(file(f"cat/{'n' * 251}.png", picture(5))), kind=REPAIR, then=stored_under("n" * 251 + ".png")),
    Case("K7 CON.png", after(file("cat/CON.png", picture(5))), r"Windows.*cat/CON\.png", kind=REPAIR),
    Case("K7 a colon in a name", after(file("cat/10:30.png", picture(5))), r"Windows.*cat/10:30\.png", kind=REPAIR),
    Case("K7 a folder that ends in a dot", after(file("cat/more./a.png", picture(5))), r"Windows.*cat/more\.", kind=REPAIR),
    Case("K8 dangling link", after(link("cat/x.png", "nowhere.png")), r"cat/x\.png is a link; .*: copy the file itself", cli=True),
    Case("K9 link to a file of the folder", after(link("cat/x.png", "00.png")), r"cat/x\.png is a link"),
    Case("K9 link to itself", after(link("cat/x.png", "x.png")), r"cat/x\.png is a link"),
    Case("K9 loop of folders", after(link("cat/loop", "..")), r"cat/loop is a link"),
    Case("K9 link that leaves the folder", after(outside), r"cat/more is a link; links inside the data folder are not followed", cli=True),
    Case("K9 absolute link to a system file", after(link("cat/x.png", "/etc/passwd")), r"cat/x\.png is a link"),
    Case("K9 a class folder that is a link", after(link("emu", "cat")), r"emu is a link"),
    Case("K4 a pipe for a file", after(lambda folder: os.mkfifo(folder / "cat" / "x.png")), r"cat/x\.png is neither a file nor a folder: remove it"),
]  # fmt: skip
CASES = [*F_CASES, *K_CASES]
