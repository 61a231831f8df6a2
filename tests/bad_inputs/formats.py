"""Annotations and packed formats: COCO, Pascal VOC, idx, masks, Parquet. Rows F, G, J and K as they look there, and their own faults."""

import gzip
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.bad_inputs.case import QUARANTINE, REPAIR, Build, Case, Result, encoded, only, picture, put

SIZE = (40, 30)


# ---------------------------------------------------------------------------------------------------------------------- COCO
def annotations() -> dict[str, Any]:
    """Twelve photos with a box each, six of a cat and six of a dog."""
    return {
        "images": [{"id": n, "file_name": f"{n}.png", "width": SIZE[0], "height": SIZE[1]} for n in range(12)],
        "annotations": [{"id": n, "image_id": n, "category_id": 1 + n % 2, "bbox": [4, 4, 20, 16]} for n in range(12)],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
    }


def photos(folder: Path, place: str = "images") -> None:
    for number in range(12):
        put(folder, f"{place}/{number}.png", picture(300 + number, size=SIZE))


def coco(identity: str, change: Callable[[dict[str, Any]], object], expect: str, **more: Any) -> Case:
    def build(folder: Path) -> None:
        photos(folder)
        found = annotations()
        change(found)
        put(folder, "annotations.json", json.dumps(found))

    return Case(identity, build, expect, dataset="coco", **more)


def raw_coco(identity: str, data: bytes | str, expect: str, **more: Any) -> Case:
    return Case(identity, only(photos, lambda folder: put(folder, "annotations.json", data)), expect, dataset="coco", **more)


def setting(kind: str, place: int, **values: Any) -> Callable[[dict[str, Any]], None]:
    return lambda found: found[kind][place].update(values)


def more_of(kind: str, **values: Any) -> Callable[[dict[str, Any]], None]:
    return lambda found: found[kind].append(values)


COCO = [
    raw_coco("I3 COCO that is not JSON", '{"images": [', r"annotations\.json is not JSON \(.*\): export", cli=True),
    raw_coco("I1 COCO of Latin-1", '{"images": [], "x": "caf\u00e9"}'.encode("latin-1"), r"annotations\.json is not JSON"),
    raw_coco("I3 COCO nested 100,000 deep", "[" * 100_000, r"annotations\.json is not JSON"),
    raw_coco("I3 COCO that is a list", "[]", r"annotations\.json: expected COCO annotations, an object with the lists"),
    raw_coco("F1 COCO without annotations", json.dumps({"images": [], "categories": []}), r"'annotations' is missing or no list"),
    Case("F1 no COCO file", only(photos), r"the annotations \S+annotations\.json do not exist: set dataset\.file", dataset="coco"),
    coco("F7 COCO names a photo that is not there", more_of("images", id=99, file_name="gone.png"),
         r"1 of 13 images that annotations\.json names are missing in \S+: gone\.png .*; add them, or remove"),
    coco("F7 a photo that COCO does not name", lambda found: (found["images"].pop(), found["annotations"].pop()),
         r"1 images in \S+ are not named by annotations\.json: 11\.png; annotate them, or set dataset\.unlisted=ignore"),
    coco("F7 a box of an unknown photo", setting("annotations", 3, image_id=77), r"1 of 12 annotations .* unknown image_id: 3 \(image_id 77\)"),
    coco("F7 a box of an unknown category", setting("annotations", 3, category_id=9), r"unknown category_id: 3 \(category_id 9\)"),
    coco("F7 two photos of one id", setting("images", 1, id=0), r"two images have the id 0: give each its own"),
    coco("F7 a photo twice", setting("images", 1, file_name="0.png"), r"lists '0\.png' twice, as the images 0 and 1: remove one"),
    coco("F12 categories cat and Cat", setting("categories", 1, name="Cat"), r"the classes 'Cat' and 'cat' differ only by case"),
    coco("F14 a box of words", setting("annotations", 2, bbox=["a", 1, 2, 3]), r"the annotation 2 must have bbox = \[x, y, width, height\]: received"),
    coco("F14 a box with NaN", setting("annotations", 2, bbox=[float("nan"), 1, 2, 3]), r"the annotation 2 must have bbox"),
    coco("F14 a box of three numbers", setting("annotations", 2, bbox=[1, 2, 3]), r"the annotation 2 must have bbox"),
    coco("F14 keypoints of two numbers", setting("annotations", 2, keypoints=[1, 2]), r"the annotation 2 must have keypoints = \[x, y, visibility"),
    coco("G10 a box of no width", setting("annotations", 2, bbox=[4, 4, 0, 9]), r"2\.png#2: the box .* is thinner than a pixel",
         kind=QUARANTINE),
    coco("G10 a box outside its photo", setting("annotations", 2, bbox=[30, 4, 90, 9]), r"2\.png#2: the box .* reaches outside the picture of 40 x 30",
         kind=QUARANTINE),
    coco("K9 a photo outside the folder", setting("images", 2, file_name="../../etc/x.png"), r"the image 2: the path '\.\./\.\./etc/x\.png' leaves"),
    coco("K9 a photo of an absolute path", setting("images", 2, file_name="/etc/x.png"), r"the image 2: the path '/etc/x\.png' leaves"),
    coco("F14 a file name that is a number", setting("images", 2, file_name=7), r"the image 2 must have a file_name of text: received 7"),
    coco("L6 a category that is not there", lambda found: None, r"dataset\.categories names 'cta', which no object has: did you mean 'cat'",
         options={"categories": ["cta"]}),
]  # fmt: skip


# ----------------------------------------------------------------------------------------------------------------------- VOC
def xml(name: str = "cat", corners: tuple[object, ...] = (5, 5, 24, 20), *, size: tuple[int, int] = SIZE) -> str:
    box = "".join(f"<{key}>{value}</{key}>" for key, value in zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True))
    return (f"<annotation><size><width>{size[0]}</width><height>{size[1]}</height></size>"
            f"<object><name>{name}</name><bndbox>{box}</bndbox></object></annotation>")  # fmt: skip


def voc(identity: str, change: Build, expect: str, **more: Any) -> Case:
    def build(folder: Path) -> None:
        photos(folder, "JPEGImages")
        for number in range(12):
            put(folder, f"Annotations/{number}.xml", xml(("cat", "dog")[number % 2]))
        change(folder)

    return Case(identity, build, expect, dataset="voc", **more)


def second(data: str | bytes) -> Build:
    """The annotation of the third photo is this."""
    return lambda folder: put(folder, "Annotations/2.xml", data)


LAUGHS = '<!DOCTYPE a [<!ENTITY l "ha">' + "".join(
    f'<!ENTITY l{n} "&l{n - 1 if n > 1 else ""};&l{n - 1 if n > 1 else ""};">' for n in range(1, 30)) + "]><annotation>&l29;</annotation>"  # fmt: skip
OUTSIDE = '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotation>&x;</annotation>'
VOC = [
    voc("I3 VOC that is not XML", second("<annotation><object>"), r"2\.xml is not XML \(.*\): export", cli=True),
    voc("I3 VOC of no bytes", second(""), r"2\.xml is empty: not an annotation"),
    voc("J5 VOC with a billion laughs", second(LAUGHS), r"2\.xml has a DOCTYPE, which .* can hold a bomb: remove it", cli=True),
    voc("K9 VOC that names a file of the system", second(OUTSIDE), r"2\.xml has a DOCTYPE"),
    voc("J5 VOC nested 500 deep", second("<annotation>" + "<a>" * 500 + "</a>" * 500 + "</annotation>"), r"2\.xml nests more than 50 elements"),
    voc("I3 VOC that is another XML", second("<html></html>"), r"2\.xml begins with <html>: expected a Pascal VOC <annotation>"),
    voc("F7 VOC of a photo that is not there", lambda folder: put(folder, "Annotations/gone.xml", xml()),
        r"1 of 13 images that Annotations names are missing in \S+: gone\.jpg"),
    voc("F7 a photo that VOC does not name", lambda folder: (folder / "Annotations/2.xml").unlink(),
        r"1 images in \S+ are not named by Annotations: 2\.png; annotate them"),
    voc("F7 an object without a name", second(xml("")), r"2\.xml: object 1 has no <name>: add its category"),
    voc("F14 a corner that is a word", second(xml(corners=("left", 1, 2, 3))), r"2\.xml: object 1 \(cat\) must have a <bndbox> with numbers"),
    voc("F14 a corner that is NaN", second(xml(corners=("nan", 1, 2, 3))), r"2\.xml: object 1 \(cat\) must have a <bndbox> with numbers"),
    voc("G10 a box upside down", second(xml(corners=(20, 20, 5, 5))), r"2\.png#1: the box .* is thinner than a pixel", kind=QUARANTINE),
    voc("G10 a VOC box outside its photo", second(xml(corners=(5, 5, 400, 20))), r"2\.png#1: the box .* reaches outside", kind=QUARANTINE),
    Case("F1 VOC without annotations", only(lambda folder: photos(folder, "JPEGImages")), r"the folder \S+Annotations does not exist: set dataset\.annotations",
         dataset="voc"),
    voc("M7 a photo in train.txt and in val.txt", lambda folder: (put(folder, "sets/train.txt", "0\n1\n2\n"), put(folder, "sets/val.txt", "2\n3\n")),
        r"val\.txt line 1: '2' is in train\.txt too: remove it from one", options={"sets": "sets"}),
    voc("F7 a list that names an unknown photo", lambda folder: put(folder, "sets/train.txt", "0\nnowhere\n"),
        r"1 of 2 names in \S+ have no annotation: nowhere", options={"sets": "sets"}),
]  # fmt: skip


# ----------------------------------------------------------------------------------------------------------------------- idx
def idx(values: np.ndarray, kind: int = 8) -> bytes:
    return bytes([0, 0, kind, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()


IMAGES = np.stack([np.random.default_rng(n).integers(0, 256, (10, 12), dtype=np.uint8) for n in range(12)])
LABELS = np.arange(12, dtype=np.uint8) % 2
NAMES = {"images": "images.idx", "labels": "labels.idx"}


def packed(identity: str, images: bytes | None, labels: bytes | None, expect: str = "", **more: Any) -> Case:
    """Two idx files; None leaves one out."""

    def build(folder: Path) -> None:
        folder.mkdir(parents=True)
        for name, data in (("images.idx", images), ("labels.idx", labels)):
            if data is not None:
                put(folder, name, data)

    return Case(identity, build, expect, dataset="idx", options={**NAMES, **more.pop("options", {})}, **more)


def two_numbers(result: Result) -> None:
    assert (result.card["samples"], result.card["classes"]) == (12, ["0", "1"])


IDX = [
    packed("F1 no idx images", None, idx(LABELS), r"images\.idx does not exist: set dataset\.images"),
    packed("F1 no idx labels", idx(IMAGES), None, r"labels\.idx does not exist: set dataset\.labels"),
    packed("F7 more idx images than labels", idx(IMAGES), idx(LABELS[:11]), r"images\.idx holds 12 images and labels\.idx 11 labels: .*"),
    packed("G1 half of the idx images", idx(IMAGES)[:800], idx(LABELS), r"images\.idx holds 784 bytes, and its header says 1440 \(12 x 10 x 12\): fetch"),
    packed("G1 idx with bytes too many", idx(IMAGES) + b"x", idx(LABELS), r"images\.idx holds more bytes, and its header says 1440"),
    packed("J7 half of a packed idx file", gzip.compress(idx(IMAGES))[:400], idx(LABELS), r"images\.idx (is damaged or truncated|holds)"),
    packed("G3 a web page for idx", b"<html></html>", idx(LABELS), r"images\.idx is not an idx file: it begins with 3c 68"),
    packed("G6 idx of floats", idx(IMAGES.astype(">f4"), 13), idx(LABELS), r"images\.idx holds floats along 3 axes: expected unsigned bytes along 3 or 4"),
    packed("G12 idx labels for images", idx(LABELS), idx(LABELS), r"images\.idx holds unsigned bytes along 1 axes: expected"),
    packed("G9 an idx header of 4 billion images", b"\0\0\x08\x03" + struct.pack(">III", 2**32 - 1, 2**16, 2**16), idx(LABELS),
           r"images\.idx says it holds .* bytes: expected 1 to 2,000,000,000 in all", cli=True),
    packed("J5 a packed idx bomb", gzip.compress(idx(IMAGES) + bytes(30_000_000)), idx(LABELS), r"images\.idx holds more bytes"),
    packed("G10 idx images of no height", idx(IMAGES[:, :0]), idx(LABELS), r"images\.idx says it holds 12 x 0 x 12 bytes: expected 1 to"),
    packed("F12 a label without a name", idx(IMAGES), idx(LABELS), r"labels\.idx holds the label 1, and dataset\.classes has 1 names",
           options={"classes": ["zero"]}),
    packed("F13 idx as it should be", gzip.compress(idx(IMAGES)), idx(LABELS), kind=REPAIR, then=two_numbers),
    packed("L7 test images without their labels", idx(IMAGES), idx(LABELS), r"dataset\.test_images and dataset\.test_labels go together: set both",
           options={"test_images": "images.idx"}),
]  # fmt: skip


# --------------------------------------------------------------------------------------------------------------------- masks
def masks(identity: str, change: Build, expect: str, **more: Any) -> Case:
    def build(folder: Path) -> None:
        photos(folder)
        for number in range(12):
            mask = np.zeros((SIZE[1], SIZE[0]), dtype=np.uint8)
            mask[5:15, 5:15] = number % 2
            put(folder, f"masks/{number}.png", encoded(mask))
        change(folder)

    return Case(identity, build, expect, dataset="masks_folder", **more)


def third(data: bytes) -> Build:
    return lambda folder: put(folder, "masks/2.png", data)


MASKS = [
    masks("F7 a photo without its mask", lambda folder: (folder / "masks/2.png").unlink(), r"1 of 12 images have no mask .*: 2\.png; add the masks"),
    masks("F7 a mask without its photo", lambda folder: put(folder, "masks/x.png", encoded(np.zeros((9, 9), dtype=np.uint8))),
          r"1 of 13 masks have no image .*: x\.png; add the images"),
    masks("G12 a mask of another size", third(encoded(np.zeros((9, 9), dtype=np.uint8))), r"2\.png: its mask .*9 x 9", kind=QUARANTINE),
    masks("G3 a mask that is text", third(b"no mask"), r"2\.png: its mask .*not an image but text", kind=QUARANTINE),
    masks("G6 a mask in colour", third(picture(5, size=SIZE)), r"2\.png: its mask .*colour mode RGB: expected one number", kind=QUARANTINE),
    masks("G4 a mask as JPEG", third(encoded(np.zeros((30, 40), dtype=np.uint8), "JPEG")), r"2\.png: its mask .*JPEG file: expected PNG", kind=QUARANTINE),
    masks("F7 a number in a mask that has no name", third(encoded(np.full((30, 40), 7, dtype=np.uint8))),
          r"2\.png: its mask .*it holds 7, expected 0, 1 \(dataset\.names", kind=QUARANTINE),
    masks("F7 a mask of nothing but ignore", third(encoded(np.full((30, 40), 255, dtype=np.uint8))), r"2\.png: its mask .*every pixel is 255",
          kind=QUARANTINE),
    masks("F6 one name for the masks", lambda folder: None, r"dataset\.names must be 2 to 255 different classes", options={"names": ["object"]}),
    masks("G9 a mask of 400 megapixels", lambda folder: put(folder, "masks/2.png", _huge()), r"2\.png: its mask .*oversized", kind=QUARANTINE),
]  # fmt: skip


def _huge() -> bytes:
    from tests.bad_inputs.images import png

    return png(20_000, 20_000)


# ------------------------------------------------------------------------------------------------------------------- Parquet
def parquet(identity: str, change: Callable[[dict[str, list[Any]]], object], expect: str = "", **more: Any) -> Case:
    def build(folder: Path) -> None:
        photos(folder)
        columns: dict[str, list[Any]] = {
            "path": [f"images/{n}.png" for n in range(12)],
            "label": [("a", "b")[n % 2] for n in range(12)],
        }
        change(columns)
        pq.write_table(pa.table(columns), put(folder, "labels.parquet", ""))

    return Case(
        identity, build, expect, dataset="image_table", options={"file": "labels.parquet", **more.pop("options", {})}, **more
    )


def raw_parquet(identity: str, data: bytes, expect: str) -> Case:
    return Case(identity, only(photos, lambda folder: put(folder, "labels.parquet", data)), expect, dataset="image_table",
                options={"file": "labels.parquet"})  # fmt: skip


PARQUET = [
    raw_parquet("I3 text named .parquet", b"path,label\n", r"labels\.parquet cannot be read as Parquet \(.*\): write it again, or use CSV"),
    raw_parquet("I3 Parquet of no bytes", b"", r"labels\.parquet cannot be read as Parquet"),
    raw_parquet("I3 Parquet with a damaged footer", b"PAR1" + bytes(60) + struct.pack("<I", 2**31 - 1) + b"PAR1", r"labels\.parquet cannot be read as Parquet"),
    parquet("I3 Parquet without the column", lambda c: c.update(lable=c.pop("label")), r"labels\.parquet has no column 'label' .*did you mean 'lable'"),
    parquet("F7 Parquet with an empty label", lambda c: c["label"].__setitem__(3, None), r"1 rows of labels\.parquet have no label: images/3\.png \(row 4\)"),
    parquet("F14 Parquet with a target of NaN", lambda c: c.update(size=[float("nan"), *range(11)]), r"labels\.parquet row 1: size must be a finite number",
            options={"target": "size"}),
    parquet("F14 Parquet with lists for labels", lambda c: c.update(label=[["a"]] * 12), r"labels\.parquet: the column 'label' holds list.*: expected text"),
    parquet("K9 Parquet with a path that leaves", lambda c: c["path"].__setitem__(0, "../x.png"), r"labels\.parquet row 1: the path '\.\./x\.png' leaves"),
    parquet("M7 Parquet with an unknown split", lambda c: c.update(part=["training"] * 12), r"labels\.parquet row 1: part must be train, val, test or empty",
            options={"split": "part"}),
    parquet("M8 a time that is none", lambda c: c.update(when=["yesterday", *["2024-03-01"] * 11]), r"labels\.parquet row 1: when must be a number or an ISO date",
            options={"time": "when"}),
    parquet("M8 times with and without a zone", lambda c: c.update(when=["2024-03-01T12:00:00+01:00", *["2024-03-01"] * 11]),
            r"when is a date \('2024-03-01'\) and a date with a zone in row 1 .*: write all of them alike", options={"time": "when"}),
    parquet("I5 Parquet labels of numbers", lambda c: c.update(label=[n % 2 for n in range(12)]), kind=REPAIR, then=two_numbers),
]  # fmt: skip
CASES = [*COCO, *VOC, *IDX, *MASKS, *PARQUET]
