"""A folder of files that a stage keeps from one run to the next, and the list that says what they were.

`sums.json` holds the XXH3-64 of each file with its size, time and inode. A file counts as it was while those are the same, as
with DVC; `rotten` reads the bytes.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson

from pipeline.core.shard_files import checksum, is_whole, settled

SUMS = "sums.json"


def note(folder: Path, known: Mapping[str, int] | None = None) -> None:
    """List every file below a folder; without its list the folder is not taken for whole.

    Args:
        folder: that will not be written again.
        known: path in the folder -> XXH3-64, of files that need not be read for it.
    """
    names = (f"{at}/{name}"[len(f"{folder}/") :] for at, _, found in os.walk(folder) for name in found)
    files = sorted(name for name in names if name != SUMS)
    sums = {name: known[name] if known and name in known else checksum(folder / name) for name in files}
    told = {name: [total, settled(f"{folder}/{name}")] for name, total in sums.items()}
    (folder / SUMS).write_bytes(orjson.dumps(told))


def whole(folder: Path) -> dict[str, int] | None:
    """Path in the folder -> XXH3-64 of each file; None where one is not as it was, or there is no list."""
    told = _told(folder)
    if told is None or not all(is_whole(f"{folder}/{name}", *said) for name, said in told.items()):
        return None
    return {name: total for name, (total, _) in told.items()}


def rotten(items: Path) -> Iterator[tuple[Path, list[str]]]:
    """Each listed folder below `items` some files of which are not as they were, whatever their times say, and these files."""
    for path in sorted(items.rglob(SUMS)):
        told = _told(path.parent)
        if told is None:
            yield path.parent, [SUMS]
        elif bad := [name for name, (total, _) in told.items() if not is_whole(path.parent / name, total, [])]:
            yield path.parent, bad


def _told(folder: Path) -> dict[str, tuple[int, list[Any]]] | None:
    """What the list says; None where there is none, or it is damaged itself."""
    try:
        told = orjson.loads((folder / SUMS).read_bytes())
        return {str(name): (int(total), list(stamp)) for name, (total, stamp) in told.items()}
    except (OSError, ValueError, TypeError, AttributeError, OverflowError):
        return None
