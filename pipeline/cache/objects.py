"""Hash every object of DVC's cache again and compare it with its name.

An object is `files/md5/ab/cdef...`, whose name is the MD5 of its bytes; one ending in `.dir` is a JSON list of the files of a
directory. Below `ab/cdef...` lie those in the layout of DVC 2, whose hash takes a text's CRLF for LF. DVC itself trusts every
object of mode 0444 and, for the others, size and time: it restores a flipped bit without a word.
"""

import hashlib
import json
import os
import re
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.core.progress import track

FILES = Path("files") / "md5"
PREFIX = re.compile(r"[0-9a-f]{2}")
REST = re.compile(r"[0-9a-f]{30}(\.dir)?")
PIECE = 1 << 20
GONE = "gone"  # taken by a `dvc gc` beside this; what needs it is found to be lost


@dataclass(frozen=True)
class Rot:
    """One file of the cache that is not what its name says.

    Attributes:
        path: relative to the cache.
        oid: the object's name, `cdef....dir` included; for an entry of the run-cache its path.
        why: a few words.
        movable: whether it may be put away; what this user cannot read is left alone.
    """

    path: Path
    oid: str
    why: str
    movable: bool = True


@dataclass
class Scan:
    """What a cache holds.

    Attributes:
        rotten: what is not what its name says.
        whole: names of the objects that are, and their bytes.
        trees: name of a directory's object -> (hash of a file, its path in the directory).
        size: bytes that were read.
    """

    rotten: list[Rot] = field(default_factory=list)
    whole: dict[str, int] = field(default_factory=dict)
    trees: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    size: int = 0


    def sizes(self) -> dict[str, tuple[int, int | None]]:
        """Object -> bytes of its content and, for a directory, number of its files; a directory that lacks one is left out."""
        found: dict[str, tuple[int, int | None]] = {oid: (size, None) for oid, size in self.whole.items()}
        for tree in self.trees:
            del found[tree]
        for tree, files in self.trees.items():
            if all(oid in self.whole for oid, _ in files):
                found[tree] = (sum(self.whole[oid] for oid, _ in files), len(files))
        return found


def scan(cache: Path) -> Scan:
    """Read every object of the cache at `cache`, on as many threads as there are cores."""
    found = Scan()
    listed = [*_listed(cache, FILES), *_listed(cache, Path())]
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        checked = pool.map(lambda item: (item, _check(cache / item[0], item[1])), listed)
        for (path, oid), (why, size, movable) in track(checked, what="hash the cache", total=len(listed)):
            found.size += size
            if why == GONE:
                continue
            if why:
                found.rotten.append(Rot(path, oid, why, movable))
                continue
            found.whole[oid] = size
            if oid.endswith(".dir"):
                found.trees[oid] = members(cache / path)
    return found


def members(path: Path) -> list[tuple[str, str]]:
    """Hash and relative path of each file that a directory's object lists."""
    return [(entry["md5"], entry["relpath"]) for entry in json.loads(path.read_bytes())]


def _listed(cache: Path, below: Path) -> Iterator[tuple[Path, str]]:
    """Objects under a folder of the cache: path relative to the cache, and name. What has another kind of name is none."""
    if not (cache / below).is_dir():
        return
    for prefix in sorted(entry.name for entry in (cache / below).iterdir()):
        if PREFIX.fullmatch(prefix) and (cache / below / prefix).is_dir():
            for rest in sorted(entry.name for entry in (cache / below / prefix).iterdir()):
                if REST.fullmatch(rest):
                    yield below / prefix / rest, prefix + rest


def _check(path: Path, oid: str) -> tuple[str, int, bool]:
    """What is wrong with an object ("" for nothing), the bytes read, and whether it may be put away."""
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            return "is no file", 0, True
        found, size = _md5(path)
        wanted = oid.removesuffix(".dir")
        if found == wanted or (path.parents[1].name != FILES.name and _md5_of_text(path) == wanted):
            return "", size, True
    except FileNotFoundError:
        return GONE, 0, False
    except OSError as error:
        return f"cannot be read ({error.strerror})", 0, False
    return ("is empty" if size == 0 else "holds other bytes than its name says"), size, True


def _md5(path: Path) -> tuple[str, int]:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False))
        return found.hexdigest(), file.tell()


def _md5_of_text(path: Path) -> str:
    """The hash of DVC 2: line ends of a text are taken for LF."""
    found, held = hashlib.md5(usedforsecurity=False), b""
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            piece = held + piece
            held = b"\r" if piece.endswith(b"\r") else b""
            found.update(piece.removesuffix(b"\r").replace(b"\r\n", b"\n") if held else piece.replace(b"\r\n", b"\n"))
    found.update(held)
    return found.hexdigest()
