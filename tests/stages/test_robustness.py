"""The stage robustness: tables, curves, the mean corruption error, the attacks, one-class subsets, options off."""

import csv
from pathlib import Path

import numpy as np
import pytest

from pipeline.core.artifact import read_json, write_json
from pipeline.core.errors import PersonError
from pipeline.core.section import read_section
from pipeline.core.store import open_samples
from pipeline.stages import baseline, robustness
from tests import toy, trained

FILES = {
    "metrics.json", "corruptions.csv", "corruption_errors.csv", "attacks.csv", "corruptions.png", "corrupted.png", "attacks.png",
    "adversarial.png", "adversarial.npz", "section.json",
}  # fmt: skip
BASELINES = {name: toy.option("baseline", name) for name in ("majority", "linear")}


class World:
    """What the stage is handed, and its configuration."""

    def __init__(self, directory: Path, **options):
        made = trained.folders(directory, **options)
        embed = toy.embed(directory, made.ingest)
        (directory / "baseline").mkdir()
        self.inputs = {**made.inputs, "embed": embed, "baseline": directory / "baseline"}
        self.base = {
            "task": made.task, "seed": 0, "threads": 1, "baseline": BASELINES, "embedder": toy.option("embedder", "pixels"),
            "intervals": {"resamples": 40, "coverage": 0.95},
            "attack": {"fgsm": toy.option("attack", "fgsm", radii=[1, 8]), "pgd": toy.option("attack", "pgd", radii=[1, 16])},
        }  # fmt: skip
        baseline.run(self.base, self.inputs["baseline"], **{name: self.inputs[name] for name in ("ingest", "embed", "split")})

    def run(self, out: Path, *, inputs=None, **changes):
        """Run the stage; keywords of robustness, or `attack`, `baseline`, `embedder`."""
        tops = {name: changes.pop(name) for name in ("attack", "baseline", "embedder") if name in changes}
        options = {"corruptions": ["gaussian_noise", "contrast", "darkness"], "severities": [1, 5], "count": 30, "attacked": 12,
                   "reference": "linear", "resamples": 20}  # fmt: skip
        out.mkdir(exist_ok=True)
        return robustness.run({**self.base, **tops, "robustness": {**options, **changes}}, out, **{**self.inputs, **(inputs or {})})


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return World(tmp_path_factory.mktemp("robustness"))


@pytest.fixture(scope="module")
def plain(world, tmp_path_factory):
    out = tmp_path_factory.mktemp("plain")
    return out, world.run(out)


def rows(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_it_publishes_tables_curves_and_metrics(plain):
    out, summary = plain
    assert {path.name for path in out.iterdir()} == FILES
    corruptions, attacks = rows(out / "corruptions.csv"), rows(out / "attacks.csv")
    assert [(row["corruption"], row["severity"]) for row in corruptions] == [
        ("clean", "0"), ("gaussian_noise", "1"), ("gaussian_noise", "5"), ("contrast", "1"), ("contrast", "5"), ("darkness", "1"),
        ("darkness", "5")]  # fmt: skip
    assert [(row["attack"], float(row["eps_255"])) for row in attacks] == [
        ("clean", 0), ("fgsm", 2.0), ("fgsm", 16.0), ("pgd", 2.0), ("pgd", 32.0)]  # fmt: skip
    metrics = read_json(out / "metrics.json")
    assert metrics["corrupted_auroc"]["value"] == pytest.approx(np.mean([float(row["auroc"]) for row in corruptions[1:]]), abs=1e-6)
    assert f"AUROC {metrics['clean_auroc']['value']:.3f} [" in summary
    assert "mean corruption error" in summary
    assert len(read_section(out).pictures) == 4
    for name in ("pgd_32_auroc", "robust_accuracy_32", "contrast_5_error", "clean_accuracy"):
        assert metrics[name]["low"] <= metrics[name]["value"] <= metrics[name]["high"]


def test_the_mean_corruption_error_divides_the_published_errors(plain):
    out, _ = plain
    metrics, table = read_json(out / "metrics.json"), rows(out / "corruptions.csv")

    def ratio(name):
        mine, other = (sum(float(row[column]) for row in table if row["corruption"] == name) for column in ("error", "reference_error"))
        return mine / other

    assert metrics["contrast_ce"]["value"] == pytest.approx(ratio("contrast"))
    assert metrics["mce"]["value"] == pytest.approx((ratio("gaussian_noise") + ratio("contrast")) / 2)  # darkness is ours
    assert metrics["mce"]["low"] <= metrics["mce"]["value"] <= metrics["mce"]["high"]
    assert [row["in_mce"] for row in rows(out / "corruption_errors.csv")] == ["1", "1", "0"]
    text = " ".join(read_section(out).text)
    assert "2 of the fifteen" in text
    assert "30 samples, drawn evenly over the truth from the 40 of the test split" in text


def test_the_reference_is_the_baseline_that_was_published(world, plain, tmp_path):
    out, _ = plain
    published = read_json(world.inputs["baseline"] / "metrics.json")
    assert f"data/baseline says {published['linear']['auroc']['value']:.3f}" in " ".join(read_section(out).text)
    assert not [line for line in read_section(out).warnings if "reference" in line]
    published["linear"]["auroc"]["value"] -= 0.1  # planted: another baseline
    (tmp_path / "baseline").mkdir()
    write_json(tmp_path / "baseline/metrics.json", published)
    world.run(tmp_path / "out", inputs={"baseline": tmp_path / "baseline"}, corruptions=["fog"], severities=[1], attack=None)
    assert any("is not what data/baseline measured" in line for line in read_section(tmp_path / "out").warnings)


@pytest.mark.parametrize(("changes", "said"), [
    ({"reference": ""}, "names no baseline"), ({"reference": "svm"}, "is not a baseline of this run"),
    ({"baseline": {"none": {"_target_": None}}}, "the run has none"),
])  # fmt: skip
def test_without_a_reference_the_rest_is_measured_and_the_page_says_why(world, tmp_path, changes, said):
    world.run(tmp_path, corruptions=["fog"], severities=[1], attack=None, **changes)
    assert any(said in line for line in read_section(tmp_path).warnings)
    metrics = read_json(tmp_path / "metrics.json")
    assert "mce" not in metrics
    assert {"fog_error", "fog_auroc", "clean_auroc"} <= set(metrics)


def test_a_reference_that_needs_no_features_serves_without_an_embedder(world, tmp_path):
    off = {"embed": toy.embed(tmp_path, world.inputs["ingest"], off=True)}
    options = {"corruptions": ["fog"], "severities": [5], "attack": None, "inputs": off, "embedder": {"_target_": None}}
    world.run(tmp_path / "majority", reference="majority", **options)
    assert "mce" in read_json(tmp_path / "majority/metrics.json")
    world.run(tmp_path / "linear", **options)
    assert any("needs features" in line for line in read_section(tmp_path / "linear").warnings)


def test_attacks_hurt_more_with_the_radius_and_pgd_more_than_fgsm(plain):
    loss = {(row["attack"], float(row["eps_255"])): float(row["mean_loss"]) for row in rows(plain[0] / "attacks.csv")}
    assert loss["clean", 0.0] < loss["fgsm", 2.0] < loss["fgsm", 16.0] < loss["pgd", 32.0]
    assert loss["pgd", 2.0] >= loss["fgsm", 2.0] - 1e-3


def test_two_runs_give_the_same_bytes(world, plain, tmp_path):
    world.run(tmp_path)
    assert {p.name: p.read_bytes() for p in plain[0].iterdir()} == {p.name: p.read_bytes() for p in tmp_path.iterdir()}


@pytest.mark.parametrize("attack", [None, {}, {"none": {"_target_": None}}])
def test_everything_off_publishes_the_same_files(world, tmp_path, attack):
    world.run(tmp_path, attack=attack, corruptions=[])
    assert {path.name for path in tmp_path.iterdir()} == FILES
    assert len(rows(tmp_path / "attacks.csv")) == len(rows(tmp_path / "corruptions.csv")) == 1
    assert rows(tmp_path / "corruption_errors.csv") == []
    section = read_section(tmp_path)
    assert section.pictures == section.warnings == []


def test_regression_is_disturbed_alike(tmp_path):
    world = World(tmp_path, task="regression", steps=10)
    assert world.run(tmp_path / "out").lower().startswith("mean absolute error")
    metrics = read_json(tmp_path / "out" / "metrics.json")
    assert metrics["contrast_error"]["value"] == pytest.approx(metrics["contrast_mae"]["value"], rel=1e-5)  # the error is the mae
    assert metrics["mce"]["value"] > 0


def test_one_class_alone_leaves_the_headline_undefined_and_says_so(world, tmp_path):
    ingest, split = world.inputs["ingest"], world.inputs["split"]
    stored, assigned = open_samples(ingest), read_json(split / "split.json")
    label = {identity: int(k) for identity, k in zip(stored.ids, stored.columns["label"], strict=True)}
    one = {**assigned, "test": [identity for identity in assigned["test"] if label[identity] == 1]}
    (tmp_path / "split").mkdir()
    write_json(tmp_path / "split" / "split.json", one)
    summary = world.run(tmp_path / "out", inputs={"split": tmp_path / "split"})
    assert "AUROC undefined clean" in summary
    assert any("undefined" in warning for warning in read_section(tmp_path / "out").warnings)
    metrics = read_json(tmp_path / "out" / "metrics.json")
    assert "clean_auroc" not in metrics
    assert "clean_accuracy" in metrics


@pytest.mark.parametrize(("changes", "said"), [
    ({"corruptions": ["contrats"]}, "did you mean 'contrast'"), ({"corruptions": ["fog", "fog"]}, "names 'fog' twice"),
    ({"attack": {"fgsm": toy.option("attack", "fgsm", eps=1.5)}}, "must be within 0 to 1"),
])  # fmt: skip
def test_mistakes_are_named(world, tmp_path, changes, said):
    with pytest.raises(PersonError, match=said):
        world.run(tmp_path, **{"corruptions": [], **changes})
