"""The stage certify: the laws of what is verified, the hashes, what carries over, and planted faults that turn it red."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from pipeline.core.artifact import read_json, sha256
from pipeline.core.errors import PersonError
from pipeline.core.parts import build
from pipeline.core.section import read_section
from pipeline.stages import certify
from pipeline.training.deploy import deploy
from pipeline.training.saved_model import load_model
from pipeline.training.subset import read_subset
from pipeline.verification.graph import Unboundable
from pipeline.verifier.interval import Interval
from tests import toy, trained

MEASURE = {"resamples": 60, "coverage": 0.95}
RADII = [0.00392157, 0.02, 0.08]


def publish(directory, folders, *, eps=0.02):
    """What robustness, export and compress would publish: images that a sign step changed, and both files."""
    card = read_json(folders.ingest / "card.json")
    task, model = build(folders.task, card=card), load_model(folders.train)
    for name in ("robustness", "export", "compress"):
        (directory / name).mkdir()
    source = deploy(model, task, card, exporter=build(toy.option("exporter", "onnx")), directory=directory / "export")
    test = read_subset(task, folders.ingest, folders.split, ["test"]).spread(24, "here")
    build(toy.option("compressor", "int8"))(source, test.batches(8), directory / "compress")
    pixels_NHWC = np.stack(list(test.pixels()))
    x_NCHW = (torch.from_numpy(pixels_NHWC).permute(0, 3, 1, 2).float() / 255).requires_grad_()
    task.losses(model(x_NCHW), torch.as_tensor(test.truth)).sum().backward()
    change_NHWC = (int(255 * eps) * x_NCHW.grad.sign()).permute(0, 2, 3, 1).numpy()
    images = np.clip(pixels_NHWC + change_NHWC, 0, 255).astype(np.uint8)
    np.savez(directory / "robustness" / "adversarial.npz", ids=np.asarray(test.ids), attack=np.asarray(["fgsm"]), norm=np.asarray(["linf"]),
             eps=np.asarray([eps]), images=images[None])  # fmt: skip
    return {**folders.inputs, **{name: directory / name for name in ("robustness", "export", "compress")}}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    directory = tmp_path_factory.mktemp("certify")
    return publish(directory, trained.folders(directory, model="mlp", steps=40))


def config(**changes):
    verifiers = {name: toy.option("verifier", name) for name in ("interval", "crown")}
    options = {"count": 16, "radii": RADII, "steps": 5, "tolerance": 0.1}
    return {
        "task": toy.option("task", "classification"), "verifier": verifiers, "certify": options, "intervals": MEASURE,
        "exporter": toy.option("exporter", "onnx"), "seed": 0, "threads": 1, **changes,
    }  # fmt: skip


@pytest.fixture(scope="module")
def published(inputs, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    return SimpleNamespace(out=out, summary=certify.run(config(), out, **inputs), certificates=read_json(out / "certificates.json"))


def test_the_same_inputs_give_the_same_bytes(published, inputs, tmp_path):
    certify.run(config(), tmp_path, **inputs)
    first, second = ({path.name: path.read_bytes() for path in folder.iterdir()} for folder in (published.out, tmp_path))
    assert first == second
    assert set(first) == {"certificates.json", "metrics.json", "transfer.csv", "certified.png", "section.json"}


def test_a_certificate_names_the_exact_file_that_it_speaks_of(published, inputs):
    held = published.certificates["artifacts"]
    assert held["exported"]["sha256"] == {"export/model.onnx": sha256(inputs["export"] / "model.onnx")}
    assert held["compressed"]["sha256"] == {"compress/model.onnx": sha256(inputs["compress"] / "model.onnx")}
    assert held["trained"]["sha256"]["train/model.safetensors"] == sha256(inputs["train"] / "model.safetensors")
    assert held["trained"]["inputs"] != held["exported"]["inputs"] == "whole grey levels"


@pytest.mark.parametrize("artifact", ["trained", "exported", "compressed"])
def test_verified_is_at_most_attacked_is_at_most_clean_and_nothing_grows_with_the_radius(published, artifact):
    entry = published.certificates["artifacts"][artifact]
    curve, status = entry["curve"], np.asarray([row["status"] for row in entry["samples"]])
    assert len(status) == 16
    values = np.asarray([[point[kind]["value"] for kind in ("certified", "attacked")] + [entry["clean"]["value"]] for point in curve])
    assert (np.diff(values, axis=1) >= 0).all()
    assert (np.diff(values, axis=0) <= 0).all()
    for place, point in enumerate(curve):
        counts = [int((status[:, place] == word).sum()) for word in ("verified", "violated", "unproven")]
        assert counts == [point["verified"], point["violated"], point["unproven"]]
        assert sum(counts) == 16
        assert counts[0] == round(16 * point["certified"]["value"])
    assert curve[0]["verified"] > 0, "at one grey level something is proven of this network"
    assert curve[-1]["violated"] > 0, "at twenty the search finds counterexamples"


def test_the_exported_model_is_bounded_like_the_trained_one_and_crown_proves_more_than_intervals(published, inputs, tmp_path):
    held = published.certificates["artifacts"]
    methods = {word for name in held for row in held[name]["samples"] for word in row["method"]}
    assert "crown" in methods
    least = {name: [row["margin_at_least"][0] for row in held[name]["samples"]] for name in ("trained", "exported")}
    both = [(a, b) for a, b in zip(least["trained"], least["exported"], strict=True) if a is not None and b is not None]
    assert len(both) > 8
    np.testing.assert_allclose(*zip(*both, strict=True), atol=0.02)
    certify.run(config(verifier={"interval": toy.option("verifier", "interval")}), tmp_path, **inputs)
    loose = read_json(tmp_path / "certificates.json")["artifacts"]
    assert all(loose[name]["curve"][1]["verified"] <= held[name]["curve"][1]["verified"] for name in held)
    assert sum(point["verified"] for name in held for point in held[name]["curve"]) > sum(
        point["verified"] for name in held for point in loose[name]["curve"]
    )


def test_attacks_are_carried_over_to_every_form(published):
    rows = [line.split(",") for line in (published.out / "transfer.csv").read_text().splitlines()]
    assert rows[0] == ["attack", "norm", "eps", "artifact", "images", "samples", "right"]
    fgsm = {(row[3], row[4]): (int(row[5]), int(row[6])) for row in rows[1:] if row[0] == "fgsm"}
    assert set(fgsm) == {(name, "whole levels") for name in ("trained", "exported", "compressed")}
    assert {count for count, _ in fgsm.values()} == {24}
    assert fgsm["trained", "whole levels"] == fgsm["exported", "whole levels"]
    assert sum(row[4] == "as attacked" for row in rows) == len(RADII)
    table = read_section(published.out).tables[1]
    assert table.columns[-3:] == ["trained", "exported", "compressed"]


def test_the_page_says_how_many_and_gates_find_their_numbers(published):
    section = read_section(published.out)
    assert section.text[0].startswith("16 of 40 test samples were certified, 16 of which robustness attacked. ")
    assert "exported model, 16 test samples at" in published.summary
    entry = read_json(published.out / "metrics.json")["exported"]["certified_accuracy"]
    assert set(entry) == {"1", "5.1", "20.4"}
    assert set(entry["1"]) >= {"value", "low", "high"}


# --- planted faults


class Boasting(Interval):
    """Bounds that are too good."""

    def lower(self, graph, box, weights_BSK):
        return super().lower(graph, box, weights_BSK).abs() + 10


def test_bounds_that_do_not_hold_end_the_stage(inputs, tmp_path, monkeypatch):
    monkeypatch.setattr(certify, "build", lambda node, **extra: Boasting() if "verifier" in node["_target_"] else build(node, **extra))
    with pytest.raises(RuntimeError, match=r"below its lower bound|contradict each other"):
        certify.run(config(verifier={"interval": toy.option("verifier", "interval")}), tmp_path, **inputs)


def test_an_attack_that_leaves_its_ball_is_a_contradiction(inputs, tmp_path, monkeypatch):
    """Images of a stronger attack under the name of a weak one: what is verified would be violated."""
    real = certify.read_raids

    def lying(path):
        ids, raids = real(path)
        far = [torch.full_like(raid.levels_NCHW, level) for raid in raids for level in (0, 255)]
        return ids, [type(raid)("liar", "linf", RADII[0], raid.ids, levels) for raid in raids for levels in far]

    monkeypatch.setattr(certify, "read_raids", lying)
    with pytest.raises(RuntimeError, match=r"below its lower bound|contradict each other"):
        certify.run(config(), tmp_path, **inputs)


def test_a_layer_that_cannot_be_bounded_is_named_and_never_verified(inputs, tmp_path, monkeypatch):
    def refusing(path):
        raise Unboundable("the_Erf", "Erf")

    monkeypatch.setattr(certify, "read_onnx", refusing)
    certify.run(config(certify={**config()["certify"], "count": 30}), tmp_path, **inputs)
    held = read_json(tmp_path / "certificates.json")["artifacts"]
    assert read_section(tmp_path).text[0].startswith("30 of 40 test samples were certified, 24 of which robustness attacked. ")
    assert len({row["id"] for row in held["trained"]["samples"]}) == 30
    for name in ("exported", "compressed"):
        assert "'the_Erf' (Erf)" in held[name]["unbounded"]
        assert all(point["verified"] == 0 for point in held[name]["curve"])
        assert {word for row in held[name]["samples"] for word in row["status"]} == {"violated", "unproven"}
    assert held["trained"]["curve"][0]["verified"] > 0
    assert any("'the_Erf'" in warning for warning in read_section(tmp_path).warnings)


# --- options and bad inputs


def test_radii_outside_the_range_of_the_pixels_are_refused(inputs, tmp_path):
    for radii in ([0.0], [1.5], []):
        with pytest.raises(PersonError, match=r"certify\.radii must lie above 0 and up to 1"):
            certify.run(config(certify={**config()["certify"], "radii": radii}), tmp_path, **inputs)


def test_without_a_verifier_nothing_is_claimed(inputs, tmp_path):
    assert "nothing is proven" in certify.run(config(verifier={"none": {"_target_": None}}), tmp_path, **inputs)
    assert read_json(tmp_path / "certificates.json") == {}
    assert {path.name for path in tmp_path.iterdir()} == {"certificates.json", "metrics.json", "transfer.csv", "certified.png", "section.json"}


def test_what_was_not_exported_has_no_certificate(inputs, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "model.onnx").write_bytes(b"")
    (tmp_path / "out").mkdir()
    nothing = {**inputs, "export": tmp_path / "empty", "compress": tmp_path / "empty", "robustness": tmp_path / "empty"}
    summary = certify.run(config(), tmp_path / "out", **nothing)
    assert set(read_json(tmp_path / "out" / "certificates.json")["artifacts"]) == {"trained"}
    assert "trained model, 16 test samples" in summary


@pytest.mark.slow
def test_a_value_is_certified_to_stay_near_the_truth(tmp_path):
    inputs = publish(tmp_path, trained.folders(tmp_path, task="regression", model="mlp", steps=40))
    (tmp_path / "out").mkdir()
    options = {**config()["certify"], "tolerance": 0.4}
    certify.run(config(task=toy.option("task", "regression"), certify=options), tmp_path / "out", **inputs)
    held = read_json(tmp_path / "out" / "certificates.json")
    assert "lies within 0.4 cd/m² of the true one" in held["claim"]
    for name in ("trained", "exported", "compressed"):
        assert 0 < held["artifacts"][name]["curve"][0]["verified"] <= 16
        assert max(value for row in held["artifacts"][name]["samples"] for value in row["margin_at_least"] if value is not None) <= 0.4
