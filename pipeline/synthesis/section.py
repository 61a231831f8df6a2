"""What the report says of synthetic samples: which share training takes and why, and what every gate measured."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.core.section import Cell, Picture, Section, Table
from pipeline.synthesis.usefulness import Arm

LOOK = (
    "Look at the sheet before you use them: real images stand beside synthetic ones. A GAN's images were made at the generator's "
    "resolution and resized to the size of the data, which takes away fine detail."
)
SHARES = (
    "Arms of the same seed are a pair: equal first weights, equal steps, equal real samples; they differ only in the places of "
    "each batch that extra samples take. Intervals hold for seeds and for the choice of validation samples, and for all shares "
    "together."
)
GAINS = (
    "Paired gain of each arm over real samples alone: a dot a seed, the mean (diamond) and its interval. Green lies wholly above "
    "zero, red below."
)
NEIGHBOURS = (
    "The synthetic images closest to the train split, beside the nearest training image. The ratio is the distance to train over "
    "that to validation: far below 1 is a copy."
)
MEASURES = ("kernel_distance", "frechet_distance", "precision", "recall")


@dataclass(frozen=True)
class Findings:
    """What a section is made of.

    Attributes:
        about: the generator in words.
        conditions: name and training images of each.
        left_out: conditions with too few images.
        repeated: samples left out because their pixels came a second time.
        warnings: of the training.
        pictures: of the training.
        arms: of the gate of usefulness.
    """

    about: str
    conditions: Sequence[tuple[str, int]]
    left_out: Sequence[str] = ()
    repeated: int = 0
    warnings: Sequence[str] = ()
    pictures: Sequence[Picture] = ()
    arms: Sequence[Arm] = field(default=())


def describe(found: Findings, gates: Mapping[str, Any], *, made: int) -> Section:
    """The section of the stage.

    Args:
        found: what is known of the generator.
        gates: as in `gates.json`.
        made: samples published.
    """
    memory = gates["memorisation"]
    warnings = [f"Too few training images for the generator, so no synthetic ones: {name}." for name in found.left_out]
    if found.repeated:
        warnings.append(
            f"{found.repeated} synthetic images came a second time and were left out: the generator has little variety."
        )
    if memory["copies"]:
        warnings.append(f"{memory['copies']} synthetic images were copies of training images and were left out.")
    kinds = len(found.conditions)
    conditions: list[list[Cell]] = [[name, count] for name, count in found.conditions]
    return Section(
        title="Synthetic samples",
        summary=f"{made} synthetic images of {kinds} conditions, by {found.about}; share for training {gates['share']:g}",
        text=[f"The share of synthetic samples that the gates allow is {gates['share']:g}: {gates['why']}.", SHARES, LOOK],
        warnings=[*warnings, *found.warnings],
        tables=[
            *useful_table(found.arms, gates["usefulness"]), *quality_table(gates["quality"]), memory_table(memory),
            Table("What the generator is conditioned on", ["condition", "training images"], conditions),
        ],
        pictures=[
            Picture("samples.png", "Real training images (left half) and synthetic ones (right half), by condition."),
            Picture("gains.png", GAINS),
            Picture("neighbours.png", NEIGHBOURS),
            *found.pictures,
        ],
    )  # fmt: skip


def useful_table(arms: Sequence[Arm], usefulness: Mapping[str, Any]) -> list[Table]:
    """The gate of usefulness."""
    if not arms:
        return []
    rows: list[list[Cell]] = [
        [arm.name, round(arm.value, 4), *([None, None] if not number else [
            round(arm.gain, 4), f"{arm.low:+.4f} to {arm.high:+.4f}"])]
        for number, arm in enumerate(arms)
    ]  # fmt: skip
    each = 100 * usefulness["interval_coverage"]
    pairs = len(arms[0].gains)
    caption = f"Usefulness: {usefulness['headline']} on validation, {pairs} paired seeds, {usefulness['steps']} steps each"
    return [Table(caption, ["trained on", usefulness["headline"], "gain", f"{each:.1f} % interval of the gain"], rows)]


def quality_table(quality: Mapping[str, Any]) -> list[Table]:
    """The gate of quality."""
    if "measures" not in quality:
        return []
    rows: list[list[Cell]] = [
        [f"{name} against validation", *(round(found[measure], 4) for measure in MEASURES)]
        for name, found in quality["measures"].items()
    ]
    said = "passed" if quality["passed"] else "failed"
    limits = quality["limits"]
    caption = (
        f"Quality ({said}), in {quality['embedding']}, {quality['samples']} samples: {quality['position']:.2f} of the way from "
        f"real to noise (at most {limits['position']:g}), variety {quality['variety']:.2f} of that of real images (at least "
        f"{limits['variety']:g}), precision {quality['precision']:.2f} (at least {limits['precision']:.2f}), recall "
        f"{quality['recall']:.2f} (at least {limits['recall']:.2f})"
    )
    return [Table(caption, ["samples", "kernel distance", "Frechet distance", "precision", "recall"], rows)]


def memory_table(memory: Mapping[str, Any]) -> Table:
    """The gate of memorisation."""
    said = "passed" if memory["passed"] else "failed"
    caption = (
        f"Memorisation ({said}): {memory['copies']} copies, {100 * memory['share']:.1f} % of what was drawn (at most "
        f"{100 * memory['limit']:g} %); distance to the nearest training image over that to the nearest validation image"
    )
    rows: list[list[Cell]] = [
        [space, round(memory["median_ratio"].get(space, 0.0), 3), round(memory["nearer_to_train"][space], 3),
         round(memory["expected"], 3), f"{memory['chance'][space]:.2g}"]
        for space in memory["nearer_to_train"]
    ]  # fmt: skip
    return Table(
        caption, ["compared by", "median ratio", "share nearer to train", "expected of new images", "chance of that share"], rows
    )
