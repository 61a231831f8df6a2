"""Check the run-cache, from which DVC restores a stage without running it: `runs/ab/<key>/<value>`.

An entry is YAML: command, inputs, parameters and outputs of one run. The key is the hash of all but the outputs' content, the
value that of all, both without sizes (dvc.stage.cache), which are held against the objects and `dvc.lock`. DVC takes an entry by
the place where it lies and reads no hash again. This is the one file of the project that uses DVC as a library.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dvc.exceptions import DvcException
from dvc.utils import dict_sha256
from dvc.utils.serialize import load_yaml

from pipeline.cache.objects import Rot

RUNS = Path("runs")
UNHASHED = ["size", "nfiles"]
LARGEST = 16 << 20  # bytes; an entry holds one stage's parameters and paths


def rotten(cache: Path, sizes: Mapping[str, tuple[int, int | None]]) -> Iterator[Rot]:
    """Entries of the run-cache that are not what their place says.

    Args:
        cache: DVC's.
        sizes: object -> bytes, and number of files of a directory, of as many objects as are known.
    """
    for path in entries(cache):
        place = path.relative_to(cache)
        try:
            if path.is_symlink() or path.stat().st_size > LARGEST:
                yield Rot(place, str(place), "is a link, or far too large")
                continue
            entry = load_yaml(str(path))
            if not _sized(entry, sizes):
                yield Rot(place, str(place), "states another size than its objects have")
            elif not _at_home(entry, path):
                yield Rot(place, str(place), "describes another run than its place says")
        except (DvcException, UnicodeDecodeError, TypeError, KeyError, AttributeError, ValueError):
            yield Rot(place, str(place), "cannot be understood")
        except FileNotFoundError:
            continue
        except OSError as error:
            yield Rot(place, str(place), f"cannot be read ({error.strerror})", movable=False)


def entries(cache: Path) -> list[Path]:
    """The files of the run-cache."""
    return sorted(path for path in (cache / RUNS).glob("*/*/*") if len(path.name) == len(path.parent.name) == 64)


def _sized(entry: dict[str, Any], sizes: Mapping[str, tuple[int, int | None]]) -> bool:
    described = [*entry.get("deps", []), *entry.get("outs", [])]
    return all((one.get("size"), one.get("nfiles")) == sizes[one["md5"]] for one in described if one.get("md5") in sizes)


def _at_home(entry: dict[str, Any], path: Path) -> bool:
    value = dict_sha256(entry, exclude=UNHASHED)
    entry["outs"] = [out["path"] for out in entry.get("outs", [])]
    return bool(value == path.name and dict_sha256(entry, exclude=UNHASHED) == path.parent.name)
