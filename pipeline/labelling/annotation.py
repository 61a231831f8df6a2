"""What goes to a labelling tool and what comes back: proposals, answers, and how answers are settled.

The formats are `label_studio.py` and `cvat.py`, which turn proposals into files and files into answers. A proposal of a model is
never an answer: only what a person gave or confirmed counts. What comes back is a stranger's file until it has been checked.
"""

import os
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from pipeline.core.errors import PersonError, near_match

LISTED = 5  # things that an error names before it counts the rest
FORMULA = ("=", "+", "-", "@")


@dataclass(frozen=True)
class Proposal:
    """An image that waits for a person, with what a model says of it.

    Attributes:
        path: of the image, relative to the folder, forward slashes.
        label: most probable class.
        probabilities: class -> probability.
        doubt: how uncertain the model is, in [0, 1].
        twins: near duplicates that it stands for, as paths.
        height: of the image, pixels.
        width: of the image, pixels.
    """

    path: str
    label: str
    probabilities: dict[str, float]
    doubt: float
    height: int
    width: int
    twins: tuple[str, ...] = ()


@dataclass(frozen=True)
class Answer:
    """What one person said of one image."""

    path: str
    label: str
    reviewer: str = ""


@dataclass
class Review:
    """A reviewed file.

    Attributes:
        answers: in the order of the file; an image may have several.
        unanswered: images that nobody has looked at, or that were skipped.
    """

    answers: list[Answer] = field(default_factory=list)
    unanswered: int = 0


def check_classes(classes: Sequence[str]) -> None:
    """Hold names of classes to what every format and every spreadsheet keeps as it is.

    Raises:
        PersonError: a name is empty, has spaces at its ends, a control character, or begins like a formula.
    """
    for name in classes:
        if not name or name != name.strip() or name.startswith(FORMULA) or not name.isprintable():
            raise PersonError(
                f"the class name {name!r} would not survive a labelling tool and a spreadsheet: it must be printable, without "
                f"spaces at its ends, and not begin with one of {' '.join(FORMULA)}"
            )


def check_answers(answers: Iterable[Answer], classes: Sequence[str]) -> None:
    """Hold every label to the known classes.

    Raises:
        PersonError: unknown labels, with the near match of the first.
    """
    unknown = [answer for answer in answers if answer.label not in classes]
    if unknown:
        first, more = unknown[0], len({answer.label for answer in unknown}) - 1
        raise PersonError(
            f"{first.path}: the label {first.label!r} is not a class of this project: {near_match(first.label, classes)}"
            f"{f'; and {more} more unknown labels' if more else ''}. Mend it in the tool, or name every class with --classes"
        )


def settle(answers: Iterable[Answer], *, stop: bool) -> tuple[list[Answer], list[str]]:
    """One answer an image: people who agree are joined; where they differ, stop or leave the image out.

    Returns:
        The answers, sorted by path, and the paths that were left out.

    Raises:
        PersonError: `stop`, and people differ.
    """
    said: dict[str, list[Answer]] = {}
    for answer in answers:
        said.setdefault(answer.path, []).append(answer)
    differing = sorted(path for path, found in said.items() if len({answer.label for answer in found}) > 1)
    if differing and stop:
        told = [f"{path} ({' / '.join(sorted({answer.label for answer in said[path]}))})" for path in differing]
        raise PersonError(
            f"people differ about {len(differing)} images: {listed(told)}; settle them in the tool, or leave them out with  "
            f"--disagreement drop"
        )
    joined = []
    for path in sorted(set(said) - set(differing)):
        people = dict.fromkeys(answer.reviewer for answer in said[path] if answer.reviewer)
        joined.append(Answer(path, said[path][0].label, "; ".join(people)))
    return joined, differing


def inside(folder: Path, name: str) -> Path:
    """The file that a review names, which must be a plain file below the folder.

    Raises:
        PersonError: the name leaves the folder, is not a plain relative path, or there is no such file.
    """
    path = PurePosixPath(name)
    if not name or "\\" in name or not name.isprintable() or len(os.fsencode(name)) > 1024:
        raise PersonError(f"the review names {name[:80]!r}, which is not a path with forward slashes, relative to --images")
    if path.is_absolute() or ".." in path.parts or ":" in path.parts[0]:
        raise PersonError(f"the review names {name!r}, which leaves the folder {folder}: only files below --images are read")
    for part in [path, *list(path.parents)[:-1]]:
        if (folder / part).is_symlink():
            raise PersonError(f"the review names {name!r}, and {folder / part} is a link: links are not followed")
    if not (folder / path).is_file():
        raise PersonError(
            f"the review names {name!r}, and {folder} holds no such file: give the folder that the queue was made of"
        )
    return folder / path


def text_of(data: bytes, *, what: str) -> str:
    """A text file that another program wrote, UTF-8 with or without a byte order mark.

    Raises:
        PersonError: it is not UTF-8, or holds a NUL character.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise PersonError(f"{what} is not UTF-8: byte {error.start} cannot be read; export it again") from error
    if "\0" in text:
        raise PersonError(f"{what} holds a NUL character: it is not a text file")
    return text


def clean(text: str) -> str:
    """A person's name or remark as one printable line."""
    kept = "".join(letter if letter.isprintable() else " " for letter in unicodedata.normalize("NFC", text))
    return " ".join(kept.split())[:200]


def listed(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    return ", ".join(names[:LISTED]) + (f" and {len(names) - LISTED} more" if len(names) > LISTED else "")
