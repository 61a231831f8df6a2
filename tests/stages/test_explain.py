"""The stage explain: which samples, which files, the control, and the option none."""

import numpy as np
import pytest

from pipeline.core.artifact import read_json
from pipeline.core.section import read_section
from pipeline.stages import explain
from tests import toy, trained


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return trained.folders(tmp_path_factory.mktemp("explain"))


def config(folders, **changes):
    return {"task": folders.task, "explainer": toy.option("explainer", "gradcam"), "explain": {"count": 7, "candidates": 64}, "seed": 0, **changes}


def test_it_publishes_maps_of_named_samples_with_a_control(folders, tmp_path):
    summary = explain.run(config(folders), tmp_path, **folders.inputs)
    maps = np.load(tmp_path / "maps.npy")
    ids = (tmp_path / "ids.txt").read_text().split()
    assert maps.shape == (7, 16, 16)
    assert maps.dtype == np.float32
    assert len(set(ids)) == 7
    assert set(ids) <= set(read_json(folders.split / "split.json")["test"])
    sanity = read_json(tmp_path / "sanity.json")
    assert sorted(sanity["spearman"]) == sorted(ids)
    mean = float(np.mean(list(sanity["spearman"].values())))
    assert f"{mean:.2f}" in summary
    assert {picture.file for picture in read_section(tmp_path).pictures} == {"maps.png", "sanity.png"}


def test_two_runs_give_the_same_bytes(folders, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        explain.run(config(folders), tmp_path / name, **folders.inputs)
    assert {p.name: p.read_bytes() for p in (tmp_path / "a").iterdir()} == {
        p.name: p.read_bytes() for p in (tmp_path / "b").iterdir()
    }


def test_half_are_the_most_right_and_half_the_most_wrong():
    rows, right = explain.choose(np.asarray([0.5, -0.9, 0.1, 0.9, -0.2]), 4)
    assert rows.tolist() == [1, 4, 3, 0]
    assert right == 2
    rows, right = explain.choose(np.asarray([0.5, -0.9, 0.1]), 8)
    assert sorted(rows.tolist()) == [0, 1, 2]
    assert right == 2


def test_maps_that_ignore_the_network_are_warned_of(folders, tmp_path, monkeypatch):
    def blind(score_of, x):
        return (x - x.mean((2, 3), keepdim=True)).abs().mean(1)

    monkeypatch.setattr(
        explain, "build", lambda node, **extra: blind if "explainer" in node["_target_"] else toy.build(node, **extra)
    )
    explain.run(config(folders), tmp_path, **folders.inputs)
    assert any("hardly depend" in warning for warning in read_section(tmp_path).warnings)


def test_the_overlay_is_a_picture_and_survives_an_empty_map():
    pixels = np.full((4, 5, 3), 100, np.uint8)
    flat = explain.overlay(pixels, np.zeros((4, 5), np.float32))
    assert flat.shape == (4, 5, 3)
    assert np.allclose(flat, 100 / 255)
    spot = np.zeros((4, 5), np.float32)
    spot[1, 2] = 9
    mixed = explain.overlay(pixels, spot)
    assert mixed.min() >= 0
    assert mixed.max() <= 1
    assert not np.allclose(mixed[1, 2], 100 / 255)


def test_none_publishes_the_same_files_empty(folders, tmp_path):
    full, off = tmp_path / "full", tmp_path / "off"
    for folder in (full, off):
        folder.mkdir()
    explain.run(config(folders), full, **folders.inputs)
    explain.run(config(folders, explainer={"_target_": None}), off, **folders.inputs)
    assert {path.name for path in off.iterdir()} == {path.name for path in full.iterdir()}
    assert np.load(off / "maps.npy").shape == (0, 16, 16)


def test_regression_is_explained_alike(tmp_path):
    folders = trained.folders(tmp_path, task="regression", steps=10)
    (tmp_path / "out").mkdir()
    assert explain.run(config(folders), tmp_path / "out", **folders.inputs).startswith("7 maps")
