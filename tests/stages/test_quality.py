"""quality: planted faults are found, gates stop or are waived with a reason, and the cache changes nothing but the time."""

import csv
import json
import shutil

import numpy as np
import pytest
import yaml

from pipeline.core.artifact import write_json
from pipeline.core.errors import PersonError
from pipeline.core.record import Sample
from pipeline.core.store import write_shards
from pipeline.findings import items as items_module
from pipeline.findings import measures
from pipeline.images.decode import sample_id
from pipeline.stages import quality
from tests.toy import PROJECT

REASON = "copies are wanted in this test"


def picture(rng, label, side=48):
    """A cloud of random detail, with a bright bar that lies across for label 1 and upright for label 0."""
    coarse = np.kron(rng.integers(40, 160, (12, 12)), np.ones((side // 12, side // 12))) + rng.normal(0, 6, (side, side))
    place = int(rng.integers(12, side - 12))
    rows = slice(place, place + 6)
    coarse[(rows, slice(None)) if label else (slice(None), rows)] += 70
    return np.clip(coarse, 0, 255).astype(np.uint8)[..., None]


def data(count=60, *, seed=0):
    rng = np.random.default_rng(seed)
    return [(picture(rng, number % 2), number % 2) for number in range(count)]


def publish(directory, pairs, *, classes=("upright", "across"), groups=None, files=None):
    ingest, embed = directory / "ingest", directory / "embed"
    for folder in (ingest, embed):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    samples = [
        Sample(id=sample_id(pixels), pixels_HWC=pixels, label=int(label) if classes else -1, target=float(label), order=number,
               name=f"shot-{number:03d}.png", group=groups[number] if groups else "", **(files[number] if files else {}))
        for number, (pixels, label) in enumerate(pairs)
    ]  # fmt: skip
    write_shards(ingest, samples)
    counts = {name: sum(sample.label == number for sample in samples) for number, name in enumerate(classes)}
    target = None if classes else {"name": "level", "unit": "", "low": 0.0, "high": 1.0}
    write_json(ingest / "card.json", {"name": "toy", "classes": list(classes), "counts": counts, "target": target})
    profile = [np.concatenate([s.pixels_HWC[..., 0].mean(0), s.pixels_HWC[..., 0].mean(1)]) for s in samples]
    features = np.array([[values[:48].std(), values[48:].std(), values.mean()] for values in profile], dtype=np.float32)
    np.save(embed / "features.npy", features)
    (embed / "ids.txt").write_text("".join(f"{sample.id}\n" for sample in samples))
    return samples


def options(**changes):
    config = yaml.safe_load((PROJECT / "conf" / "config.yaml").read_text())["quality"]
    for name, value in changes.items():
        config[name] = {**config[name], **value} if isinstance(value, dict) else value
    return config


def run(directory, name="quality", *, items=None, scratch=None, **changes):
    out = directory / name
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    said = quality.run({"quality": options(**changes), "seed": 0, "threads": 1}, out, ingest=directory / "ingest",
                       embed=directory / "embed", items=items, scratch=scratch)  # fmt: skip
    return out, said


def findings(out, kind):
    with (out / "findings.csv").open(newline="") as file:
        return [row for row in csv.DictReader(file) if row["finding"] == kind]


def gates(out):
    return {gate["gate"]: gate for gate in json.loads((out / "gates.json").read_text())}


def test_clean_data_pass_every_gate(tmp_path):
    publish(tmp_path, data())
    out, said = run(tmp_path)
    assert "all 7 gates passed" in said
    assert all(gate["passed"] and gate["waiver"] == "" for gate in gates(out).values())
    assert json.loads((out / "clusters.json").read_text()) == {}
    with (out / "measures.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 60
    assert list(rows[0]) == ["id", "name", *measures.NAMES]


def test_planted_copies_become_one_cluster_named_by_its_smallest_id(tmp_path):
    pairs = data()
    dark = (pairs[3][0] * 0.7).astype(np.uint8)
    samples = publish(tmp_path, [*pairs, (pairs[3][0][:, ::-1].copy(), pairs[3][1]), (dark, pairs[3][1])])
    out, said = run(tmp_path)
    found = json.loads((out / "clusters.json").read_text())
    ids = sorted(samples[place].id for place in (3, 60, 61))
    assert found == dict.fromkeys(ids, ids[0])
    assert "3 near duplicates in 1 cluster" in said
    assert "1 clusters" not in said
    assert (out / "near_duplicates.png").is_file()
    assert any("near duplicates of each other" in line for line in json.loads((out / "section.json").read_text())["warnings"])


def test_a_copy_with_another_label_stops_the_run_and_names_both_and_the_remedies(tmp_path):
    pairs = data()
    publish(tmp_path, [*pairs, (np.rot90(pairs[3][0]).copy(), 1 - pairs[3][1])])
    with pytest.raises(PersonError) as error:
        run(tmp_path)
    line = str(error.value)
    assert "\n" not in line
    for part in (
        "quality gate conflicts",
        " is 1, the limit is at most 0",
        "shot-003.png and shot-060.png",
        "quality.waivers.conflicts",
    ):
        assert part in line


def test_a_waiver_with_a_reason_lets_it_pass_and_is_published(tmp_path):
    pairs = data()
    publish(tmp_path, [*pairs, (np.rot90(pairs[3][0]).copy(), 1 - pairs[3][1])])
    out, said = run(tmp_path, waivers={"conflicts": REASON})
    assert "1 of 7 gates waived" in said
    assert gates(out)["conflicts"] == {"gate": "conflicts", "value": 1.0, "limit": 0.0, "passed": False, "waiver": REASON}
    assert len(findings(out, "conflict")) == 1


@pytest.mark.parametrize("reason", ["   ", "because", "it is ok"])
def test_a_waiver_without_a_real_reason_is_refused(tmp_path, reason):
    publish(tmp_path, data(20))
    with pytest.raises(PersonError, match="must say why"):
        run(tmp_path, waivers={"conflicts": reason})


def test_a_waiver_of_no_gate_names_the_nearest(tmp_path):
    publish(tmp_path, data(20))
    with pytest.raises(PersonError, match="did you mean 'conflicts'"):
        run(tmp_path, waivers={"conflict": REASON})


def test_wrong_labels_are_doubted_and_right_ones_hardly(tmp_path):
    pairs = data(200)
    wrong = [10, 51, 120, 163]
    publish(tmp_path, [(pixels, 1 - label if place in wrong else label) for place, (pixels, label) in enumerate(pairs)])
    out, _ = run(tmp_path)
    doubted = {row["name"] for row in findings(out, "label")}
    assert len({f"shot-{place:03d}.png" for place in wrong} & doubted) >= 3
    assert len(doubted) <= 12
    assert (out / "doubtful_labels.png").is_file()


def test_constant_dark_bright_flat_and_odd_images_are_found_and_too_many_constant_ones_stop(tmp_path):
    pairs = data(100)
    planted = [np.full((48, 48, 1), 90, np.uint8), (pairs[0][0] // 20), (240 + pairs[1][0] // 20), (100 + pairs[2][0] // 20)]
    publish(tmp_path, [*pairs, *((pixels, number % 2) for number, pixels in enumerate(planted))])
    out, _ = run(tmp_path, waivers={"conflicts": REASON})
    for kind, place in (("constant", 100), ("dark", 101), ("bright", 102), ("low contrast", 103)):
        assert f"shot-{place}.png" in {row["name"] for row in findings(out, kind)}, kind
    publish(tmp_path, [*pairs, *((np.full((48, 48, 1), level, np.uint8), level % 2) for level in range(60, 72))])
    with pytest.raises(PersonError, match=r"quality gate constant: .* 0\.107.*, the limit is at most 0\.05"):
        run(tmp_path)


def test_a_class_that_brightness_gives_away_stops_the_run(tmp_path):
    pairs = [((pixels // 2 + 110 * label).astype(np.uint8), label) for pixels, label in data(120)]
    publish(tmp_path, pairs)
    with pytest.raises(PersonError, match="quality gate shortcut"):
        run(tmp_path)
    out, _ = run(tmp_path, waivers={"shortcut": "brightness is the thing to be measured"})
    assert not gates(out)["shortcut"]["passed"]


def files(labels, *, planted=""):
    """Facts of files that say nothing of the label, but for the one that is planted."""
    rng = np.random.default_rng(11)
    found = []
    for label in labels:
        size, side = int(rng.integers(4000, 9000)), int(rng.integers(300, 700))
        size, side = (size + 6000 * label if planted == "size" else size), (side + 500 * label if planted == "side" else side)
        found.append({"source_bytes": size, "source_height": side, "source_width": side})
    return found


@pytest.mark.parametrize(("planted", "fact"), [("size", "file size"), ("side", "resolution")])
def test_a_class_that_its_files_give_away_stops_the_run_and_the_fact_is_named(tmp_path, planted, fact):
    pairs = data(120)
    publish(tmp_path, pairs, files=files([label for _, label in pairs], planted=planted))
    with pytest.raises(PersonError, match=rf"quality gate shortcut: .*; the worst: {fact} [01]\.\d\d"):
        run(tmp_path)
    out, _ = run(tmp_path, waivers={"shortcut": "the files cannot be had in another way"})
    section = json.loads((out / "section.json").read_text())
    assert any(fact in line for line in section["warnings"])
    medians = next(table for table in section["tables"] if "median of each class" in table["caption"])
    row = next(row for row in medians["rows"] if row[0] == fact)
    upright, across = (float(cell.replace(",", "")) for cell in row[1:])
    assert across > 1.5 * upright


def test_files_that_say_nothing_of_the_class_pass(tmp_path):
    pairs = data(120)
    publish(tmp_path, pairs, files=files([label for _, label in pairs]))
    out, said = run(tmp_path)
    assert "all 7 gates passed" in said
    with (out / "shortcuts.csv").open() as file:
        told = {row["fact"]: float(row["strength"]) for row in csv.DictReader(file)}
    assert max(told["file size"], told["resolution"]) < 0.4


def test_what_a_gate_stops_can_be_looked_at_and_leaves_the_artifact_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pairs = data()
    publish(tmp_path, [*pairs, (np.rot90(pairs[3][0]).copy(), 1 - pairs[3][1])])
    kept = tmp_path / ".run/quality/0123"
    kept.mkdir(parents=True)
    (kept / "old").write_text("of a run before")
    with pytest.raises(PersonError, match=r"; pictures and tables: \.run/quality/0123/index\.html$") as error:
        run(tmp_path, scratch=kept)
    page = (kept / "index.html").read_text()
    assert "shot-003.png and shot-060.png" in page
    assert "1 of 7 gates failed" in page
    assert page.count("<img src=\"data:image/") == len(list(kept.glob("*.png"))) >= 3
    assert findings(kept, "conflict")[0]["name"] == "shot-003.png"
    assert not (kept / "old").exists()
    assert "\n" not in str(error.value)


def test_names_of_files_are_text_in_the_page_of_what_was_stopped(tmp_path):
    from pipeline.core.section import Section, Table, write_section
    from pipeline.findings.stopped import keep

    out = tmp_path / "out"
    out.mkdir()
    write_section(out, Section("Quality", "<b>1</b>", tables=[Table("worst", ["sample"], [["<script>alert(1)</script>"]])]))
    keep(out, tmp_path / "kept", "<i>why</i>")
    page = (tmp_path / "kept/index.html").read_text()
    for hostile in ("<script>", "<b>1", "<i>why"):
        assert hostile not in page
    assert "&lt;script&gt;alert(1)" in page


def test_a_class_below_the_limit_stops_the_run(tmp_path):
    pairs = data(40)
    publish(tmp_path, [entry for place, entry in enumerate(pairs) if entry[1] == 0 or place < 5])
    with pytest.raises(
        PersonError, match="quality gate smallest_class: the size of the smallest class is 2, the limit is at least 3"
    ):
        run(tmp_path)


def test_a_target_instead_of_classes(tmp_path):
    rng = np.random.default_rng(1)
    pairs = [(pixels, rng.normal()) for pixels, _ in data(60)]
    pairs[7] = (pairs[7][0], 80.0)
    publish(tmp_path, [*pairs, (pairs[3][0][::-1].copy(), pairs[3][1] + 40)], classes=())
    with pytest.raises(PersonError, match="quality gate conflicts"):
        run(tmp_path)
    out, _ = run(tmp_path, waivers={"conflicts": REASON})
    assert "shot-007.png" in {row["name"] for row in findings(out, "odd target")}
    assert not findings(out, "label")
    assert set(gates(out)) == {"conflicts", "constant", "label_errors", "near_duplicates", "shortcut"}


def test_without_an_embedder_thumbnails_stand_in(tmp_path):
    publish(tmp_path, data())
    np.save(tmp_path / "embed/features.npy", np.zeros((0, 0), np.float32))
    (tmp_path / "embed/ids.txt").write_text("")
    out, _ = run(tmp_path)
    assert "thumbnails" in " ".join(json.loads((out / "section.json").read_text())["text"])


def test_features_of_other_samples_are_refused(tmp_path):
    publish(tmp_path, data(20))
    (tmp_path / "embed/ids.txt").write_text("x\n" * 20)
    with pytest.raises(PersonError, match="not those of the samples"):
        run(tmp_path)


def test_only_new_samples_are_looked_at_and_the_artifact_is_the_same_bytes(tmp_path, monkeypatch):
    seen = []
    real = measures.measure
    monkeypatch.setattr(items_module.measures, "measure", lambda pixels: seen.append(1) or real(pixels))
    pairs, kept = data(50), tmp_path / "items"
    publish(tmp_path, pairs[:40])
    run(tmp_path, items=kept)
    assert len(seen) == 40
    publish(tmp_path, [*pairs[40:], *pairs[5:38]])
    with_cache, _ = run(tmp_path, "with", items=kept)
    assert len(seen) == 40 + 10
    run(tmp_path, "again", items=kept)
    assert len(seen) == 40 + 10
    without, _ = run(tmp_path, "without")
    for path in without.iterdir():
        assert path.read_bytes() == (with_cache / path.name).read_bytes(), path.name


def test_a_broken_cache_is_made_anew(tmp_path):
    publish(tmp_path, data(20))
    kept = tmp_path / "items"
    first, _ = run(tmp_path, "first", items=kept)
    next(kept.rglob("measures.npy")).write_bytes(b"no array")
    second, _ = run(tmp_path, "second", items=kept)
    assert (first / "measures.csv").read_bytes() == (second / "measures.csv").read_bytes()


def test_the_report_shows_quality_behind_the_data_and_knows_what_was_waived(tmp_path):
    from pipeline.stages import report

    pairs = data()
    publish(tmp_path, [*pairs, (np.rot90(pairs[3][0]).copy(), 1 - pairs[3][1])])
    out, _ = run(tmp_path, waivers={"conflicts": REASON})
    assert [(gate["gate"], gate["waiver"]) for gate in report._waived({"quality": out})] == [("conflicts", REASON)]
    assert report._waived({}) == []
    assert report.reading_order(["compose", "ingest", "embed", "quality", "split"]) == [
        "compose",
        "ingest",
        "quality",
        "embed",
        "split",
    ]
