"""Probes of a trained network: better than chance on what it learnt, never opening the test split."""

import csv
import shutil

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import save_file

from pipeline.command import probe
from pipeline.core.artifact import read_json
from pipeline.core.errors import PersonError
from pipeline.core.store import open_samples
from pipeline.training import probing
from pipeline.training.saved_model import load_model
from pipeline.training.subset import Subset
from tests import toy, trained

LAYERS = ["trunk_layers.0", "trunk_layers.3"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A project with a small residual network, trained for a moment on bars and discs, and one snapshot: random weights."""
    root = tmp_path_factory.mktemp("project")
    found = trained.folders(root / "data", steps=30, count=320)
    network = load_model(found.train)
    shutil.move(found.train, root / "data/train.partial")
    torch.manual_seed(9)
    fresh = {name: torch.randn_like(tensor) if tensor.ndim > 1 else tensor for name, tensor in network.state_dict().items()}
    (root / "data/train.partial/snapshots").mkdir()
    save_file({name: tensor.contiguous() for name, tensor in fresh.items()}, root / "data/train.partial/snapshots/000000005.safetensors")
    toy.publish(root / "data", "train", {"ingest": found.ingest, "split": found.split})
    (root / "data/compose").mkdir()
    cfg = {"task": found.task, "model": toy.option("model", "mlp"), "train": toy.option("train", "default"), "seed": 0}
    (root / "data/compose/config.yaml").write_text(yaml.safe_dump(cfg))
    shutil.copytree(toy.PROJECT / "conf/baseline", root / "conf/baseline")
    (root / "dvc.yaml").write_text("stages: {}\n")
    return root


@pytest.fixture
def root(made, monkeypatch):
    monkeypatch.chdir(made)
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setattr(probing, "RESAMPLES", 20)
    return made


def rows_of(folder):
    with (folder / "probe.csv").open() as file:
        return list(csv.DictReader(file))


def test_the_table_holds_every_layer_and_probe_and_the_files_repeat_to_the_byte(root, tmp_path, capsys):
    assert probe.main(["--layer", *LAYERS, "--out", str(tmp_path / "a")]) == 0
    said = capsys.readouterr().out
    for word in (*LAYERS, "linear", "svm", "knn", "the network's own answer"):
        assert word in said
    rows = rows_of(tmp_path / "a")
    assert [(row["layer"], row["probe"]) for row in rows] == [("", "network"), *((one, name) for one in LAYERS for name in ("linear", "svm", "knn"))]
    for row in rows:
        assert 0 <= float(row["low"]) <= float(row["value"]) <= float(row["high"]) <= 1
    with Image.open(tmp_path / "a/probe.png") as picture:
        assert picture.size[0] > 600
    assert probe.main(["--layer", *LAYERS, "--out", str(tmp_path / "b")]) == 0
    for name in ("probe.csv", "probe.png"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_a_late_layer_tells_more_than_random_labels(root):
    opened = probing.open_probe(root, step=None, limit=5000)
    parts = {"linear": probe._probe(root, "linear")}
    best = {layer: entry["value"] for layer, _, _, entry in probing.judge(opened, LAYERS, parts)}
    rng = np.random.default_rng(0)
    control = []
    for _ in range(5):
        planted = Subset(opened.train.samples, opened.train.positions, rng.permutation(opened.train.truth))
        shuffled = probing.Opened(opened.model, opened.task, planted, opened.held, "planted")
        control += [entry["value"] for layer, _, _, entry in probing.judge(shuffled, LAYERS[1:], parts) if layer]
    assert best[LAYERS[1]] > 0.8
    assert best[LAYERS[1]] > np.mean(control) + 0.2


def test_the_test_split_is_never_opened(root, monkeypatch):
    samples = open_samples(root / "data/ingest")
    test = set(samples.positions(read_json(root / "data/split/split.json")["test"]).tolist())
    asked, pixels = [], type(samples).pixels
    monkeypatch.setattr(type(samples), "pixels", lambda self, place: asked.append(place) or pixels(self, place))
    probe.main(["--layer", LAYERS[0], "--probe", "knn"])
    assert asked
    assert not test & set(asked)


def test_the_end_of_each_stage_is_probed_by_default(root, capsys):
    assert probe.main(["--probe", "linear"]) == 0
    said = capsys.readouterr().out
    assert "trunk_layers.5" in said
    assert "head" not in said


def test_the_list_names_layers_and_shapes(root, capsys):
    assert probe.main(["--list"]) == 0
    said = capsys.readouterr().out
    assert "trunk_layers.2.conv1" in said
    assert "8 x 16 x 16" in said
    assert "yes" in said


def test_steps_are_compared(root, tmp_path):
    assert probe.main(["--step", "5", "--layer", LAYERS[1], "--probe", "linear", "--out", str(tmp_path / "p")]) == 0
    assert {row["step"] for row in rows_of(tmp_path / "p")} == {"5"}
    final = probing.open_probe(root, step=None, limit=5000)
    early = probing.open_probe(root, step=5, limit=5000)
    assert not torch.equal(final.model.state_dict()["head.weight"], early.model.state_dict()["head.weight"])
    assert early.name == "step 5"


@pytest.mark.parametrize(("words", "line"), [
    (["--layer", "trunk_layer.0"], "--layer: ResNet has no layer 'trunk_layer.0'; did you mean 'trunk_layers.0'"),
    (["--step", "7"], r"--step 7: no weights of this step were kept \(kept: 5\); train with  train.snapshots=\[7\]"),
    (["--probe", "liner"], "--probe liner: there is no conf/baseline/liner.yaml; did you mean 'linear'"),
    (["--probe", "majority"], "--probe majority looks at no features"),
    (["--limit", "1"], "--limit must be at least 2: received 1"),
    (["--out", "conf"], "conf exists already: name a new folder with --out; nothing was overwritten"),
    (["--out", "data/probe"], "data/probe lies where stages publish"),
])  # fmt: skip
def test_mistakes_are_one_line(root, words, line):
    with pytest.raises(PersonError, match=line):
        probe.main(words)


def test_a_model_of_another_split_is_refused(root, tmp_path, monkeypatch):
    other = tmp_path / "project"
    shutil.copytree(root, other)
    shutil.rmtree(other / "data/split")
    trained.toy.split(other / "data", trained.toy.ingest(other / "other", classes=trained.CLASSES, count=40))
    monkeypatch.chdir(other)
    with pytest.raises(PersonError, match="was trained on another data/split than the one that is there"):
        probe.main([])


def test_without_a_training_the_message_says_what_to_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PersonError, match=r"there is no dvc.yaml"):
        probe.main([])
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    shutil.copytree(toy.PROJECT / "conf/baseline", tmp_path / "conf/baseline")
    with pytest.raises(PersonError, match="run  dvc repro train  first"):
        probe.main([])
