"""The stage compress with shrinkers: the order of the steps, training on with the train split, and what is said."""

import numpy as np
import pytest

from pipeline.core.artifact import read_json
from pipeline.core.section import read_section
from pipeline.stages import compress
from tests import shipped, toy, trained

TUNE = {"calibration": 32, "looked_at": 64, "tune_steps": 40, "tune_lr": 1e-3, "tune_batch_size": 32, "distil": 1.0}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return trained.folders(tmp_path_factory.mktemp("shrunk"), count=300)


@pytest.fixture(scope="module")
def inputs(folders):
    return {**folders.inputs, "ood": shipped.unwatched(folders.train.parent)}


def config(folders, *names):
    return {
        "task": folders.task, "shrinker": {name: toy.option("shrinker", name) for name in sorted(names)},
        "compressor": toy.option("compressor", "int8"), "exporter": toy.option("exporter", "onnx"), "compress": TUNE,
        "detector": {"none": {"_target_": None}}, "ood": shipped.OOD, "intervals": {"resamples": 50, "coverage": 0.95}, "seed": 0, "threads": 1,
    }  # fmt: skip


def test_prune_comes_before_project_and_the_file_gets_smaller_each_time(folders, inputs, tmp_path):
    sizes = {}
    for names in ((), ("prune",), ("prune", "project")):
        out = tmp_path / ("-".join(names) or "none")
        out.mkdir()
        compress.run(config(folders, *names), out, **inputs)
        sizes[names] = read_json(out / "metrics.json")["compressed"]["size_bytes"]
    assert sizes["prune",] < sizes[()]
    tables = read_section(out).tables
    assert [row[0] for row in tables[-1].rows] == ["trained", "prune", "project"]
    weights = [row[1] for row in tables[-1].rows]
    assert weights == sorted(weights, reverse=True)
    values = [read_json(out / "metrics.json")[name]["metrics"]["auroc"]["value"] for name in ("original", "compressed")]
    assert values[1] > values[0] - 0.15


@pytest.mark.slow
def test_training_under_rounding_comes_last_and_the_same_again_gives_the_same_bytes(folders, inputs, tmp_path):
    files = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        asked = {**config(folders, "prune"), "compressor": toy.option("compressor", "int8_aware", steps=12)}
        compress.run(asked, tmp_path / name, **inputs)
        files.append((tmp_path / name / "model.onnx").read_bytes())
    assert files[0] == files[1]
    assert [row[0] for row in read_section(tmp_path / "a").tables[-1].rows] == ["trained", "prune", "trained on under rounding"]
    (tmp_path / "int8").mkdir()
    compress.run(config(folders, "prune"), tmp_path / "int8", **inputs)
    assert files[0] != (tmp_path / "int8/model.onnx").read_bytes()
    values = [read_json(tmp_path / "a/metrics.json")[name]["metrics"]["auroc"]["value"] for name in ("original", "compressed")]
    assert values[1] > values[0] - 0.1


def test_weights_in_16_bits_cost_nothing_and_look_at_no_sample(folders, inputs, tmp_path):
    summary = compress.run({**config(folders), "compressor": toy.option("compressor", "fp16")}, tmp_path, **inputs)
    metrics = read_json(tmp_path / "metrics.json")
    assert abs(metrics["change"]["auroc"]["value"]) < 1e-3
    assert metrics["compressed"]["size_bytes"] < 0.9 * metrics["original"]["size_bytes"]
    assert "of the size" in summary
    assert "in 16 bits" in read_section(tmp_path).text[0]


def test_the_same_again_gives_the_same_bytes(folders, inputs, tmp_path):
    files = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        compress.run(config(folders, "prune"), tmp_path / name, **inputs)
        files.append((tmp_path / name / "model.onnx").read_bytes())
    assert files[0] == files[1]


def test_training_on_sees_the_train_split_alone_and_helps(folders):
    from pipeline.core.parts import build
    from pipeline.training import finetune as module
    from pipeline.training.predict import predict, to_batch
    from pipeline.training.saved_model import load_model
    from pipeline.training.subset import read_subset

    task = build(folders.task, card=read_json(folders.ingest / "card.json"))
    known = read_subset(task, folders.ingest, folders.split, ["train"])
    teacher = load_model(folders.train).requires_grad_(requires_grad=False)
    small = build(toy.option("shrinker", "prune")).shrink(teacher, lambda: iter([to_batch(list(known.pixels()))]))

    def gap(network):
        return float(np.abs(predict(network, task, known.pixels(), total=len(known)) - predict(teacher, task, known.pixels(), total=len(known))).mean())

    before = gap(small)
    module.finetune(small, teacher, task, known, steps=40, batch_size=32, lr=3e-3, distil=1.0, seed=0)
    assert gap(small) < 0.7 * before
    assert not small.training
    assert not any(parameter.requires_grad for parameter in small.parameters())
