"""What the report says of the data: a summary, warnings, tables and a sheet of samples."""

import hashlib
import heapq
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.artifact import sha256
from pipeline.core.pictures import sheet
from pipeline.core.section import Picture, Section, Table
from pipeline.core.shards import link
from pipeline.core.store import Samples
from pipeline.intake.intake import Intake
from pipeline.intake.tally import Tally

SHOWN = 12  # classes on the contact sheet, and rows of the tables in the report
EACH = 6  # pictures of one class
DPI = 110
IMBALANCE = 10  # largest over smallest class above which the report warns


def _chosen(samples: Samples, card: dict[str, Any]) -> list[int]:
    """A few positions of each class: those of the smallest ids, so that more data seldom changes them; or along the target."""
    ids, labels = samples.columns["id"], samples.columns["label"]
    if not card["classes"]:
        along = np.argsort(samples.columns["target"], kind="stable")
        return [int(along[place]) for place in np.unique(np.linspace(0, len(along) - 1, SHOWN).astype(int))]
    rows = [np.flatnonzero(labels == number) for number in range(min(len(card["classes"]), SHOWN))]
    return sorted(int(place) for row in rows for place in heapq.nsmallest(EACH, row, key=ids.__getitem__))


def contact_sheet(samples: Samples, card: dict[str, Any], path: Path, *, kept: Path | None, code: Any) -> None:
    """Draw a few samples of each class, or take the equal sheet that was drawn before.

    Args:
        samples: of the artifact.
        card: its facts.
        path: where to write.
        kept: folder of the sheet of the run before, which is replaced; None draws anew.
        code: fingerprint of the code.
    """
    chosen = sorted(_chosen(samples, card), key=lambda place: (int(samples.columns["label"][place]), place))
    columns = samples.columns
    unit = card["target"]["unit"] if card["target"] else ""
    titles = [
        card["classes"][columns["label"][place]] if card["classes"] else f"{columns['target'][place]:.4g} {unit}".strip()
        for place in chosen
    ]
    said = json.dumps([[samples.ids[place] for place in chosen], titles, EACH, DPI, code], sort_keys=True)
    key = hashlib.sha256(said.encode()).hexdigest()[:20]
    for earlier in () if kept is None else kept.glob(f"{key}-*.png"):
        if earlier.stem == f"{key}-{sha256(earlier)[:20]}":
            link(earlier, path)
            return
    sheet([samples.pixels(place) for place in chosen], titles, path, columns=EACH, dpi=DPI)
    if kept is not None:
        shutil.rmtree(kept, ignore_errors=True)
        kept.mkdir()
        link(path, kept / f"{key}-{sha256(path)[:20]}.png")


def section(card: dict[str, Any], intake: Intake, total: Tally, *, ignored: dict[str, int]) -> Section:
    """What the report says of the data."""
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
        warnings=_warnings(card, intake, total, ignored),
        tables=_tables(card, intake, total),
        pictures=[Picture("contact_sheet.png", "Samples as they are stored, evenly over the source.")],
    )


def _warnings(card: dict[str, Any], intake: Intake, total: Tally, ignored: dict[str, int]) -> list[str]:
    counts = [count for count in card["counts"].values() if count]
    said = []
    if intake.unusable:
        said.append(f"{intake.unusable} of {intake.seen} files could not be used; quarantine.csv says why.")
    if len(intake.rejected) > intake.unusable:
        said.append(
            f"{len(intake.rejected) - intake.unusable} images are duplicates, or conflict with an equal one, and were left out."
        )
    if total.flat:
        said.append(f"{total.flat} images are of one single colour.")
    if counts and max(counts) > IMBALANCE * min(counts):
        said.append(f"The classes are uneven: the largest has {max(counts)} samples, the smallest {min(counts)}.")
    if intake.foreign:
        some = ", ".join(map(repr, intake.foreign[:3]))
        said.append(
            f"{len(intake.foreign)} names cannot be written on Windows, for example {some}: rename them to share the data."
        )
    if ignored:
        listed = ", ".join(f"{count} {ending}" for ending, count in ignored.items())
        said.append(f"Files without the ending of an image were not looked at: {listed}.")
    return said


def _tables(card: dict[str, Any], intake: Intake, total: Tally) -> list[Table]:
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
    names = ["grey"] if card["channels"] == 1 else ["red", "green", "blue"]
    rows = [[name, f"{mean:.1f}", f"{spread:.1f}"] for name, (mean, spread) in zip(names, total.moments(), strict=True)]
    tables.append(Table("Grey levels of all samples, 0 to 255, over every 17th pixel", ["channel", "mean", "deviation"], rows))
    if intake.rejected:
        rows = [[entry.name, entry.reason] for entry in intake.rejected[:SHOWN]]
        caption = f"Files in quarantine: {len(intake.rejected)}" + (
            f", the first {SHOWN}" if len(intake.rejected) > SHOWN else ""
        )
        tables.append(Table(caption, ["file", "reason"], rows))
    return tables
