"""Runs as `wandb leet inspect --json` tells them, from real runs of this version of wandb."""

from pathlib import Path

import pytest

from pipeline.tracking import records
from pipeline.tracking.records import Run, UnreadableRunError, merge, read
from tests.tracked_runs import loss, two_runs


@pytest.fixture(scope="module")
def runs() -> dict[str, Run]:
    found, refused = records.read_all(two_runs() / ".run" / "wandb")
    assert refused == {}
    return {run.id: run for run in found}


def test_the_folders_of_one_run_are_merged(runs: dict[str, Run]) -> None:
    assert list(runs) == ["aaaa1111", "bbbb2222"]
    assert [len(run.folders) for run in runs.values()] == [3, 1]
    assert [run.name for run in runs.values()] == ["resnet-aaaa", "resnet-bbbb22"]
    assert [run.state for run in runs.values()] == ["finished", "finished"]


def test_a_resumed_training_logs_no_step_twice(runs: dict[str, Run]) -> None:
    parts = [read(folder) for folder in runs["aaaa1111"].folders]
    steps = [sorted(step for step, values in part.history.items() if values) for part in parts]
    assert steps[0] == list(range(0, 24, 2))
    assert steps[1] == list(range(24, 40, 2)), "steps 16 to 22 were logged before the kill"
    assert max(parts[1].history) < min(parts[2].history), "steps are monotone over all parts"
    assert runs["aaaa1111"].history[30]["loss"] == pytest.approx(loss(30, 0.1))


def test_the_report_fills_in_what_the_training_could_not_log(runs: dict[str, Run]) -> None:
    history = runs["bbbb2222"].history
    assert [step for step in sorted(history) if "loss" in history[step]] == list(range(0, 40, 2))
    assert set(history[10]) == {"loss", "lr", "grad_norm", "val_loss"}
    assert "val_loss" not in history[12]


def test_results_config_and_media(runs: dict[str, Run]) -> None:
    run = runs["aaaa1111"]
    assert run.summary["headline"] == {"value": 0.87, "low": pytest.approx(0.82), "high": pytest.approx(0.9)}
    assert run.summary["headline_metric"] == "auroc"
    assert run.summary["baseline/svm/auroc"]["value"] == 0.79
    assert run.config["train"] == {"lr": 0.1, "max_steps": 40}
    assert "code" not in run.config
    assert len(run.config["facts"]["inputs"]["train"]) == 64
    assert {key for key in run.media if key.endswith("picture")} == {
        f"{stage}/picture" for stage in ("compose", "train", "evaluate", "baseline")
    }
    assert "confusion_table" in run.media


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "wandb" / "offline-run-20260101_000000-xyz"
    folder.mkdir(parents=True)
    (folder / "run-xyz.wandb").write_bytes(b"not a log")
    with pytest.raises(UnreadableRunError):
        read(folder)
    found, refused = records.read_all(folder.parent)
    assert found == []
    assert list(refused) == [folder.name]


def test_merge_keeps_the_first_start_and_the_last_word() -> None:
    first = Run(id="a", name="n", started="2026-01-01", state="failed", config={"x": {"y": 1, "z": 2}}, summary={"s": 1})
    whole = merge([first, Run(id="a", started="2026-01-02", state="finished", config={"x": {"y": 3}}, summary={"s": 2})])
    assert (whole.name, whole.started, whole.state, whole.config, whole.summary) == (
        "n",
        "2026-01-01",
        "finished",
        {"x": {"y": 3, "z": 2}},
        {"s": 2},
    )
    assert merge([]).last_step == -1
