"""A person's folder of files: what is looked at, what is left out, and which names are refused.

Refused with one line each: links (DVC's hash does not follow them), names that are not UTF-8, and names that would be one
file on another system because they differ only by case or by Unicode form. Order is that of the names' bytes.
"""

import os
import re
import unicodedata
from collections.abc import Iterable, Sequence
from fnmatch import translate
from pathlib import Path, PurePosixPath

from pipeline.core.errors import PersonError

IMAGES = (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".tif", ".tiff", ".webp", ".gif")
LISTED = 10  # names that an error gives before it counts the rest
PATH_BYTES = 4096  # of a whole path, on Linux
WINDOWS = re.compile(
    r"""(^|/)(con|prn|aux|nul|com[1-9]|lpt[1-9])(\.|/|$) | [<>:"|?*\\\x00-\x1f] | [. ](/|$)""", re.IGNORECASE | re.VERBOSE
)
LEFT_OUT = ("__MACOSX", "Thumbs.db", "desktop.ini", "README*", "*.dvc")
WITHOUT = re.compile("|".join(map(translate, LEFT_OUT)))


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


def unwrapped(folder: Path) -> Path:
    """The folder inside, where all of an archive lies in one that is not a class: one that holds folders or a table."""
    while True:
        inside = folders_in(folder)
        if _files_in(folder) or len(inside) != 1:
            return folder
        inner = folder / inside[0]
        if not folders_in(inner) and all(map(is_image, _files_in(inner))):
            return folder
        folder = inner


def _files_in(folder: Path) -> list[PurePosixPath]:
    """Names of the files directly in a folder, without hidden ones."""
    return [PurePosixPath(path.name) for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")]


def files_below(folder: Path) -> list[PurePosixPath]:
    """`names_below` as paths."""
    return [PurePosixPath(name) for name in names_below(folder)]


def names_below(folder: Path) -> list[str]:
    """Every file below a folder, relative to it, without hidden ones and what systems leave behind.

    Raises:
        PersonError: a link, a name that is not UTF-8, or two names that collide.
    """
    found: list[str] = []
    waiting = [""]
    while waiting:
        below = waiting.pop()
        with os.scandir(folder / below) as listed_here:
            entries = sorted((entry for entry in listed_here if not _left_out(entry.name)), key=lambda entry: entry.name)
        for entry in entries:
            name = below + entry.name
            _check_name(folder, name, link=entry.is_symlink())
            if entry.is_dir():
                waiting.append(name + "/")
            elif not entry.is_file():
                raise PersonError(f"{folder / name} is neither a file nor a folder: remove it")
            else:
                found.append(name)
    check_collisions(found, what="files")
    return sorted(found, key=str.encode)


def is_image(path: PurePosixPath | str) -> bool:
    """Whether a name ends like one of an image; what is inside is for the decoder to say."""
    name = str(path)
    return name[name.rfind(".") :].lower() in IMAGES


def is_foreign(name: str) -> bool:
    r"""Whether Windows could not hold a file of this name: devices such as CON, `<>:"|?*\`, a dot or a space at the end.

    >>> is_foreign("cat/con.png"), is_foreign("cat/10:30.png"), is_foreign("cat/more./a.png"), is_foreign("cat/icon.png")
    (True, True, True, False)
    """
    return WINDOWS.search(name) is not None


def endings(paths: Iterable[PurePosixPath | str]) -> dict[str, int]:
    """Ending -> number of files, the most frequent first."""
    counts: dict[str, int] = {}
    for path in paths:
        ending = PurePosixPath(path).suffix.lower() or "(none)"
        counts[ending] = counts.get(ending, 0) + 1
    return dict(sorted(counts.items(), key=lambda entry: (-entry[1], entry[0])))


def check_collisions(names: Iterable[str], *, what: str) -> None:
    """Refuse names that differ only by case or Unicode form.

    Raises:
        PersonError: it names both.
    """
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(collision_key(name), name)
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
    for name in sorted(set(names), key=os.fsencode):
        other = seen.setdefault(collision_key(name.strip()), name)
        if other != name:
            merged = unicodedata.normalize("NFC", min(other.strip(), name.strip(), key=len))
            raise PersonError(
                f"the classes {other!r} and {name!r} differ only by case, spaces or Unicode form: "
                f"merge them into one, for example {merged!r}"
            )
    return list(seen.values())


def collision_key(name: str) -> str:
    """What a name becomes on a system that ignores case and Unicode form."""
    if name.isascii():
        return name.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def check_path(folder: Path, name: str, *, where: str) -> None:
    """Hold a path that a table or an annotation names to lying below a folder.

    Raises:
        PersonError: it is empty, has backslashes, leaves the folder, or is a link; the line begins with `where`.
    """
    parts = name.split("/")
    if not name.strip() or "\\" in name or "\0" in name:
        raise PersonError(f"{where}: {name!r} is not a path with forward slashes, relative to {folder}: correct it")
    if len(name) > 60 and (
        len(name.encode("utf-8", "replace")) > PATH_BYTES or any(len(part.encode("utf-8", "replace")) > 255 for part in parts)
    ):
        raise PersonError(
            f"{where}: the path {name[:60]!r}... is longer than a file system allows (255 bytes a name): correct it"
        )
    if not parts[0] or ".." in parts:
        raise PersonError(f"{where}: the path {name!r} leaves the folder {folder}: name a file below it")
    links = (f"{folder}/{'/'.join(parts[:count])}" for count in range(1, len(parts) + 1))
    link = next(filter(os.path.islink, links), None)
    if link is not None:
        raise PersonError(f"{where}: {link} is a link; links inside the data folder are not followed: copy the file itself")


def plain_path(name: str) -> str:
    """The path without what changes nothing: `./`, doubled slashes."""
    return os.path.normpath(name)


def listed(names: Sequence[str]) -> str:
    """The first ten names, and how many more there are."""
    return ", ".join(names[:LISTED]) + (f" and {len(names) - LISTED} more" if len(names) > LISTED else "")


def _left_out(name: str) -> bool:
    return name.startswith(".") or WITHOUT.match(name) is not None


def _check_name(folder: Path, name: str, *, link: bool) -> None:
    if not name.isprintable() and any(0xD800 <= ord(letter) <= 0xDFFF for letter in name):
        raise PersonError(f"the name {os.fsencode(name)!r} in {folder} is not UTF-8: rename it")
    if link:
        raise PersonError(f"{folder / name} is a link; links inside the data folder are not followed: copy the file itself")
