"""The stage augment: the train split only, provenance, determinism, and a valid empty artifact."""

import numpy as np
import pytest

from pipeline.augmentation import looked
from pipeline.core.artifact import read_json
from pipeline.core.errors import PersonError
from pipeline.core.section import read_section
from pipeline.core.store import Samples, open_samples
from pipeline.images.decode import sample_id
from pipeline.stages import augment
from tests.augmenting import config, content, embedded, planted, run

FILES = [
    "alone.png", "before_after.png", "features.npy", "ids.txt", "policy.json", "preservation.json", "rows.arrow", "section.json", "shards", "shards.json",
]  # fmt: skip


@pytest.fixture(autouse=True)
def small_sheets(monkeypatch):
    """Drawing is slow."""
    monkeypatch.setattr(looked, "SHOWN", 1)
    monkeypatch.setattr(looked, "DRAWS", 2)


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
    assert set(FILES) <= {path.name for path in (tmp_path / "out").iterdir()} <= {*FILES, "judged_otherwise.png"}
    policy = read_json(tmp_path / "out" / "policy.json")
    assert policy["transforms"][0]["__class_fullname__"] == "Affine"
    assert (policy["parents"], policy["samples"]) == (10, 20)


def test_only_pixels_of_the_train_split_are_read(published, tmp_path, monkeypatch):
    folders = published()
    read = []
    original = Samples.pixels

    def spy(self, position):
        if self.directory == folders.ingest:
            read.append(self.ids[position])
        return original(self, position)

    embedded(folders)
    monkeypatch.setattr(Samples, "pixels", spy)
    run(folders, tmp_path / "out", config(fraction=1.0))
    assert set(read) == set(folders.ids["train"])


def test_the_store_itself_refuses_the_other_splits(published, tmp_path, monkeypatch):
    """The stage holds samples of which no other can be read, so a later mistake in it stops instead of leaking."""
    folders = published()
    allowed = []
    original = augment._audited

    def spy(policy, samples, *arguments, **named):
        allowed.extend(samples.allowed)
        with pytest.raises(AssertionError, match="not among those that may be read"):
            samples.pixels(samples.index[folders.ids["test"][0]])
        return original(policy, samples, *arguments, **named)

    monkeypatch.setattr(augment, "_audited", spy)
    run(folders, tmp_path / "out", config())
    assert sum(allowed) == 40


def test_twice_gives_the_same_bytes_and_another_seed_others(published, tmp_path):
    folders = published()
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        run(folders, tmp_path / name, {**config(), "seed": seed})
    assert content(tmp_path / "a") == content(tmp_path / "b")
    assert read_json(tmp_path / "a/shards.json") != read_json(tmp_path / "c/shards.json")


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
    rest = set(FILES) - {"alone.png", "preservation.json"}
    assert {path.name for path in (tmp_path / "none").iterdir()} == rest
    said, made = run(folders, tmp_path / "zero", config(copies=0))
    assert len(made) == 0
    assert said.startswith("0 augmented samples of 0 ")
    assert {path.name for path in (tmp_path / "zero").iterdir()} == rest | {"alone.png"}
    assert np.load(tmp_path / "zero" / "features.npy").shape == (0, 0)
    assert "was not checked" in " ".join(read_section(tmp_path / "zero").text)
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
    assert any(said.startswith(f"{left_out} augmented copies were left out") for said in read_section(tmp_path / "out").warnings)


def test_a_policy_that_needs_square_images_says_so_on_others(published, tmp_path):
    folders = published(height=8, width=12)
    with pytest.raises(PersonError, match=r"D4, RandomBrightnessContrast turn uint8 \(8, 12, 1\) into uint8 \(12, 8, 1\)"):
        run(folders, tmp_path / "out", config("symmetries", fraction=1.0))


def test_colour_images_work(published, tmp_path):
    folders = published(channels=3, height=20, width=24)
    _, made = run(folders, tmp_path / "out", config("photo"))
    assert len(made) == 20
    assert all(np.ptp(sample.pixels_HWC) > 0 for sample in made)


def test_features_are_those_of_the_augmented_samples_in_their_order(published, tmp_path):
    _, made = run(published(), tmp_path / "out", config())
    features = np.load(tmp_path / "out/features.npy")
    assert (tmp_path / "out/ids.txt").read_text().split() == made.ids
    assert features.dtype == np.float32
    np.testing.assert_array_equal(features, made.batch(range(len(made))).reshape(len(made), -1) / np.float32(255))


def test_masks_boxes_and_keypoints_are_published_with_the_image_that_they_belong_to(tmp_path):
    folders = planted(tmp_path)
    _, made = run(folders, tmp_path / "out", config("symmetries", fraction=1.0))
    assert len(made) >= 40
    moved = 0
    for sample in made:
        bright = sample.pixels_HWC[:, :, 0] > 150
        np.testing.assert_array_equal(sample.mask_HW == 1, bright)
        rows, columns = np.nonzero(bright)
        assert sample.boxes == ((columns.min(), rows.min(), columns.max() + 1, rows.max() + 1, sample.label),)
        assert all(bright[round(y), round(x)] for x, y in sample.keypoints)
        moved += sample.boxes != folders.samples[folders.ids["train"].index(sample.parent)].boxes
    assert moved > 20
