"""Every option of conf/dataset is held to the laws of a dataset; a new option is tested with no new test file.

A dataset that reads a person's folder names what stands in it in LAYOUTS; one that packages bring needs no entry there.
"""

import gzip
import json
import math
import struct
from dataclasses import fields
from io import BytesIO
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from pipeline.core.parts import build, check_arguments, declared_arguments
from pipeline.core.record import Entry, Rejected
from pipeline.core.store import open_samples
from pipeline.stages import ingest

CONF = Path(__file__).resolve().parents[2] / "conf/dataset"
OPTIONS = {path.stem: path for path in sorted(CONF.glob("*.yaml"))}
LIMIT = 120
COUNT = 12
SPLITS = ("", "train", "val", "test")


def png(pixels):
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def photo(number, channels=3):
    return np.random.default_rng(number).integers(0, 256, (20, 24, channels)[: 3 if channels > 1 else 2], dtype=np.uint8)


def put(folder, name, data):
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data if isinstance(data, bytes) else data.encode())


def class_folders(folder):
    for number in range(COUNT):
        put(folder, f"{'ab'[number % 2]}/{number}.png", png(photo(number)))


def table(folder):
    class_folders(folder)
    rows = [f"{'ab'[number % 2]}/{number}.png,{'ab'[number % 2]}" for number in range(COUNT)]
    put(folder, "labels.csv", "\n".join(["path,label", *rows]) + "\n")


def coco(folder):
    found = {"images": [], "annotations": [], "categories": [{"id": 7, "name": "cat"}, {"id": 9, "name": "dog"}]}
    for number in range(COUNT):
        put(folder, f"images/{number:02d}.png", png(photo(number)))
        found["images"].append({"id": number, "file_name": f"{number:02d}.png", "width": 24, "height": 20})
        for place in range(1 + number % 2):
            found["annotations"].append({"id": 10 * number + place, "image_id": number, "category_id": 7 + 2 * (number % 2),
                                         "bbox": [place, 1, 10, 12], "keypoints": [3, 4, 2, 0, 0, 0]})  # fmt: skip
    put(folder, "annotations.json", json.dumps(found))


def voc(folder):
    for number in range(COUNT):
        put(folder, f"JPEGImages/{number:02d}.png", png(photo(number)))
        thing = "<object><name>{}</name><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>9</xmax><ymax>9</ymax></bndbox></object>"
        size = "<size><width>24</width><height>20</height></size>"
        put(folder, f"Annotations/{number:02d}.xml", f"<annotation>{size}{thing.format('ab'[number % 2])}</annotation>")


def masks(folder):
    for number in range(COUNT):
        put(folder, f"images/{number:02d}.png", png(photo(number)))
        mask = np.zeros((20, 24), dtype=np.uint8)
        mask[: number % 3] = 1
        put(folder, f"masks/{number:02d}.png", png(mask))


def idx_bytes(values):
    return struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape) + values.tobytes()


def idx(folder):
    rng = np.random.default_rng(0)
    for kind in ("train", "t10k"):
        put(folder, f"{kind}-images-idx3-ubyte.gz", gzip.compress(idx_bytes(rng.integers(0, 256, (40, 28, 28), dtype=np.uint8))))
        put(folder, f"{kind}-labels-idx1-ubyte.gz", gzip.compress(idx_bytes(np.arange(40, dtype=np.uint8) % 10)))


LAYOUTS = {"image_folder": class_folders, "image_table": table, "coco": coco, "voc": voc, "masks_folder": masks, "idx": idx,
           "fashion": idx}  # fmt: skip


@pytest.fixture(params=OPTIONS)
def option(request):
    return request.param


@pytest.fixture
def part(option):
    return yaml.safe_load(OPTIONS[option].read_text())


@pytest.fixture
def source(option, tmp_path):
    LAYOUTS.get(option, lambda folder: None)(tmp_path)
    return tmp_path


@pytest.fixture
def dataset(part, source):
    return build(part, source=source)


def test_conf_names_every_argument_but_the_stage_s_own(part):
    check_arguments("dataset", part)
    assert set(declared_arguments(part["_target_"])) - {"source"} == set(part) - {"_target_"}


def test_the_card_is_plain_and_complete(dataset, source):
    card = dataset.card()
    required = {"name", "source", "license", "citation", "classes", "target"}
    assert required <= set(card) <= required | {"ignored", "mask_classes"}
    assert str(source) not in json.dumps(card)
    assert len(set(card["classes"])) == len(card["classes"]) != 1
    if card["target"] is not None:
        assert set(card["target"]) == {"name", "unit", "low", "high"}
        assert card["target"]["low"] < card["target"]["high"]


def test_entries_agree_with_the_card(dataset):
    card = dataset.card()
    found = list(islice(dataset.entries(), LIMIT))
    assert len(found) == min(LIMIT, len(dataset)) > 0
    for entry in found:
        check_entry(entry, card)
    assert len({entry.name for entry in found}) == len(found)


def check_entry(entry, card):
    assert isinstance(entry, Entry)
    assert entry.name
    assert 0 < entry.weight <= 1
    assert entry.given in SPLITS
    assert -1 <= entry.label < len(card["classes"])
    assert (entry.label == -1) == (card["classes"] == [])
    low, high = (card["target"][key] for key in ("low", "high")) if card["target"] else (math.nan, math.nan)
    assert math.isnan(entry.target) if card["target"] is None else low <= entry.target <= high
    width, height = check_pixels(entry.read())
    for x0, y0, x1, y1, *label in [*([entry.crop] if entry.crop else []), *entry.boxes]:
        assert 0 <= x0 < x1 <= width
        assert 0 <= y0 < y1 <= height
        assert all(0 <= number < len(card["classes"]) for number in label)
    assert all((x, y) == (-1, -1) or (0 <= x <= width and 0 <= y <= height) for x, y in entry.keypoints)
    if entry.read_mask is not None:
        mask = Image.open(BytesIO(entry.read_mask()))
        assert mask.size == (width, height)
        assert set(np.unique(np.asarray(mask)).tolist()) <= {*range(len(card["mask_classes"])), 255}


def check_pixels(data):
    """Width and height of what was read."""
    if isinstance(data, bytes):
        return Image.open(BytesIO(data)).size
    assert data.dtype == np.uint8
    assert data.ndim == 3
    assert data.shape[2] in (1, 3)
    return data.shape[1], data.shape[0]


def test_two_passes_are_equal(dataset, part, source):
    again = build(part, source=source)
    assert again.card() == dataset.card()
    plain = [field.name for field in fields(Entry) if field.name not in ("read", "read_mask")]
    for one, other in zip(islice(dataset.entries(), LIMIT), islice(again.entries(), LIMIT), strict=True):
        assert [repr(getattr(one, name)) for name in plain] == [repr(getattr(other, name)) for name in plain]
        assert np.array_equal(one.read(), other.read())
        assert one.read_mask is None or one.read_mask() == other.read_mask()


def test_listing_reads_no_image(dataset, monkeypatch):
    """Whatever ends like an image, or packs images, cannot be read; masks are labels."""
    read_bytes = Path.read_bytes

    def guarded(path, *rest):
        assert path.suffix != ".png" or path.parent.name == "masks", f"{path.name} was read while listing"
        return read_bytes(path, *rest)

    monkeypatch.setattr(Path, "read_bytes", guarded)
    monkeypatch.setattr("pipeline.source.idx.IdxFile.row", lambda *_: pytest.fail("an image was read while listing"))
    dataset.card()
    assert len(list(dataset.entries())) == len(dataset)


@pytest.mark.parametrize("fault", ["twice", "label", "given", "target", "crop"])
def test_the_laws_turn_red_when_they_are_broken(fault):
    card = {"classes": ["a", "b"], "target": None}
    entry = Entry("x", lambda: np.zeros((4, 4, 1), dtype=np.uint8), label=0)
    check_entry(entry, card)
    broken = {
        "twice": Rejected("x", "why"), "label": Entry("x", entry.read, label=2), "given": Entry("x", entry.read, label=0, given="dev"),
        "target": Entry("x", entry.read, label=0, target=1.0), "crop": Entry("x", entry.read, label=0, crop=(0, 0, 5, 4)),
    }[fault]  # fmt: skip
    with pytest.raises(AssertionError):
        check_entry(broken, card)


STORED = [*((option, {}) for option in LAYOUTS), ("coco", {"objects": "whole"}), ("voc", {"objects": "whole"})]


@pytest.mark.parametrize(("option", "changes"), STORED)
def test_ingest_stores_what_the_entries_say(option, changes, source, tmp_path_factory):
    """Every layout through the stage itself: as many samples, the labels, and masks, boxes and keypoints in their places."""
    conf = CONF.parent
    settings = {
        **yaml.safe_load((conf / "config.yaml").read_text())["ingest"],
        "height": 20,
        "width": 24,
        "channels": 3,
        "min_side": 4,
    }
    part = {**yaml.safe_load(OPTIONS[option].read_text()), **changes}
    out = tmp_path_factory.mktemp("ingest")
    ingest.run({"dataset": part, "ingest": settings}, out, source=source)
    stored, dataset = open_samples(out), build(part, source=source)
    entries = {entry.name: entry for entry in dataset.entries()}
    assert len(stored) == len(entries)
    assert [sample.label for sample in stored] == [entries[sample.name].label for sample in stored]
    assert [sample.given for sample in stored] == [entries[sample.name].given for sample in stored]
    for sample in stored:
        entry = entries[sample.name]
        assert (sample.mask_HW is None) == (entry.read_mask is None)
        if entry.crop is None and isinstance(entry.read(), bytes):  # not resized: everything stands where the source has it
            assert np.array_equal(sample.pixels_HWC, np.asarray(Image.open(BytesIO(entry.read()))))
            assert [tuple(box) for box in sample.boxes] == [tuple(box) for box in entry.boxes]
            assert entry.read_mask is None or np.array_equal(sample.mask_HW, np.asarray(Image.open(BytesIO(entry.read_mask()))))
        assert len(sample.keypoints) == len(entry.keypoints)
