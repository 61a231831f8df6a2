"""The stage export: parity and its gate, few samples, latency apart, and the option none."""

import csv
import json

import numpy as np
import pytest
from torch import nn

from pipeline.core.artifact import read_json
from pipeline.core.errors import PersonError
from pipeline.core.section import read_section
from pipeline.outlier import page
from pipeline.stages import export
from pipeline.stages.export import Parity, gate, gate_metric, latency
from tests import toy, trained

OPTIONS = {"parity_samples": 30, "batch_sizes": [1, 2, 7], "tolerance": 1e-4, "timing_repeats": 3}
FILES = {"model.onnx", "parity.csv", "metrics.json", "timings.json", "section.json"}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return trained.folders(tmp_path_factory.mktemp("export"))


def inputs(folders):
    """With an artifact of ood from which no detector travels; tests/stages/test_ood.py has one that does."""
    ood = folders.train.parent / "ood"
    ood.mkdir(exist_ok=True)
    page.nothing(ood, "none")
    return {**folders.inputs, "ood": ood}


def config(folders, **changes):
    return {
        "detector": {"none": {"_target_": None}},
        "task": folders.task,
        "exporter": toy.option("exporter", "onnx"),
        "export": OPTIONS,
        "seed": 0,
        "threads": 1,
        **changes,
    }


def test_it_publishes_a_proven_model_and_measured_times_apart(folders, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        summary = export.run(config(folders), tmp_path / name, **inputs(folders))
    first, second = ({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("a", "b"))
    assert set(first) == FILES
    assert {name for name in first if first[name] != second[name]} <= {"timings.json"}
    with (tmp_path / "a" / "parity.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [(row["batch_size"], row["samples"], row["top1_flips"]) for row in table] == [
        ("1", "30", "0"),
        ("2", "30", "0"),
        ("7", "30", "0"),
    ]
    metrics = read_json(tmp_path / "a" / "metrics.json")
    assert metrics["trained"]["auroc"] == pytest.approx(metrics["exported"]["auroc"], abs=1e-4)
    assert metrics["max_abs_diff"] < 1e-4
    assert metrics["size_bytes"] == len(first["model.onnx"])
    times = json.loads(first["timings.json"])
    assert {(batch, who) for batch in times for who in times[batch]} == {
        (batch, who) for batch in ("batch_1", "batch_32") for who in ("eager", "exported")}  # fmt: skip
    assert times["batch_1"]["eager"]["calls"] == 3
    assert "0 other classes" in summary
    assert read_section(tmp_path / "a").warnings == []


def test_too_few_samples_use_the_validation_split_too_and_say_so(folders, tmp_path):
    export.run(config(folders, export={**OPTIONS, "parity_samples": 256}), tmp_path, **inputs(folders))
    ids = read_json(folders.split / "split.json")
    assert read_json(tmp_path / "metrics.json")["samples"] == len(ids["test"]) + len(ids["val"])
    assert any("256 were asked for" in warning for warning in read_section(tmp_path).warnings)


def test_a_model_with_another_normalisation_is_not_published(folders, tmp_path, monkeypatch):
    class Wrong(nn.Module):
        def __init__(self, model):
            super().__init__()
            self.model = model

        def forward(self, x):
            return self.model(x * 0.9 + 0.05)

    real = export.deploy
    monkeypatch.setattr(export, "deploy", lambda model, *rest, **named: real(Wrong(model).eval(), *rest, **named))
    with pytest.raises(PersonError, match=r"not the trained one on 30 samples \(batch 1: difference"):
        export.run(config(folders), tmp_path, **inputs(folders))
    assert not (tmp_path / "section.json").exists()


@pytest.mark.parametrize(("difference", "flips"), [(2e-4, 0), (float("nan"), 0), (1e-6, 1)])
def test_the_gate_refuses(difference, flips):
    with pytest.raises(PersonError, match="not the trained one"):
        gate([Parity(1, 9, 1e-7, 1e-8, 0), Parity(7, 9, difference, 1e-8, flips)], np.zeros((9, 2), np.float32), tolerance=1e-4)


def test_the_tolerance_grows_with_the_unit_of_the_values():
    rows = [Parity(1, 9, 0.02, 0.01, 0)]
    gate(rows, np.full((9, 1), 1000.0, np.float32), tolerance=1e-4)
    with pytest.raises(PersonError):
        gate(rows, np.full((9, 1), 100.0, np.float32), tolerance=1e-4)


def test_the_metric_is_gated_too():
    gate_metric("auroc", {"auroc": 0.8}, {"auroc": 0.801}, limit=0.01)
    with pytest.raises(PersonError, match=r"auroc is 0\.7000, the trained model's 0\.8000"):
        gate_metric("auroc", {"auroc": 0.8}, {"auroc": 0.7}, limit=0.01)


def test_latency_stops_when_it_takes_too_long(monkeypatch):
    clock = iter(range(0, 1000, 6))
    monkeypatch.setattr(export.time, "perf_counter", lambda: float(next(clock)))
    assert latency(lambda: None, repeats=20) == {"median_ms": 6000.0, "calls": 3}


def test_none_publishes_the_same_files_empty(folders, tmp_path):
    export.run(config(folders, exporter={"_target_": None}), tmp_path, **inputs(folders))
    assert {path.name for path in tmp_path.iterdir()} == FILES
    assert (tmp_path / "model.onnx").read_bytes() == b""


def test_regression_is_exported_alike(tmp_path):
    folders = trained.folders(tmp_path, task="regression", steps=5)
    (tmp_path / "out").mkdir()
    export.run(config(folders), tmp_path / "out", **inputs(folders))
    assert "mae" in read_json(tmp_path / "out" / "metrics.json")["exported"]
