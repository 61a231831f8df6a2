"""Read, check and store every sample; put aside what cannot be used, with a reason each. Memory stays at one shard."""

import hashlib
import math
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.artifact import write_json
from pipeline.core.contracts import Dataset, Rejected, Sample
from pipeline.core.decode import Decoder
from pipeline.core.errors import PersonError
from pipeline.core.parts import build
from pipeline.core.pictures import sheet
from pipeline.core.progress import track
from pipeline.core.section import Picture, Section, Table, write_section
from pipeline.core.store import Samples, open_samples, write_shards
from pipeline.core.table import write_csv

SHOWN = 12  # classes on the contact sheet, and rows of the tables in the report
EACH = 6  # pictures of one class
DPI = 110
IMBALANCE = 10  # largest over smallest class above which the report warns


def run(cfg: dict[str, Any], out: Path, *, source: Path) -> str:
    """Publish shards, `card.json`, `quarantine.csv` and a contact sheet.

    Args:
        cfg: `dataset` and `ingest`.
        out: where to write.
        source: the folder of a person's own data; datasets that packages bring do not read it.

    Raises:
        PersonError: the data cannot be used as it is; the line names files, counts and the remedy.
    """
    decoder = Decoder(**{key: value for key, value in cfg["ingest"].items() if key not in ("max_bad_fraction", "conflicts")})
    dataset: Dataset = build(cfg["dataset"], source=source, decode=decoder.decode)
    facts = dataset.card()
    intake = Intake(classes=facts["classes"], stop_on_conflict=cfg["ingest"]["conflicts"] == "stop")
    write_shards(out / "intake", intake.accept(track(dataset.samples(), what="ingest", total=len(dataset))))
    _drop(out, intake.conflicting)
    intake.check(cfg["ingest"]["max_bad_fraction"])
    samples = open_samples(out)
    card = _card(facts, samples, quarantined=len(intake.rejected))
    _check_classes(card)
    write_json(out / "card.json", card)
    write_csv(out / "quarantine.csv", ["name", "reason"], [[entry.name, entry.reason] for entry in intake.rejected])
    _contact_sheet(samples, card, out / "contact_sheet.png")
    return write_section(out, _section(card, samples, intake, ignored=facts.get("ignored", {})))


class Intake:
    """Lets each image pass once, and keeps the reasons of what it held back.

    Args:
        classes: names of the classes.
        stop_on_conflict: equal images with different labels are an error; otherwise all of them are held back.

    Attributes:
        rejected: what was held back, in the order of the source.
        conflicting: ids of images that passed before an equal one with another label came.
        unusable: how many files could not be read.
        seen: how many files came.
    """

    def __init__(self, *, classes: list[str], stop_on_conflict: bool) -> None:
        self.classes, self.stop_on_conflict = classes, stop_on_conflict
        self.rejected: list[Rejected] = []
        self.conflicting: set[str] = set()
        self.unusable = self.seen = 0
        self._first: dict[str, tuple[str, str]] = {}

    def accept(self, found: Iterator[Sample | Rejected]) -> Iterator[Sample]:
        """Yield the samples that are new.

        Raises:
            PersonError: equal images with different labels, where that stops the run.
        """
        for entry in found:
            self.seen += 1
            if isinstance(entry, Rejected):
                self.unusable += 1
                self.rejected.append(entry)
                continue
            meaning = self._meaning(entry)
            if entry.id not in self._first:
                self._first[entry.id] = (entry.name, meaning)
                yield entry
                continue
            name, said = self._first[entry.id]
            if said != meaning:
                self._conflict(entry, meaning)
            else:
                self.rejected.append(Rejected(entry.name, f"duplicate: the same image as {name}"))

    def check(self, max_bad_fraction: float) -> None:
        """Stop where too much, or everything, is unusable.

        Raises:
            PersonError: with the counts and the first reasons.
        """
        bad = [entry for entry in self.rejected if not entry.reason.startswith(("duplicate:", "conflict:"))]
        reasons = "; ".join(f"{entry.name}: {entry.reason}" for entry in bad[:3])
        more = f"; and {len(bad) - 3} more" if len(bad) > 3 else ""
        if self.seen == len(self.rejected):
            raise PersonError(
                f"no usable sample among {self.seen} files: {reasons or 'every image has conflicting labels'}{more}"
            )
        if len(bad) > max_bad_fraction * self.seen:
            raise PersonError(
                f"{len(bad)} of {self.seen} files ({len(bad) / self.seen:.1%}) cannot be used, more than ingest.max_bad_fraction "
                f"= {max_bad_fraction:g}: {reasons}{more}; mend or remove them, or raise ingest.max_bad_fraction"
            )

    def _meaning(self, sample: Sample) -> str:
        parts = [self.classes[sample.label]] if sample.label >= 0 else []
        return " ".join(parts + ([] if math.isnan(sample.target) else [f"{sample.target:g}"]))

    def _conflict(self, sample: Sample, meaning: str) -> None:
        name, said = self._first[sample.id]
        if self.stop_on_conflict:
            raise PersonError(
                f"the same image has two labels: {name} is {said!r} and {sample.name} is {meaning!r}; "
                f"remove one, or set ingest.conflicts=drop to leave out both"
            )
        if sample.id not in self.conflicting:
            self.conflicting.add(sample.id)
            self.rejected.append(Rejected(name, f"conflict: the same image as {sample.name}, with another label"))
        self.rejected.append(Rejected(sample.name, f"conflict: the same image as {name}, with another label"))


def _drop(out: Path, conflicting: set[str]) -> None:
    """Bring the shards to their place, without the images whose labels disagree."""
    if conflicting:
        stored = open_samples(out / "intake")
        write_shards(out, (sample for sample in stored if sample.id not in conflicting))
    else:
        (out / "intake" / "shards").rename(out / "shards")
    shutil.rmtree(out / "intake")


def _card(facts: dict[str, Any], samples: Samples, *, quarantined: int) -> dict[str, Any]:
    columns = samples.columns
    total = hashlib.sha256()
    for row in zip(*(columns[name].tolist() for name in ("id", "label", "target", "weight", "group", "order")), strict=True):
        total.update(repr(row).encode() + b"\n")
    shape = {name: int(columns[name][0]) for name in ("height", "width", "channels")} if len(samples) else {}
    counts = Counter(columns["label"].tolist())
    return {
        **{key: facts[key] for key in ("name", "source", "license", "citation", "classes", "target")},
        **shape,
        "counts": {name: counts[number] for number, name in enumerate(facts["classes"])},
        "samples": len(samples),
        "quarantined": quarantined,
        "groups": len(set(columns["group"].tolist()) - {""}),
        "digest": total.hexdigest(),
    }


def _check_classes(card: dict[str, Any]) -> None:
    counts = card["counts"]
    told = ", ".join(f"{name} {count}" for name, count in counts.items())
    if not counts and card["target"] is None:
        raise PersonError("the data has neither classes nor a target: there is nothing to predict")
    if len(counts) == 1:
        raise PersonError(f"one class only ({told}): a classifier needs images of at least two")
    few = [name for name, count in counts.items() if count < 2]
    if few:
        raise PersonError(
            f"the class {few[0]!r} has {counts[few[0]]} usable samples, expected at least 2 (samples of each class: "
            f"{told}): add images or leave the class out"
        )


def _chosen(samples: Samples, card: dict[str, Any]) -> list[int]:
    """A few positions of each class, or along the target, evenly over the source."""
    labels = samples.columns["label"]
    if not card["classes"]:
        along = np.argsort(samples.columns["target"], kind="stable")
        return [int(along[place]) for place in np.unique(np.linspace(0, len(along) - 1, SHOWN).astype(int))]
    rows = [np.flatnonzero(labels == number) for number in range(min(len(card["classes"]), SHOWN))]
    return [int(row[place]) for row in rows for place in np.unique(np.linspace(0, len(row) - 1, EACH).astype(int))]


def _contact_sheet(samples: Samples, card: dict[str, Any], path: Path) -> None:
    chosen = _chosen(samples, card)
    columns = samples.columns
    unit = card["target"]["unit"] if card["target"] else ""
    titles = [
        card["classes"][columns["label"][place]] if card["classes"] else f"{columns['target'][place]:.4g} {unit}".strip()
        for place in chosen
    ]
    sheet([samples.pixels(place) for place in chosen], titles, path, columns=EACH, dpi=DPI)


def _section(card: dict[str, Any], samples: Samples, intake: Intake, *, ignored: dict[str, int]) -> Section:
    counts: dict[str, int] = card["counts"]
    kinds = f", {len(counts)} classes" if counts else ""
    held = f"; {card['quarantined']} files in quarantine" if card["quarantined"] else "; none in quarantine"
    shape = f"{card['height']} x {card['width']} pixels, {'grey' if card['channels'] == 1 else 'colour'}"
    groups = f" They form {card['groups']} groups, whose samples are alike." if card["groups"] else ""
    return Section(
        title="Data",
        summary=f"{card['name']}: {card['samples']:,} images of {shape}{kinds}{held}",
        text=[
            f"Source: {card['source']}.{groups}",
            f"Licence of the data: {card['license']}.",
            *([f"Please cite: {card['citation']}."] if card["citation"] else []),
        ],
        warnings=_warnings(card, samples, intake, ignored),
        tables=_tables(card, intake),
        pictures=[Picture("contact_sheet.png", "Samples as they are stored, evenly over the source.")],
    )


def _warnings(card: dict[str, Any], samples: Samples, intake: Intake, ignored: dict[str, int]) -> list[str]:
    counts = [count for count in card["counts"].values() if count]
    flat = sum(int(np.ptp(samples.pixels(place))) == 0 for place in range(len(samples)))
    said = []
    if intake.unusable:
        said.append(f"{intake.unusable} of {intake.seen} files could not be used; quarantine.csv says why.")
    if len(intake.rejected) > intake.unusable:
        said.append(
            f"{len(intake.rejected) - intake.unusable} images are duplicates, or conflict with an equal one, and were left out."
        )
    if flat:
        said.append(f"{flat} images are of one single colour.")
    if counts and max(counts) > IMBALANCE * min(counts):
        said.append(f"The classes are uneven: the largest has {max(counts)} samples, the smallest {min(counts)}.")
    if ignored:
        listed = ", ".join(f"{count} {ending}" for ending, count in ignored.items())
        said.append(f"Files without the ending of an image were not looked at: {listed}.")
    return said


def _tables(card: dict[str, Any], intake: Intake) -> list[Table]:
    tables = []
    if card["counts"]:
        ordered = (
            sorted(card["counts"].items(), key=lambda entry: -entry[1]) if len(card["counts"]) > SHOWN else card["counts"].items()
        )
        rows = [[name, count, f"{count / card['samples']:.1%}"] for name, count in ordered]
        tables.append(Table("Samples of each class", ["class", "samples", "share"], rows))
    if card["target"]:
        target = card["target"]
        tables.append(
            Table("Target", ["name", "unit", "low", "high"], [[target[key] for key in ("name", "unit", "low", "high")]])
        )
    if intake.rejected:
        rows = [[entry.name, entry.reason] for entry in intake.rejected[:SHOWN]]
        caption = f"Files in quarantine: {len(intake.rejected)}" + (
            f", the first {SHOWN}" if len(intake.rejected) > SHOWN else ""
        )
        tables.append(Table(caption, ["file", "reason"], rows))
    return tables
