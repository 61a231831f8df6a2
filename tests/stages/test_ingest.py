"""ingest: what is published is what was there, byte for byte the same twice, and each mistake stops it with its line."""

import csv
import json
import math
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from pipeline.core import shard_files, shards
from pipeline.core.artifact import sha256
from pipeline.core.errors import BadSampleError, PersonError
from pipeline.core.record import Entry, Rejected, Sample
from pipeline.core.shard_files import checksum
from pipeline.core.store import open_samples
from pipeline.intake import items as items_module
from pipeline.intake import page as ingest_page
from pipeline.intake.intake import Intake
from pipeline.intake.items import damaged
from pipeline.stages import ingest


@pytest.fixture
def settings(project):
    conf = yaml.safe_load((project / "conf/config.yaml").read_text())["ingest"]
    folder = yaml.safe_load((project / "conf/dataset/image_folder.yaml").read_text())
    return {"dataset": folder, "ingest": {**conf, "height": 8, "width": 8, "channels": 3, "min_side": 4}}


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "photos"
    for kind, name in enumerate(("cat", "dog", "emu")):
        (folder / name).mkdir(parents=True)
        for number in range(10):
            noise = np.random.default_rng(100 * kind + number).integers(0, 256, (10 + number, 12, 3), dtype=np.uint8)
            Image.fromarray(noise).save(folder / name / f"{number}.png")
    return folder


def run(settings, out, source, items=None, **changes):
    out.mkdir(parents=True)
    if items is not None:
        items.mkdir(exist_ok=True)
    return ingest.run({**settings, "ingest": {**settings["ingest"], **changes}}, out, source=source, items=items)


def quarantine(out):
    with (out / "quarantine.csv").open(newline="") as file:
        return list(csv.reader(file))[1:]


def digests(out):
    return {str(path.relative_to(out)): sha256(path) for path in sorted(out.rglob("*")) if path.is_file()}


def test_card_shards_and_section(settings, source, tmp_path):
    said = run(settings, tmp_path / "out", source)
    assert said == "my images: 30 images of 8 x 8 pixels, colour, 3 classes; none in quarantine"
    card = json.loads((tmp_path / "out/card.json").read_text())
    assert card["counts"] == {"cat": 10, "dog": 10, "emu": 10}
    assert (card["samples"], card["height"], card["width"], card["channels"], card["quarantined"], card["groups"]) == (
        30,
        8,
        8,
        3,
        0,
        0,
    )
    assert "ignored" not in card
    samples = open_samples(tmp_path / "out")
    assert samples.columns["label"].tolist() == [0] * 10 + [1] * 10 + [2] * 10
    assert str(tmp_path) not in "".join(
        (tmp_path / "out" / name).read_text() for name in ("card.json", "section.json", "quarantine.csv")
    )
    with Image.open(tmp_path / "out/contact_sheet.png") as sheet:
        assert sheet.width > 300
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "card.json",
        "contact_sheet.png",
        "overlaps.json",
        "quarantine.csv",
        "rows.arrow",
        "section.json",
        "shards",
        "shards.json",
    ]


def test_size_and_resolution_of_each_file_are_kept(settings, source, tmp_path):
    turned = Image.fromarray(np.random.default_rng(7).integers(0, 256, (20, 30, 3), dtype=np.uint8))
    facts = turned.getexif()
    facts[0x0112] = 6  # to be shown on its side: 20 wide, 30 high
    turned.save(source / "emu" / "x.jpg", exif=facts)
    run(settings, tmp_path / "out", source, tmp_path / "items")
    found = open_samples(tmp_path / "out").columns
    for name, size, height, width in zip(*(found[key] for key in ("name", "source_bytes", "source_height", "source_width")), strict=True):
        assert size == (source / name).stat().st_size
        assert (height, width) == ((30, 20) if name == "emu/x.jpg" else (10 + int(Path(name).stem), 12))
    run(settings, tmp_path / "again", source, tmp_path / "items")
    assert digests(tmp_path / "again") == digests(tmp_path / "out")


def test_two_runs_from_folders_with_other_times_are_byte_identical(settings, source, tmp_path):
    (source / "cat" / "bad.jpg").write_bytes(b"")
    shutil.copytree(source, tmp_path / "again" / "photos", copy_function=shutil.copyfile)
    run(settings, tmp_path / "one", source, max_bad_fraction=0.5)
    run(settings, tmp_path / "two", tmp_path / "again" / "photos", max_bad_fraction=0.5)
    assert digests(tmp_path / "one") == digests(tmp_path / "two")


def test_the_digest_of_the_card_follows_pixels_and_labels(settings, source, tmp_path):
    run(settings, tmp_path / "one", source)
    (source / "cat/0.png").rename(source / "dog/99.png")
    run(settings, tmp_path / "two", source)
    one, two = (json.loads((tmp_path / name / "card.json").read_text())["digest"] for name in ("one", "two"))
    assert one != two


def test_bad_files_go_into_quarantine_up_to_a_share(settings, source, tmp_path):
    (source / "cat/=cmd.jpg").write_bytes(b"")
    (source / "dog/cut.png").write_bytes((source / "dog/0.png").read_bytes()[:200])
    run(settings, tmp_path / "out", source, max_bad_fraction=0.1)
    table = quarantine(tmp_path / "out")
    assert table[0] == ["cat/=cmd.jpg", "empty file (0 bytes)"]
    assert table[1][0] == "dog/cut.png"
    assert table[1][1].startswith("truncated: ")
    section = json.loads((tmp_path / "out/section.json").read_text())
    assert section["warnings"][0] == "2 of 32 files could not be used; quarantine.csv says why."
    with pytest.raises(PersonError) as caught:
        run(settings, tmp_path / "stop", source, max_bad_fraction=0.05)
    assert str(caught.value).startswith(
        "2 of 32 files (6.2%) cannot be used, more than ingest.max_bad_fraction = 0.05: "
        "cat/=cmd.jpg: empty file (0 bytes); dog/cut.png: truncated: "
    )


def test_a_formula_in_a_name_is_defused(settings, source, tmp_path):
    (source / "=1+1").mkdir()
    (source / "=1+1/0.png").write_bytes(b"")
    Image.new("RGB", (9, 9), (1, 2, 3)).save(source / "=1+1/8.png")
    Image.new("RGB", (9, 9), (3, 2, 1)).save(source / "=1+1/9.png")
    run(settings, tmp_path / "out", source, max_bad_fraction=0.5)
    assert quarantine(tmp_path / "out")[0][0] == "'=1+1/0.png"


def test_equal_images_of_one_class_are_stored_once_and_do_not_count_as_bad(settings, source, tmp_path):
    shutil.copy(source / "cat/3.png", source / "cat/x.png")
    run(settings, tmp_path / "out", source, max_bad_fraction=0.0)
    assert quarantine(tmp_path / "out") == [["cat/x.png", "duplicate: the same image as cat/3.png"]]
    samples = open_samples(tmp_path / "out")
    assert len(samples) == len(set(samples.ids)) == 30
    assert json.loads((tmp_path / "out/card.json").read_text())["quarantined"] == 1


def test_equal_images_of_two_classes_stop_the_run(settings, source, tmp_path):
    shutil.copy(source / "cat/3.png", source / "dog/x.png")
    with pytest.raises(PersonError) as caught:
        run(settings, tmp_path / "out", source)
    assert str(caught.value) == (
        "the same image has two labels: cat/3.png is 'cat' and dog/x.png is 'dog'; remove one, "
        "or set ingest.conflicts=drop to leave out both"
    )


def test_conflicts_can_be_dropped_with_all_their_copies(settings, source, tmp_path):
    shutil.copy(source / "cat/3.png", source / "dog/x.png")
    shutil.copy(source / "cat/3.png", source / "emu/x.png")
    run(settings, tmp_path / "out", source, conflicts="drop", max_bad_fraction=0.0)
    assert [name for name, _ in quarantine(tmp_path / "out")] == ["cat/3.png", "dog/x.png", "emu/x.png"]
    samples = open_samples(tmp_path / "out")
    assert len(samples) == 29
    assert "cat/3.png" not in samples.columns["name"].tolist()
    assert not (tmp_path / "out/intake").exists()


def test_no_usable_file(settings, source, tmp_path):
    for path in source.rglob("*.png"):
        path.write_text("oops")
    with pytest.raises(PersonError, match=r"no usable sample among 30 files: cat/0.png: not an image but text .*; and 27 more$"):
        run(settings, tmp_path / "out", source, max_bad_fraction=1.0)


def test_a_class_with_too_few_usable_files(settings, source, tmp_path):
    for number in range(1, 10):
        (source / "dog" / f"{number}.png").write_bytes(b"")
    with pytest.raises(PersonError) as caught:
        run(settings, tmp_path / "out", source, max_bad_fraction=1.0)
    assert str(caught.value) == (
        "the class 'dog' has 1 usable samples, expected at least 2 (samples of each class: cat 10, dog 1, "
        "emu 10): add images or leave the class out"
    )


def test_flat_uneven_and_ignored_are_said(settings, source, tmp_path):
    shutil.rmtree(source / "emu")
    for number in range(2, 10):
        (source / "dog" / f"{number}.png").unlink()
    for number in range(12):
        Image.fromarray(np.random.default_rng(900 + number).integers(0, 256, (9, 9), dtype=np.uint8)).save(
            source / f"cat/y{number}.png"
        )
    Image.new("RGB", (9, 9), (5, 5, 5)).save(source / "cat/flat.png")
    (source / "cat/notes.doc").write_text("x")
    run(settings, tmp_path / "out", source)
    said = json.loads((tmp_path / "out/section.json").read_text())["warnings"]
    assert said == [
        "1 images are of one single colour.",
        "The classes are uneven: the largest has 23 samples, the smallest 2.",
        "Files without the ending of an image were not looked at: 1 .doc.",
    ]


def test_a_table_with_a_target_alone(project, settings, source, tmp_path):
    rows = "".join(f"cat/{number}.png,{number / 2},{'ab'[number % 2]}\n" for number in range(10))
    (source / "labels.csv").write_text("path,size,who\n" + rows)
    node = yaml.safe_load((project / "conf/dataset/image_table.yaml").read_text())
    node |= {"label": None, "target": "size", "unit": "mm", "group": "who", "unlisted": "ignore"}
    run({**settings, "dataset": node}, tmp_path / "out", source)
    card = json.loads((tmp_path / "out/card.json").read_text())
    assert card["classes"] == []
    assert card["counts"] == {}
    assert card["groups"] == 2
    assert card["target"] == {"name": "size", "unit": "mm", "low": 0.0, "high": 4.5}


def test_memory_stays_at_one_shard():
    """Intake hands each sample on before it asks for the next one."""
    alive = []

    def found():
        for number in range(5):
            assert len(alive) == number
            yield Sample(id=str(number), pixels_HWC=np.zeros((1, 1, 1), np.uint8), label=0, name=str(number))

    for sample in Intake(classes=["a"], stop_on_conflict=True).accept(found()):
        alive.append(sample.id)  # noqa: PERF401
    assert alive == list("01234")


def test_equal_images_with_different_targets_conflict():
    pixels = np.zeros((1, 1, 1), np.uint8)
    entries = [Sample(id="x", pixels_HWC=pixels, target=target, name=name) for target, name in ((1.0, "a"), (2.0, "b"))]
    with pytest.raises(PersonError, match="a is '1' and b is '2'"):
        list(Intake(classes=[], stop_on_conflict=True).accept(iter(entries)))
    same = [Sample(id="x", pixels_HWC=pixels, label=0, target=math.nan, name=name) for name in ("a", "a")]
    intake = Intake(classes=["k"], stop_on_conflict=True)
    assert len(list(intake.accept(iter(same)))) == 1
    assert intake.rejected == [Rejected("a", "duplicate: the same image as a")]


def test_digits_need_no_source(project, settings, tmp_path):
    node = yaml.safe_load((project / "conf/dataset/digits.yaml").read_text())
    said = run({**settings, "dataset": {**node, "limit": 100}}, tmp_path / "out", Path("nowhere"), channels=1)
    assert said.startswith("Handwritten digits: 100 images of 8 x 8 pixels, grey, 10 classes")


# --- archives


def archived(source, folder, kind, *, wrapped=False):
    folder.mkdir()
    shutil.make_archive(str(folder / "data"), kind, source.parent if wrapped else source, source.name if wrapped else ".")
    return folder


@pytest.mark.parametrize(("kind", "wrapped"), [("zip", False), ("gztar", True), ("tar", False), ("xztar", True)])
def test_an_archive_gives_the_same_shards_as_its_folder(settings, source, tmp_path, kind, wrapped):
    run(settings, tmp_path / "plain", source)
    packed = archived(source, tmp_path / "packed", kind, wrapped=wrapped)
    run(settings, tmp_path / "out", packed, tmp_path / "items")
    assert (tmp_path / "out/shards.json").read_text() == (tmp_path / "plain/shards.json").read_text()
    assert last(tmp_path / "items")["decoded"] == 30
    age(tmp_path / "items")
    run(settings, tmp_path / "again", packed, tmp_path / "items")
    assert last(tmp_path / "items")["decoded"] == 0
    assert digests(tmp_path / "again") == digests(tmp_path / "out")


def test_another_archive_takes_the_place_of_the_one_before(settings, source, tmp_path):
    packed = archived(source, tmp_path / "packed", "zip")
    run(settings, tmp_path / "one", packed, tmp_path / "items")
    (source / "cat/0.png").unlink()
    shutil.make_archive(str(packed / "data"), "zip", source, ".")
    run(settings, tmp_path / "two", packed, tmp_path / "items")
    assert len(list((tmp_path / "items/unpacked").iterdir())) == 1
    assert json.loads((tmp_path / "two/card.json").read_text())["samples"] == 29


def test_an_archive_that_is_too_large_stops_with_its_line(settings, source, tmp_path):
    packed = archived(source, tmp_path / "packed", "zip")
    with pytest.raises(PersonError, match="data"):
        run(settings, tmp_path / "out", packed, tmp_path / "items", archive_members=10)
    assert not list((tmp_path / "items/unpacked").glob("*"))


# --- what the run before knew


def last(items):
    return json.loads((items / "last.json").read_text())


def age(*folders):
    """Make the clock of the next run stand three seconds later, as it does between two runs of a person."""
    for folder in folders:
        for path in folder.rglob("*"):
            os.utime(path, ns=(10**9, 10**9))


@pytest.fixture
def later(monkeypatch):
    """Runs look at their files long after these were written."""
    real = items_module.time.time_ns
    monkeypatch.setattr(items_module.time, "time_ns", lambda: real() + 10**10)
    quick = lambda images, titles, path, **_: Image.fromarray(np.concatenate(images)).save(path)  # noqa: E731 - no matplotlib
    monkeypatch.setattr(ingest_page, "sheet", quick)


@pytest.mark.usefixtures("later")
def test_the_second_run_reads_and_decodes_nothing_and_writes_the_same_bytes(settings, source, tmp_path):
    (source / "cat/bad.jpg").write_bytes(b"")
    for name in ("one", "two"):
        run(settings, tmp_path / name, source, tmp_path / "items", max_bad_fraction=0.5)
    run(settings, tmp_path / "without", source, max_bad_fraction=0.5)
    found = last(tmp_path / "items")
    assert (found["files"], found["known"], found["read"], found["decoded"]) == (31, 31, 0, 0)
    assert found["linked"] == found["shards"]
    assert digests(tmp_path / "one") == digests(tmp_path / "two") == digests(tmp_path / "without")


@pytest.mark.usefixtures("later")
def test_only_what_changed_is_decoded_and_the_bytes_are_those_of_a_run_that_knows_nothing(
    settings, source, tmp_path, monkeypatch
):
    monkeypatch.setattr(shards, "SHARD_BYTES", 8 * 8 * 3 * 4)  # four samples a shard
    run(settings, tmp_path / "one", source, tmp_path / "items")
    names = set(json.loads((tmp_path / "one/shards.json").read_text()))
    Image.new("RGB", (9, 9), (1, 2, 3)).save(source / "cat/new.png")
    shutil.copyfile(source / "emu/9.png", source / "emu/9b.png")
    (source / "emu/9.png").unlink()
    Image.new("RGB", (9, 9), (3, 2, 1)).save(source / "dog/4.png")
    (source / "dog/7.png").unlink()
    run(settings, tmp_path / "two", source, tmp_path / "items")
    run(settings, tmp_path / "fresh", source)
    assert digests(tmp_path / "two") == digests(tmp_path / "fresh")
    found = last(tmp_path / "items")
    assert (found["files"], found["decoded"], found["read"], found["known"]) == (30, 2, 3, 28)
    written = set(json.loads((tmp_path / "two/shards.json").read_text())) - names
    assert found["shards"] - found["linked"] == len(written) <= 6


def test_a_file_that_has_just_changed_is_read_again_though_its_size_and_time_are_the_same(settings, source, tmp_path):
    """Its times are too near to the run to say anything, as git has it; content decides."""
    run(settings, tmp_path / "one", source, tmp_path / "items")
    run(settings, tmp_path / "two", source, tmp_path / "items")
    assert last(tmp_path / "items") | {"shards": 0, "linked": 0} == {
        "files": 30, "known": 30, "read": 30, "decoded": 0, "shards": 0, "linked": 0}  # fmt: skip


@pytest.mark.usefixtures("later")
def test_a_change_that_keeps_size_and_modification_time_is_seen(settings, source, tmp_path):
    settings["ingest"]["min_side"] = 1
    path = source / "cat/flat.bmp"
    Image.new("RGB", (9, 9), (1, 2, 3)).save(path)
    before = path.stat()
    run(settings, tmp_path / "one", source, tmp_path / "items")
    Image.new("RGB", (9, 9), (3, 2, 1)).save(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    run(settings, tmp_path / "two", source, tmp_path / "items")
    assert last(tmp_path / "items")["decoded"] == 1
    run(settings, tmp_path / "fresh", source)
    assert digests(tmp_path / "two") == digests(tmp_path / "fresh")


@pytest.mark.usefixtures("later")
@pytest.mark.parametrize("change", [{"background": 3}, {"fit": "crop"}, {"height": 9}])
def test_other_settings_or_other_code_decode_everything_again(settings, source, tmp_path, change):
    run(settings, tmp_path / "one", source, tmp_path / "items")
    run(settings, tmp_path / "two", source, tmp_path / "items", **change)
    assert last(tmp_path / "items")["decoded"] == 30
    run({**settings, "code": {"ingest": {"modules": "x"}}}, tmp_path / "three", source, tmp_path / "items", **change)
    assert last(tmp_path / "items")["decoded"] == 30


@pytest.mark.usefixtures("later")
@pytest.mark.parametrize("part", ["known.json", "shards", "rows.arrow", "sheet"])
@pytest.mark.parametrize("damage", ["flip", "cut", "gone", "empty"])
def test_a_damaged_memory_is_not_believed(settings, source, tmp_path, part, damage):
    run(settings, tmp_path / "fresh", source)
    run(settings, tmp_path / "one", source, tmp_path / "items")
    path = tmp_path / "items" / part
    path = path if path.is_file() else next(path.iterdir())
    before, data = path.stat(), bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.unlink()
    if damage != "gone":
        path.write_bytes({"flip": bytes(data), "cut": bytes(data[:-20]), "empty": b""}[damage])
        if part != "shards":  # of those the time is believed
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert damaged(tmp_path / "items") == ([path.name] if part == "shards" else [])
    run(settings, tmp_path / "two", source, tmp_path / "items")
    assert last(tmp_path / "items")["decoded"] == (0 if part in ("rows.arrow", "sheet") else 30)
    assert digests(tmp_path / "two") == digests(tmp_path / "fresh")
    run(settings, tmp_path / "three", source, tmp_path / "items")
    assert last(tmp_path / "items")["decoded"] == 0
    assert digests(tmp_path / "three") == digests(tmp_path / "fresh")


@pytest.mark.usefixtures("later")
def test_shards_that_rest_are_not_read_again_and_rot_is_still_named(settings, source, tmp_path, monkeypatch):
    run(settings, tmp_path / "one", source, tmp_path / "items")
    path = next((tmp_path / "items/shards").iterdir())
    before, data = path.stat(), bytearray(path.read_bytes())
    read = []
    for module in (shard_files, items_module):
        monkeypatch.setattr(module, "checksum", lambda path: read.append(path.name) or checksum(path))
    run(settings, tmp_path / "two", source, tmp_path / "items")
    assert set(read) == {"rows.arrow"}
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert damaged(tmp_path / "items") == [path.name]


@pytest.mark.usefixtures("later")
def test_shards_written_a_moment_ago_are_read_again(settings, source, tmp_path, monkeypatch):
    monkeypatch.undo()
    run(settings, tmp_path / "one", source, tmp_path / "items")
    read = []
    for module in (shard_files, items_module):
        monkeypatch.setattr(module, "checksum", lambda path: read.append(path.name) or checksum(path))
    run(settings, tmp_path / "two", source, tmp_path / "items")
    assert {path.name for path in (tmp_path / "items/shards").iterdir()} <= set(read)


@pytest.mark.usefixtures("later")
def test_what_a_run_does_not_use_is_forgotten(settings, source, tmp_path):
    run(settings, tmp_path / "one", source, tmp_path / "items")
    size = sum(path.stat().st_size for path in (tmp_path / "items").rglob("*") if path.is_file())
    for number in range(2, 10):
        for name in ("cat", "dog", "emu"):
            (source / name / f"{number}.png").unlink()
    run(settings, tmp_path / "two", source, tmp_path / "items")
    assert sum(path.stat().st_size for path in (tmp_path / "items").rglob("*") if path.is_file()) < size
    assert {path.name for path in (tmp_path / "items/shards").iterdir()} == set(
        json.loads((tmp_path / "two/shards.json").read_text())
    )
    assert len(list((tmp_path / "items/sheet").iterdir())) == 1


@pytest.mark.usefixtures("later")
def test_conflicting_images_are_not_decoded_again_either(settings, source, tmp_path):
    shutil.copyfile(source / "cat/3.png", source / "dog/x.png")
    for name in ("one", "two"):
        run(settings, tmp_path / name, source, tmp_path / "items", conflicts="drop", max_bad_fraction=0.0)
    assert last(tmp_path / "items")["decoded"] == 0
    assert digests(tmp_path / "one") == digests(tmp_path / "two")


@pytest.mark.usefixtures("later")
def test_a_run_that_stops_keeps_what_it_has_decoded(settings, source, tmp_path):
    (source / "cat/cut.png").write_bytes(b"")
    with pytest.raises(PersonError, match="cannot be used"):
        run(settings, tmp_path / "one", source, tmp_path / "items", max_bad_fraction=0.0)
    (source / "cat/cut.png").unlink()
    run(settings, tmp_path / "two", source, tmp_path / "items")
    assert last(tmp_path / "items")["decoded"] == 0


# --- parts of files


class Annotated:
    """Two crops, a mask, boxes and keypoints of one file."""

    def __init__(self, *, source):
        self.source = source

    def card(self):
        return {"name": "n", "source": "s", "license": "l", "citation": "", "classes": ["a", "b"], "target": None}

    def __len__(self):
        return 4

    def entries(self):
        whole = {"read": (self.source / "image.png").read_bytes, "boxes": ((2.0, 2.0, 10.0, 6.0, 1),), "keypoints": ((4.0, 4.0),)}
        yield Entry("whole", label=0, read_mask=(self.source / "mask.png").read_bytes, given="train", **whole)
        yield Entry("left", label=0, crop=(0.0, 0.0, 8.0, 16.0), **whole)
        yield Entry("right", label=1, crop=(8.0, 0.0, 16.0, 16.0), given="test", **whole)
        yield Entry("pixels", lambda: np.full((16, 16, 3), 9, np.uint8), label=1)


@pytest.mark.usefixtures("later")
def test_crops_masks_boxes_keypoints_and_splits_reach_the_store_and_are_known_the_next_time(settings, tmp_path, monkeypatch):
    source = tmp_path / "source"
    source.mkdir()
    picture = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    mask = np.kron(np.arange(4, dtype=np.uint8).reshape(2, 2), np.ones((8, 8), np.uint8))
    Image.fromarray(picture).save(source / "image.png")
    Image.fromarray(mask).save(source / "mask.png")
    monkeypatch.setattr(ingest, "build", lambda node, source: Annotated(source=source))
    for name in ("one", "two"):
        run(settings, tmp_path / name, source, tmp_path / "items")
    assert last(tmp_path / "items") | {"shards": 0, "linked": 0} == {
        "files": 4, "known": 4, "read": 1, "decoded": 0, "shards": 0, "linked": 0}  # fmt: skip
    assert digests(tmp_path / "one") == digests(tmp_path / "two")
    samples = open_samples(tmp_path / "two")
    assert samples.columns["given"].tolist() == ["train", "", "test", ""]
    assert np.array_equal(samples.mask(0), np.kron(np.arange(4, dtype=np.uint8).reshape(2, 2), np.ones((4, 4), np.uint8)))
    assert [samples.mask(place) for place in (1, 2, 3)] == [None] * 3
    assert samples.boxes(0) == ((1.0, 1.0, 5.0, 3.0, 1),)
    assert samples.boxes(1) == ((2.0, 1.0, 8.0, 3.0, 1),)
    assert samples.boxes(2) == ((0.0, 1.0, 2.0, 3.0, 1),)
    assert samples.keypoints(1) == ((4.0, 2.0),)
    assert samples.keypoints(2) == ((-1.0, -1.0),)
    assert (samples.pixels(3) == 9).all()
    monkeypatch.setattr(Annotated, "entries", lambda self: (replace(entry, boxes=()) for entry in ENTRIES(self)))
    run(settings, tmp_path / "three", source, tmp_path / "items")
    assert last(tmp_path / "items")["decoded"] == 3
    assert open_samples(tmp_path / "three").boxes(0) == ()


ENTRIES = Annotated.entries


class Masked(Annotated):
    """One photo under several names, each with a mask of its own."""

    names = ("a", "b")

    def entries(self):
        for name in self.names:
            mask = self.source / f"{name}.png"
            yield Entry(name, (self.source / "image.png").read_bytes, label=0, read_mask=mask.read_bytes if mask.exists() else None)
        for level in range(4):
            yield Entry(f"grey {level}", partial(np.full, (16, 16, 3), level, np.uint8), label=level % 2)


LISTED = Masked.entries


@pytest.fixture
def masked(tmp_path, monkeypatch):
    source = tmp_path / "source"
    source.mkdir()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(source / "image.png")
    for number, name in enumerate("ab"):
        Image.fromarray(np.full((16, 16), number, np.uint8)).save(source / f"{name}.png")

    monkeypatch.setattr(ingest, "build", lambda node, source: Masked(source=source))
    return source


@pytest.mark.usefixtures("later")
@pytest.mark.parametrize("first", [("a", "b"), ("a", "none"), ("none", "b")])
def test_a_photo_keeps_its_own_mask_when_a_twin_with_another_one_goes(settings, tmp_path, masked, monkeypatch, first):
    settings["ingest"]["conflicts"] = "drop"
    monkeypatch.setattr(Masked, "names", first)
    run(settings, tmp_path / "one", masked, tmp_path / "items")
    assert [name for name in open_samples(tmp_path / "one").columns["name"] if not name.startswith("grey")] == []
    monkeypatch.setattr(Masked, "names", first[1:])
    run(settings, tmp_path / "two", masked, tmp_path / "items")
    run(settings, tmp_path / "bare", masked)
    assert digests(tmp_path / "two") == digests(tmp_path / "bare")
    mask = open_samples(tmp_path / "two").mask(0)
    assert mask is None if first[1] == "none" else (mask == 1).all()


def test_equal_photos_with_different_masks_stop_the_run_and_with_equal_ones_are_stored_once(settings, tmp_path, masked):
    with pytest.raises(PersonError, match=r"the same image has two masks: a and b; remove one, or set ingest.conflicts=drop"):
        run(settings, tmp_path / "one", masked)
    shutil.copyfile(masked / "a.png", masked / "b.png")
    run(settings, tmp_path / "two", masked)
    assert (tmp_path / "two/quarantine.csv").read_text().splitlines()[1:] == ["b,duplicate: the same image as a"]


@pytest.mark.usefixtures("later")
def test_a_mask_whose_file_is_too_large_is_not_read(settings, tmp_path, masked, monkeypatch):
    with (masked / "b.png").open("r+b") as file:
        file.truncate(2**40)
    monkeypatch.setattr(Masked, "names", ("b",))
    run(settings, tmp_path / "one", masked, max_bad_fraction=0.5)
    assert "its mask is too large: 1099511627776 bytes" in (tmp_path / "one/quarantine.csv").read_text()


@pytest.mark.usefixtures("later")
def test_a_mask_that_broke_since_it_was_listed_is_put_aside(settings, tmp_path, masked, monkeypatch):
    def changed(self):
        yield from (replace(entry, read_mask=broken) if entry.name == "b" else entry for entry in LISTED(self))

    def broken():
        raise BadSampleError("it holds 7, expected 0 or 1")

    monkeypatch.setattr(Masked, "entries", changed)
    run(settings, tmp_path / "one", masked, max_bad_fraction=0.5)
    assert "b,its mask: it holds 7" in (tmp_path / "one/quarantine.csv").read_text().replace('"', "")


def test_a_file_that_cannot_be_read_or_is_too_large_is_put_aside(settings, source, tmp_path, monkeypatch):
    gone = source / "cat/gone.png"
    gone.write_bytes(b"x")
    large = source / "dog/large.png"
    with large.open("wb") as file:
        file.truncate(9 * 40_000_000 + 5_000_000)
    real = ingest.build

    def build(node, **facts):
        part = real(node, **facts)
        len(part)
        gone.unlink()
        return part

    monkeypatch.setattr(ingest, "build", build)
    run(settings, tmp_path / "out", source, max_bad_fraction=0.5)
    assert quarantine(tmp_path / "out") == [
        ["cat/gone.png", "cannot be read: No such file or directory"],
        ["dog/large.png", "too large: 365000000 bytes, and an image of max_pixels has at most 324194304"],
    ]


# --- memory

MEMORY = """
import json, resource, shutil, sys
from pathlib import Path
from pipeline.stages import ingest

if __name__ == "__main__":
    cfg, out, source, items = json.loads(sys.argv[1]), *map(Path, sys.argv[2:])
    out.mkdir()
    items.mkdir()
    ingest.run(cfg, out, source=source, items=items)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_data(settings, tmp_path, project):
    """Acceptance 7 and goal 7: eight times the data in at most 1.10 times the memory, also where that is more than all of it."""
    (tmp_path / "run.py").write_text(MEMORY)
    cfg = {**settings, "ingest": {**settings["ingest"], "height": 256, "width": 256}}
    peaks = []
    for count in (256, 2048):
        source = tmp_path / f"source{count}"
        for number in range(count):
            small = np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)
            path = source / "ab"[number % 2] / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(small).resize((256, 256), Image.Resampling.NEAREST).save(path)
        words = [
            sys.executable,
            str(tmp_path / "run.py"),
            json.dumps(cfg),
            *(str(tmp_path / f"{name}{count}") for name in ("out", "source", "items")),
        ]
        done = subprocess.run(words, cwd=project, env={**os.environ, "PYTHONPATH": str(project)}, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        peaks.append(int(done.stdout.split()[-1]) * 1024)
        stored = sum(path.stat().st_size for path in (tmp_path / f"out{count}/shards").iterdir())
    print(f"peak {peaks[0] >> 20} MB for 1x, {peaks[1] >> 20} MB for 8x ({stored >> 20} MB stored): {peaks[1] / peaks[0]:.3f}")
    assert peaks[1] <= 1.10 * peaks[0]
    assert peaks[1] < stored
