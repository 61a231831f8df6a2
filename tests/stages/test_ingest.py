"""ingest: what is published is what was there, byte for byte the same twice, and each mistake stops it with its line."""

import csv
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from pipeline.core.artifact import sha256
from pipeline.core.contracts import Rejected, Sample
from pipeline.core.errors import PersonError
from pipeline.core.store import open_samples
from pipeline.stages import ingest
from pipeline.stages.ingest import Intake


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


def run(settings, out, source, **changes):
    out.mkdir(parents=True)
    return ingest.run({**settings, "ingest": {**settings["ingest"], **changes}}, out, source=source)


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
        "quarantine.csv",
        "section.json",
        "shards",
    ]


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
