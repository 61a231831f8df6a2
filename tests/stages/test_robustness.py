"""The stage robustness: tables, curves, promises of attacks, collapse, one-class subsets, options off."""

import csv
import math

import numpy as np
import pytest
import torch

from pipeline.core.artifact import read_json, write_json
from pipeline.core.errors import PersonError
from pipeline.core.section import read_section
from pipeline.core.store import open_samples
from pipeline.core.trials import Trial, collapsed, flat_metrics
from pipeline.stages import robustness
from pipeline.stages.robustness import Attacked, check_promises
from tests import toy, trained

FILES = {"metrics.json", "corruptions.csv", "attacks.csv", "corruptions.png", "attacks.png", "adversarial.png", "section.json"}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return trained.folders(tmp_path_factory.mktemp("robustness"))


def config(folders, **changes):
    options = {"corruptions": ["gaussian_noise", "contrast"], "severities": [1, 5], "count": 30, "attacked": 12}
    attacks = {"fgsm": toy.option("attack", "fgsm", radii=[1, 8]), "pgd": toy.option("attack", "pgd", radii=[1, 16])}
    return {
        "task": folders.task,
        "attack": attacks,
        "robustness": {**options, **changes.pop("robustness", {})},
        "seed": 0,
        **changes,
    }


def rows(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_it_publishes_tables_curves_and_flat_metrics(folders, tmp_path):
    summary = robustness.run(config(folders), tmp_path, **folders.inputs)
    assert {path.name for path in tmp_path.iterdir()} == FILES
    corruptions, attacks = rows(tmp_path / "corruptions.csv"), rows(tmp_path / "attacks.csv")
    assert [(row["corruption"], row["severity"]) for row in corruptions] == [
        ("clean", "0"), ("gaussian_noise", "1"), ("gaussian_noise", "5"), ("contrast", "1"), ("contrast", "5")]  # fmt: skip
    assert [(row["attack"], float(row["eps_255"])) for row in attacks] == [
        ("clean", 0), ("fgsm", 1.9992), ("fgsm", 15.9936), ("pgd", 1.9992), ("pgd", 31.9872)]  # fmt: skip
    metrics = read_json(tmp_path / "metrics.json")
    assert all(isinstance(value, float) for value in metrics.values())
    assert metrics["corrupted_auroc"] == pytest.approx(np.mean([float(row["auroc"]) for row in corruptions[1:]]), abs=1e-6)
    assert metrics["pgd_32_auroc"] == pytest.approx(float(attacks[-1]["auroc"]), abs=1e-6)
    assert f"{metrics['clean_auroc']:.3f} clean" in summary
    assert len(read_section(tmp_path).pictures) == 3


def test_attacks_hurt_more_with_the_radius_and_pgd_more_than_fgsm(folders, tmp_path):
    robustness.run(config(folders), tmp_path, **folders.inputs)
    loss = {(row["attack"], float(row["eps_255"])): float(row["mean_loss"]) for row in rows(tmp_path / "attacks.csv")}
    assert loss["clean", 0.0] < loss["fgsm", 1.9992] < loss["fgsm", 15.9936] < loss["pgd", 31.9872]
    assert loss["pgd", 1.9992] >= loss["fgsm", 1.9992] - 1e-3


def test_two_runs_give_the_same_bytes(folders, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        robustness.run(config(folders), tmp_path / name, **folders.inputs)
    assert {p.name: p.read_bytes() for p in (tmp_path / "a").iterdir()} == {
        p.name: p.read_bytes() for p in (tmp_path / "b").iterdir()
    }


@pytest.mark.parametrize("attack", [None, {}, {"none": {"_target_": None}}])
def test_everything_off_publishes_the_same_files(folders, tmp_path, attack):
    robustness.run(config(folders, attack=attack, robustness={"corruptions": []}), tmp_path, **folders.inputs)
    assert {path.name for path in tmp_path.iterdir()} == FILES
    assert len(rows(tmp_path / "attacks.csv")) == len(rows(tmp_path / "corruptions.csv")) == 1
    assert read_section(tmp_path).pictures == []


def test_regression_is_disturbed_alike(tmp_path):
    folders = trained.folders(tmp_path, task="regression", steps=10)
    (tmp_path / "out").mkdir()
    assert robustness.run(config(folders), tmp_path / "out", **folders.inputs).lower().startswith("mean absolute error")
    metrics = read_json(tmp_path / "out" / "metrics.json")
    assert metrics["pgd_32_mae"] > metrics["clean_mae"]


def test_one_class_alone_leaves_the_headline_undefined_and_says_so(folders, tmp_path):
    stored, split = open_samples(folders.ingest), read_json(folders.split / "split.json")
    label = {identity: int(k) for identity, k in zip(stored.ids, stored.columns["label"], strict=True)}
    one = {**split, "test": [identity for identity in split["test"] if label[identity] == 1]}
    (tmp_path / "split").mkdir()
    (tmp_path / "out").mkdir()
    write_json(tmp_path / "split" / "split.json", one)
    robustness.run(config(folders), tmp_path / "out", **{**folders.inputs, "split": tmp_path / "split"})
    assert any("undefined" in warning for warning in read_section(tmp_path / "out").warnings)
    metrics = read_json(tmp_path / "out" / "metrics.json")
    assert "clean_auroc" not in metrics
    assert "clean_accuracy" in metrics


def test_a_misspelt_corruption_is_named(folders, tmp_path):
    with pytest.raises(PersonError, match="did you mean 'contrast'"):
        robustness.run(config(folders, robustness={"corruptions": ["contrats"]}), tmp_path, **folders.inputs)


def attacked(x, loss):
    return Attacked(x, torch.zeros(2), np.zeros((2, 1), np.float32), torch.tensor(loss))


@pytest.mark.parametrize(("change", "loss", "said"), [
    (0.2, [1.0, 1.0], "moved a pixel"), (math.nan, [1.0, 1.0], "moved a pixel"), (0.05, [1.0, 0.5], "lowered the loss of 1 of 2"),
    (0.05, [1.0, math.nan], "not finite"),
])  # fmt: skip
def test_a_broken_promise_stops_the_stage(change, loss, said):
    x = torch.full((2, 1, 3, 3), 0.5)
    clean = attacked(x, [1.0, 1.0])
    check_promises(clean, attacked(x + 0.1, [1.0, 2.0]), 0.1)
    with pytest.raises(RuntimeError, match=said):
        check_promises(clean, attacked(x + change, loss), 0.1)


def test_leaving_the_range_stops_the_stage():
    x = torch.full((2, 1, 3, 3), 0.95)
    with pytest.raises(RuntimeError, match="range"):
        check_promises(attacked(x, [1.0, 1.0]), attacked(x + 0.1, [1.0, 1.0]), 0.1)


def test_a_collapse_is_the_loss_of_half_the_skill():
    def trial(name, value):
        return Trial(name, 1, {"auroc": value})

    series = [trial("clean", 0.9), trial("fog", 0.71), trial("jpeg_compression", 0.69), trial("contrast", 0.4)]
    assert collapsed(series, "auroc", {"auroc": 0.5}) == ["jpeg compression", "contrast"]
    lower = [Trial("clean", 0, {"mae": 1.0}), Trial("fog", 1, {"mae": 1.4}), Trial("contrast", 1, {"mae": 1.6})]
    assert collapsed(lower, "mae", {"mae": 2.0}) == ["contrast"]
    assert collapsed(series, "auroc", {"auroc": math.nan}) == []


def test_flat_metrics_leave_out_what_is_undefined():
    clean = Trial("clean", 0, {"auroc": 0.9, "f1": math.nan})
    found = flat_metrics("auroc", [clean, Trial("fog", 1, {"auroc": 0.8}), Trial("fog", 2, {"auroc": 0.6})],
                         [clean, Trial("pgd", 2 / 255, {"auroc": 0.1})])  # fmt: skip
    assert found == pytest.approx({"clean_auroc": 0.9, "corrupted_auroc": 0.7, "fog_auroc": 0.7, "pgd_2_auroc": 0.1})
