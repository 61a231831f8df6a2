"""The stage augment draws again from new and changed parents alone, and publishes the same bytes with or without what it kept."""

from dataclasses import replace

import numpy as np
import pytest

from pipeline.augmentation import looked
from pipeline.augmentation.augmented import LOOKED
from pipeline.images.decode import sample_id
from pipeline.stages import augment
from pipeline.transform.policy import Policy
from tests import toy
from tests.augmenting import config, content, planted, run, write


@pytest.fixture(autouse=True)
def small_sheets(monkeypatch):
    """Drawing is slow."""
    monkeypatch.setattr(looked, "SHOWN", 1)
    monkeypatch.setattr(looked, "DRAWS", 2)


def drawn_from(monkeypatch):
    """Ids of the parents that the policy is really applied to."""
    seen = []
    original = augment.Drawing._drawn

    def spy(self, samples, position, *arguments):
        seen.append(samples.ids[position])
        return original(self, samples, position, *arguments)

    monkeypatch.setattr(augment.Drawing, "_drawn", spy)
    return seen


def embedding(monkeypatch):
    """Images that are embedded."""
    from pipeline.embedder.pixels import Pixels

    seen = []
    original = Pixels.features
    monkeypatch.setattr(Pixels, "features", lambda self, pixels: seen.extend(pixels) or original(self, pixels))
    return seen


def test_only_new_and_changed_parents_are_drawn_from_again(tmp_path, monkeypatch):
    folders, items = planted(tmp_path), tmp_path / "items"
    items.mkdir()
    cfg = config(fraction=1.0, copies=2)
    run(folders, tmp_path / "first", cfg, items)
    seen, embedded_ = drawn_from(monkeypatch), embedding(monkeypatch)
    run(folders, tmp_path / "again", cfg, items)
    assert (seen, embedded_) == ([], [])
    assert content(tmp_path / "again") == content(tmp_path / "first")

    old = folders.samples
    fresh = [toy.samples(1, 2, seed=seed)[0] for seed in (5, 6)]
    box = old[3].boxes[0]
    changed = [*fresh[:1], *old[:3], replace(old[3], boxes=((*box[:4], 1 - box[4]),)), *old[4:20], *fresh[1:]]
    other = write(changed, tmp_path / "new/ingest", tmp_path / "new/split")
    _, made = run(other, tmp_path / "more", cfg, items)
    new = {fresh[0].id, fresh[1].id, old[3].id}
    assert set(seen) == new
    assert len(embedded_) == 2 * 3
    assert {sample.boxes[0][4] for sample in made if sample.parent == old[3].id and sample.boxes} <= {1 - box[4]}
    run(other, tmp_path / "bare", cfg)
    assert content(tmp_path / "more") == content(tmp_path / "bare")


def test_more_data_leaves_the_choice_of_parents_as_it_was(tmp_path, monkeypatch):
    """Of half the parents too: a sample is chosen by a key of its own, so that the ones before are not drawn from again."""
    folders, items = planted(tmp_path), tmp_path / "items"
    items.mkdir()
    cfg = config(fraction=0.5)
    _, made = run(folders, tmp_path / "first", cfg, items)
    before = {sample.parent for sample in made}
    fresh = [toy.samples(1, 2, seed=seed)[0] for seed in (5, 6)]
    seen = drawn_from(monkeypatch)
    _, more = run(
        write([*folders.samples, *fresh], tmp_path / "new/ingest", tmp_path / "new/split"), tmp_path / "more", cfg, items
    )
    after = {sample.parent for sample in more}
    assert len(before) >= 5
    assert len(before - after) <= 1
    assert set(seen) == after - before
    assert len(after) - len(before) == 1


def test_what_is_kept_under_another_policy_seed_or_code_is_not_used(tmp_path, monkeypatch):
    folders, items = planted(tmp_path), tmp_path / "items"
    items.mkdir()
    seen = drawn_from(monkeypatch)
    milder = {**config(), "transform": {**config()["transform"], "p": 0.5}}
    code = {"augment": {"modules": "x"}}
    for number, cfg in enumerate([config(), milder, {**config(), "seed": 1}, {**config(), "code": code}, {**config(), "threads": 2}]):
        seen.clear()
        run(folders, tmp_path / str(number), cfg, items)
        assert len(set(seen)) == 6
        assert len([path for path in items.iterdir() if path.name != LOOKED]) == 1


def test_new_labels_of_old_images_need_no_new_draw_and_are_used(tmp_path, monkeypatch):
    folders, items = planted(tmp_path), tmp_path / "items"
    items.mkdir()
    run(folders, tmp_path / "first", config(fraction=1.0), items)
    seen = drawn_from(monkeypatch)
    other = [replace(sample, label=1 - sample.label, name="renamed") for sample in folders.samples]
    _, made = run(write(other, tmp_path / "new/ingest", tmp_path / "new/split"), tmp_path / "second", config(fraction=1.0), items)
    assert seen == []
    truth = {sample.id: sample.label for sample in other}
    assert all(sample.label == truth[sample.parent] and sample.name.startswith("renamed") for sample in made)


def test_the_audit_and_the_pictures_are_made_again_only_where_the_policy_or_what_they_show_is_new(tmp_path, monkeypatch):
    folders, items = planted(tmp_path), tmp_path / "items"
    items.mkdir()
    made = []
    for name in ("passes", "sheets"):
        original = getattr(looked, name)
        monkeypatch.setattr(looked, name, lambda *a, _name=name, _original=original, **k: made.append(_name) or _original(*a, **k))
    cfg = config()
    run(folders, tmp_path / "first", cfg, items)
    assert made == ["passes", "sheets"]
    run(folders, tmp_path / "again", cfg, items)
    assert made == ["passes", "sheets"]
    assert content(tmp_path / "again") == content(tmp_path / "first")
    faulty = {**cfg, "transform": {**cfg["transform"], "p": 0.5}}
    run(folders, tmp_path / "milder", faulty, items)
    assert made == ["passes", "sheets"] * 2, "another policy is audited anew"
    renamed = [replace(sample, name=f"new {sample.name}") for sample in folders.samples]
    other = write(renamed, tmp_path / "new/ingest", tmp_path / "new/split")
    run(other, tmp_path / "renamed", faulty, items)
    assert made == [*["passes", "sheets"] * 2, "sheets"], "another title, the same probe"
    (items / LOOKED / "pictures" / "alone.png").unlink()
    run(other, tmp_path / "lost", faulty, items)
    assert made[-1] == "sheets", "a picture that is lost is drawn"
    assert content(tmp_path / "lost") == content(tmp_path / "renamed")


@pytest.mark.parametrize(
    ("name", "damage"),
    [("sums.json", "cut"), ("draws.json", "cut"), ("features.npy", "flip"), ("rows.arrow", "flip"), ("shard", "flip"), ("shard", "gone"),
     ("told.json", "cut"), ("before_after.png", "flip")],
)  # fmt: skip
def test_what_is_kept_and_was_damaged_is_made_again(tmp_path, monkeypatch, name, damage):
    folders, items = planted(tmp_path), tmp_path / "items"
    items.mkdir()
    cfg = config(copies=1)
    run(folders, tmp_path / "first", cfg, items)
    path = next(iter(sorted(items.glob("*/shards/*.arrow")))) if name == "shard" else next(iter(sorted(items.rglob(name))))
    data = bytearray(path.read_bytes())
    path.unlink()
    if damage != "gone":
        data[len(data) // 2] ^= 1
        path.write_bytes(data if damage == "flip" else data[: len(data) // 2])
    seen = drawn_from(monkeypatch)
    run(folders, tmp_path / "again", cfg, items)
    assert content(tmp_path / "again") == content(tmp_path / "first")
    if name not in {"told.json", "before_after.png"}:
        assert len(seen) == 6
    seen.clear()
    run(folders, tmp_path / "mended", cfg, items)
    assert seen == []


def test_of_draws_with_equal_pixels_each_keeps_its_own_mask(tmp_path, monkeypatch):
    """The first copy gives an image that exists now and did not before, so that the second one takes its pixels over."""
    folders, items = planted(tmp_path), tmp_path / "items"
    items.mkdir()
    cfg = config(fraction=1.0, copies=2)
    wanted = folders.samples[0].id

    def scripted(self, sample, rng):
        """Attempt by attempt: A, then X with a mask of ones; the next copy X with a mask of twos."""
        if sample.id != wanted:
            return PLAIN(self, sample, rng)
        turns.append(len(turns))
        level, mask = [(7, 1), (8, 1), (8, 2), (9, 2)][turns[-1]] if first else [(7, 1), (8, 2), (9, 2)][turns[-1]]
        return replace(sample, pixels_HWC=np.full_like(sample.pixels_HWC, level), mask_HW=np.full_like(sample.mask_HW, mask))

    PLAIN = Policy.whole
    monkeypatch.setattr(Policy, "whole", scripted)
    taken = np.full_like(folders.samples[0].pixels_HWC, 7)
    extra = replace(folders.samples[1], id=sample_id(taken), pixels_HWC=taken)
    first, turns = True, []
    run(write([*folders.samples, extra], tmp_path / "with/ingest", tmp_path / "with/split"), tmp_path / "first", cfg, items)
    first, turns = False, []
    _, made = run(folders, tmp_path / "second", cfg, items)
    turns = []
    run(folders, tmp_path / "bare", cfg)
    assert content(tmp_path / "second") == content(tmp_path / "bare")
    assert [int(one.mask_HW[0, 0]) for one in made if one.parent == wanted] == [1, 2]
