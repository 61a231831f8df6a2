"""What the stage augment says of the labels and of its own draws, with planted faults."""

import numpy as np
import pytest

from pipeline.augmentation import looked
from pipeline.core.artifact import read_json
from pipeline.core.record import Sample
from pipeline.core.section import read_section
from pipeline.images.decode import sample_id
from pipeline.stages import augment
from tests import toy
from tests.augmenting import config, digits, half_turn, run, write


@pytest.fixture(autouse=True)
def small_sheets(monkeypatch):
    """Drawing is slow."""
    monkeypatch.setattr(looked, "SHOWN", 1)
    monkeypatch.setattr(looked, "DRAWS", 2)


def test_without_an_embedder_the_labels_are_not_checked_and_the_report_says_so(published, tmp_path):
    run(published(), tmp_path / "out", {**config(), "embedder": {"_target_": None}})
    assert np.load(tmp_path / "out/features.npy").shape == (0, 0)
    assert not (tmp_path / "out/preservation.json").exists()
    section = read_section(tmp_path / "out")
    assert any("no features (embedder: none)" in text for text in section.text)
    assert not [said for said in section.warnings if "labels" in said]


def test_a_policy_that_turns_six_into_nine_is_flagged_and_small_shifts_are_not(tmp_path):
    folders = digits(tmp_path, (6, 9))
    cfg = config(fraction=0.3, copies=1)
    run(folders, tmp_path / "mild", cfg)
    mild = read_json(tmp_path / "mild/preservation.json")
    assert mild["real"] > 0.95
    assert mild["change"]["high"] < 0.1
    assert not [said for said in read_section(tmp_path / "mild").warnings if "destroy" in said]
    run(folders, tmp_path / "turned", {**cfg, "transform": half_turn()})
    turned = read_json(tmp_path / "turned/preservation.json")
    assert turned["change"]["low"] > 0.8
    assert turned["learned"]["value"] < turned["change"]["value"]
    section = read_section(tmp_path / "turned")
    assert any(said.startswith("Augmentation may destroy labels") for said in section.warnings)
    assert "judged_otherwise.png" in {picture.file for picture in section.pictures}


def test_the_half_turn_keeps_the_labels_of_zero_and_one(tmp_path):
    """The same policy on digits that look alike upside down: the check is about labels, not about the size of the change."""
    run(digits(tmp_path, (0, 1)), tmp_path / "out", {**config(fraction=0.3, copies=1), "transform": half_turn()})
    assert read_json(tmp_path / "out/preservation.json")["change"]["high"] < 0.25


def test_the_audit_stands_in_the_report_and_is_green(published, tmp_path):
    for option in ("light", "trivial", "rand", "photo"):
        run(published(f"of {option}", channels=3, height=20, width=20), tmp_path / option, config(option))
        table = next(table for table in read_section(tmp_path / option).tables if table.caption.startswith("Audit"))
        assert len(table.rows) >= 5
        assert {row[-1] for row in table.rows} == {"passed"}, table.rows


def test_labels_that_come_in_the_order_of_their_folders_are_flagged(tmp_path, monkeypatch):
    """Planted: a loader that does not shuffle."""
    folders = digits(tmp_path, (0, 1))
    by_class = write(sorted(folders.samples, key=lambda sample: sample.label), tmp_path / "sorted/ingest", tmp_path / "sorted/split")
    run(by_class, tmp_path / "sound", config(fraction=0.1))
    assert not [said for said in read_section(tmp_path / "sound").warnings if "order of the labels" in said]
    monkeypatch.setattr(augment, "order", lambda count, **_: np.arange(count))
    run(by_class, tmp_path / "planted", config(fraction=0.1))
    assert [said for said in read_section(tmp_path / "planted").warnings if "order of the labels: 99" in said]


def test_a_policy_that_ties_its_steps_together_is_flagged(published, tmp_path, monkeypatch):
    """Planted: every transform of the list draws from a generator of its own with the same seed, as plain albumentations does."""
    from pipeline.augmentation import moving

    flips = {"_target_": "pipeline.transform.policy.Policy", "p": 1.0, "transforms": [
        {"_target_": "albumentations.HorizontalFlip", "p": 0.5}, {"_target_": "albumentations.VerticalFlip", "p": 0.5}]}  # fmt: skip
    cfg = {**config(), "transform": flips}
    run(published("a"), tmp_path / "sound", cfg)
    assert not [said for said in read_section(tmp_path / "sound").warnings if "correlation" in said]

    def stock(self, seed, pixels_HWC, **given):
        self.compose.set_random_seed(seed % 2**32)
        return self.compose(image=pixels_HWC.copy(), **given)

    monkeypatch.setattr(moving.Moving, "_run", stock)
    run(published("b"), tmp_path / "tied", cfg)
    assert [said for said in read_section(tmp_path / "tied").warnings if "correlation between steps" in said]


def test_regression_is_judged_by_its_own_error(tmp_path):
    """Brightness is the target: a policy that inverts the image moves it, a flip does not."""
    rng = np.random.default_rng(0)
    samples = []
    for number in range(120):
        level = rng.random()
        pixels = np.clip(rng.normal(40 + 150 * level, 8, (16, 16, 1)), 0, 255).astype(np.uint8)
        samples.append(Sample(id=sample_id(pixels), pixels_HWC=pixels, target=level, name=str(number)))
    folders = write(samples, tmp_path / "store/ingest", tmp_path / "store/split")
    card = {"name": "toy", "classes": [], "target": {"name": "level", "unit": "", "low": 0.0, "high": 1.0}}
    toy.artifact.write_json(folders.ingest / "card.json", card)
    for name, change in (("HorizontalFlip", False), ("InvertImg", True)):
        node = {
            "_target_": "pipeline.transform.policy.Policy",
            "p": 1.0,
            "transforms": [{"_target_": f"albumentations.{name}", "p": 1.0}],
        }
        cfg = {**config(fraction=0.5, copies=1), "transform": node, "task": toy.option("task", "regression")}
        run(folders, tmp_path / name, cfg)
        found = read_json(tmp_path / name / "preservation.json")
        assert found["tolerance"] < 0.1
        assert (found["change"]["low"] > 0.5) if change else (found["change"]["high"] < 0.25)
