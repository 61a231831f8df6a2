"""split: every sample once, statistics of the train split alone, and a hard stop for each planted fault."""

import csv
import json

import numpy as np
import pytest

from pipeline.core.artifact import sha256, write_json
from pipeline.core.contracts import Sample
from pipeline.core.errors import PersonError
from pipeline.core.store import write_shards
from pipeline.splitter.grouped import Grouped
from pipeline.stages import split

STRATIFIED = {"_target_": "pipeline.splitter.stratified.Stratified", "val": 0.2, "test": 0.2}
GROUPED = {"_target_": "pipeline.splitter.grouped.Grouped", "val": 0.2, "test": 0.2}
BLOCKED = {"_target_": "pipeline.splitter.blocked.Blocked", "folds": 5, "test_fold": 0, "val": 0.2, "val_runs": 1, "keep_groups": True}


def ingest(folder, *, labels, groups=None, targets=None, classes=("a", "b"), ids=None, channels=1):
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
        )
        for number in range(count)
    ]
    write_shards(folder, found, shard_size=16)
    distinct = len(set(groups)) if groups else 0
    write_json(folder / "card.json", {"classes": list(classes), "groups": distinct, "samples": count})
    return found


def run(tmp_path, name, node, seed=0):
    (tmp_path / name).mkdir()
    return split.run({"splitter": node, "seed": seed}, tmp_path / name, ingest=tmp_path / "ingest")


def read(tmp_path, name, file="split.json"):
    return json.loads((tmp_path / name / file).read_text())


def test_every_id_stands_once_and_in_stored_order(tmp_path):
    samples = ingest(tmp_path / "ingest", labels=[number % 2 for number in range(50)])
    assert run(tmp_path, "out", STRATIFIED) == "30 train, 10 validation and 10 test samples (splitter=stratified)"
    found = read(tmp_path, "out")
    assert sorted(found["train"] + found["val"] + found["test"]) == [sample.id for sample in samples]
    assert all(found[name] == sorted(found[name]) for name in split.SPLITS)


@pytest.mark.parametrize("channels", [1, 3])
def test_statistics_are_those_of_the_train_split(tmp_path, channels):
    samples = ingest(tmp_path / "ingest", labels=[number % 2 for number in range(40)], channels=channels)
    run(tmp_path, "out", STRATIFIED)
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
