"""Calibrate on toy artifacts: what it publishes, that validation alone decides it, and what it refuses."""

import dataclasses
import json

import pytest
import torch

from pipeline.core.artifact import read_json, write_json
from pipeline.core.errors import PersonError
from pipeline.core.section import read_section
from pipeline.core.store import open_samples, write_shards
from pipeline.stages import calibrate
from tests import toy


def settings(task="classification", **changes):
    return {"task": toy.option("task", task), "seed": 0, "threads": 1, "intervals": {"resamples": 40, "coverage": 0.9},
            "calibrate": {**toy.CALIBRATE, **changes}}  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("toy")
    ingest = toy.ingest(root, classes=["bar", "disc"], count=240)
    split = toy.split(root, ingest)
    return {"ingest": ingest, "split": split, **{
        task: toy.train(root / task, ingest, split, task=toy.option("task", task)) for task in ("classification", "regression")}}  # fmt: skip


def run(made, out, task="classification", **changes):
    out.mkdir()
    calibrate.run(settings(task, **changes), out, ingest=made["ingest"], split=made["split"], train=made[task])
    return read_json(out / "calibration.json")


def test_classes_get_a_temperature_sets_and_a_threshold(made, tmp_path):
    found = run(made, tmp_path / "out", costs={"disc": {"bar": 5}})
    assert found["samples"] == 36
    assert found["temperature"]["determined"]
    assert found["temperature_interval"]["low"] < found["temperature"]["value"] < found["temperature_interval"]["high"]
    assert found["conformal"]["method"] == "lac"
    point = found["operating_point"]
    assert point["costs"] == {"bar": {"bar": 0, "disc": 1}, "disc": {"bar": 5, "disc": 0}}
    assert (point["positive"], point["theory"]) == ("disc", pytest.approx(1 / 6))
    plain = run(made, tmp_path / "plain")["operating_point"]
    assert point["threshold"] < plain["threshold"], "a miss that costs five times is less frequent"
    section = read_section(tmp_path / "out")
    assert [picture.file for picture in section.pictures] == ["cost.png", "scores.png"]


def test_values_get_intervals_alone(made, tmp_path):
    found = run(made, tmp_path / "out", "regression", costs={"disc": {"bar": 5}})
    assert found["temperature"] is found["operating_point"] is None
    assert found["conformal"]["method"] == "residual"
    assert found["conformal"]["quantile"] > 0
    assert read_section(tmp_path / "out").text[-1].startswith("calibrate.costs speak of classes and change nothing")


def test_it_gives_the_same_bytes_twice(made, tmp_path):
    for name in ("one", "two"):
        run(made, tmp_path / name, conformal="aps")
    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert all((tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes() for name in files)


def relabelled(made, tmp_path, split):
    """The same samples with the labels of one split turned round."""
    own = set(read_json(made["split"] / "split.json")[split])
    folder = tmp_path / f"other-{split}"
    folder.mkdir()
    write_shards(folder, [dataclasses.replace(s, label=1 - s.label) if s.id in own else s for s in open_samples(made["ingest"])])
    write_json(folder / "card.json", read_json(made["ingest"] / "card.json"))
    return {**made, "ingest": folder}


def test_only_the_labels_of_validation_decide(made, tmp_path):
    plain = run(made, tmp_path / "plain")
    for split in ("train", "test"):
        assert run(relabelled(made, tmp_path, split), tmp_path / split) == plain
    assert run(relabelled(made, tmp_path, "val"), tmp_path / "val") != plain


def test_planted_fault_a_temperature_fitted_on_test_is_seen(made, tmp_path, monkeypatch):
    original = calibrate.read_subset
    monkeypatch.setattr(calibrate, "read_subset", lambda task, ingest, split, names: original(task, ingest, split, ["test"]))
    plain = run(made, tmp_path / "plain")
    assert run(relabelled(made, tmp_path, "test"), tmp_path / "test") != plain


class Sure(torch.nn.Module):
    """Always says the first class, and is sure of it."""

    def forward(self, x_BCHW):
        return torch.stack([torch.full((len(x_BCHW),), 9.0), torch.zeros(len(x_BCHW))], dim=1)


def one_class(made, tmp_path):
    stored = open_samples(made["ingest"])
    bars = [identity for identity, label in zip(stored.ids, stored.columns["label"], strict=True) if label == 0]
    (tmp_path / "split").mkdir()
    (tmp_path / "split/split.json").write_text(json.dumps({"train": [], "val": bars[:30], "test": []}))
    return {**made, "split": tmp_path / "split"}


def test_validation_that_determines_no_temperature_changes_nothing_and_it_is_said(made, tmp_path, monkeypatch):
    monkeypatch.setattr(calibrate, "load_model", lambda directory: Sure())
    found = run(one_class(made, tmp_path), tmp_path / "out")
    assert found["temperature"] == {"value": 1.0, "determined": False}
    assert found["temperature_interval"] is None
    assert any("does not determine a temperature" in warning for warning in read_section(tmp_path / "out").warnings)


def test_a_promise_that_few_samples_cannot_keep_is_said(made, tmp_path):
    found = run(made, tmp_path / "out", coverage=0.99)
    assert found["conformal"]["quantile"] is None
    assert any("36 validation samples are too few to promise 99%: it takes 99" in warning
               for warning in read_section(tmp_path / "out").warnings)  # fmt: skip


def test_an_empty_validation_split_and_costs_of_other_classes_are_refused(made, tmp_path):
    with pytest.raises(PersonError, match="did you mean 'disc'"):
        run(made, tmp_path / "costs", costs={"disk": {"bar": 2}})
    (tmp_path / "split").mkdir()
    (tmp_path / "split/split.json").write_text(json.dumps({"train": [], "val": [], "test": []}))
    with pytest.raises(PersonError, match="the validation split is empty"):
        run({**made, "split": tmp_path / "split"}, tmp_path / "out")


def test_outputs_that_are_not_finite_stop_the_run(made, tmp_path, monkeypatch):
    class Broken(torch.nn.Module):
        def forward(self, x_BCHW):
            return torch.full((len(x_BCHW), 2), float("nan"))

    monkeypatch.setattr(calibrate, "load_model", lambda directory: Broken())
    with pytest.raises(PersonError, match="36 of 36 predictions of the model are not finite"):
        run(made, tmp_path / "out")
