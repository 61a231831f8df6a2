"""Materialise augmented samples of the train split, and describe the policy that training uses on the fly."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core import pictures
from pipeline.core.artifact import read_json, write_json
from pipeline.core.contracts import Sample, Transform
from pipeline.core.decode import sample_id
from pipeline.core.keyed import generator
from pipeline.core.parts import build, is_off
from pipeline.core.progress import track
from pipeline.core.section import Cell, Picture, Section, Table, write_section
from pipeline.core.store import Samples, open_samples, write_shards

ATTEMPTS = 8  # draws for one copy before it is given up as a repetition
SHOWN, DRAWS = 6, 5  # rows of the sheet, and draws beside each original

KEYED = (
    "Only samples of the train split are augmented. A draw depends on the seed, the copy and the sample alone, so that no "
    "worker, order or restart can change or repeat it."
)
USED = (
    "The samples published here enter the training only with train.augmented; the policy itself is applied anew to every image "
    "at every step of a training on images."
)


def run(cfg: dict[str, Any], out: Path, *, ingest: Path, split: Path) -> str:
    """Publish `augment.copies` augmented samples of each of a seeded `augment.fraction` of the train split.

    Args:
        cfg: `transform`, `augment` and `seed`.
        out: where to write.
        ingest: the samples.
        split: who is in the train split; no other sample is read.

    Raises:
        PersonError: the policy has an argument that would have no effect, or changes the shape of an image.
    """
    train: list[str] = read_json(split / "split.json")["train"]
    samples = open_samples(ingest)
    if is_off(cfg["transform"]):
        return _none(out)
    policy = build(cfg["transform"])
    drawing = Drawing(policy, seed=int(cfg["seed"]), taken=set(samples.ids))
    order = [train[number] for number in generator(cfg["seed"], "augment", "chosen").permutation(len(train))]
    chosen = set(order[: round(cfg["augment"]["fraction"] * len(train))] if cfg["augment"]["copies"] else [])
    parents = [identity for identity in train if identity in chosen]
    made = drawing.all(samples, parents, copies=cfg["augment"]["copies"])
    count = write_shards(out, track(made, what="augment", total=len(parents) * cfg["augment"]["copies"]))
    facts = {"transforms": policy.describe(), **cfg["augment"], "parents": len(parents), "samples": count}
    write_json(out / "policy.json", facts)
    _before_after(out / "before_after.png", samples, order[:SHOWN], drawing)
    return _section(out, facts, repeated=drawing.repeated, train=len(train))


@dataclass
class Drawing:
    """Augmented samples by draws keyed by (seed, copy, id of the parent), none of them with the pixels of another sample.

    Attributes:
        policy: a part of `pipeline/transform`.
        seed: of the draws.
        taken: ids of samples that exist; a draw that gives one of them again is repeated.
        repeated: copies that were given up because every draw gave an image that exists.
    """

    policy: Transform
    seed: int
    taken: set[str] = field(repr=False)
    repeated: int = 0

    def all(self, samples: Samples, parents: list[str], *, copies: int) -> Iterator[Sample]:
        """Every copy of every parent, in the stored order of the parents."""
        for parent in parents:
            sample = samples.sample(samples.index[parent])
            for copy in range(copies):
                made = self._one(sample, copy)
                if made is None:
                    self.repeated += 1
                else:
                    yield made

    def pixels(self, sample: Sample, copy: int) -> NDArray[np.uint8]:
        """The first draw of one copy."""
        return self.policy(sample.pixels_HWC, generator(self.seed, "augment", copy, sample.id))

    def _one(self, sample: Sample, copy: int) -> Sample | None:
        rng = generator(self.seed, "augment", copy, sample.id)
        for _ in range(ATTEMPTS):
            pixels_HWC = self.policy(sample.pixels_HWC, rng)
            identity = sample_id(pixels_HWC)
            if identity not in self.taken:
                self.taken.add(identity)
                name = f"{sample.name} (augmented, copy {copy + 1})"
                return replace(sample, id=identity, pixels_HWC=pixels_HWC, name=name, origin="augmented", parent=sample.id)
        return None


def _before_after(path: Path, samples: Samples, shown: list[str], drawing: Drawing) -> None:
    images, titles = [], []
    for identity in shown:
        sample = samples.sample(samples.index[identity])
        images += [sample.pixels_HWC, *(drawing.pixels(sample, copy) for copy in range(DRAWS))]
        titles += [pictures.shorten(sample.name, 22), *(f"draw {copy + 1}" for copy in range(DRAWS))]
    pictures.sheet(images, titles, path, columns=1 + DRAWS)


def _section(out: Path, facts: dict[str, Any], *, repeated: int, train: int) -> str:
    rows: list[list[Cell]] = [
        [entry["__class_fullname__"], ", ".join(f"{key}={value}" for key, value in entry.items() if not key.startswith("__"))]
        for entry in facts["transforms"]
    ]
    warnings = []
    if repeated:
        warnings.append(f"{repeated} augmented copies were left out: {ATTEMPTS} draws each gave an image that exists already.")
    return write_section(out, Section(
        title="Augmentation",
        summary=f"{facts['samples']} augmented samples of {facts['parents']} of the {train} training samples",
        text=[KEYED, USED],
        warnings=warnings,
        tables=[Table("The policy, in the order of application", ["transform", "arguments"], rows)],
        pictures=[Picture("before_after.png", "Training samples (left) and five draws of the policy for each.")],
    ))  # fmt: skip


def _none(out: Path) -> str:
    write_shards(out, [])
    write_json(out / "policy.json", {"transforms": [], "samples": 0})
    pictures.placard("transform: none", out / "before_after.png")
    return write_section(out, Section(title="Augmentation", summary="no augmentation (transform: none)"))
