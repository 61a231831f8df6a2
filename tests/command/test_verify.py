import os

import pytest

from pipeline.command import verify
from pipeline.core import artifact, ledger
from pipeline.core.errors import PersonError

DVC = """
stages:
  first: {cmd: x, deps: [conf], outs: [data/first]}
  second: {cmd: x, deps: [data/first], outs: [data/second]}
"""


def make(root, name, text, **inputs):
    partial = artifact.begin(root / "data" / name)
    (partial / "a.txt").write_text(text)
    return artifact.publish(partial, root / "data" / name, {"inputs": inputs})


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dvc.yaml").write_text(DVC)
    (tmp_path / "params.yaml").write_text("source: data/raw\n")
    make(tmp_path, "second", "two", first=make(tmp_path, "first", "one"))
    return tmp_path


def test_whole_artifacts_are_said_to_be_whole(root, capsys):
    assert verify.main([]) == 0
    assert capsys.readouterr().out.split() == ["first", "whole", "second", "whole"]


def test_a_flipped_bit_with_its_old_time_and_size_is_found(root, capsys):
    path = root / "data/first/a.txt"
    before = path.stat()
    path.write_text("onf")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert verify.main([]) == 1
    said = capsys.readouterr().out
    assert "data/first/a.txt differs from the manifest" in said
    assert "rm -rf data/first && dvc repro --force --single-item first" in said
    assert verify.main(["second"]) == 0


def test_an_artifact_made_from_another_input_is_named(root, capsys):
    make(root, "first", "another")
    assert verify.main([]) == 1
    assert "data/second was made from another data/first" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["", "{", "[]", '{"files": {}}', "\xff"])
def test_a_broken_manifest_is_named(root, capsys, text):
    (root / "data/first/manifest.json").write_bytes(text.encode("latin-1"))
    assert verify.main(["first"]) == 1
    assert "manifest.json cannot be read" in capsys.readouterr().out


def test_a_missing_artifact_is_an_error_only_when_asked_for(root, capsys):
    (root / "data/second").rename(root / "data/elsewhere")
    assert verify.main([]) == 0
    assert verify.main(["second"]) == 1
    assert "is missing" in capsys.readouterr().out


def test_nothing_published_is_said(root, capsys):
    (root / "data").rename(root / "gone")
    assert verify.main([]) == 0
    assert "dvc repro" in capsys.readouterr().out


def test_an_unknown_stage_names_the_nearest(root):
    with pytest.raises(PersonError, match="did you mean 'first'"):
        verify.main(["frist"])


OPENS = """
  exam: {cmd: x, deps: [data/train], outs: [data/exam], meta: {opens: test}}
"""


@pytest.fixture
def examined(root):
    (root / "dvc.yaml").write_text(DVC + OPENS)
    for model in ("m1", "m2"):
        ledger.record(root, stage="exam", identity=model, digests={"train": model})
    make(root, "exam", "done", train="m2")
    return root


def test_the_looks_at_the_test_split_are_said(examined, capsys):
    assert verify.main([]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "the test split was opened 2 times, by 2 different models"


def test_a_removed_look_is_a_fault(examined, capsys):
    path = examined / ledger.LEDGER
    path.write_bytes(path.read_bytes().splitlines(keepends=True)[1])
    assert verify.main([]) == 1
    said = capsys.readouterr().out
    assert "the test split was opened 1 time, by 1 different model (at least: .run/looks.jsonl, line 1 does not follow" in said
    assert "begin a new one with  rm -f .run/looks.jsonl .run/looks.seal" in said


def test_an_artifact_without_a_look_is_named_and_no_fault(examined, capsys):
    make(examined, "exam", "done", train="m3")
    assert verify.main([]) == 0
    assert "data/exam was looked at elsewhere" in capsys.readouterr().out
