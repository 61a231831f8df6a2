"""What is kept of each sample from one run to the next: its measures, the image that is hashed, and its thumbnail.

One folder a key (code and versions). In it lie parts, each with the rows of the samples that were new to one run; they are never
written again, so that a run writes as much as it looks at. Rows of a damaged part are made anew. Where parts are many, or half
of their rows are of samples that are gone, a run brings what it needs together in one part and removes the others.

N samples, T side of a thumbnail.
"""

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core import listed
from pipeline.core.progress import track
from pipeline.core.store import Samples
from pipeline.findings import measures, phash
from pipeline.findings.copies import Looks
from pipeline.findings.rows import Rows

FILES = ("ids", "measures", "small", "thumbs")
PARTS = 32  # at most
BLOCK = 1024  # rows that are brought together at a time
Part = dict[str, Any]


@dataclass(frozen=True)
class Items:
    """Rows of samples in stored order; the images lie on disk.

    Attributes:
        measures: name -> (N,), as `measures.NAMES` lists them.
        small_N: (N, 32, 32) uint8.
        thumb_NTT: uint8.
        computed: how many rows were new.
    """

    measures: dict[str, NDArray[np.float64]]
    small_N: Rows
    thumb_NTT: Rows
    computed: int

    def looks(self, pixels: int) -> Looks:
        """What the search for copies needs."""
        return Looks(self.small_N, self.thumb_NTT, self.measures["noise"], self.measures["clipped"], pixels)


def gather(samples: Samples, folder: Path, code: Mapping[str, Any]) -> Items:
    """Rows of all samples; memory stays at a block of images, and the rows themselves lie in files.

    Args:
        samples: of ingest.
        folder: what survives from run to run.
        code: fingerprint of the stage's code; another one makes every row anew.
    """
    columns = samples.columns
    side = measures.thumb_side(int(columns["height"].min()), int(columns["width"].min()))
    key = hashlib.sha256(json.dumps([code, side], sort_keys=True).encode()).hexdigest()[:16]
    kept = folder / key
    for path in folder.iterdir() if folder.is_dir() else ():
        if path != kept:
            shutil.rmtree(path, ignore_errors=True)
    parts = _load(kept)
    places = _places(parts)
    fresh = [place for place, identity in enumerate(samples.ids) if identity not in places]
    rows = sum(len(part["ids"]) for part in parts.values())
    together = len(parts) >= PARTS or rows > 2 * (len(samples) - len(fresh))
    if fresh or together:
        _write(samples, kept, range(len(samples)) if together else fresh, parts, side=side)
        for number in parts if together else ():
            shutil.rmtree(kept / str(number))
        parts = _load(kept)
        places = _places(parts)
    found = _rows(parts, [places[identity] for identity in samples.ids])
    measured_NK = found["measures"][:]
    columns_of = {name: measured_NK[:, number].copy() for number, name in enumerate(measures.NAMES)}
    return Items(columns_of, found["small"], found["thumbs"], len(fresh))


def _write(samples: Samples, kept: Path, positions: Sequence[int], parts: Mapping[int, Part], *, side: int) -> None:
    """One more part, with the rows of some samples; those that a part holds already are taken from it."""
    places = _places(parts)
    partial = kept / "partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    files = _empty(partial, len(positions), side)
    files["ids"][:] = [samples.ids[position] for position in positions]
    known = [(row, places[samples.ids[position]]) for row, position in enumerate(positions) if samples.ids[position] in places]
    for start in range(0, len(known), BLOCK):
        rows, old = zip(*known[start : start + BLOCK], strict=True)
        for name, found in _rows(parts, old).items():
            files[name][list(rows)] = found[:]
    fresh = [(row, position) for row, position in enumerate(positions) if samples.ids[position] not in places]
    for row, position in track(fresh, what="quality", total=len(fresh)):
        pixels_HWC = samples.pixels(position)
        grey_HW = measures.grey(pixels_HWC)
        files["measures"][row] = measures.measure(pixels_HWC)
        files["small"][row] = phash.small(grey_HW)
        files["thumbs"][row] = measures.thumbnail(grey_HW, side)
    for file in files.values():
        file.flush()
    listed.note(partial)
    partial.rename(kept / str(max(parts, default=-1) + 1))


def _empty(folder: Path, total: int, side: int) -> Part:
    shapes: dict[str, tuple[Any, tuple[int, ...]]] = {
        "ids": (np.dtype("U64"), (total,)),
        "measures": (np.float64, (total, len(measures.NAMES))),
        "small": (np.uint8, (total, phash.SIDE, phash.SIDE)),
        "thumbs": (np.uint8, (total, side, side)),
    }
    return {
        name: np.lib.format.open_memmap(folder / f"{name}.npy", mode="w+", dtype=kind, shape=shape)
        for name, (kind, shape) in shapes.items()
    }


def _load(kept: Path) -> dict[int, Part]:
    """The parts of earlier runs by number; those that are not whole are removed."""
    numbers = sorted(int(path.name) for path in kept.iterdir() if path.name.isdigit()) if kept.is_dir() else []
    found = {}
    for number in numbers:
        if set(listed.whole(kept / str(number)) or ()) == {f"{name}.npy" for name in FILES}:
            found[number] = {name: np.load(kept / str(number) / f"{name}.npy", mmap_mode="r") for name in FILES}
        else:
            shutil.rmtree(kept / str(number))
    return found


def _places(parts: Mapping[int, Part]) -> dict[str, tuple[int, int]]:
    """Id -> which part, counted from 0, and which row of it."""
    listed = enumerate(parts.values())
    return {name: (number, row) for number, part in listed for row, name in enumerate(part["ids"].tolist())}


def _rows(parts: Mapping[int, Part], places: Sequence[tuple[int, int]]) -> dict[str, Rows]:
    """Whatever is kept of some samples, beside their ids."""
    part_N, place_N = np.asarray(places, dtype=np.int64).reshape(-1, 2).T
    return {name: Rows([part[name] for part in parts.values()], part_N, place_N) for name in FILES[1:]}
