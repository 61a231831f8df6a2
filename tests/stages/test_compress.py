"""The stage compress: both models side by side, the paired change, warnings, and options off."""

from types import SimpleNamespace

import numpy as np
import pytest

from pipeline.core.artifact import read_json, write_json
from pipeline.core.errors import PersonError
from pipeline.core.parts import build
from pipeline.core.section import read_section
from pipeline.stages import compress
from pipeline.training.subset import read_subset
from tests import shipped, toy, trained

MEASURE = {"resamples": 60, "coverage": 0.95}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return trained.folders(tmp_path_factory.mktemp("compress"))


@pytest.fixture(scope="module")
def inputs(folders):
    return {**folders.inputs, "ood": shipped.unwatched(folders.train.parent)}


def config(folders, **changes):
    return {
        "task": folders.task, "shrinker": {"none": {"_target_": None}}, "compressor": toy.option("compressor", "int8"), "exporter": toy.option("exporter", "onnx"),
        "compress": {"calibration": 16}, "detector": {"none": {"_target_": None}}, "ood": shipped.OOD, "intervals": MEASURE, "seed": 0, "threads": 1, **changes,
    }  # fmt: skip


def test_it_publishes_a_smaller_model_beside_the_original(folders, inputs, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        summary = compress.run(config(folders), tmp_path / name, **inputs)
    first, second = ({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("a", "b"))
    assert first == second
    assert set(first) == {"model.onnx", "metrics.json", "section.json"}
    metrics = read_json(tmp_path / "a" / "metrics.json")
    assert metrics["compressed"]["size_bytes"] == len(first["model.onnx"]) < metrics["original"]["size_bytes"]
    assert set(metrics["original"]["metrics"]["auroc"]) >= {"value", "low", "high"}
    values = [metrics[name]["metrics"]["auroc"]["value"] for name in ("original", "compressed")]
    assert metrics["change"]["auroc"]["value"] == pytest.approx(values[1] - values[0])
    assert f"{len(first['model.onnx']) / 1e6:.2f} MB" in summary
    assert any("hardly shrinks" in warning for warning in read_section(tmp_path / "a").warnings)  # a network of some 10 KB


def test_calibration_sees_the_validation_split_alone(folders, inputs, tmp_path, monkeypatch):
    seen = []

    class Spy:
        bits = 8

        def __call__(self, source, batches, directory):
            seen.extend(pixels.tobytes() for batch in batches for pixels in batch)
            return build(toy.option("compressor", "int8"))(source, [np.zeros((2, 16, 16, 1), np.uint8)], directory)

    monkeypatch.setattr(
        compress, "build", lambda node, **extra: Spy() if "compressor" in node["_target_"] else build(node, **extra)
    )
    compress.run(config(folders), tmp_path, **inputs)
    task = build(folders.task, card=read_json(folders.ingest / "card.json"))
    val = {pixels.tobytes() for pixels in read_subset(task, folders.ingest, folders.split, ["val"]).pixels()}
    assert len(seen) == 16
    assert set(seen) <= val


def test_the_paired_interval_is_narrow_where_both_err_alike(folders):
    task = build(folders.task, card=read_json(folders.ingest / "card.json"))
    test = read_subset(task, folders.ingest, folders.split, ["test"])
    rng = np.random.default_rng(0)
    share = np.clip(0.5 + 0.2 * (test.truth - 0.5) + rng.normal(0, 0.2, len(test)), 0.01, 0.99)
    before = np.stack([1 - share, share], 1).astype(np.float32)
    same = compress.paired_change(task, before, before, test, **MEASURE, seed=0)["auroc"]
    assert (same["value"], same["low"], same["high"]) == (0, 0, 0)
    worse = before[:, ::-1].copy()
    lost = compress.paired_change(task, before, worse, test, **MEASURE, seed=0)["auroc"]
    assert lost["high"] < 0


@pytest.mark.parametrize(("headline", "higher", "before", "change", "warned"), [
    ("auroc", True, 0.9, -0.004, False), ("auroc", True, 0.9, -0.006, True), ("auroc", True, 0.9, 0.1, False),
    ("mae", False, 200.0, 0.9, False), ("mae", False, 200.0, 1.1, True),
])  # fmt: skip
def test_a_loss_of_half_a_point_is_warned_of(headline, higher, before, change, warned):
    task = SimpleNamespace(meanings={headline: (headline.upper(), "")}, headline=headline, higher_is_better=higher)
    entry = {"value": change, "low": change, "high": change}
    found = compress.warn(task, {"original": {headline: {"value": before}}}, {headline: entry}, ratio=0.26)
    assert bool(found) is warned
    assert compress.warn(task, {"original": {headline: {"value": before}}}, {headline: entry}, ratio=0.4)[-1].count(
        "hardly shrinks"
    )


def test_an_exporter_and_a_validation_split_are_needed(folders, inputs, tmp_path):
    with pytest.raises(PersonError, match="exporter=onnx"):
        compress.run(config(folders, exporter={"_target_": None}), tmp_path, **inputs)
    (tmp_path / "split").mkdir()
    write_json(tmp_path / "split" / "split.json", {**read_json(folders.split / "split.json"), "val": []})
    with pytest.raises(PersonError, match="validation split is empty"):
        compress.run(config(folders), tmp_path, **{**inputs, "split": tmp_path / "split"})


def test_none_publishes_the_same_files_empty(folders, inputs, tmp_path):
    compress.run(config(folders, compressor={"_target_": None}, exporter={"_target_": None}), tmp_path, **inputs)
    assert {path.name for path in tmp_path.iterdir()} == {"model.onnx", "metrics.json", "section.json"}
    assert read_json(tmp_path / "metrics.json") == {}


def test_regression_is_compressed_alike(tmp_path):
    folders = trained.folders(tmp_path, task="regression", steps=5)
    (tmp_path / "out").mkdir()
    compress.run(config(folders), tmp_path / "out", **folders.inputs, ood=shipped.unwatched(tmp_path))
    assert "mae" in read_json(tmp_path / "out" / "metrics.json")["change"]
