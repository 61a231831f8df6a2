"""What is kept of each sample from one run to the next: its measures, the image that is hashed, and its thumbnail.

One folder a key (code and versions), in it one row a sample; a run recomputes the rows of new ids alone.

N samples, T side of a thumbnail.
"""

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.progress import track
from pipeline.core.store import Samples
from pipeline.findings import measures, phash
from pipeline.findings.copies import Looks

NEW = -2  # in place of a row's former place; -1 would look like the neighbour of row 0
FILES = ("ids", "measures", "small", "thumbs")


@dataclass(frozen=True)
class Items:
    """Rows of samples in stored order; the images are mapped from disk.

    Attributes:
        measures: name -> (N,), as `measures.NAMES` lists them.
        small_N: (N, 32, 32) uint8.
        thumb_NTT: uint8.
        computed: how many rows were new.
    """

    measures: dict[str, NDArray[np.float64]]
    small_N: NDArray[np.uint8]
    thumb_NTT: NDArray[np.uint8]
    computed: int

    def looks(self, pixels: int) -> Looks:
        """What the search for copies needs."""
        return Looks(self.small_N, self.thumb_NTT, self.measures["noise"], self.measures["clipped"], pixels)


def gather(samples: Samples, folder: Path, code: Mapping[str, Any]) -> Items:
    """Rows of all samples; memory stays at one image, and the rows themselves lie in files.

    Args:
        samples: of ingest.
        folder: what survives from run to run.
        code: fingerprint of the stage's code; another one makes every row anew.
    """
    columns = samples.columns
    side = measures.thumb_side(int(columns["height"].min()), int(columns["width"].min()))
    key = hashlib.sha256(json.dumps([code, side], sort_keys=True).encode()).hexdigest()[:16]
    kept, fresh = folder / key, folder / f"{key}.new"
    old = _load(kept)
    places = {} if old is None else {name: place for place, name in enumerate(old["ids"].tolist())}
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    files = _empty(fresh, len(samples), side)
    files["ids"][:] = samples.ids
    before = np.asarray([places.get(identity, NEW) for identity in samples.ids], dtype=np.int64)
    if old is not None:
        _carry(old, files, before)
    fresh_ones = np.flatnonzero(before == NEW).tolist()
    for place in track(fresh_ones, what="quality", total=len(fresh_ones)):
        pixels_HWC = samples.pixels(place)
        grey_HW = measures.grey(pixels_HWC)
        files["measures"][place] = measures.measure(pixels_HWC)
        files["small"][place] = phash.small(grey_HW)
        files["thumbs"][place] = measures.thumbnail(grey_HW, side)
    for file in files.values():
        file.flush()
    del files, old
    for path in folder.iterdir():
        if path != fresh:
            shutil.rmtree(path, ignore_errors=True)
    fresh.rename(kept)
    found = _load(kept)
    assert found is not None
    columns_of = {name: np.array(found["measures"][:, number]) for number, name in enumerate(measures.NAMES)}
    return Items(columns_of, found["small"], found["thumbs"], len(fresh_ones))


def _carry(old: Mapping[str, Any], files: Mapping[str, Any], before: NDArray[np.int64]) -> None:
    """Copy the rows that are known to where they stand now; `before` says where they stood. Neighbours go at once."""
    borders = np.flatnonzero(np.diff(before) != 1) + 1
    for name in FILES[1:]:
        source, target = np.asarray(old[name]), files[name]
        with Path(target.filename).open("r+b") as file:  # written, since a fault for each new page costs twice as much
            for first, last in zip([0, *borders], [*borders, len(before)], strict=True):
                if before[first] != NEW:
                    file.seek(target.offset + first * target.strides[0])
                    file.write(source[before[first] : before[first] + last - first].data)


def _empty(folder: Path, total: int, side: int) -> dict[str, Any]:
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


def _load(folder: Path) -> dict[str, Any] | None:
    """The rows of an earlier run, or None where there are none, or no whole ones."""
    try:
        found = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in FILES}
    except (OSError, ValueError):
        return None
    whole = len({len(rows) for rows in found.values()}) == 1 and found["measures"].shape[1:] == (len(measures.NAMES),)
    return found if whole else None
