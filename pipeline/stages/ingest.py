"""Read, check and store every sample; put aside what cannot be used, with a reason each.

Files are decoded in limited processes (`pipeline.images.pool`); what the run before decoded is not decoded again
(`pipeline.intake.items`). Memory stays at a few MB of pixels, whatever the size of the data.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipeline.core.artifact import sha256, write_json
from pipeline.core.contracts import Dataset
from pipeline.core.errors import PersonError
from pipeline.core.launch import collecting_rarely
from pipeline.core.parts import build
from pipeline.core.progress import track
from pipeline.core.record import Sample
from pipeline.core.section import write_section
from pipeline.core.shard_rows import ROWS
from pipeline.core.shards import FOLDER, ORDER, Kept, ShardWriter
from pipeline.core.store import Samples, open_samples
from pipeline.core.table import write_csv
from pipeline.images.pool import DecodePool
from pipeline.intake.intake import Intake, arrivals
from pipeline.intake.items import Items
from pipeline.intake.page import contact_sheet, section
from pipeline.source.archive import unpack
from pipeline.source.folder import unwrapped

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.xz")
DECODER = ("height", "width", "channels", "fit", "min_side", "max_aspect", "max_pixels", "sixteen_bit", "background")
LIMITS = ("decode_seconds", "decode_memory_mb")
PIXEL_BYTES = 8  # of the largest pixel that an accepted format can hold: four channels of 16 bit
HEADER_BYTES = 4 << 20  # what a file may hold beside its pixels
BLOCK = 4096  # rows of the columns that are hashed at a time


@collecting_rarely()
def run(cfg: dict[str, Any], out: Path, *, source: Path, items: Path | None = None) -> str:
    """Publish shards, `card.json`, `quarantine.csv`, `overlaps.json` and a contact sheet.

    Args:
        cfg: `dataset` and `ingest`.
        out: where to write.
        source: the folder of a person's own data, or one that holds nothing but an archive of it; datasets that packages
            bring do not read it.
        items: where knowledge of single files is kept from one run to the next; the artifact is the same without it.

    Raises:
        PersonError: the data cannot be used as it is; the line names files, counts and the remedy.
    """
    settings = cfg["ingest"]
    decoder, limits = {key: settings[key] for key in DECODER}, {key: settings[key] for key in LIMITS}
    code = cfg.get("code", {}).get("ingest")
    with ExitStack() as stack:
        folder = items or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        dataset: Dataset = build(cfg["dataset"], source=_opened(source, folder / "unpacked", settings))
        facts = dataset.card()
        known = Items(items, [decoder, limits, code], largest=settings["max_pixels"] * PIXEL_BYTES + HEADER_BYTES)
        pool = DecodePool(decoder, seconds=settings["decode_seconds"], memory_mb=settings["decode_memory_mb"])
        intake = Intake(classes=facts["classes"], stop_on_conflict=settings["conflicts"] == "stop")
        found = arrivals(track(dataset.entries(), what="ingest", total=len(dataset)), known, stack.enter_context(pool))
        known.counts.shards, known.counts.linked = _stored(intake.accept(found), out / "intake", known)
    known.save(out / "intake")
    if items is not None:
        write_json(items / "last.json", asdict(known.counts))
    _drop(out, intake.conflicting)
    intake.check(settings["max_bad_fraction"])
    samples = open_samples(out)
    card = _card(facts, samples, quarantined=len(intake.rejected))
    _check_classes(card)
    write_json(out / "card.json", card)
    write_json(out / "overlaps.json", intake.overlaps)
    write_csv(out / "quarantine.csv", ["name", "reason"], [[entry.name, entry.reason] for entry in intake.rejected])
    contact_sheet(samples, card, out / "contact_sheet.png", kept=items and items / "sheet", code=code)
    return write_section(out, section(card, intake, known.tally(out), ignored=facts.get("ignored", {})))


def _opened(source: Path, folder: Path, settings: dict[str, Any]) -> Path:
    """The folder of the data: `source` itself, or where the one archive that it holds was unpacked."""
    names = [entry.name for entry in os.scandir(source) if not entry.name.startswith(".")] if source.is_dir() else []
    if len(names) != 1 or not names[0].lower().endswith(ARCHIVES) or not (source / names[0]).is_file():
        shutil.rmtree(folder, ignore_errors=True)
        return source
    target = folder / sha256(source / names[0])[:20]
    for other in folder.iterdir() if folder.is_dir() else ():
        if other != target:
            shutil.rmtree(other)
    if not target.is_dir():
        folder.mkdir(exist_ok=True)
        unpack(
            source / names[0], target, max_members=settings["archive_members"], max_bytes=settings["archive_mb"] << 20,
            max_file_bytes=settings["archive_file_mb"] << 20, max_ratio=settings["archive_ratio"],
        )  # fmt: skip
    return unwrapped(target)


def _stored(samples: Iterable[Sample | Kept], folder: Path, known: Items) -> tuple[int, int]:
    """Write shards; how many there are, and how many of them were there before. What the writer held is free again after it."""
    with ShardWriter(folder, kept=known.kept, watch=known.watch) as writer:
        for sample in samples:
            writer.add(sample)
    return len(writer.names), writer.linked


def _drop(out: Path, conflicting: set[str]) -> None:
    """Bring the shards to their place, without the images whose labels disagree."""
    if conflicting:
        stored = open_samples(out / "intake")
        kept = {path.name: path for path in (out / "intake" / "shards").iterdir()}
        with ShardWriter(out, kept=kept) as writer:
            for position, sample in enumerate(stored):
                if sample.id not in conflicting:
                    writer.add(Kept(sample, stored, position))
    else:
        for name in (FOLDER, ORDER, ROWS):
            (out / "intake" / name).rename(out / name)
    shutil.rmtree(out / "intake")


def _card(facts: dict[str, Any], samples: Samples, *, quarantined: int) -> dict[str, Any]:
    columns = samples.columns
    total = hashlib.sha256()
    for start in range(0, len(samples), BLOCK):
        told = [columns[name][start : start + BLOCK].tolist() for name in ("id", "label", "target", "weight", "group", "given")]
        total.update(json.dumps(told).encode())
    shape = {name: int(columns[name][0]) for name in ("height", "width", "channels")} if len(samples) else {}
    counts = Counter(columns["label"].tolist())
    return {
        **{
            key: facts[key]
            for key in ("name", "source", "license", "citation", "classes", "target", "mask_classes")
            if key in facts
        },
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
