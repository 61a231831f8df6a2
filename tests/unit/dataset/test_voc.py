"""Pascal VOC annotations: corners by hand-made figures, hostile XML, and one line for each mistake."""

import re
import time
from collections import Counter

import pytest

from pipeline.core.errors import PersonError
from pipeline.core.record import Rejected
from pipeline.dataset.voc import Voc

PLAIN = {"annotations": "Annotations", "images": "JPEGImages", "sets": None, "objects": "crops", "categories": None, "background": None,
         "difficult": False, "unlisted": "stop", "title": "t", "licence": "CC0", "citation": ""}  # fmt: skip


def thing(name, x0, y0, x1, y1, more=""):
    box = f"<bndbox><xmin>{x0}</xmin><ymin>{y0}</ymin><xmax>{x1}</xmax><ymax>{y1}</ymax></bndbox>"
    return f"<object><name>{name}</name>{more}{box}</object>"


def xml(*things, size=(100, 50)):
    sides = f"<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>"
    return f"<annotation><filename>stale.jpg</filename>{sides}{''.join(things)}</annotation>"


def put(folder, name, text):
    (folder / "Annotations").mkdir(exist_ok=True)
    (folder / "JPEGImages").mkdir(exist_ok=True)
    (folder / "Annotations" / f"{name}.xml").write_text(text)
    (folder / "JPEGImages" / f"{name}.jpg").write_bytes(name.encode())


@pytest.fixture
def folder(tmp_path):
    put(
        tmp_path,
        "b",
        xml(thing("dog", 1, 1, 10, 20), thing("cat", 11, 11, 30, 25), thing("cat", 5, 5, 6, 6, "<difficult>1</difficult>")),
    )
    put(tmp_path, "a", xml(thing(" dog ", 1, 1, 100, 50)))
    return tmp_path


def dataset(folder, **changes):
    return Voc(source=folder, **{**PLAIN, **changes})


def test_corners_count_from_one_and_include_both_ends(folder):
    found = dataset(folder)
    assert found.card()["classes"] == ["cat", "dog"]
    assert [(entry.name, entry.label, entry.group, entry.crop) for entry in found.entries()] == [
        ("a.jpg#1", 1, "a.jpg", (0, 0, 100, 50)), ("b.jpg#1", 1, "b.jpg", (0, 0, 10, 20)), ("b.jpg#2", 0, "b.jpg", (10, 10, 30, 25)),
    ]  # fmt: skip
    assert next(found.entries()).read() == b"a"
    assert len(found) == 3
    assert len(dataset(folder, difficult=True)) == 4


def test_a_whole_photo_has_the_label_of_the_largest_area(folder):
    entries = list(dataset(folder, objects="whole").entries())
    assert [(entry.name, entry.label, entry.boxes) for entry in entries] == [
        ("a.jpg", 1, ((0, 0, 100, 50, 1),)), ("b.jpg", 0, ((0, 0, 10, 20, 1), (10, 10, 30, 25, 0))),  # 200 and 300
    ]  # fmt: skip


def test_bad_boxes_are_rejected_and_photos_without_boxes_may_be_a_class(folder):
    put(folder, "c", xml(thing("dog", 90, 1, 110, 9), thing("dog", 7, 7, 6, 9), thing("dog", 0, 0, 101, 50)))
    put(folder, "d", xml())
    entries = list(dataset(folder, objects="whole", background="none").entries())
    assert entries[2:4] == [
        Rejected("c.jpg#1", "the box (89, 0) to (110, 9) reaches outside the picture of 100 x 50 pixels"),
        Rejected("c.jpg#2", "the box (6, 6) to (6, 9) is thinner than a pixel"),
    ]
    assert entries[4].boxes == ((0, 0, 100, 50, 1),)
    assert (entries[5].name, entries[5].label) == ("d.jpg", 2)
    assert list(dataset(folder, objects="whole").entries())[5] == Rejected("d.jpg", "it has no box")


def test_lists_name_the_splits(folder):
    sets = folder / "ImageSets" / "Main"
    sets.mkdir(parents=True)
    (sets / "train.txt").write_text("a\n\n")
    (sets / "test.txt").write_text("b  1\n")
    assert [entry.given for entry in dataset(folder, sets="ImageSets/Main").entries()] == ["train", "test", "test"]
    (sets / "val.txt").write_text("a\n")
    with pytest.raises(PersonError, match=r"val.txt line 1: 'a' is in train.txt too: remove it from one"):
        dataset(folder, sets="ImageSets/Main").card()
    (sets / "val.txt").write_text("q\nz\n")
    with pytest.raises(PersonError, match=r"2 of 4 names in .* have no annotation: q, z"):
        dataset(folder, sets="ImageSets/Main").card()
    with pytest.raises(PersonError, match=r"no train.txt, val.txt or test.txt with names in .*nowhere: set dataset.sets to null"):
        dataset(folder, sets="nowhere").card()


BOMB = "<!DOCTYPE a [<!ENTITY b '" + "x" * 50 + "'>" + "".join(
    f"<!ENTITY {one} '{f'&{other};' * 10}'>" for one, other in zip("cdefghij", "bcdefghi", strict=True)) + "]><annotation>&j;</annotation>"  # fmt: skip
HOSTILE = {
    "entity bomb": (BOMB.encode(), "c.xml has a DOCTYPE, which an annotation does not need and which can hold a bomb: remove it"),
    "in another encoding": (BOMB.encode("utf-16"), "c.xml has a DOCTYPE"),
    "a file of the machine": (b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotation>&x;</annotation>', "c.xml has a DOCTYPE"),
    "deep": (b"<a>" * 60, "c.xml nests more than 50 elements: not an annotation, remove it"),
    "huge": (b"<annotation>" + b" " * 10_000_001, "c.xml is larger than 10 MB: not an annotation, remove it"),
    "empty": (b"", "c.xml is empty: not an annotation, remove it"),
    "cut": (b"<annotation><object>", "c.xml is not XML (no element found: line 1, column 20): export it again"),
    "text": (b"hello", "c.xml is not XML (syntax error: line 1, column 0): export it again"),
    "odd encoding": (b'<?xml version="1.0" encoding="wonder"?><annotation/>', "c.xml is not XML"),
    "another kind": (b"<html/>", "c.xml begins with <html>: expected a Pascal VOC <annotation>"),
    "no name": (xml("<object><bndbox/></object>").encode(), "c.xml: object 1 has no <name>: add its category"),
    "no box": (xml("<object><name>x</name></object>").encode(), "c.xml: object 1 (x) must have a <bndbox> with numbers xmin, ymin,"),
    "a box of text": (xml(thing("x", 1, 2, "wide", 4)).encode(), "c.xml: object 1 (x) must have a <bndbox> with numbers"),
    "a box of NaN": (xml(thing("x", 1, 2, "nan", 4)).encode(), "c.xml: object 1 (x) must have a <bndbox> with numbers"),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_xml_is_refused_in_one_line_at_once(folder, case):
    data, line = HOSTILE[case]
    put(folder, "c", "")
    (folder / "Annotations" / "c.xml").write_bytes(data)
    started = time.monotonic()
    with pytest.raises(PersonError) as caught:
        dataset(folder).card()
    assert str(caught.value).startswith(line)
    assert "\n" not in str(caught.value)
    assert time.monotonic() - started < 2


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "latin-1"])
def test_plain_xml_of_any_known_encoding_is_read(folder, encoding):
    text = xml(thing("ä &amp; ö", 1, 2, 9, 9))
    put(folder, "c", "")
    (folder / "Annotations" / "c.xml").write_bytes(f'<?xml version="1.0" encoding="{encoding}"?>{text}'.encode(encoding))
    assert "ä & ö" in dataset(folder).card()["classes"]


def test_photos_and_annotations_must_agree(folder):
    (folder / "JPEGImages" / "c.jpg").write_bytes(b"")
    with pytest.raises(PersonError, match=r"1 images in .*JPEGImages are not named by Annotations: c.jpg; annotate them, or set"):
        dataset(folder).card()
    assert len(dataset(folder, unlisted="ignore")) == 3
    (folder / "Annotations" / "d.xml").write_text(xml())
    with pytest.raises(
        PersonError, match=r"1 of 3 images that Annotations names are missing in .*JPEGImages: d.jpg \(d.xml\); add them"
    ):
        dataset(folder, unlisted="ignore").card()
    (folder / "JPEGImages" / "a.png").write_bytes(b"")
    with pytest.raises(PersonError, match=r"'a.jpg' and 'a.png' in .*JPEGImages have one name but for the ending: rename one"):
        dataset(folder).card()


def test_the_set_up_is_named(folder, tmp_path):
    for change, line in (({"annotations": "x"}, "the folder .*x does not exist: set dataset.annotations"),
                         ({"images": "../x"}, "dataset.images: the path '../x' leaves the folder"),
                         ({"annotations": "JPEGImages"}, r"no annotation \(.xml\) in .*JPEGImages: set dataset.annotations")):  # fmt: skip
        with pytest.raises(PersonError, match=line):
            dataset(folder, **change).card()
    for name in "ab":
        put(folder, name, xml())
    with pytest.raises(PersonError, match=r"no annotation in .*Annotations has a box that can be used"):
        dataset(folder).card()


def test_changed_xml_is_read_or_refused_in_one_line(folder):
    """Each piece in turn is removed, replaced and preceded by something odd."""
    whole = (folder / "Annotations" / "b.xml").read_text()
    pieces = re.findall(r"<[^>]*>|[^<]+", whole)
    odd = [
        "",
        "x",
        "-1",
        "1e308",
        "nan",
        "9" * 400,
        "<b/>",
        "&amp;",
        "&x;",
        "]]>",
        "<object/>",
        "<!-- c -->",
        "<?p i?>",
        "<![CDATA[q]]>",
    ]
    outcomes = Counter()
    for place in range(len(pieces)):
        for text in odd:
            for keep in (0, 1):
                (folder / "Annotations" / "b.xml").write_text("".join([*pieces[:place], text, *pieces[place + 1 - keep :]]))
                try:
                    there = dataset(folder)
                    there.card()
                    assert len(list(there.entries())) == len(there)
                    outcomes["read"] += 1
                except PersonError as error:
                    outcomes["refused"] += 1
                    assert "\n" not in str(error)
    assert min(outcomes["read"], outcomes["refused"]) > 100
