"""Every option of conf/exporter is held to the laws of an exporter; a new option is tested with no new test file."""

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch import nn

from pipeline.core.errors import PersonError
from pipeline.core.parts import build, is_off
from pipeline.outlier.watch import Chosen, Watch
from pipeline.stages.export import compare, gate
from pipeline.training.deploy import deploy
from pipeline.training.predict import predict
from pipeline.training.subset import read_subset
from pipeline.training.watched import compare_watch, gate_watch
from tests import toy, trained

CONF = Path(__file__).resolve().parents[2] / "conf/exporter"
OPTIONS = sorted(path for path in CONF.glob("*.yaml") if not is_off(yaml.safe_load(path.read_text(encoding="utf-8"))))
TASKS = ("classification", "regression")


@pytest.fixture(params=OPTIONS, ids=lambda path: path.stem)
def exporter(request):
    return build(yaml.safe_load(request.param.read_text(encoding="utf-8")))


@pytest.fixture(scope="module", params=TASKS)
def made(request, tmp_path_factory):
    """A trained network, its task and card, and 256 real samples."""
    from pipeline.core.artifact import read_json
    from pipeline.training.saved_model import load_model

    folders = trained.folders(tmp_path_factory.mktemp(request.param), task=request.param, steps=15, count=300)
    card = read_json(folders.ingest / "card.json")
    task = build(folders.task, card=card)
    subset = read_subset(task, folders.ingest, folders.split, ["train", "val", "test"]).spread(256, "parity")
    return load_model(folders.train), task, card, subset


def test_equal_to_torch_on_256_samples_at_three_batch_sizes(exporter, made, tmp_path):
    model, task, card, subset = made
    reference = predict(model, task, subset.pixels(), total=len(subset))
    run = exporter.load(deploy(model, task, card, exporter=exporter, directory=tmp_path))
    rows, answers = compare(reference, run, subset, [1, 2, 7])
    gate(rows, reference, tolerance=1e-5)
    assert [row.batch_size for row in rows] == [1, 2, 7]
    assert {row.samples for row in rows} == {256}
    assert answers.dtype == np.float32


def test_a_wrong_normalisation_fails_the_same_check(exporter, made, tmp_path):
    model, task, card, subset = made
    reference = predict(model, task, subset.pixels(), total=len(subset))

    class Darker(nn.Module):
        def forward(self, x_BCHW):
            return model(x_BCHW * 255 / 256)

    run = exporter.load(deploy(Darker().eval(), task, card, exporter=exporter, directory=tmp_path))
    with pytest.raises(PersonError, match="is not the trained one on 256 samples"):
        gate(compare(reference, run, subset, [7])[0], reference, tolerance=1e-4)


def test_the_same_bytes_wherever_and_no_path_of_the_machine(exporter, made, tmp_path, monkeypatch):
    model, task, card, _ = made
    files = []
    for name in ("here", "a much longer name of a folder"):
        folder = tmp_path / name
        folder.mkdir()
        monkeypatch.chdir(folder)
        files.append(deploy(model, task, card, exporter=exporter, directory=folder).read_bytes())
    assert files[0] == files[1]
    for path in (tmp_path, Path(torch.__file__).parents[1], Path(toy.__file__).parents[1], Path.home()):
        assert len(str(path)) < 2 or str(path).encode() not in files[0]
    assert b".py" not in files[0]
    assert len(list(tmp_path.rglob("*.*"))) == 2, "one self-contained file each"


def test_a_detector_travels_as_further_outputs_and_predictions_stay(exporter, made, tmp_path):
    model, task, card, subset = made

    class Scorer(nn.Module):
        def forward(self, logits_BK, features_BD):
            return logits_BK.square().sum(1)

    watch = Watch(model, None, Scorer(), Chosen("planted", threshold=1.0, false_alarm=0.05, validation=20)).eval()
    opened = exporter.load(deploy(model, task, card, exporter=exporter, directory=tmp_path, watch=watch))
    gate_watch(compare_watch(watch, opened, subset, tolerance=1e-4), tolerance=1e-4)
    pixels = next(subset.batches(5))
    answers = opened.answers(pixels)
    assert set(answers) == {"prediction", "unknown_score", "unknown"}
    assert np.array_equal(answers["prediction"], opened(pixels))
    assert np.abs(opened(pixels) - predict(model, task, list(pixels), total=5)).max() < 1e-5
