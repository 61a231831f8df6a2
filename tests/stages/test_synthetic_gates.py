"""The gates of synthesize in the stage itself: a copier is caught, noise is dropped, a good generator is kept."""

from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from sklearn.datasets import load_digits

from pipeline.core import pictures
from pipeline.core.artifact import read_json, write_json
from pipeline.core.record import Sample
from pipeline.core.section import read_section
from pipeline.core.store import write_shards
from pipeline.images.decode import sample_id
from pipeline.stages import synthesize
from pipeline.training import gates
from tests.stages.test_synthesize import config, digest_of_sheet, run

OPEN = {"max_position": 1e9, "min_variety": 0, "min_precision": 0, "min_recall": 0}
CLASSES = [str(number) for number in range(10)]
STAGE = {
    "count": 300, "sheet": 10, "gate_steps": 60, "gate_batch_size": 64, "gate_resamples": 12, "gate_lr": 1e-2, "shares": [0.1, 0.5],
}  # fmt: skip


def digits():
    loaded, seen, made = load_digits(), set(), []
    pixels = (loaded.images * 15.9375).round().astype(np.uint8)[..., None]
    for image, label in zip(pixels, loaded.target, strict=True):
        identity = sample_id(image)
        if identity not in seen:
            seen.add(identity)
            made.append(Sample(id=identity, pixels_HWC=image, label=int(label), order=len(made), name=f"digit {len(made)}"))
    return made


DIGITS = digits()
TRAIN, HELD, TEST, NEW = DIGITS[:60], DIGITS[60:360], DIGITS[360:400], DIGITS[400:800]


@pytest.fixture
def folders(tmp_path):
    """Few training digits, so that more real ones would help a lot."""
    ingest, split = tmp_path / "ingest", tmp_path / "split"
    ingest.mkdir()
    split.mkdir()
    write_shards(ingest, [*TRAIN, *HELD, *TEST])
    card = {"name": "digits", "classes": CLASSES, "target": None, "channels": 1, "height": 8, "width": 8}
    write_json(ingest / "card.json", card)
    ids = {name: [sample.id for sample in part] for name, part in (("train", TRAIN), ("val", HELD), ("test", TEST))}
    write_json(split / "split.json", ids)
    return SimpleNamespace(ingest=ingest, split=split, ids=ids)


@pytest.fixture(autouse=True)
def fast_sheets(monkeypatch):
    """Drawing is slow: a sheet is the hash of what it shows."""
    monkeypatch.setattr(pictures, "sheet", digest_of_sheet)


class Images:
    """A simulator that yields given images."""

    def __init__(self, images, labels):
        self.images, self.labels = images, labels

    def simulate(self, card, count, rng):
        for image, label in zip(self.images[:count], self.labels, strict=False):
            yield Sample(id=sample_id(image), pixels_HWC=image, label=int(label), name="made", origin="real", parent="nobody")


def of(samples, change=lambda image, number: image):
    images = [np.ascontiguousarray(change(sample.pixels_HWC, number)) for number, sample in enumerate(samples)]
    return Images(images, [sample.label for sample in samples])


def noise(count=300):
    rng = np.random.default_rng(5)
    return Images(list(rng.integers(0, 256, (count, 8, 8, 1), dtype=np.uint8)), np.arange(count) % 10)


def judged(monkeypatch, tmp_path, folders, simulator, **stage):
    monkeypatch.setattr(synthesize, "build", lambda node: simulator)
    said, made = run(folders, tmp_path / "out", config(embedder="pixels", stage={**STAGE, **stage}))
    return said, made, read_json(tmp_path / "out/gates.json")


def test_a_good_generator_is_kept_with_a_share_that_helps(monkeypatch, tmp_path, folders):
    """Real digits that the run never saw pose as synthetic ones; with sixty training digits they help beyond doubt."""
    said, made, found = judged(monkeypatch, tmp_path, folders, of(NEW))
    assert found["quality"]["passed"]
    assert found["memorisation"]["passed"]
    assert found["share"] in {0.1, 0.5}
    kept = next(arm for arm in found["usefulness"]["arms"] if arm["name"].endswith(f"share {found['share']:g}"))
    assert kept["low"] > 0
    assert found["why"].startswith(f"the share {found['share']:g} helps: a gain of +0.")
    assert said.endswith(f"share for training {found['share']:g}")
    assert {str(origin) for origin in made.columns["origin"]} == {"synthetic"}
    assert len(set(made.columns["parent"])) == 1
    assert "nobody" not in made.columns["parent"]
    features = np.load(tmp_path / "out/features.npy")
    ids = (tmp_path / "out/ids.txt").read_text().split()
    assert ids == made.ids
    np.testing.assert_array_equal(features, np.stack([sample.pixels_HWC.ravel() for sample in made]) / np.float32(255))
    section = read_section(tmp_path / "out")
    assert f"share of synthetic samples that the gates allow is {found['share']:g}" in section.text[0]
    assert [table.caption.split(" ")[0].strip(":") for table in section.tables] == [
        "Usefulness",
        "Quality",
        "Memorisation",
        "What",
    ]


def test_a_generator_that_emits_noise_is_dropped(monkeypatch, tmp_path, folders):
    _, _, found = judged(monkeypatch, tmp_path, folders, noise())
    assert found["share"] == 0
    assert not found["quality"]["passed"]
    assert "of the way from real samples to noise" in found["why"]


def blurred(image, number):
    return cv2.GaussianBlur(image, (0, 0), 1.0)[:, :, None]


def speckled(image, number):
    return np.clip(image + np.random.default_rng(number).normal(0, 80, image.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize(("fault", "limit"), [(blurred, "min_recall"), (speckled, "min_precision")])
def test_samples_near_the_real_ones_but_not_among_them_are_dropped(monkeypatch, tmp_path, folders, fault, limit):
    """Position and variety are as good as those of many a real set: only precision or recall tells."""
    _, _, found = judged(monkeypatch, tmp_path, folders, of(NEW, fault))
    quality = found["quality"]
    assert quality["position"] < 0.1
    assert quality["variety"] > 0.5
    name = limit.removeprefix("min_")
    assert quality[name] < 0.5 * quality["limits"][name]
    assert not quality["passed"]
    assert found["share"] == 0
    assert "too low quality" in found["why"]
    assert "position" not in found["why"]


@pytest.mark.parametrize("fault", [blurred, speckled])
def test_without_the_limits_on_precision_and_recall_they_would_pass(monkeypatch, tmp_path, folders, fault):
    _, _, found = judged(monkeypatch, tmp_path, folders, of(NEW, fault), min_precision=0, min_recall=0)
    assert found["quality"]["passed"]


def test_the_gate_of_usefulness_alone_drops_noise_too(monkeypatch, tmp_path, folders):
    _, _, found = judged(monkeypatch, tmp_path, folders, noise(), **OPEN)
    assert found["quality"]["passed"]
    assert found["share"] == 0
    helped = [arm["name"] for arm in found["usefulness"]["arms"][1:] if arm["low"] > 0]
    assert set(found["usefulness"]["controls"]) == set(helped)
    assert found["why"].startswith("no share is shown to help") != bool(helped)


def test_good_images_with_wrong_labels_are_dropped(monkeypatch, tmp_path, folders):
    """Quality cannot see it; usefulness does."""
    made = of(NEW)
    made.labels = [(label + 1) % 10 for label in made.labels]
    _, _, found = judged(monkeypatch, tmp_path, folders, made)
    assert found["quality"]["passed"]
    assert found["share"] == 0


@pytest.mark.parametrize("disguise", [
    lambda image, number: image,
    lambda image, number: np.rot90(image, number % 4),
    lambda image, number: np.clip(image.astype(int) + number % 3 - 1, 0, 255).astype(np.uint8)[:, :: -1 if number % 2 else 1],
], ids=["as they are", "turned", "mirrored, a grey level off"])  # fmt: skip
def test_a_generator_that_copies_training_images_is_caught(monkeypatch, tmp_path, folders, disguise):
    _, made, found = judged(monkeypatch, tmp_path, folders, of(TRAIN, disguise))
    assert found["share"] == 0
    assert not found["memorisation"]["passed"]
    assert found["memorisation"]["copies"] >= 58
    assert len(made) <= 2


def test_a_copier_would_pass_without_the_comparison(monkeypatch, tmp_path, folders):
    """Planted fault: the ratio is never low enough."""
    near = of(TRAIN, lambda image, number: np.clip(image.astype(int) + 1, 0, 255).astype(np.uint8))
    _, made, found = judged(monkeypatch, tmp_path, folders, near, copy_ratio=1e-9)
    assert found["memorisation"]["copies"] == 0
    assert len(made) == 60


def test_a_few_copies_are_left_out_and_counted_and_the_rest_is_used(monkeypatch, tmp_path, folders):
    copies = [replace(sample, pixels_HWC=np.flip(sample.pixels_HWC, 1).copy()) for sample in TRAIN[:6]]
    _, made, found = judged(monkeypatch, tmp_path, folders, of([*copies, *NEW[:290]]))
    assert 6 <= found["memorisation"]["copies"] <= 12
    assert len(made) == 296 - found["memorisation"]["copies"]
    assert not {sample_id(sample.pixels_HWC) for sample in copies} & set(made.ids)
    assert found["share"] > 0
    assert "were copies of training images and were left out" in " ".join(read_section(tmp_path / "out").warnings)


def test_a_collapsed_generator_is_dropped(monkeypatch, tmp_path, folders):
    """One digit of each class over and over, a grey level off here and there."""
    rng = np.random.default_rng(0)
    first = {sample.label: sample for sample in reversed(NEW)}
    same = [first[number % 10] for number in range(200)]
    made = of(same, lambda image, number: np.clip(image.astype(int) + rng.integers(-2, 3, image.shape), 0, 255).astype(np.uint8))
    _, _, found = judged(monkeypatch, tmp_path, folders, made)
    assert found["quality"]["variety"] < 0.3
    assert found["share"] == 0


def test_an_image_of_the_wrong_shape_is_a_fault_of_the_simulator(monkeypatch, tmp_path, folders):
    with pytest.raises(synthesize.PersonError, match=r"drew an image of shape \(4, 8, 1\)"):
        judged(monkeypatch, tmp_path, folders, of(NEW, lambda image, number: image[:4]))


def test_classical_augmentation_is_an_arm_where_it_was_published(monkeypatch, tmp_path, folders):
    monkeypatch.setattr(synthesize, "build", lambda node: of(NEW))
    augment = tmp_path / "augment"
    shifted = [np.roll(sample.pixels_HWC, 1, axis=1) for sample in TRAIN]
    write_shards(augment, [
        replace(sample, id=sample_id(image), pixels_HWC=image, origin="augmented", parent=sample.id)
        for sample, image in zip(TRAIN, shifted, strict=True)
    ])  # fmt: skip
    np.save(augment / "features.npy", np.stack([image.ravel() for image in shifted]).astype(np.float32) / 255)
    (augment / "ids.txt").write_text("".join(f"{sample_id(image)}\n" for image in shifted))
    run(folders, tmp_path / "out", config(embedder="pixels", stage=STAGE), augment=augment)
    arms = [arm["name"] for arm in read_json(tmp_path / "out/gates.json")["usefulness"]["arms"]]
    assert arms == ["real", gates.CLASSICAL, *(f"real + synthetic, share {share}" for share in ("0.1", "0.5"))]


def test_a_small_network_stands_in_where_there_is_no_embedder(monkeypatch, tmp_path, folders):
    monkeypatch.setattr(synthesize, "build", lambda node: of(NEW))
    run(folders, tmp_path / "out", config(stage={**STAGE, "gate_steps": 80, "shares": [0.5]}))
    found = read_json(tmp_path / "out/gates.json")
    assert found["quality"]["embedding"] == "pixels of images of 8 x 8"
    assert found["share"] == 0.5
    assert np.load(tmp_path / "out/features.npy").shape == (0, 0)
