"""The stage explain: which samples, which files, the three checks with their planted faults, and the option none."""

import json

import numpy as np
import pytest
import torch

from pipeline.core.artifact import read_json
from pipeline.core.errors import PersonError
from pipeline.core.section import read_section
from pipeline.stages import explain
from tests import toy, trained

SMALL = {"count": 7, "candidates": 64, "controls": 2, "controlled": 4, "alike": 0.5, "regions": 4, "steps": 4, "cues": 6, "probes": 80,
         "found": 0.6, "ascent_steps": 5, "ascent_step": 0.05, "prototypes": 96, "neighbours": 3}  # fmt: skip
BOTH = ("gradcam", "integrated_gradients")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return trained.folders(tmp_path_factory.mktemp("explain"))


def config(folders, names=BOTH, **changes):
    return {"task": folders.task, "explainer": {name: toy.option("explainer", name) for name in names}, "explain": SMALL, "seed": 0,
            "intervals": {"resamples": 100, "coverage": 0.95}, **changes}  # fmt: skip


@pytest.fixture(scope="module")
def done(folders, tmp_path_factory):
    out = tmp_path_factory.mktemp("done")
    return explain.run(config(folders), out, **folders.inputs), out


def test_it_publishes_maps_of_named_samples_with_three_checks(done, folders):
    summary, out = done
    maps = np.load(out / "maps.npy")
    ids = (out / "ids.txt").read_text().split()
    assert maps.shape == (2, 7, 16, 16)
    assert maps.dtype == np.float32
    assert len(set(ids)) == 7
    assert set(ids) <= set(read_json(folders.split / "split.json")["test"])
    metrics, checks = read_json(out / "metrics.json"), read_json(out / "checks.json")
    assert checks["order"] == list(BOTH)
    for name in BOTH:
        for key in ("gain", "control", "cue", "cue_mass"):
            entry = metrics[name][key]
            assert entry["low"] <= entry["value"] <= entry["high"]
        tells = metrics[name]["probe"]["value"] >= 0.75
        assert checks["explainers"][name]["unchecked"] == ([] if tells else ["cue"])
    good = [name for name in BOTH if not checks["explainers"][name]["failed"]]
    assert checks["passed"] == len(good) / 2
    assert summary.startswith("7 samples explained: ")
    assert all(name in summary for name in BOTH)


def test_activations_rise_from_the_start_and_never_fall(done):
    climbs = json.loads((done[1] / "ascent.json").read_text())
    assert {"bar", "disc"} < set(climbs)
    assert sum(name.startswith("deep dream") for name in climbs) == 1
    for scores in climbs.values():
        assert len(scores) == SMALL["ascent_steps"] + 1
        assert (np.diff(scores) >= 0).all()
        assert scores[-1] > scores[0]


def test_two_runs_give_the_same_bytes(done, folders, tmp_path):
    explain.run(config(folders), tmp_path, **folders.inputs)
    assert {p.name: p.read_bytes() for p in done[1].iterdir()} == {p.name: p.read_bytes() for p in tmp_path.iterdir()}


def test_right_and_wrong_take_turns_and_extremes_come_first():
    rows, right = explain.choose(np.asarray([0.5, -0.9, 0.1, 0.9, -0.2]), 4)
    assert rows.tolist() == [1, 3, 4, 0]
    assert right == 2
    rows, right = explain.choose(np.asarray([0.5, -0.9, 0.1]), 8)
    assert rows.tolist() == [1, 0, 2]
    assert right == 2


def blind(score_of, x):
    """A fault: edges of the image, whatever the network."""
    return (x - x.mean((2, 3), keepdim=True)).abs().mean(1)


def noise(score_of, x):
    """A fault: a random map, another one for every image and network."""
    key = int(abs(float(score_of(x).sum())) * 1e5)
    return torch.rand(len(x), *x.shape[2:], generator=torch.Generator().manual_seed(key))


@pytest.mark.parametrize(("fault", "failed", "said"), [
    (blind, "control", "hardly depend on what was learnt"), (noise, "faithfulness", "no better than chance"),
])  # fmt: skip
def test_a_planted_explainer_that_knows_nothing_of_the_network_fails(folders, tmp_path, monkeypatch, fault, failed, said):
    monkeypatch.setattr(explain, "build", lambda node, **extra: fault if "explainer" in node["_target_"] else toy.build(node, **extra))
    summary = explain.run(config(folders, ["gradcam"]), tmp_path, **folders.inputs)
    checks = read_json(tmp_path / "checks.json")
    assert failed in checks["explainers"]["gradcam"]["failed"]
    assert checks["passed"] == 0
    assert any(said in warning for warning in read_section(tmp_path).warnings)
    assert "gradcam fails" in summary


def test_the_page_says_how_many_samples_and_what_the_numbers_are(done):
    section = read_section(done[1])
    assert {picture.file for picture in section.pictures} == set(explain.PICTURES)
    assert "on 7 samples" in section.tables[0].caption
    assert "The samples are those of 40 from the test split" in section.text[0]
    assert [row[0] for row in section.tables[0].rows] == list(BOTH)


def test_none_publishes_the_same_files_empty(done, folders, tmp_path):
    explain.run(config(folders, explainer={"none": {"_target_": None}}), tmp_path, **folders.inputs)
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in done[1].iterdir()}
    assert np.load(tmp_path / "maps.npy").shape == (0, 0, 16, 16)


def test_regression_is_explained_alike_by_what_needs_no_gradient(tmp_path):
    folders = trained.folders(tmp_path, task="regression", steps=10)
    (tmp_path / "out").mkdir()
    summary = explain.run(config(folders, ["occlusion", "lime"]), tmp_path / "out", **folders.inputs)
    assert summary.startswith("7 samples explained: ")
    assert {"a higher value", "a lower value"} < set(json.loads((tmp_path / "out/ascent.json").read_text()))


def test_a_network_without_convolutions_is_explained_by_what_fits_it(tmp_path):
    folders = trained.folders(tmp_path, model="mlp", steps=10)
    (tmp_path / "out").mkdir()
    with pytest.raises(PersonError, match=r"Grad-CAM needs a network with convolutions.*explainer=\[integrated_gradients\]"):
        explain.run(config(folders), tmp_path / "out", **folders.inputs)
    explain.run(config(folders, ["integrated_gradients"]), tmp_path / "out", **folders.inputs)


def test_a_split_without_samples_is_said(folders, tmp_path):
    other = tmp_path / "split"
    other.mkdir()
    sides = read_json(folders.split / "split.json")
    (other / "split.json").write_text(json.dumps({**sides, "test": sides["test"][:1]}))
    with pytest.raises(PersonError, match="the test split holds 1 samples"):
        explain.run(config(folders), tmp_path, ingest=folders.ingest, split=other, train=folders.train)
