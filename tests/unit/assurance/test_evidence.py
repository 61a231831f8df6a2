"""Evidence is a number at a path of a file, with its interval and the hash of exactly that file."""

import hashlib

import pytest

from pipeline.assurance.evidence import ANY, Shelf, walk
from pipeline.core import artifact

METRICS = {"auroc": {"value": 0.9, "low": 0.8, "high": 0.95}, "size": 3, "groups": {"a": {"f1": {"value": 0.7, "low": 0.6, "high": 0.8}}, "b": {"f1": 0.4}},
           "curve": [{"eps": 0.1, "share": 0.5}], "flag": True, "none": None, "words": "text", "half": {"value": 0.5, "low": None}}  # fmt: skip


def publish(directory, stage="evaluate", inputs=None, **files):
    out = artifact.begin(directory / stage)
    for name, content in files.items():
        artifact.write_json(out / f"{name}.json", content)
    artifact.publish(out, directory / stage, {"stage": stage, "inputs": inputs or {}, "seed": 0, "versions": {}})
    return directory / stage


@pytest.fixture
def shelf(tmp_path):
    return Shelf({"evaluate": publish(tmp_path, metrics=METRICS)})


def test_a_number_comes_with_its_interval_its_key_and_the_hashes(shelf):
    found = shelf.number("evaluate", "metrics.json", "auroc")
    assert (found.value, found.low, found.high, found.key) == (0.9, 0.8, 0.95, "auroc")
    path = shelf.directories["evaluate"]
    [source] = found.sources
    assert source.sha256 == source.declared == hashlib.sha256((path / "metrics.json").read_bytes()).hexdigest()
    assert source.digest == hashlib.sha256((path / "manifest.json").read_bytes()).hexdigest()
    assert source.place == "evaluate/metrics.json"


@pytest.mark.parametrize("path", [("flag",), ("none",), ("words",), ("missing",), ("auroc", "mean"), ("curve", "1", "share"), ("size", "deeper")])
def test_what_is_no_number_is_no_evidence(shelf, path):
    assert shelf.number("evaluate", "metrics.json", *path) is None


def test_numbers_without_an_interval_and_in_lists(shelf):
    assert shelf.number("evaluate", "metrics.json", "size").interval == (3.0, 3.0)
    assert shelf.number("evaluate", "metrics.json", "half").interval == (0.5, 0.5)
    assert shelf.number("evaluate", "metrics.json", "curve", "0", "share").key == "curve.0.share"


def test_an_interval_of_no_width_is_none(tmp_path):
    """Four wrong answers of four do not show that every answer is wrong."""
    found = Shelf({"certify": publish(tmp_path, "certify", metrics={"share": {"value": 0.0, "low": 0.0, "high": 0.0}})})
    entry = found.number("certify", "metrics.json", "share")
    assert (entry.value, entry.low, entry.high) == (0.0, None, None)


def test_the_worst_of_many_is_found_in_the_direction_of_the_limit(shelf):
    assert shelf.worst("evaluate", "metrics.json", "groups", ANY, "f1", least=True).key == "groups.b.f1"
    assert shelf.worst("evaluate", "metrics.json", "groups", ANY, "f1", least=False).key == "groups.a.f1"
    assert shelf.worst("evaluate", "metrics.json", "groups", ANY, "gone", least=True) is None


@pytest.mark.parametrize(("stage", "file"), [("ood", "metrics.json"), ("evaluate", "gone.json")])
def test_a_missing_artifact_or_file_is_no_evidence(shelf, stage, file):
    assert shelf.json(stage, file) is None
    assert shelf.number(stage, file, "auroc") is None


def test_only_files_that_were_asked_for_count_as_evidence(shelf):
    assert shelf.used() == []
    shelf.number("evaluate", "metrics.json", "auroc")
    assert [source.place for source in shelf.used()] == ["evaluate/metrics.json"]


def test_walk_keeps_the_order_and_leaves_out_nothing_that_is_there():
    assert list(walk({"b": 1, "a": [2, 3]}, ())) == [("", {"b": 1, "a": [2, 3]})]
    assert [key for key, _ in walk({"b": {"x": 1}, "a": {"x": 0}}, (ANY, "x"))] == ["b.x", "a.x"]
