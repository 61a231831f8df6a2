"""The stage augment: the train split only, provenance, determinism, and a valid empty artifact."""

import filecmp
from pathlib import Path

import numpy as np
import pytest
import yaml

from pipeline.core.artifact import read_json
from pipeline.core.decode import sample_id
from pipeline.core.errors import PersonError
from pipeline.core.section import read_section
from pipeline.core.store import Samples, open_samples
from pipeline.stages import augment

CONF = Path(__file__).resolve().parents[2] / "conf/transform"
FILES = ["before_after.png", "policy.json", "section.json", "shards"]


@pytest.fixture(autouse=True)
def small_sheets(monkeypatch):
    """Drawing is slow."""
    monkeypatch.setattr(augment, "SHOWN", 1)
    monkeypatch.setattr(augment, "DRAWS", 2)


def config(option="light", **changed):
    return {
        "transform": yaml.safe_load((CONF / f"{option}.yaml").read_text()),
        "augment": {"copies": 2, "fraction": 0.25, **changed},
        "seed": 0,
    }


def run(folders, out, cfg):
    out.mkdir()
    said = augment.run(cfg, out, ingest=folders.ingest, split=folders.split)
    return said, open_samples(out)


def test_copies_of_a_seeded_fraction_of_the_train_split_with_their_provenance(published, tmp_path):
    folders = published()
    said, made = run(folders, tmp_path / "out", config())
    real = open_samples(folders.ingest)
    assert said == "20 augmented samples of 10 of the 40 training samples"
    parents = [sample.parent for sample in made]
    assert len(set(parents)) == 10
    assert all(parents.count(parent) == 2 for parent in parents)
    assert set(parents) <= set(folders.ids["train"])
    assert len({*made.ids, *real.ids}) == 20 + 60
    for sample in made:
        parent = real.sample(real.index[sample.parent])
        assert sample.origin == "augmented"
        assert sample.id == sample_id(sample.pixels_HWC)
        assert (sample.label, sample.target, sample.weight, sample.group) == (
            parent.label,
            parent.target,
            parent.weight,
            parent.group,
        )
        assert sample.pixels_HWC.shape == parent.pixels_HWC.shape
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == FILES
    policy = read_json(tmp_path / "out" / "policy.json")
    assert policy["transforms"][0]["__class_fullname__"] == "Affine"
    assert (policy["parents"], policy["samples"]) == (10, 20)


def test_only_pixels_of_the_train_split_are_read(published, tmp_path, monkeypatch):
    folders = published()
    read = []
    original = Samples.pixels
    monkeypatch.setattr(Samples, "pixels", lambda self, position: read.append(self.ids[position]) or original(self, position))
    run(folders, tmp_path / "out", config(fraction=1.0))
    assert set(read) == set(folders.ids["train"])


def test_twice_gives_the_same_bytes_and_another_seed_others(published, tmp_path):
    folders = published()
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        run(folders, tmp_path / name, {**config(), "seed": seed})
    assert (tmp_path / "a/shards/00000.arrow").read_bytes() != (tmp_path / "c/shards/00000.arrow").read_bytes()
    for name in ("shards/00000.arrow", "policy.json", "before_after.png", "section.json"):
        assert filecmp.cmp(tmp_path / "a" / name, tmp_path / "b" / name, shallow=False), name


def test_a_draw_does_not_depend_on_who_else_is_augmented(published, tmp_path):
    folders = published()
    _, few = run(folders, tmp_path / "few", config(copies=1))
    _, many = run(folders, tmp_path / "many", config(copies=3, fraction=1.0))
    assert set(few.ids) <= set(many.ids)


def test_none_and_no_copies_publish_a_valid_empty_artifact(published, tmp_path):
    folders = published()
    said, made = run(folders, tmp_path / "none", config("none"))
    assert len(made) == 0
    assert said == "no augmentation (transform: none)"
    assert sorted(path.name for path in (tmp_path / "none").iterdir()) == FILES
    said, made = run(folders, tmp_path / "zero", config(copies=0))
    assert len(made) == 0
    assert said.startswith("0 augmented samples of 0 ")
    assert sorted(path.name for path in (tmp_path / "zero").iterdir()) == FILES
    assert read_json(tmp_path / "zero" / "policy.json")["transforms"]  # the policy is still used while training


def test_a_draw_that_repeats_an_image_is_drawn_again_and_given_up_in_the_end(published, tmp_path):
    """A flip of an image has two outcomes: itself, which exists, and its mirror, which is new once."""
    folders = published()
    flip = {
        "_target_": "pipeline.transform.policy.Policy",
        "p": 1.0,
        "transforms": [{"_target_": "albumentations.HorizontalFlip", "p": 0.5}],
    }
    _, made = run(folders, tmp_path / "out", {**config(fraction=1.0), "transform": flip})
    assert len(made) == len(set(made.ids)) <= 40
    assert len(made) >= 38  # all eight draws of a copy are the identity once in 256
    assert not {*made.ids} & {*open_samples(folders.ingest).ids}
    left_out = 80 - len(made)
    assert read_section(tmp_path / "out").warnings[0].startswith(f"{left_out} augmented copies were left out")


def test_a_policy_that_needs_square_images_says_so_on_others(published, tmp_path):
    folders = published(height=8, width=12)
    with pytest.raises(PersonError, match=r"D4, RandomBrightnessContrast turn uint8 \(8, 12, 1\) into uint8 \(12, 8, 1\)"):
        run(folders, tmp_path / "out", config("symmetries", fraction=1.0))


def test_colour_images_work(published, tmp_path):
    folders = published(channels=3, height=20, width=24)
    _, made = run(folders, tmp_path / "out", config("photo"))
    assert len(made) == 20
    assert all(np.ptp(sample.pixels_HWC) > 0 for sample in made)
