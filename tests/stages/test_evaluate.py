"""Evaluate and baseline on toy artifacts: what they publish, that it is the same twice, and what they refuse."""

import csv
import json

import numpy as np
import pytest
import torch
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

from pipeline.core.artifact import read_json
from pipeline.core.errors import PersonError
from pipeline.core.section import read_section
from pipeline.core.store import open_samples
from pipeline.stages import baseline, calibrate, evaluate
from tests import toy


def settings(task="classification", task_node=None, **changes):
    return {
        "task": task_node or toy.option("task", task), "seed": 0, "threads": 1,
        "intervals": {"resamples": 60, "coverage": 0.9}, "calibrate": toy.CALIBRATE, "evaluate": toy.EVALUATE,
        "baseline": {name: toy.option("baseline", name) for name in ("majority", "linear", "svm")}, **changes,
    }  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Toy ingest, embed, split, and a trained model for each task."""
    root = tmp_path_factory.mktemp("toy")
    found = {"ingest": toy.ingest(root, classes=["bar", "disc"], count=240)}
    found["embed"], found["split"] = toy.embed(root, found["ingest"]), toy.split(root, found["ingest"])
    for task in ("classification", "regression"):
        found[task] = toy.train(root / task, found["ingest"], found["split"], task=toy.option("task", task))
        found[f"calibrated {task}"] = root / f"calibrate-{task}"
        found[f"calibrated {task}"].mkdir()
        calibrate.run(settings(task), found[f"calibrated {task}"], ingest=found["ingest"], split=found["split"], train=found[task])
    return found


def run_evaluate(made, out, task="classification", **changes):
    out.mkdir()
    inputs = {"ingest": made["ingest"], "split": made["split"], "train": made[task], "calibrate": made[f"calibrated {task}"]}
    return evaluate.run(settings(task, **changes), out, **inputs)


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_both_tasks_are_measured_without_a_branch(made, tmp_path, task):
    summary = run_evaluate(made, tmp_path / "out", task)
    results, headline = read_json(tmp_path / "out/metrics.json"), read_json(tmp_path / "out/headline.json")
    assert all(entry["low"] <= entry["high"] for entry in results.values())
    assert headline["metric"] in results
    assert headline["samples"] == 60
    assert f"{results[headline['metric']]['value']:.3f}" in summary
    section = read_section(tmp_path / "out")
    assert {"mistakes.png"} < {picture.file for picture in section.pictures}
    assert any("too small to rank models" in warning for warning in section.warnings)


def test_the_predictions_table_holds_what_was_measured(made, tmp_path):
    run_evaluate(made, tmp_path / "out")
    with (tmp_path / "out/predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["id", "name", "truth", "truth_value", "weight", "group", "p_bar", "p_disc"]
    stored, ids = open_samples(made["ingest"]), read_json(made["split"] / "split.json")["test"]
    assert [row["id"] for row in rows] == ids
    assert [row["name"] for row in rows] == [stored.sample(stored.index[identity]).name for identity in ids]
    truth = [row["truth"] == "disc" for row in rows]
    area = roc_auc_score(truth, [float(row["p_disc"]) for row in rows])
    assert read_json(tmp_path / "out/metrics.json")["auroc"]["value"] == pytest.approx(area, abs=1e-3)
    with (tmp_path / "out/confusion.csv").open(newline="") as file:
        pairs = list(csv.DictReader(file))
    right = sum(pair["actual"] == pair["predicted"] for pair in pairs) / len(pairs)
    assert right == pytest.approx(read_json(tmp_path / "out/metrics.json")["accuracy"]["value"])


def test_it_gives_the_same_bytes_twice(made, tmp_path):
    for name in ("one", "two"):
        run_evaluate(made, tmp_path / name)
    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert files == sorted(path.name for path in (tmp_path / "two").iterdir())
    assert all((tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes() for name in files)


def test_predictions_that_are_not_finite_stop_the_run(made, tmp_path, monkeypatch):
    class Broken(torch.nn.Module):
        def forward(self, x_BCHW):
            return torch.full((len(x_BCHW), 2), float("nan"))

    monkeypatch.setattr(evaluate, "load_model", lambda directory: Broken())
    with pytest.raises(PersonError, match="60 of 60 predictions of the model are not finite"):
        run_evaluate(made, tmp_path / "out")


def test_an_undefined_headline_stops_the_run(made, tmp_path):
    stored = open_samples(made["ingest"])
    ones = [identity for identity, label in zip(stored.ids, stored.columns["label"], strict=True) if label == 1]
    (tmp_path / "split").mkdir()
    (tmp_path / "split/split.json").write_text(json.dumps({"test": ones[:20]}))
    with pytest.raises(PersonError, match="auroc is undefined"):
        run_evaluate({**made, "split": tmp_path / "split"}, tmp_path / "out")


def test_what_validation_chose_is_measured_on_the_test_split(made, tmp_path):
    run_evaluate(made, tmp_path / "out")
    out, chosen = tmp_path / "out", read_json(made["calibrated classification"] / "calibration.json")
    with (out / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    p_NK = np.array([[float(row["p_bar"]), float(row["p_disc"])] for row in rows])
    p_NK /= p_NK.sum(axis=1, keepdims=True)
    truth_N = np.array([int(row["truth_value"]) for row in rows])
    assert [row["truth"] for row in rows] == [["bar", "disc"][k] for k in truth_N]
    heated = p_NK ** (1 / chosen["temperature"]["value"])  # of probabilities, what dividing logits does
    heated /= heated.sum(axis=1, keepdims=True)
    scored = read_json(out / "calibration.json")
    assert scored["before"]["nll"]["value"] == pytest.approx(log_loss(truth_N, p_NK), abs=1e-4)
    assert scored["after"]["nll"]["value"] == pytest.approx(log_loss(truth_N, heated), abs=1e-4)
    assert scored["after"]["brier"]["value"] == pytest.approx(brier_score_loss(truth_N, heated[:, 1]), abs=1e-4)
    kept = 1 - heated <= chosen["conformal"]["quantile"]
    assert read_json(out / "conformal.json")["covered"]["value"] == pytest.approx(kept[np.arange(len(rows)), truth_N].mean())
    said = heated[:, 1] >= chosen["operating_point"]["threshold"]
    found = read_json(out / "operating_point.json")
    assert found["chosen"]["accuracy"]["value"] == pytest.approx((said == truth_N).mean())
    assert found["plain"]["accuracy"]["value"] == read_json(out / "metrics.json")["accuracy"]["value"]


def test_every_number_has_an_interval(made, tmp_path):
    run_evaluate(made, tmp_path / "out")

    def check(node, where=""):
        if isinstance(node, dict) and "value" in node:
            assert node["low"] <= node["value"] <= node["high"], where
        elif isinstance(node, dict):
            for key, child in node.items():
                check(child, f"{where}/{key}")

    for name in ("metrics", "conformal", "groups"):  # a bootstrap interval of an error that resampling adds to may lie above its value
        check(read_json(tmp_path / "out" / f"{name}.json") if name != "metrics" else
              {key: value for key, value in read_json(tmp_path / "out/metrics.json").items() if key != "ece"}, name)  # fmt: skip


def test_the_worst_group_is_that_of_the_predictions(made, tmp_path):
    run_evaluate(made, tmp_path / "out")
    with (tmp_path / "out/predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    right = [(row["truth"] == "disc") == (float(row["p_disc"]) > 0.5) for row in rows]
    found = read_json(tmp_path / "out/groups.json")
    for kind, of in (("class", [row["truth"] for row in rows]), ("group", [row["group"] for row in rows]),
                     ("confidence", [row["weight"].removesuffix(".0") for row in rows])):  # fmt: skip
        for name, entry in found["by"][kind].items():
            own = [hit for hit, other in zip(right, of, strict=True) if other == name]
            assert (entry["samples"], entry["value"]) == (len(own), pytest.approx(np.mean(own)))
    values = [entry["value"] for kind in found["by"].values() for entry in kind.values() if entry["samples"] >= 5]
    assert found["worst"]["value"] == min(values)
    assert found["worst"]["compared"] == len(values)


def test_values_have_intervals_instead_of_sets(made, tmp_path):
    run_evaluate(made, tmp_path / "out", "regression")
    assert read_json(tmp_path / "out/calibration.json") == read_json(tmp_path / "out/operating_point.json") == {}
    with (tmp_path / "out/predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    error_N = np.array([abs(float(row["prediction"]) - float(row["truth_value"])) for row in rows])
    quantile = read_json(made["calibrated regression"] / "calibration.json")["conformal"]["quantile"]
    assert read_json(tmp_path / "out/conformal.json")["covered"]["value"] == pytest.approx((error_N <= quantile).mean(), abs=0.02)
    assert read_json(tmp_path / "out/headline.json")["group_metric"] == "mean absolute error"


def test_people_stand_beside_the_model_where_somebody_measured_them(made, tmp_path):
    people = {"metric": "accuracy", "value": 0.5, "source": "three inspectors, 60 cells, one minute each"}
    run_evaluate(made, tmp_path / "out", evaluate={**toy.EVALUATE, "human": people})
    assert any("People reach accuracy 0.500 (three inspectors, 60 cells, one minute each); the interval of the model lies above it" in line
               for line in read_section(tmp_path / "out").text)  # fmt: skip
    with pytest.raises(PersonError, match="did you mean 'accuracy'"):
        run_evaluate(made, tmp_path / "wrong", evaluate={**toy.EVALUATE, "human": {**people, "metric": "acuracy"}})


def of_test(made
, tmp_path, ids):
    (tmp_path / "split").mkdir()
    (tmp_path / "split/split.json").write_text(json.dumps({"train": [], "test": ids}))
    return {**made, "split": tmp_path / "split"}


def test_a_test_split_of_one_class_is_measured_where_the_headline_allows_it(made, tmp_path):
    stored = open_samples(made["ingest"])
    ones = [identity for identity, label in zip(stored.ids, stored.columns["label"], strict=True) if label == 1]
    task = toy.option("task", "classification", headline="accuracy")
    run_evaluate(of_test(made, tmp_path, ones[:30]), tmp_path / "out", task_node=task)
    section = read_section(tmp_path / "out")
    assert any(line.startswith("Undefined on this split, and so left out: AUROC") for line in section.text)
    assert not {"roc.png", "precision_recall.png"} & {picture.file for picture in section.pictures}


def test_fewer_samples_than_bins_have_no_calibration_error_and_it_is_said(made, tmp_path):
    stored = open_samples(made["ingest"])
    run_evaluate(of_test(made, tmp_path, stored.ids[-12:]), tmp_path / "out")
    assert "ece" not in read_json(tmp_path / "out/metrics.json")
    assert set(read_json(tmp_path / "out/calibration.json")["before"]) == {"brier", "nll"}
    assert any("12 test samples are fewer than the 15 bins" in warning for warning in read_section(tmp_path / "out").warnings)


def test_a_calibration_of_other_classes_is_refused(made, tmp_path):
    with pytest.raises(PersonError, match="fitted for another task or other classes"):
        run_evaluate({**made, "calibrated classification": made["calibrated regression"]}, tmp_path / "out")


def run_baseline(made, out, **changes):
    out.mkdir()
    cfg = settings(changes.pop("task", "classification"), **changes)
    return baseline.run(cfg, out, ingest=made["ingest"], embed=made["embed"], split=made["split"])


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_every_baseline_is_measured_with_the_metrics_of_the_task(made, tmp_path, task):
    summary = run_baseline(made, tmp_path / "out", task=task)
    results = read_json(tmp_path / "out/metrics.json")
    assert set(results) == {"majority", "linear", "svm"}
    headline = settings(task)["task"]["headline"]
    better = max if task == "classification" else min
    best = better(results, key=lambda name: results[name][headline]["value"])
    assert best in summary
    assert best != "majority"


def test_baselines_are_fitted_on_the_train_split_alone(made, tmp_path, monkeypatch):
    seen = {}

    def spy(self, train_ND, truth_N, weight_N, test_MD, *, categories):
        seen.update(train=train_ND, test=test_MD, truth=truth_N)
        return np.full((len(test_MD), categories), 1 / categories, dtype=np.float32)

    monkeypatch.setattr("pipeline.baseline.linear.Linear.fit_predict", spy)
    run_baseline(made, tmp_path / "out", baseline={"linear": toy.option("baseline", "linear")})
    stored, assigned = open_samples(made["ingest"]), read_json(made["split"] / "split.json")
    for key in ("train", "test"):
        expected = np.stack([stored.pixels(stored.index[identity]).ravel() for identity in assigned[key]]) / 255
        np.testing.assert_allclose(seen[key], expected, rtol=1e-5)
    assert (seen["truth"] == [stored.columns["label"][stored.index[identity]] for identity in assigned["train"]]).all()


def test_features_are_matched_by_id_and_not_by_row(made, tmp_path):
    features, ids = np.load(made["embed"] / "features.npy"), (made["embed"] / "ids.txt").read_text().split()
    order = np.random.default_rng(0).permutation(len(ids))
    (tmp_path / "embed").mkdir()
    np.save(tmp_path / "embed/features.npy", features[order])
    (tmp_path / "embed/ids.txt").write_text("\n".join(ids[row] for row in order))
    run_baseline(made, tmp_path / "one")
    run_baseline({**made, "embed": tmp_path / "embed"}, tmp_path / "two")
    assert (tmp_path / "one/metrics.json").read_bytes() == (tmp_path / "two/metrics.json").read_bytes()
    (tmp_path / "embed/ids.txt").write_text("\n".join(["0" * 20, *(ids[row] for row in order[1:])]))
    with pytest.raises(PersonError, match="lacks features of 1 of 240"):
        run_baseline({**made, "embed": tmp_path / "embed"}, tmp_path / "three")


def test_without_features_only_the_majority_runs_and_it_is_said(made, tmp_path):
    off = toy.embed(tmp_path, made["ingest"], off=True)
    run_baseline({**made, "embed": off}, tmp_path / "out")
    assert set(read_json(tmp_path / "out/metrics.json")) == {"majority"}
    assert "linear, svm were not run" in read_section(tmp_path / "out").warnings[0]


def test_without_baselines_the_artifact_is_empty_and_valid(made, tmp_path):
    run_baseline(made, tmp_path / "out", baseline={"none": {"_target_": None}})
    assert read_json(tmp_path / "out/metrics.json") == {}
    assert "No baseline was run" in read_section(tmp_path / "out").warnings[0]
