"""The stage synthesize: the train split only, provenance, resume, determinism, and a valid empty artifact."""

import csv
import filecmp
import hashlib
from pathlib import Path

import numpy as np
import pytest
import yaml
from safetensors.torch import load_file

from pipeline.core import pictures
from pipeline.core.artifact import read_json, sha256, write_json
from pipeline.core.errors import PersonError
from pipeline.core.parts import build
from pipeline.core.section import read_section
from pipeline.core.store import Samples, open_samples, write_shards
from pipeline.stages import embed, synthesize
from pipeline.synthesis.conditions import Chosen, choose, quantile_bins
from pipeline.training.maker import Maker, drawn
from tests import toy

CONF = Path(__file__).resolve().parents[2] / "conf"
FILES = [
    "features.npy", "gains.png", "gates.json", "generator.json", "generator.safetensors", "history.csv", "ids.txt", "losses.png",
    "neighbours.png", "samples.png", "section.json", "shards",
]  # fmt: skip
SMALL = {
    "resolution": 8,
    "width": 4,
    "latent": 8,
    "minimum": 4,
    "max_steps": 4,
    "batch_size": 8,
    "checkpoint_every": 2,
    "log_every": 2,
}


@pytest.fixture(autouse=True)
def fast_sheets(monkeypatch):
    """Drawing is slow: a sheet is the hash of what it shows."""
    monkeypatch.setattr(pictures, "sheet", digest_of_sheet)


def digest_of_sheet(images, titles, path, **_):
    path.write_bytes(hashlib.sha256(b"".join(image.tobytes() for image in images) + repr(titles).encode()).digest())


def config(*, embedder="none", task="classification", stage=(), **changed):
    numbers = yaml.safe_load((CONF / "config.yaml").read_text())["synthesize"]
    small = {"count": 7, "sheet": 2, "gate_steps": 3, "gate_batch_size": 8, "gate_resamples": 10, "gate_side": 8}
    return {
        "generator": {**yaml.safe_load((CONF / "generator/gan.yaml").read_text()), **SMALL, **changed},
        "synthesize": {**numbers, **small, **dict(stage)},
        "embedder": toy.option("embedder", embedder),
        "embed": {"batch_size": 16},
        "task": toy.option("task", task),
        "intervals": {"coverage": 0.95, "resamples": 10},
        "seed": 0,
        "threads": 1,
    }


def run(folders, out, cfg, scratch=None, augment=None):
    scratch = scratch or out.with_name(out.name + "-scratch")
    embedded = out.with_name(out.name + "-embed")
    if augment is None:
        augment = out.with_name(out.name + "-augment")
        write_shards(augment, [])
    for folder in (out, embedded):
        folder.mkdir()
    scratch.mkdir(exist_ok=True)
    embed.run(cfg, embedded, ingest=folders.ingest)
    said = synthesize.run(cfg, out, ingest=folders.ingest, embed=embedded, split=folders.split, augment=augment, scratch=scratch)
    return said, open_samples(out)


def names(folder):
    """Files of an artifact, without those of the store's index and of the snapshots."""
    return sorted(path.name for path in folder.iterdir() if path.name not in {"shards.json", "rows.arrow", "grids"})


def test_balanced_samples_with_the_shape_of_the_data_and_their_provenance(published, tmp_path):
    folders = published(channels=3, height=20, width=12)
    said, made = run(folders, tmp_path / "out", config())
    assert (
        said == "7 synthetic images of 2 conditions, by a generator trained 4 steps on 40 training images; share for training 0"
    )
    assert made.columns["label"].tolist() == [0, 1, 0, 1, 0, 1, 0]
    assert {sample.origin for sample in made} == {"synthetic"}
    assert {sample.pixels_HWC.shape for sample in made} == {(20, 12, 3)}
    digest = sha256(tmp_path / "out" / "generator.safetensors")
    assert {sample.parent for sample in made} == {digest}
    assert len(set(made.ids)) == 7
    facts = read_json(tmp_path / "out" / "generator.json")
    assert facts["sha256"] == digest
    assert [entry["training_images"] for entry in facts["conditions"]] == [20, 20]
    np.testing.assert_allclose(made.columns["target"][:2], [1.9, 2.0], rtol=1e-6)  # mean target of each class, over train alone
    assert names(tmp_path / "out") == FILES
    assert [path.name for path in sorted((tmp_path / "out/grids").iterdir())] == [f"step_00000{n}.png" for n in (1, 2, 3, 4)]
    assert "The share of synthetic samples that the gates allow is 0: " in read_section(tmp_path / "out").text[0]


def test_the_published_weights_make_the_published_samples(published, tmp_path):
    """generator.json and generator.safetensors suffice to draw the samples again."""
    folders = published()
    _, made = run(folders, tmp_path / "out", config())
    facts = read_json(tmp_path / "out" / "generator.json")
    gan = build(facts["part"])
    network = gan.generator(**facts["facts"])
    network.load_state_dict(load_file(tmp_path / "out" / "generator.safetensors"))
    chosen = Chosen(np.zeros(0, np.int64), np.zeros(0, np.int64), ["even", "odd"], [0, 1], [0.0, 0.0], [], 1)
    card = {"height": 8, "width": 8}
    again = Maker("", set()).marked(drawn(gan, network.eval(), chosen, count=7, card=card, seed=0))
    assert [sample.id for sample in again] == made.ids


def test_nothing_of_the_other_splits_reaches_the_generator_and_nobody_reads_the_test_split(published, tmp_path, monkeypatch):
    """With val and test poisoned (white images, targets of 1e6) what is drawn is the same; gates read validation, nobody test."""
    folders, poisoned = published("clean", classes=(), target=True), published("poisoned", classes=(), target=True, poison=250)
    assert folders.ids["train"] == poisoned.ids["train"]
    assert folders.ids["val"] != poisoned.ids["val"]
    cfg = config(task="regression", stage={"copy_ratio": 1e-9})
    run(folders, tmp_path / "a", cfg)
    read = []
    original = Samples.pixels
    monkeypatch.setattr(Samples, "pixels", lambda self, position: read.append(self.ids[position]) or original(self, position))
    run(poisoned, tmp_path / "b", cfg)
    assert not set(poisoned.ids["test"]) & set(read)
    for name in ("generator.safetensors", "generator.json", "history.csv", "losses.png"):
        assert filecmp.cmp(tmp_path / "a" / name, tmp_path / "b" / name, shallow=False), name
    assert open_samples(tmp_path / "a").ids == open_samples(tmp_path / "b").ids


def test_a_stage_that_read_all_splits_would_be_seen(published, tmp_path, monkeypatch):
    """Planted fault: the train list holds validation samples too."""
    folders, poisoned = published("clean", classes=(), target=True), published("poisoned", classes=(), target=True, poison=250)
    for name, store in (("a", folders), ("b", poisoned)):
        ids = read_json(store.split / "split.json")
        write_json(store.split / "split.json", {**ids, "train": [*ids["train"], *ids["val"]]})
        run(store, tmp_path / name, config(task="regression"))
    assert not filecmp.cmp(tmp_path / "a/generator.safetensors", tmp_path / "b/generator.safetensors", shallow=False)


@pytest.mark.parametrize("split", ["val", "test"])
def test_a_synthetic_sample_in_validation_or_test_stops_the_stage(published, tmp_path, split):
    """Planted fault: what a generator made came into the data."""
    folders = published(origin={split: "synthetic"})
    with pytest.raises(AssertionError, match=f"samples of {split} are not real"):
        run(folders, tmp_path / "out", config())


def test_twice_gives_the_same_bytes(published, tmp_path):
    folders = published()
    for name in ("a", "b"):
        run(folders, tmp_path / name, config())
    found = [str(path.relative_to(tmp_path / "a")) for path in (tmp_path / "a").rglob("*") if path.is_file()]
    assert len(found) > len(FILES)
    for name in found:
        assert filecmp.cmp(tmp_path / "a" / name, tmp_path / "b" / name, shallow=False), name


def test_a_killed_stage_continues_from_its_scratch_to_the_same_bytes(published, tmp_path, monkeypatch):
    from pipeline.training.gan_module import GanModule

    folders = published()
    run(folders, tmp_path / "whole", config())
    with monkeypatch.context() as patched:
        original = GanModule.training_step
        patched.setattr(
            GanModule,
            "training_step",
            lambda self, batch, number: 1 / 0 if self.global_step == 3 else original(self, batch, number),
        )
        with pytest.raises(ZeroDivisionError):
            run(folders, tmp_path / "killed", config(), scratch=tmp_path / "kept")
    assert [path.name[:14] for path in (tmp_path / "kept").glob("*.ckpt")] == ["step=000000002"]
    run(folders, tmp_path / "again", config(), scratch=tmp_path / "kept")
    for path in (path for path in (tmp_path / "whole").rglob("*") if path.is_file()):
        assert filecmp.cmp(path, tmp_path / "again" / path.relative_to(tmp_path / "whole"), shallow=False), path


def test_without_classes_the_condition_is_a_quantile_bin_of_the_target(published, tmp_path):
    folders = published(classes=(), target=True)
    _, made = run(folders, tmp_path / "out", config(bins=4, task="regression"))
    facts = read_json(tmp_path / "out" / "generator.json")["conditions"]
    assert [entry["name"] for entry in facts] == ["target 0 to 0.9", "target 1 to 1.9", "target 2 to 2.9", "target 3 to 3.9"]
    assert [entry["training_images"] for entry in facts] == [10, 10, 10, 10]
    assert set(made.columns["label"].tolist()) == {-1}
    np.testing.assert_allclose(made.columns["target"][:4], [0.45, 1.45, 2.45, 3.45], rtol=1e-5)


def test_equal_targets_share_a_bin_and_missing_ones_have_none():
    values = np.asarray([0, 0, 0, 0, 0, 0, 1 / 3, 2 / 3, 1, 1, np.nan])
    bins = quantile_bins(values, 4)
    assert bins[-1] == -1
    assert len(set(bins[:6])) == 1
    assert bins[0] < bins[6] <= bins[7] <= bins[8] == bins[9]
    assert quantile_bins(np.asarray([np.nan]), 4).tolist() == [-1]


def test_a_class_with_few_images_is_left_out_and_said_so(published, tmp_path):
    folders = published(classes=tuple("abc"), counts=(40, 5, 5))
    train = folders.ids["train"]
    samples = open_samples(folders.ingest)
    labels = samples.columns["label"][samples.positions(train)]
    keep = [identity for identity, label in zip(train, labels, strict=True) if label != 1] + [train[1]]
    gan = build(config()["generator"])
    chosen = choose(samples, samples.positions(keep), list("abc"), bins=gan.bins, minimum=gan.minimum)
    assert (chosen.names, chosen.labels, chosen.left_out) == (["a", "c"], [0, 2], ["b (1)"])
    assert set(chosen.condition.tolist()) == {0, 1}
    assert train[1] not in [samples.ids[position] for position in chosen.positions]
    with pytest.raises(PersonError, match=r"no class has the 99 training images .* generator=none"):
        choose(samples, samples.positions(keep), list("abc"), bins=4, minimum=99)


def test_none_publishes_a_valid_empty_artifact(published, tmp_path):
    folders = published()
    said, made = run(folders, tmp_path / "out", {**config(), "generator": {"_target_": None}})
    assert said == "no synthetic samples (generator: none)"
    assert len(made) == 0
    assert names(tmp_path / "out") == FILES
    assert load_file(tmp_path / "out" / "generator.safetensors") == {}
    with (tmp_path / "out" / "history.csv").open() as file:
        header = next(csv.reader(file))
    _, _ = run(folders, tmp_path / "gan", config())
    with (tmp_path / "gan" / "history.csv").open() as file:
        assert next(csv.reader(file)) == header


def test_a_count_of_zero_trains_and_publishes_no_sample(published, tmp_path):
    _, made = run(published(), tmp_path / "out", config(stage={"count": 0, "sheet": 0}))
    assert len(made) == 0
    assert names(tmp_path / "out") == FILES
    assert read_json(tmp_path / "out/gates.json")["why"] == "no sample was drawn"


def test_a_generator_without_variety_is_seen(published, tmp_path, monkeypatch):
    from pipeline.generator.gan import Gan

    monkeypatch.setattr(Gan, "sample", lambda self, network, condition_B, z_BL: np.full((len(z_BL), 8, 8, 1), 7, np.uint8))
    _, made = run(published(), tmp_path / "out", config())
    assert len(made) == 1
    warnings = " ".join(read_section(tmp_path / "out").warnings)
    assert "6 synthetic images came a second time" in warnings
    assert "images of one condition are nearly the same" in warnings


def test_without_validation_samples_there_is_no_gate(published, tmp_path):
    with pytest.raises(PersonError, match="validation split, which is empty"):
        run(published(counts=(40, 0, 10)), tmp_path / "out", config())
