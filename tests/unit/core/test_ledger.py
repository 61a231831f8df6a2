"""The count of looks at the test split: every planted tampering is seen, and what is innocent is not."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from pipeline.core import artifact, ledger
from pipeline.core.dag import Stage
from pipeline.core.errors import PersonError


def look(root, model="m1", stage="evaluate", identity="i"):
    ledger.record(root, stage=stage, identity=identity, digests={"train": model, "split": "s"})


def stage(name, meta, inputs=("train",)):
    return Stage(name, "", (), (), {each: f"data/{each}" for each in inputs}, f"data/{name}", meta)


@pytest.fixture
def root(tmp_path):
    for number in range(4):
        look(tmp_path, model=f"m{number // 2}")
    return tmp_path


def edit(root, change):
    path = root / ledger.LEDGER
    path.write_bytes(b"".join(change(path.read_bytes().splitlines(keepends=True))))


def test_looks_and_models_are_counted(root):
    looks = ledger.read(root)
    assert looks.faults == []
    assert looks.sentence() == "the test split was opened 4 times, by 2 different models"
    assert [entry["model"] for entry in looks.entries] == ["m0", "m0", "m1", "m1"]
    assert all(set(entry) == {"stage", "identity", "model", "time", "chain"} for entry in looks.entries)


def test_a_stage_without_a_model_counts_as_one_of_its_own(tmp_path):
    ledger.record(tmp_path, stage="baseline", identity="b1", digests={"split": "s"})
    assert ledger.read(tmp_path).entries[0]["model"] == "b1"


def test_no_look_is_no_fault(tmp_path):
    looks = ledger.read(tmp_path)
    assert (looks.entries, looks.faults) == ([], [])
    assert looks.sentence() == "the test split was opened 0 times, by 0 different models"


def changed(lines):
    entry = json.loads(lines[1])
    return [lines[0], json.dumps({**entry, "model": "m9"}, sort_keys=True).encode() + b"\n", *lines[2:]]


@pytest.mark.parametrize(("change", "said"), [
    (lambda lines: lines[1:], "line 1 does not follow"),
    (lambda lines: [lines[0], *lines[2:]], "line 2 does not follow"),
    (lambda lines: lines[:-1], "holds 3 looks where .run/looks.seal counts 4: lines were removed"),
    (lambda lines: [], "holds 0 looks where .run/looks.seal counts 4: lines were removed"),
    (lambda lines: [lines[1], lines[0], *lines[2:]], "line 1 does not follow"),
    (lambda lines: [*lines, lines[0]], "line 5 does not follow"),
    (changed, "line 2 does not follow"),
    (lambda lines: [*lines[:-1], lines[-1][:20]], "line 4 cannot be read"),
    (lambda lines: [*lines[:2], b"\n", *lines[2:]], "line 3 cannot be read"),
    (lambda lines: [*lines[:2], b'{"stage": 5}\n', *lines[3:]], "line 3 cannot be read"),
])  # fmt: skip
def test_tampering_is_seen_and_stays_seen_after_further_looks(root, change, said):
    edit(root, change)
    assert any(said in line for line in ledger.read(root).faults), ledger.read(root).faults
    for number in range(3):
        look(root, model=f"later{number}")
    later = ledger.read(root)
    assert later.faults
    assert "at least" in later.sentence()
    assert [entry["model"] for entry in later.entries][-3:] == ["later0", "later1", "later2"]


def test_a_removed_ledger_is_seen_by_its_seal_and_a_removed_seal_by_the_ledger(root):
    (root / ledger.LEDGER).unlink()
    assert "holds 0 looks" in ledger.read(root).faults[0]
    (root / ledger.SEAL).unlink()
    assert ledger.read(root).faults == [], "a new count"
    look(root)
    (root / ledger.SEAL).write_text("{")
    assert ledger.read(root).faults == [".run/looks.seal is missing or cannot be read"]


def test_a_kill_between_the_two_files_is_no_tampering(root):
    seal = (root / ledger.SEAL).read_bytes()
    look(root)
    (root / ledger.SEAL).write_bytes(seal)
    assert ledger.read(root).faults == []
    look(root)
    assert ledger.read(root).faults == []
    assert len(ledger.read(root).entries) == 6


def test_looks_at_the_same_time_are_all_counted(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: look(tmp_path, model=f"m{number}"), range(40)))
    looks = ledger.read(tmp_path)
    assert (len(looks.entries), looks.models, looks.faults) == (40, 40, [])


def test_dvc_yaml_says_which_stages_open_the_test_split(project):
    assert ledger.opens_test(stage("a", {"opens": "test"}))
    assert not ledger.opens_test(stage("a", {"threads": 1}))
    with pytest.raises(PersonError, match=r"stage a: meta\.opens must be `test` or left out: received 'tset'"):
        ledger.opens_test(stage("a", {"opens": "tset"}))


def test_an_artifact_that_was_made_elsewhere_is_named(tmp_path):
    stages = {each.name: each for each in (stage("evaluate", {"opens": "test"}), stage("explain", {"opens": "test"}), stage("other", {}))}
    for name in stages:
        partial = artifact.begin(tmp_path / "data" / name)
        (partial / "a").write_text("a")
        artifact.publish(partial, tmp_path / "data" / name, {"inputs": {"train": "m1"}})
    look(tmp_path, model="m1", stage="evaluate")
    look(tmp_path, model="m0", stage="explain")
    assert ledger.strangers(tmp_path, stages, ledger.read(tmp_path)) == ["data/explain"]
    (tmp_path / "data/explain/manifest.json").write_text("{")
    assert ledger.strangers(tmp_path, stages, ledger.read(tmp_path)) == []
