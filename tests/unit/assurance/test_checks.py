"""Each law has a planted fault that breaks it."""

import pytest

from pipeline.assurance.checks import check
from pipeline.assurance.evidence import Shelf
from pipeline.core import artifact
from tests.unit.assurance.test_evidence import publish

GATE = {"gate": "conflicts", "value": 0.0, "limit": 0.0, "passed": True, "waiver": ""}
PARTS = {"train": ["a", "b"], "val": ["c"], "test": ["d"], "left_out": []}


def shelf(directory, *, gates=(GATE,), parts=PARTS, model=None):
    quality = publish(directory, "quality", gates=list(gates))
    split = publish(directory, "split", {"quality": artifact.digest(quality)}, split=parts)
    train = publish(directory, "train", {"split": artifact.digest(split), "source": "tracked by DVC"}, run={})
    evaluate = publish(directory, "evaluate", {"train": model or artifact.digest(train)}, metrics={"auroc": 0.9})
    made = Shelf({"quality": quality, "split": split, "train": train, "evaluate": evaluate})
    made.number("evaluate", "metrics.json", "auroc")
    return made


def broken(found):
    return {one.name: list(one.faults) for one in check(found) if one.faults}


def test_sound_evidence_breaks_nothing_and_says_what_it_rests_on(tmp_path):
    found = check(shelf(tmp_path))
    assert [one.faults for one in found] == [()] * 6
    assert [one.verdict for one in found] == ["holds"] * 3 + ["nothing to check"] * 2 + ["holds"]
    assert [one.rests for one in found[:2]] == [("quality/gates.json",), ("split/split.json",)]


def test_planted_fault_evidence_of_another_model(tmp_path):
    assert broken(shelf(tmp_path, model="f" * 64)) == {"one chain of evidence": ["evaluate was made from another train (ffffffffffff) than the one at hand"]}


def test_planted_fault_a_number_changed_after_it_was_published(tmp_path):
    made = shelf(tmp_path)
    file = made.directories["evaluate"] / "metrics.json"
    file.write_text(file.read_text().replace("0.9", "0.99"))
    assert broken(Shelf(made.directories)) == {}  # nobody read it
    again = Shelf(made.directories)
    again.number("evaluate", "metrics.json", "auroc")
    assert broken(again) == {"whole evidence": ["evaluate/metrics.json was changed after it was published"]}


def test_planted_fault_a_file_that_no_manifest_names(tmp_path):
    made = shelf(tmp_path)
    artifact.write_json(made.directories["evaluate"] / "extra.json", {"auroc": 1.0})
    made.number("evaluate", "extra.json", "auroc")
    assert broken(made) == {"whole evidence": ["evaluate/extra.json is not in its manifest"]}


@pytest.mark.parametrize(("parts", "fault"), [
    ({**PARTS, "test": ["d", "a"]}, "1 samples stand in train and in test"), ({**PARTS, "val": ["d"]}, "1 samples stand in val and in test"),
    ({**PARTS, "test": []}, "the split test is empty"),
])  # fmt: skip
def test_planted_fault_a_sample_in_two_splits(tmp_path, parts, fault):
    assert broken(shelf(tmp_path, parts=parts)) == {"disjoint splits": [fault]}


def test_planted_fault_a_data_gate_that_failed_without_a_waiver(tmp_path):
    failed = {**GATE, "value": 3.0, "passed": False}
    assert broken(shelf(tmp_path, gates=[failed])) == {"gates on the data": ["conflicts is 3 against 0 and is not waived"]}
    assert broken(shelf(tmp_path / "again", gates=[{**failed, "waiver": "two experts disagree here"}])) == {}
