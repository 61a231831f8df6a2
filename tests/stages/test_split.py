"""split: every sample once, statistics of the train split alone, and a hard stop for each planted fault."""

import csv
import json

import numpy as np
import pytest

from pipeline.core.artifact import sha256, write_json
from pipeline.core.errors import PersonError
from pipeline.core.record import Sample
from pipeline.core.store import write_shards
from pipeline.splitter.grouped import Grouped
from pipeline.stages import split

STRATIFIED = {"_target_": "pipeline.splitter.stratified.Stratified", "val": 0.2, "test": 0.2}
GROUPED = {"_target_": "pipeline.splitter.grouped.Grouped", "val": 0.2, "test": 0.2}
BLOCKED = {"_target_": "pipeline.splitter.blocked.Blocked", "folds": 5, "test_fold": 0, "val": 0.2, "val_runs": 1, "keep_groups": True}
STABLE = {"_target_": "pipeline.splitter.stable.Stable", "val": 0.2, "test": 0.2}
KFOLD = {"_target_": "pipeline.splitter.kfold.Kfold", "folds": 5, "test_fold": 1, "keep_groups": True}
TIME = {"_target_": "pipeline.splitter.time_ordered.TimeOrdered", "val": 0.2, "test": 0.2, "gap": 2}
GIVEN = {"_target_": "pipeline.splitter.given.Given", "rest": "error", "val": 0.0}
AUTO = {"on_leak": "auto", "reason": ""}


def ingest(folder, *, labels, groups=None, targets=None, classes=("a", "b"), ids=None, channels=1, given=None, origins=None):
    rng = np.random.default_rng(0)
    count = len(labels)
    found = [
        Sample(
            id=ids[number] if ids else f"id{number:03d}",
            pixels_HWC=rng.integers(0, 256, (6, 5, channels), dtype=np.uint8),
            label=labels[number],
            target=targets[number] if targets is not None else float("nan"),
            group=groups[number] if groups else "",
            order=number,
            name=f"=n{number}",
            given=given[number] if given else "",
            origin=origins[number] if origins else "real",
        )
        for number in range(count)
    ]
    write_shards(folder, found)
    distinct = len(set(groups)) if groups else 0
    write_json(folder / "card.json", {"classes": list(classes), "groups": distinct, "samples": count})
    write_json(folder / "overlaps.json", [])
    return found


def run(tmp_path, name, node, seed=0, clusters=None, **options):
    (tmp_path / name).mkdir()
    (tmp_path / "quality").mkdir(exist_ok=True)
    write_json(tmp_path / "quality/clusters.json", clusters or {})
    cfg = {"splitter": node, "seed": seed, "split": {**AUTO, **options}}
    return split.run(cfg, tmp_path / name, ingest=tmp_path / "ingest", quality=tmp_path / "quality")


def pair(*numbers, name="c0"):
    return {f"id{number:03d}": name for number in numbers}


def sides(tmp_path, name):
    return {identity: side for side, ids in read(tmp_path, name).items() for identity in ids}


def read(tmp_path, name, file="split.json"):
    return json.loads((tmp_path / name / file).read_text())


def test_every_id_stands_once_and_in_stored_order(tmp_path):
    samples = ingest(tmp_path / "ingest", labels=[number % 2 for number in range(50)])
    assert run(tmp_path, "out", STRATIFIED) == "30 train, 10 validation and 10 test samples (splitter=stratified)"
    found = read(tmp_path, "out")
    assert set(found) == {"train", "val", "test", "left_out"}
    assert found["left_out"] == []
    assert sorted(found["train"] + found["val"] + found["test"]) == [sample.id for sample in samples]
    assert all(found[name] == sorted(found[name]) for name in split.SPLITS)


@pytest.mark.parametrize("channels", [1, 3])
def test_statistics_are_those_of_the_train_split(tmp_path, channels):
    samples = ingest(tmp_path / "ingest", labels=[number % 2 for number in range(40)], channels=channels)
    run(tmp_path, "out", STRATIFIED, clusters=pair(*range(6)))
    train = set(read(tmp_path, "out")["train"])
    pixels = np.stack([sample.pixels_HWC for sample in samples if sample.id in train]) / 255
    found = read(tmp_path, "out", "statistics.json")
    assert np.allclose(found["mean"], pixels.mean((0, 1, 2)), atol=1e-12)
    assert np.allclose(found["std"], pixels.std((0, 1, 2)), atol=1e-12)


def test_two_runs_are_byte_identical_and_another_seed_is_another_split(tmp_path):
    ingest(tmp_path / "ingest", labels=[number % 2 for number in range(40)])
    for name, seed in (("one", 0), ("two", 0), ("three", 1)):
        run(tmp_path, name, STRATIFIED, seed)
    digests = [{path.name: sha256(path) for path in (tmp_path / name).iterdir()} for name in ("one", "two", "three")]
    assert digests[0] == digests[1]
    assert digests[0]["split.json"] != digests[2]["split.json"]


def test_the_table_is_for_people(tmp_path):
    ingest(tmp_path / "ingest", labels=[number % 2 for number in range(20)], targets=[number / 3 for number in range(20)])
    run(tmp_path, "out", BLOCKED)
    with (tmp_path / "out/table.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[1] == {
        "id": "id001",
        "name": "'=n1",
        "split": "test",
        "label": "b",
        "target": "0.333333",
        "group": "",
        "cluster": "",
        "order": "1",
    }


def test_the_section_counts_classes_and_groups(tmp_path):
    ingest(tmp_path / "ingest", labels=[number % 2 for number in range(50)], groups=[f"g{number // 5}" for number in range(50)])
    run(tmp_path, "out", BLOCKED)
    section = read(tmp_path, "out", "section.json")
    assert section["tables"][0]["rows"] == [["all", 30, 10, 10], ["a", 15, 5, 5], ["b", 15, 5, 5], ["groups", 6, 2, 2]]
    assert section["warnings"] == []
    run(tmp_path, "loose", STRATIFIED)
    assert read(tmp_path, "loose", "section.json")["warnings"][0].startswith("10 of 10 groups stand in more than one split")


def test_a_splitter_that_breaks_its_promise_is_stopped(tmp_path, monkeypatch):
    ingest(tmp_path / "ingest", labels=[number % 2 for number in range(40)], groups=[f"g{number // 8}" for number in range(40)])
    honest = Grouped.assign

    def planted(self, **arguments):
        found = honest(self, **arguments)
        found[0] = "test" if found[0] != "test" else "train"
        return found

    monkeypatch.setattr(Grouped, "assign", planted)
    with pytest.raises(PersonError, match="1 groups stand on both sides of the split, for example 'g0'"):
        run(tmp_path, "out", GROUPED)


def test_a_sample_stored_twice_is_stopped(tmp_path):
    ingest(tmp_path / "ingest", labels=[0, 1] * 10, ids=[f"id{number % 19:03d}" for number in range(20)])
    with pytest.raises(
        PersonError, match=r"1 samples are stored more than once and could stand on both sides, for example =n0, =n19"
    ):
        run(tmp_path, "out", STRATIFIED)


@pytest.mark.parametrize("answer", [np.asarray(["train"] * 19), np.asarray(["train"] * 19 + ["exam"])])
def test_an_answer_of_the_wrong_kind_is_stopped(tmp_path, monkeypatch, answer):
    ingest(tmp_path / "ingest", labels=[0, 1] * 10)
    monkeypatch.setattr(Grouped, "assign", lambda self, **_: answer)
    with pytest.raises(PersonError, match="the splitter must name one of train, val, test for each of 20 samples"):
        run(tmp_path, "out", GROUPED)


def test_a_class_that_a_split_lacks_is_named(tmp_path):
    ingest(tmp_path / "ingest", labels=[0] * 20 + [1] * 30)
    with pytest.raises(PersonError) as caught:
        run(tmp_path, "out", BLOCKED)
    line = "the class 'a' is missing in the val split (train 10, val 0, test 10): add samples of it, leave the class out"
    assert str(caught.value).startswith(line)


def test_a_class_of_two_samples_is_too_small(tmp_path):
    ingest(tmp_path / "ingest", labels=[0] * 20 + [1] * 2)
    with pytest.raises(PersonError, match=r"the class 'b' is missing in the val split \(train 2, val 0, test 0\)"):
        run(tmp_path, "out", STRATIFIED)


def test_too_few_samples_leave_a_split_empty(tmp_path):
    ingest(tmp_path / "ingest", labels=[-1, -1], targets=[1.0, 2.0], classes=())
    with pytest.raises(PersonError, match="the val split is empty: 2 samples are too few"):
        run(tmp_path, "out", STRATIFIED)


def test_a_target_is_spread_by_its_quantiles(tmp_path):
    targets = np.random.default_rng(1).exponential(size=100).tolist()
    ingest(tmp_path / "ingest", labels=[-1] * 100, targets=targets, classes=())
    run(tmp_path, "out", STRATIFIED)
    strata = split.strata_of({"target": np.asarray(targets)}, {"classes": []})
    assert np.bincount(strata).tolist() == [20] * 5
    test = {int(identity[2:]) for identity in read(tmp_path, "out")["test"]}
    assert np.bincount(strata[sorted(test)]).tolist() == [4] * 5


# --- what belongs together


def csv_of(tmp_path, name, file="left_out.csv"):
    with (tmp_path / name / file).open(newline="") as lines:
        return list(csv.DictReader(lines))


@pytest.mark.parametrize("node", [STRATIFIED, STABLE, TIME, {**KFOLD, "keep_groups": False}], ids=lambda node: node["_target_"].split(".")[2])
def test_of_near_duplicates_that_a_splitter_parts_the_training_side_is_left_out_and_nothing_moves(tmp_path, node):
    ingest(tmp_path / "ingest", labels=[number % 2 for number in range(100)])
    run(tmp_path, "plain", node)
    before = sides(tmp_path, "plain")
    chosen = {side: [int(identity[2:]) for identity, found in before.items() if found == side][:2] for side in split.SPLITS}
    clusters = {**pair(chosen["train"][0], chosen["val"][0], chosen["test"][0]), **pair(chosen["train"][1], chosen["val"][1], name="c1")}
    said = run(tmp_path, "out", node, clusters=clusters)
    after = sides(tmp_path, "out")
    lost = {f"id{chosen['train'][0]:03d}": "train", f"id{chosen['val'][0]:03d}": "val", f"id{chosen['train'][1]:03d}": "train"}
    assert {identity: before[identity] for identity in before if before[identity] != after[identity]} == lost
    assert {after[identity] for identity in lost} == {"left_out"}
    rows = {row["id"]: row for row in csv_of(tmp_path, "out") if row["other_id"]}
    assert {identity: row["assigned"] for identity, row in rows.items()} == lost
    first = rows[f"id{chosen['train'][0]:03d}"]
    assert (first["other_id"], first["other_split"], first["reason"]) == (f"id{chosen['test'][0]:03d}", "test", "near duplicates c0, also in test")
    section = read(tmp_path, "out", "section.json")
    assert section["warnings"][0].startswith("2 train and 1 validation samples were left out")
    assert "left out" in said
    assert section["tables"][0]["columns"][-1] == "left out"
    assert section["tables"][1]["rows"]


def test_a_splitter_that_keeps_groups_keeps_near_duplicates_and_groups_joined(tmp_path):
    groups = [f"g{number // 5}" if number < 80 else "" for number in range(100)]
    ingest(tmp_path / "ingest", labels=[number % 2 for number in range(100)], groups=groups)
    clusters = {**pair(0, 79), **pair(81, 99, name="c1"), **pair(40, 90, name="c2")}
    for name, node in (("grouped", GROUPED), ("kfold", KFOLD), ("blocked", BLOCKED)):
        run(tmp_path, name, node, clusters=clusters)
        found = sides(tmp_path, name)
        for members in ([*range(5), *range(75, 80)], [81, 99], [*range(40, 45), 90]):
            assert len({found[f"id{member:03d}"] for member in members}) == 1
        assert read(tmp_path, name)["left_out"] == []
    text = read(tmp_path, "grouped", "section.json")["text"][0]
    assert text.startswith("6 samples have near duplicates, in 3 clusters. Joined with the groups of the data they make 16 groups; the largest with a near duplicate (g0 + g15)")
    assert {row["cluster"] for row in csv_of(tmp_path, "grouped", "table.csv")} == {"", "c0", "c1", "c2"}


def test_growing_data_never_moves_an_old_sample_between_splits(tmp_path):
    """Three hundred old samples, a per cent and then a fifth of new ones, most of them near duplicates of old ones."""
    rng = np.random.default_rng(4)
    old = [f"{number:020x}" for number in rng.choice(10**6, 300, replace=False)]
    labels = [number % 2 for number in range(300)]
    ingest(tmp_path / "ingest", labels=labels, ids=old)
    clusters = {old[number]: f"c{number // 2}" for number in range(20)}
    run(tmp_path, "before", STABLE, clusters=clusters)
    before = sides(tmp_path, "before")
    for step, more in enumerate((3, 60)):
        new = [f"f{step}{number:018x}" for number in range(more)]
        places = rng.permutation(300 + more)
        ids = [[*old, *new][place] for place in places]
        grown = {**clusters, **{new[number]: f"n{number}" for number in range(0, more, 2)}}
        grown |= {old[int(rng.integers(20, 300))]: f"n{number}" for number in range(0, more, 2)}
        (tmp_path / "ingest").rename(tmp_path / f"ingest{step}")
        ingest(tmp_path / "ingest", labels=[int(place) % 2 for place in places], ids=ids)
        run(tmp_path, f"after{step}", STABLE, clusters=grown)
        after = sides(tmp_path, f"after{step}")
        moved = [identity for identity in old if after[identity] not in {before[identity], "left_out"}]
        assert moved == []
        assert [identity for identity in old if before[identity] == "test" and after[identity] != "test"] == []
        lost = {identity for identity in old if after[identity] == "left_out"} - set(read(tmp_path, "before")["left_out"])
        assert all(identity in grown for identity in lost)
    assert lost, "some old training samples had to go, or this test shows nothing"


def test_a_given_split_is_followed_and_a_near_duplicate_over_its_border_stops_the_run(tmp_path):
    given = [("train", "train", "val", "test")[number // 2 % 4] for number in range(80)]
    ingest(tmp_path / "ingest", labels=[number % 2 for number in range(80)], given=given)
    run(tmp_path, "clean", GIVEN, clusters=pair(0, 1, 2))
    assert sides(tmp_path, "clean") == {f"id{number:03d}": side for number, side in enumerate(given)}
    clusters = {**pair(0, 6), **pair(4, 8, name="c1"), **{f"id{number:03d}": "c2" for number in range(16, 32)}}
    with pytest.raises(PersonError) as caught:
        run(tmp_path, "out", GIVEN, clusters=clusters)
    said = str(caught.value)
    assert said.startswith("the split that the data names overlaps: 14 samples belong together with one of a later split: ")
    assert "=n0 (train) and =n6 (test), near duplicates c0; =n8 (train) and =n4 (val), near duplicates c1" in said
    assert "and 9 more" in said
    assert said.endswith("mend the data, or leave their training side out with  split.on_leak=leave_out")
    assert "\n" not in said
    assert list((tmp_path / "out").iterdir()) == []


def test_the_overlap_of_a_given_split_can_be_left_out_or_kept_with_a_reason(tmp_path):
    given = [("train", "train", "val", "test")[number // 2 % 4] for number in range(80)]
    ingest(tmp_path / "ingest", labels=[number % 2 for number in range(80)], given=given)
    run(tmp_path, "out", GIVEN, clusters=pair(0, 6), on_leak="leave_out")
    assert read(tmp_path, "out")["left_out"] == ["id000"]
    with pytest.raises(PersonError, match=r"split.on_leak=keep leaves a leak in the figures: say why in  split.reason"):
        run(tmp_path, "silent", GIVEN, clusters=pair(0, 6), on_leak="keep", reason=" ")
    run(tmp_path, "kept", GIVEN, clusters=pair(0, 6), on_leak="keep", reason="the official split of the paper")
    assert read(tmp_path, "kept")["left_out"] == []
    assert read(tmp_path, "kept", "section.json")["warnings"] == [
        "1 samples belong together with samples of a later split and were kept: figures may be too good. "
        "Reason given: the official split of the paper"
    ]


def test_a_persons_group_on_both_sides_of_a_given_split_stops_the_run(tmp_path):
    groups = [f"p{number // 4}" for number in range(80)]
    given = [("train", "train", "val", "test")[number // 4 % 4] for number in range(80)]
    ingest(tmp_path / "ingest", labels=[number % 2 for number in range(80)], groups=groups, given=given)
    run(tmp_path, "clean", GIVEN)
    given[0] = "test"
    (tmp_path / "ingest").rename(tmp_path / "old")
    ingest(tmp_path / "ingest", labels=[number % 2 for number in range(80)], groups=groups, given=given)
    with pytest.raises(PersonError, match=r"overlaps: 3 samples belong .*: =n1 \(train\) and =n0 \(test\), p0"):
        run(tmp_path, "out", GIVEN)


def test_any_splitter_can_be_told_to_stop(tmp_path):
    ingest(tmp_path / "ingest", labels=[number % 2 for number in range(50)])
    run(tmp_path, "plain", STRATIFIED)
    found = read(tmp_path, "plain")
    clusters = {found["train"][0]: "c0", found["test"][0]: "c0"}
    with pytest.raises(PersonError, match="the split overlaps: 1 samples belong together"):
        run(tmp_path, "out", STRATIFIED, clusters=clusters, on_leak="stop")


def test_a_splitter_that_parts_near_duplicates_against_its_promise_is_stopped(tmp_path, monkeypatch):
    ingest(tmp_path / "ingest", labels=[number % 2 for number in range(40)], groups=[f"g{number // 8}" for number in range(40)])
    honest = Grouped.assign
    blind = [f"g{number // 8}" for number in range(40)]
    monkeypatch.setattr(Grouped, "assign", lambda self, **arguments: honest(self, **{**arguments, "groups": blind}))
    run(tmp_path, "plain", GROUPED)
    found = sides(tmp_path, "plain")
    other = next(number for number in range(40) if found[f"id{number:03d}"] != found["id000"])
    with pytest.raises(PersonError, match=rf"1 groups stand on both sides of the split, for example 'g0 \+ g{other // 8}'"):
        run(tmp_path, "out", GROUPED, clusters=pair(0, other))


def test_a_time_order_that_is_violated_is_stopped_with_the_count(tmp_path, monkeypatch):
    from pipeline.splitter.time_ordered import TimeOrdered

    ingest(tmp_path / "ingest", labels=[number % 2 for number in range(50)])
    run(tmp_path, "plain", TIME)
    assert len(read(tmp_path, "plain")["left_out"]) == 4
    assert {row["reason"] for row in csv_of(tmp_path, "plain")} == {"between two splits"}
    honest = TimeOrdered.assign

    def planted(self, **arguments):
        found = honest(self, **arguments)
        found[[45, 48]] = "train"
        return found

    monkeypatch.setattr(TimeOrdered, "assign", planted)
    with pytest.raises(PersonError, match=r"2 train samples come after the first val sample \(position 30, the last one at 48\)"):
        run(tmp_path, "out", TIME)


def test_samples_that_were_made_before_the_split_are_stopped(tmp_path):
    ingest(tmp_path / "ingest", labels=[0, 1] * 20, origins=["real"] * 38 + ["augmented", "synthetic"])
    with pytest.raises(PersonError, match="2 samples were augmented or synthesized before the split and could stand in the test, for example =n38"):
        run(tmp_path, "out", STRATIFIED)


def test_what_was_left_out_is_named_where_a_class_is_lost_by_it(tmp_path):
    ingest(tmp_path / "ingest", labels=[1] * 40 + [0] * 10)
    run(tmp_path, "plain", STRATIFIED)
    rare = {f"id{number:03d}": "c0" for number in range(40, 50)}
    with pytest.raises(PersonError, match=r"the class 'a' is missing in the train split \(train 0, val 0, test 2\).*\(8 near duplicates were left out\)"):
        run(tmp_path, "out", STRATIFIED, clusters=rare)


def test_the_strip_marks_what_was_left_out(tmp_path):
    ingest(tmp_path / "ingest", labels=[number % 2 for number in range(50)])
    run(tmp_path, "plain", STRATIFIED)
    found = read(tmp_path, "plain")
    run(tmp_path, "out", STRATIFIED, clusters={found["train"][0]: "c0", found["test"][0]: "c0"})
    import cv2

    red = np.asarray([0x2B, 0x39, 0xC0])
    counts = [int((np.abs(cv2.imread(str(tmp_path / name / "strip.png")).astype(int) - red).max(axis=2) < 40).sum()) for name in ("plain", "out")]
    assert counts[0] == 0
    assert counts[1] > 50


def test_near_duplicates_that_join_everything_are_named_as_the_cause(tmp_path):
    ingest(tmp_path / "ingest", labels=[number % 2 for number in range(100)], groups=[f"g{number // 5}" for number in range(100)])
    with pytest.raises(PersonError, match=r"the train split is empty.*\(near duplicates join 100 of 100 samples into one group: look at data/quality"):
        run(tmp_path, "out", BLOCKED, clusters={f"id{number:03d}": "c0" for number in range(0, 100, 5)})
    run(tmp_path, "half", GROUPED, clusters={f"id{number:03d}": "c0" for number in range(0, 30, 5)})
    assert read(tmp_path, "half", "section.json")["warnings"][0].startswith("Near duplicates join 30 of 100 samples into one group (g0 + g1 + g2")


def test_one_image_in_two_splits_of_a_person_stops_the_run_and_can_be_left_to_the_test(tmp_path):
    """As ingest tells it, which stores the first of equal images; RIAWELC had each test image among those of the training."""
    given = [("train", "train", "val", "test")[number // 2 % 4] for number in range(80)]
    ingest(tmp_path / "ingest", labels=[number % 2 for number in range(80)], given=given)
    copies = [{"id": f"id{number:03d}", "names": [f"a{number}.png", f"b{number}.png"], "given": [given[number], other]}
              for number, other in ((0, "test"), (6, "train"), (8, "val"), (10, ""))]  # fmt: skip
    write_json(tmp_path / "ingest/overlaps.json", [*copies, {"id": "dropped", "names": ["c", "d"], "given": ["train", "test"]}])
    with pytest.raises(PersonError) as caught:
        run(tmp_path, "out", GIVEN)
    said = str(caught.value)
    assert said.startswith("the split that the data names overlaps: 5 times one image stands in two splits: a0.png (train) and b0.png (test); a6.png (test)")
    assert "a10.png (train) and b10.png (no split)" in said
    run(tmp_path, "left", GIVEN, on_leak="leave_out")
    found = sides(tmp_path, "left")
    assert [found[f"id{number:03d}"] for number in (0, 6, 8, 10)] == ["test", "test", "val", "val" if given[10] == "val" else "train"]
    assert read(tmp_path, "left", "section.json")["warnings"][0].startswith("5 times the data names two splits for one image")
    run(tmp_path, "other", STRATIFIED)
    assert read(tmp_path, "other", "section.json")["warnings"] == [], "another splitter does not follow what was named"


def test_ingest_tells_of_equal_images_in_several_splits():
    from pipeline.intake.intake import Intake

    pixels = np.zeros((4, 4, 1), dtype=np.uint8)
    rows = [("x", "train", "1"), ("y", "test", "2"), ("x", "test", "3"), ("x", "train", "4"), ("y", "test", "5"), ("z", "", "6"), ("z", "val", "7")]
    intake = Intake(classes=["a"], stop_on_conflict=True)
    kept = list(intake.accept(Sample(id=identity, pixels_HWC=pixels, label=0, given=given, name=name) for identity, given, name in rows))
    assert [sample.name for sample in kept] == ["1", "2", "6"]
    assert intake.overlaps == [
        {"id": "x", "names": ["1", "3"], "given": ["train", "test"]}, {"id": "z", "names": ["6", "7"], "given": ["", "val"]},
    ]
