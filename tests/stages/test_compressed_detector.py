"""The stage compress with a detector of unknown inputs: it is inside the small file, and says there what it says in the original."""

import copy
import json
import re
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch

from pipeline.core.artifact import read_json, write_json
from pipeline.core.errors import PersonError
from pipeline.core.parts import build
from pipeline.core.section import Section, read_section
from pipeline.core.store import open_samples, write_shards
from pipeline.exporter.onnx import Onnx
from pipeline.outlier.measure import threshold
from pipeline.stages import compress, export, ood
from pipeline.training.detection import open_detection
from pipeline.training.saved_model import load_model
from pipeline.training.subset import read_subset
from tests import shipped, toy, trained

NAMES = ("softmax", "energy", "knn", "mahalanobis", "vim")
EXPORT = {"parity_samples": 30, "batch_sizes": [7], "tolerance": 1e-3, "timing_repeats": 1}
TUNE = {"calibration": 64, "looked_at": 64, "tune_steps": 20, "tune_lr": 1e-3, "tune_batch_size": 32, "distil": 1.0}
OUTPUTS = ["prediction", "unknown_score", "unknown"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return trained.folders(tmp_path_factory.mktemp("detecting"), count=900)


def config(folders, name, **changes):
    return {
        "task": folders.task, "detector": {name: toy.option("detector", name)}, "exporter": toy.option("exporter", "onnx"), "export": EXPORT,
        "ood": {**shipped.OOD, "ship": name, "fitted": 300, "known": 100, "others": 24}, "shrinker": {}, "compressor": toy.option("compressor", "int8"),
        "compress": TUNE, "intervals": shipped.INTERVALS, "seed": 0, "threads": 1, **changes,
    }  # fmt: skip


@pytest.fixture(scope="module", params=NAMES)
def detected(request, folders, tmp_path_factory):
    """What ood, export and compress publish of a detector."""
    root = tmp_path_factory.mktemp(request.param)
    cfg = config(folders, request.param)
    for name in ("ood", "export"):
        (root / name).mkdir()
    ood.run(cfg, root / "ood", embed=toy.embed(root, folders.ingest, off=True), **folders.inputs)
    export.run(cfg, root / "export", ood=root / "ood", **folders.inputs)
    return request.param, root, run(folders, request.param, root, root / "compress")


def run(folders, name, root, out, **changes):
    out.mkdir()
    compress.run(config(folders, name, **changes), out, ood=root / "ood", **folders.inputs)
    return read_json(out / "metrics.json")["unknown"]


def subset(folders, *names):
    task = build(folders.task, card=read_json(folders.ingest / "card.json"))
    return read_subset(task, folders.ingest, folders.split, names)


def pixels(some):
    return np.stack(list(some.pixels()))


def told(path):
    return {entry.key: entry.value for entry in onnx.load(path).metadata_props}


def test_the_small_file_has_the_outputs_of_the_exported_one_and_ranks_alike(folders, detected):
    name, root, told_of = detected
    whole, small = (Onnx().load(root / stage / "model.onnx") for stage in ("export", "compress"))
    images = pixels(subset(folders, "test"))
    noise = np.random.default_rng(0).integers(0, 256, images.shape, dtype=np.uint8)
    before, after = (one.answers(np.concatenate([images, noise])) for one in (whole, small))
    assert [output.name for output in small.session.get_outputs()] == OUTPUTS
    assert [output.type for output in small.session.get_outputs()] == [output.type for output in whole.session.get_outputs()]
    assert after["unknown"].shape == after["unknown_score"].shape == (len(images) * 2,)
    unknown = np.arange(2 * len(images)) >= len(images)
    areas = [auroc(found["unknown_score"], unknown) for found in (before, after)]
    assert areas[1] > areas[0] - 0.02
    assert spearman(before["unknown_score"], after["unknown_score"]) > 0.9
    assert told_of["rank_correlation"] == pytest.approx(spearman(*(one["unknown_score"][: len(images)] for one in (before, after))), abs=1e-6)
    assert told_of["compressed"]["validation_auroc"] > told_of["original"]["validation_auroc"] - 0.02
    assert told_of["compressed"]["false_alarm"]["value"] == pytest.approx(after["unknown"][: len(images)].mean())
    assert told_of["original"]["false_alarm"]["value"] == pytest.approx(before["unknown"][: len(images)].mean())
    assert any(f"The detector {name} is inside the compressed file" in line for line in read_section(root / "compress").text)


def test_its_threshold_is_the_quantile_of_its_own_scores_on_validation_and_its_metadata_says_so(folders, detected):
    _, root, told_of = detected
    whole, small = (told(root / stage / "model.onnx") for stage in ("export", "compress"))
    facts, before = json.loads(small.pop("unknown")), json.loads(whole.pop("unknown"))
    assert small == whole
    assert {**facts, "threshold": 0} == {**before, "threshold": 0}
    assert facts["threshold"] == told_of["compressed"]["threshold"] != before["threshold"] == told_of["original"]["threshold"]
    known = subset(folders, "val").spread(facts["validation"], 0, "ood")
    found = Onnx().load(root / "compress" / "model.onnx").answers(pixels(known))
    assert facts["threshold"] == pytest.approx(threshold(found["unknown_score"], 0.05), rel=1e-5)
    assert found["unknown"].mean() <= 0.05
    assert found["unknown"].mean() >= 0.05 - 2 / len(known)


def auroc(score_N, unknown_N):
    better = score_N[unknown_N][:, None] - score_N[~unknown_N][None, :]
    return float((better > 0).mean() + 0.5 * (better == 0).mean())


def spearman(first_N, second_N):
    from scipy.stats import spearmanr

    return float(spearmanr(first_N, second_N).statistic)


@pytest.fixture(scope="module")
def knn(folders, tmp_path_factory):
    root = tmp_path_factory.mktemp("knn-shrunk")
    (root / "ood").mkdir()
    ood.run(config(folders, "knn"), root / "ood", embed=toy.embed(root, folders.ingest, off=True), **folders.inputs)
    return root


@pytest.mark.parametrize("changes", [
    pytest.param({"shrinker": {"prune": toy.option("shrinker", "prune")}}, id="pruned"),
    pytest.param({"compressor": toy.option("compressor", "int8_aware", steps=12)}, id="int8_aware", marks=pytest.mark.slow),
    pytest.param({"compressor": toy.option("compressor", "fp16")}, id="fp16"),
])  # fmt: skip
def test_a_shrunk_network_has_a_detector_that_is_fitted_to_it(folders, knn, tmp_path, changes):
    """Pruning takes features away, so that the detector of the trained network would not even fit."""
    told_of = run(folders, "knn", knn, tmp_path / "out", **changes)
    found = Onnx().load(tmp_path / "out" / "model.onnx").answers(pixels(subset(folders, "val").spread(100, 0, "ood")))
    assert list(found) == OUTPUTS
    assert 0 < found["unknown"].mean() <= 0.05
    assert told_of["compressed"]["validation_auroc"] > told_of["original"]["validation_auroc"] - 0.1


@pytest.mark.parametrize(("kept", "flagged", "auroc", "said"), [
    (0, 0.05, 0.9, []), (100, 0.05, 0.9, [r"is 0\.40 of the original's size, and 0\.25 without the numbers of the detector knn"]),
    (0, 0.3, 0.9, [r"calls 30\.0 % .* unknown"]), (0, 0.05, 0.8, [r"takes 0\.100 off the AUROC"]),
])  # fmt: skip
def test_what_a_detector_costs_is_warned_of(kept, flagged, auroc, said):
    whole, small = (500, 200) if kept else (400, 100)
    pair = compress._Pair({}, {"original": whole, "compressed": small}, {"original": 1.0, "compressed": 2.0}, {"original": kept, "compressed": kept})
    unknown = {name: {"threshold": 1.0, "validation_auroc": area, "false_alarm": {"value": rate, "low": rate - 0.01, "high": rate + 0.01}}
               for name, area, rate in (("original", 0.9, 0.05), ("compressed", auroc, flagged))}  # fmt: skip
    section = Section("Compression", "")
    compress._tell_of_detector(section, {**unknown, "detector": "knn", "asked": 0.05, "validation": 9, "other_flags": 1, "rank_correlation": None}, pair, bits=8)
    assert len(section.warnings) == len(said)
    assert all(re.search(one, warning) for one, warning in zip(said, section.warnings, strict=True))


def test_scores_of_test_samples_have_no_part_in_the_file(folders, knn, tmp_path):
    run(folders, "knn", knn, tmp_path / "a")
    others = tmp_path / "ingest"
    others.mkdir()
    test = set(read_json(folders.split / "split.json")["test"])
    write_shards(others, [replace(s, pixels_HWC=255 - s.pixels_HWC) if s.id in test else s for s in open_samples(folders.ingest)])
    write_json(others / "card.json", read_json(folders.ingest / "card.json"))
    run(replace(folders, ingest=others), "knn", knn, tmp_path / "b")
    assert (tmp_path / "a/model.onnx").read_bytes() == (tmp_path / "b/model.onnx").read_bytes()
    assert (tmp_path / "a/metrics.json").read_bytes() != (tmp_path / "b/metrics.json").read_bytes()


def test_a_network_whose_outputs_are_no_numbers_is_said(folders, knn):
    config_knn = config(folders, "knn")
    network = load_model(folders.train)
    task = build(folders.task, card=read_json(folders.ingest / "card.json"))
    detection = open_detection(config_knn, network, task, {"ingest": folders.ingest, "split": folders.split, "ood": knn / "ood"})
    broken = copy.deepcopy(network)
    with torch.no_grad():
        next(broken.parameters()).fill_(float("nan"))
    with pytest.raises(PersonError, match="outputs are not finite, and the detector 'knn' cannot be fitted"):
        detection.behind(broken)
