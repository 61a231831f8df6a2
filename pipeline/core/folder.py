"""A person's folder of files: what is looked at, what is left out, and which names are refused.

Refused with one line each: links (DVC's hash does not follow them), names that are not UTF-8, and names that would be one
file on another system because they differ only by case or by Unicode form. Order is that of the names' bytes.
"""

import os
import unicodedata
from collections.abc import Iterable
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

from pipeline.core.errors import PersonError

IMAGES = (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".tif", ".tiff", ".webp", ".gif")
LEFT_OUT = ("__MACOSX", "Thumbs.db", "desktop.ini", "README*", "*.dvc")


def check_source(source: Path) -> None:
    """Hold a person's data folder to being one.

    Raises:
        PersonError: it does not exist, or is a file.
    """
    if not source.is_dir():
        found = "is a file" if source.is_file() else "does not exist"
        raise PersonError(f"the data folder {source} {found}: set `source` in params.yaml to a folder")


def folders_in(folder: Path) -> list[str]:
    """Names of the folders directly in a folder, without hidden ones and what systems leave behind, sorted by bytes."""
    return sorted((path.name for path in folder.iterdir() if path.is_dir() and not _left_out(path.name)), key=os.fsencode)


def files_below(folder: Path) -> list[PurePosixPath]:
    """Every file below a folder, relative to it, without hidden ones and what systems leave behind.

    Raises:
        PersonError: a link, a name that is not UTF-8, or two names that collide.
    """
    found: list[PurePosixPath] = []
    for current, folders, files in os.walk(folder):
        below = PurePosixPath(Path(current).relative_to(folder).as_posix())
        folders[:] = sorted(name for name in folders if not _left_out(name))
        for name in sorted([*folders, *(name for name in files if not _left_out(name))]):
            _check_name(folder, below / name)
        found += [below / name for name in files if not _left_out(name)]
    check_collisions(map(str, found), what="files")
    return sorted(found, key=lambda path: str(path).encode())


def is_image(path: PurePosixPath) -> bool:
    """Whether a name ends like one of an image; what is inside is for the decoder to say."""
    return path.suffix.lower() in IMAGES


def endings(paths: Iterable[PurePosixPath]) -> dict[str, int]:
    """Ending -> number of files, the most frequent first."""
    counts: dict[str, int] = {}
    for path in paths:
        counts[path.suffix.lower() or "(none)"] = counts.get(path.suffix.lower() or "(none)", 0) + 1
    return dict(sorted(counts.items(), key=lambda entry: (-entry[1], entry[0])))


def check_collisions(names: Iterable[str], *, what: str) -> None:
    """Refuse names that differ only by case or Unicode form.

    Raises:
        PersonError: it names both.
    """
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(_key(name), name)
        if other != name:
            raise PersonError(
                f"two {what} differ only by case or Unicode form, and are one on other systems: "
                f"{other!r} and {name!r}; rename one of them"
            )


def class_names(names: Iterable[str]) -> list[str]:
    """Sorted names of classes as a person wrote them.

    Raises:
        PersonError: two names differ only by case, spaces at the ends or Unicode form; the merge is proposed.
    """
    seen: dict[str, str] = {}
    for name in sorted(set(names), key=str.encode):
        other = seen.setdefault(_key(name.strip()), name)
        if other != name:
            merged = unicodedata.normalize("NFC", min(other.strip(), name.strip(), key=len))
            raise PersonError(
                f"the classes {other!r} and {name!r} differ only by case, spaces or Unicode form: "
                f"merge them into one, for example {merged!r}"
            )
    return list(seen.values())


def _key(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _left_out(name: str) -> bool:
    return name.startswith(".") or any(fnmatch(name, pattern) for pattern in LEFT_OUT)


def _check_name(folder: Path, path: PurePosixPath) -> None:
    if not str(path).isprintable() and any(0xD800 <= ord(letter) <= 0xDFFF for letter in str(path)):
        raise PersonError(f"the name {os.fsencode(str(path))!r} in {folder} is not UTF-8: rename it")
    if (folder / path).is_symlink():
        raise PersonError(f"{folder / path} is a link; links inside the data folder are not followed: copy the file itself")
