"""The stage ood: fitted on train, thresholds on validation, the choice without the test split, and a detector that travels."""

import csv
import hashlib
import json
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch

from pipeline.core.artifact import read_json, write_json
from pipeline.core.errors import PersonError
from pipeline.core.parts import build
from pipeline.core.section import read_section
from pipeline.core.store import open_samples, write_shards
from pipeline.exporter.onnx import Onnx
from pipeline.outlier import watch as watching
from pipeline.stages import export, ood
from pipeline.training.predict import to_batch
from pipeline.training.saved_model import load_model
from pipeline.training.seen import examples
from tests import toy, trained

FILES = {"detector.json", "detector.safetensors", "metrics.json", "scores.csv", "section.json", "scores.png", "roc.png", "sets.png"}
NAMES = ("softmax", "energy", "odin", "mahalanobis", "knn", "vim")
OPTIONS = {"sets": ["noise", "inverted", "blank"], "ship": "auto", "false_alarm": 0.05, "fitted": 90, "known": 60, "others": 12, "gradients": 20}
EXPORT = {"parity_samples": 30, "batch_sizes": [1, 7], "tolerance": 1e-4, "timing_repeats": 3}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return trained.folders(tmp_path_factory.mktemp("ood"), count=180)


def config(folders, *, detectors=("energy", "knn"), export=EXPORT, **changes):
    return {
        "task": folders.task, "detector": {name: toy.option("detector", name) for name in detectors}, "ood": {**OPTIONS, **changes},
        "intervals": {"resamples": 30, "coverage": 0.95}, "exporter": toy.option("exporter", "onnx"), "export": export, "seed": 0, "threads": 1,
    }  # fmt: skip


def run(folders, out, **changes):
    out.mkdir(exist_ok=True)
    embed = out.parent / "embed"
    embed.mkdir(exist_ok=True)
    write_json(embed / "embedder.json", {"name": "pixels"})
    said = ood.run(config(folders, **changes), out, embed=embed, **folders.inputs)
    return said, read_json(out / "metrics.json")


def test_every_detector_is_measured_and_the_bytes_are_stable(folders, tmp_path):
    said, metrics = run(folders, tmp_path / "a", detectors=NAMES, sets=["digits", "noise", "inverted", "blank"])
    run(folders, tmp_path / "b", detectors=NAMES, sets=["digits", "noise", "inverted", "blank"])
    first, second = ({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("a", "b"))
    assert set(first) == FILES
    assert first == second
    assert list(metrics["detectors"]) == sorted(NAMES)
    for found in metrics["detectors"].values():
        assert set(found["sets"]) == {"digits", "noise", "inverted", "blank"}
        for entry in (found["false_alarm"], *(one for each in found["sets"].values() for one in each.values())):
            assert 0 <= entry["low"] <= entry["value"] <= entry["high"] <= 1
    assert "validation_auroc" not in metrics["detectors"]["odin"], "what cannot travel is no candidate"
    with (tmp_path / "a/scores.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    shipped = metrics["shipped"]
    limit = metrics["detectors"][shipped["detector"]]["threshold"]
    flagged = [int(row["unknown"]) for row in rows if row["detector"] == shipped["detector"] and row["set"] == shipped["worst_set"]]
    sets = metrics["detectors"][shipped["detector"]]["sets"]
    assert np.mean(flagged) == pytest.approx(sets[shipped["worst_set"]]["flagged"]["value"])
    assert shipped["fpr95"]["value"] == sets[shipped["worst_set"]]["fpr95"]["value"] == max(found["fpr95"]["value"] for found in sets.values())
    assert shipped["auroc"]["value"] == min(found["auroc"]["value"] for found in sets.values())
    assert all(int(row["unknown"]) == (float(row["score"]) > limit) for row in rows if row["detector"] == shipped["detector"])
    assert "travels with the export" in said
    candidates = {name: found["validation_auroc"] for name, found in metrics["detectors"].items() if name != "odin"}
    assert candidates[shipped["detector"]] == max(candidates.values())


def test_the_threshold_is_that_of_validation_scores(folders, tmp_path):
    """By hand, from the artifact alone: of 27 validation samples one lies above it, and none between."""
    run(folders, tmp_path / "out", detectors=["knn"], false_alarm=0.1)
    found = load(folders, tmp_path / "out")
    stored = open_samples(folders.ingest)
    val = stored.positions(read_json(folders.split / "split.json")["val"])
    with torch.no_grad():
        score = found(to_batch([stored.pixels(int(place)) for place in val]))[1]
    assert len(val) == 27
    assert int((score > found.threshold + 1e-5).sum()) == 1  # the graph rounds otherwise than the library
    assert float(score.sort().values[-2]) == pytest.approx(float(found.threshold), abs=1e-5)


def load(folders, out, names=NAMES):
    model, card = load_model(folders.train), read_json(folders.ingest / "card.json")
    return watching.load_watch(out, model, {name: toy.option("detector", name) for name in names}, examples(card))


def test_the_test_split_has_no_part_in_fit_threshold_and_choice(folders, tmp_path):
    run(folders, tmp_path / "a", detectors=("softmax", "energy", "mahalanobis", "knn"))
    others = tmp_path / "ingest"
    others.mkdir()
    test = set(read_json(folders.split / "split.json")["test"])
    write_shards(others, [replace(s, pixels_HWC=255 - s.pixels_HWC, label=1 - s.label) if s.id in test else s for s in open_samples(folders.ingest)])
    write_json(others / "card.json", read_json(folders.ingest / "card.json"))
    run(replace(folders, ingest=others), tmp_path / "b", detectors=("softmax", "energy", "mahalanobis", "knn"))
    for name in ("detector.json", "detector.safetensors"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert (tmp_path / "a/metrics.json").read_bytes() != (tmp_path / "b/metrics.json").read_bytes()


@pytest.mark.parametrize(("changes", "said"), [
    ({"sets": ["nois"]}, r"ood.sets: there is no set 'nois'; did you mean 'noise'"),
    ({"sets": []}, "ood.sets is empty"),
    ({"ship": "knnn"}, r"ood.ship must be auto, none or a chosen detector: received 'knnn'; did you mean 'knn'"),
    ({"ship": "odin", "detectors": ("odin", "energy")}, "ood.ship=odin: this detector cannot travel: it needs gradients; choose one of  energy"),
])  # fmt: skip
def test_mistakes_are_told(folders, tmp_path, changes, said):
    with pytest.raises(PersonError, match=said):
        run(folders, tmp_path / "out", **changes)


def test_a_rate_that_validation_cannot_promise_is_said(folders, tmp_path):
    run(folders, tmp_path / "out", detectors=["energy"], false_alarm=0.01)
    assert any("27 validation samples cannot promise less than 3.6 %" in warning for warning in read_section(tmp_path / "out").warnings)
    run(folders, tmp_path / "enough", detectors=["energy"])
    assert not any("cannot promise" in warning for warning in read_section(tmp_path / "enough").warnings)


def test_a_set_equal_to_the_training_set_is_refused(folders, tmp_path, monkeypatch):
    stored = open_samples(folders.ingest)
    monkeypatch.setattr(ood.sets, "sample_id", lambda pixels: hashlib.sha256(pixels.tobytes()).hexdigest()[:20])  # as toy.samples does
    monkeypatch.setattr(ood.sets, "generated", lambda *_, **__: [stored.pixels(place) for place in range(12)])
    with pytest.raises(PersonError, match="12 of 12 images of 'noise' are samples of the training data itself"):
        run(folders, tmp_path / "out", sets=["noise"])


def test_the_digits_are_refused_as_unknown_to_the_digits(tmp_path):
    from pipeline.dataset.digits import Digits
    from pipeline.images.decode import sample_id
    from pipeline.outlier.sets import unlike

    images = [entry.read() for entry in Digits(source=tmp_path, limit=0).entries()]
    with pytest.raises(PersonError, match=r"'digits' are samples of the training data itself"):
        unlike("digits", ood._images("digits", [], count=50, shape=(8, 8, 1), seed=0), [sample_id(image) for image in images])


def test_a_test_split_of_one_class_is_measured_all_the_same(folders, tmp_path):
    stored = open_samples(folders.ingest)
    label = dict(zip(stored.ids, stored.columns["label"].tolist(), strict=True))
    ids = read_json(folders.split / "split.json")
    split = tmp_path / "split"
    split.mkdir()
    write_json(split / "split.json", {**ids, "test": [identity for identity in ids["test"] if label[identity] == 0]})
    _, metrics = run(replace(folders, split=split), tmp_path / "out")
    assert metrics["shipped"]["auroc"]["low"] <= metrics["shipped"]["auroc"]["value"] <= metrics["shipped"]["auroc"]["high"]


def test_a_fashion_that_is_not_installed_is_left_out_and_said(folders, tmp_path, monkeypatch):
    monkeypatch.setattr(ood, "INSTALLED", tmp_path / "nowhere")
    _, metrics = run(folders, tmp_path / "out", sets=["fashion", "noise"])
    assert set(metrics["detectors"]["knn"]["sets"]) == {"noise"}
    assert any("fashion is not installed" in text for text in read_section(tmp_path / "out").text)
    with pytest.raises(PersonError, match="names fashion alone, which is not installed"):
        run(folders, tmp_path / "out", sets=["fashion"])


def test_none_publishes_an_artifact_from_which_nothing_travels(folders, tmp_path):
    said, metrics = run(folders, tmp_path / "out", detectors=())
    assert "no detector" in said
    assert metrics == {"detectors": {}, "shipped": {}}
    assert load(folders, tmp_path / "out") is None
    run(folders, tmp_path / "measured", ship="none")
    assert load(folders, tmp_path / "measured") is None
    assert read_json(tmp_path / "measured/metrics.json")["shipped"] == {}


def test_values_have_feature_detectors_alone(tmp_path):
    folders = trained.folders(tmp_path, task="regression", steps=5, count=180)
    _, metrics = run(folders, tmp_path / "out", detectors=NAMES)
    assert set(metrics["detectors"]) == {"mahalanobis", "knn"}
    assert sum("the task has no classes" in text for text in read_section(tmp_path / "out").text) == 4
    exported(folders, tmp_path, detectors=NAMES)
    assert read_json(tmp_path / "export/metrics.json")["unknown"]["other_flags"] == 0


def exported(folders, directory, **changes):
    (directory / "export").mkdir()
    return export.run(config(folders, **changes), directory / "export", ood=directory / "out", **folders.inputs)


@pytest.mark.parametrize("name", ["energy", "knn", *(pytest.param(name, marks=pytest.mark.slow) for name in ("softmax", "mahalanobis", "vim"))])
def test_the_chosen_one_travels_and_answers_each_request(name, folders, tmp_path):
    run(folders, tmp_path / "out", detectors=NAMES, ship=name, sets=["noise"], gradients=19)
    said = exported(folders, tmp_path, detectors=NAMES)
    assert f"the detector {name} travels with it" in said
    facts = read_json(tmp_path / "export/metrics.json")["unknown"]
    assert (facts["detector"], facts["samples"], facts["other_flags"]) == (name, 30, 0)
    assert facts["max_abs_diff"] <= 1e-4 * facts["spread"]
    file, watch = tmp_path / "export/model.onnx", load(folders, tmp_path / "out")
    opened = Onnx().load(file)
    rng = np.random.default_rng(0)
    for count in (1, 5):
        pixels = rng.integers(0, 256, (count, 16, 16, 1), dtype=np.uint8)
        found = opened.answers(pixels)
        assert set(found) == {"prediction", "unknown_score", "unknown"}
        assert np.array_equal(found["prediction"], opened(pixels))
        with torch.no_grad():
            _, score, unknown = watch(to_batch(list(pixels)))
        assert np.abs(found["unknown_score"] - score.numpy()).max() <= 1e-3 * facts["spread"]
        assert found["unknown"].dtype == bool
        assert found["unknown"].tolist() == unknown.tolist()
    told = json.loads({entry.key: entry.value for entry in onnx.load(file).metadata_props}["unknown"])
    assert told["detector"] == name
    assert told["threshold"] == read_json(tmp_path / "out/detector.json")["threshold"]


def test_an_exported_detector_that_is_another_one_is_not_published(folders, tmp_path, monkeypatch):
    run(folders, tmp_path / "out", detectors=["energy"])
    real = export.deploy

    def wrong(model, task, card, *, watch, **rest):
        class Hotter(torch.nn.Module):
            def forward(self, logits, features):
                return -2 * (logits / 2).logsumexp(1)

        return real(model, task, card, watch=watching.Watch(watch.body, watch.last, Hotter(), watch.chosen).eval(), **rest)

    monkeypatch.setattr(export, "deploy", wrong)
    with pytest.raises(PersonError, match="the exported detector energy is not the trained one on 30 samples: scores differ by"):
        exported(folders, tmp_path)


def test_a_detector_that_conf_no_longer_names_is_told(folders, tmp_path):
    run(folders, tmp_path / "out", detectors=["energy"])
    with pytest.raises(PersonError, match="'energy' of data/ood is not among"):
        exported(folders, tmp_path, detectors=["knn"])


def test_features_of_a_frozen_trunk_are_not_computed_again(tmp_path):
    """Where embed holds what the network's trunk gives, its matrix is read instead of the images."""
    from pipeline.training.seen import Lens
    from pipeline.training.subset import read_subset

    class Head(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = torch.nn.Linear(256, 2)

        def forward(self, features):
            return self.linear(2 * features - 1)

    class Frozen(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.head = Head()

        def forward(self, x):
            return self.head(x.flatten(1))

        def trunk(self):
            return {"name": "pixels"}

    ingest = toy.ingest(tmp_path, classes=["bar", "disc"], count=40)
    split, embed = toy.split(tmp_path, ingest), toy.embed(tmp_path, ingest)
    card = read_json(ingest / "card.json")
    task = build(toy.option("task", "classification"), card=card)
    subset = read_subset(task, ingest, split, ["train"])
    lens = Lens(Frozen().eval(), card)
    computed = lens.stored(subset, embed, what="")
    write_json(embed / "embedder.json", {"name": "pixels", "trunk": {"name": "pixels"}})
    object.__setattr__(subset, "pixels", lambda: pytest.fail("images were read"))
    read = lens.stored(subset, embed, what="")
    assert torch.allclose(read.features_BD, computed.features_BD, atol=1e-6)
    assert torch.allclose(read.logits_BK, computed.logits_BK, atol=1e-5)
