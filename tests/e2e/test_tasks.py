"""The other task, and everything switched off, run the whole toy DAG."""

import json

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def repository(duplicate):
    return duplicate("tasks")


def test_regression_runs_every_stage_and_reports_its_own_metrics(repository):
    repository.params(overrides=["task=regression"])
    ran = repository.repro()
    assert {"compose", "baseline", "train", "evaluate", "explain", "robustness", "compress", "export", "report"} <= set(ran.run)
    assert "ingest" not in ran.run
    metrics = json.loads((repository.root / "data/evaluate/metrics.json").read_text())
    assert {"mae", "rmse"} <= set(metrics)
    assert "auroc" not in metrics
    for entry in metrics.values():
        assert entry["low"] <= entry["value"] <= entry["high"]
    repository.assert_whole()


def test_every_room_that_has_none_can_be_switched_off(repository):
    off = ["embedder", "transform", "generator", "compressor", "exporter", "logger"]
    repository.params(overrides=[*(f"{room}=none" for room in off), "attack=[none]", "explainer=[none]", "baseline=[majority]"])
    ran = repository.repro()
    assert {"embed", "augment", "synthesize", "train", "explain", "compress", "export", "report"} <= set(ran.run)
    repository.assert_whole()
    assert (repository.root / "data/report/index.html").is_file()
