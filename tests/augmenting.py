"""Runs of the stage augment on small stores: squares with their masks and boxes, and digits."""

from pathlib import Path

import numpy as np
import yaml

from pipeline.core.record import Sample
from pipeline.core.store import open_samples, write_shards
from pipeline.images.decode import sample_id
from pipeline.stages import augment
from tests import toy

CONF = Path(__file__).resolve().parents[1] / "conf/transform"


def config(option="light", **changed):
    return {
        "transform": yaml.safe_load((CONF / f"{option}.yaml").read_text()),
        "augment": {"copies": 2, "fraction": 0.25, "max_label_change": 0.4, **changed},
        "embedder": {"_target_": "pipeline.embedder.pixels.Pixels"},
        "embed": {"batch_size": 16},
        "task": toy.option("task", "classification"),
        "seed": 0,
    }


def embedded(folders):
    """What embed publishes: the pixels as features, or nothing."""
    folder = folders.ingest.parent / "embed"
    if not folder.is_dir():
        folder.mkdir()
        samples = open_samples(folders.ingest)
        pixels = samples.batch(range(len(samples)))
        np.save(folder / "features.npy", pixels.reshape(len(pixels), -1).astype(np.float32) / 255)
        (folder / "ids.txt").write_text("".join(f"{identity}\n" for identity in samples.ids))
    return folder


def run(folders, out, cfg, items=None):
    out.mkdir()
    said = augment.run(cfg, out, ingest=folders.ingest, embed=embedded(folders), split=folders.split, items=items)
    return said, open_samples(out)


def content(out):
    """Name -> bytes of every file."""
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}


def planted(tmp_path, *, side=16):
    """A store of 24 images with a bright square, its mask, its box and its corners, and a split that trains on all."""
    rng = np.random.default_rng(0)
    samples = []
    for number in range(24):
        row, column = rng.integers(2, side - 8, size=2)
        pixels, mask = rng.integers(0, 60, (side, side, 1), dtype=np.uint8), np.zeros((side, side), np.uint8)
        pixels[row : row + 5, column : column + 5] = 250
        mask[row : row + 5, column : column + 5] = 1
        box = (float(column), float(row), float(column + 5), float(row + 5), number % 2)
        corners = ((float(column), float(row)), (float(column + 4), float(row + 4)))
        samples.append(Sample(
            id=sample_id(pixels), pixels_HWC=pixels, label=number % 2, name=f"cell {number}", mask_HW=mask, boxes=(box,), keypoints=corners,
        ))  # fmt: skip
    ingest, split = tmp_path / "store/ingest", tmp_path / "store/split"
    return write(samples, ingest, split)


def write(samples, ingest, split):
    ingest.mkdir(parents=True)
    split.mkdir()
    write_shards(ingest, samples, shard_size=8)
    toy.artifact.write_json(
        ingest / "card.json", {"name": "toy", "classes": ["a", "b"], "channels": 1, "height": 16, "width": 16}
    )
    ids = [sample.id for sample in samples]
    toy.artifact.write_json(split / "split.json", {"train": ids, "val": [], "test": []})
    return type("Folders", (), {"ingest": ingest, "split": split, "ids": {"train": ids}, "samples": samples})


def digits(tmp_path, kinds):
    """Digits of scikit-learn of these classes at 16 x 16, all in the train split."""
    from sklearn.datasets import load_digits

    found = load_digits()
    samples = []
    for image, label in zip(found.images, found.target, strict=True):
        if label in kinds:
            pixels = np.kron(np.clip(image * 16, 0, 255), np.ones((2, 2)))[:, :, None].astype(np.uint8)
            samples.append(Sample(id=sample_id(pixels), pixels_HWC=pixels, label=kinds.index(label), name=str(label)))
    unique = {sample.id: sample for sample in samples}
    return write(list(unique.values()), tmp_path / "digits/ingest", tmp_path / "digits/split")


def half_turn():
    return {"_target_": "pipeline.transform.policy.Policy", "p": 1.0, "transforms": [
        {"_target_": "albumentations.Affine", "rotate": [179.9, 180.1], "p": 1.0}]}  # fmt: skip
