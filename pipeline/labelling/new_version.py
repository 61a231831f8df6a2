"""A new version of a data set: what there was, and what people have labelled since. One table, `labels.csv`, and the images.

Images of the base keep their paths, reviewed ones lie in a folder of the new version's name. The same content counts once, and a
review overrules the base.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pipeline.core.errors import PersonError
from pipeline.core.table import read_csv
from pipeline.labelling.annotation import FORMULA, Answer, inside
from pipeline.source.folder import check_collisions, files_below, folders_in, is_image

TABLE = "labels.csv"
COLUMNS = ("path", "label", "group", "reviewer", "origin")


@dataclass(frozen=True)
class Item:
    """One image of the new version.

    Attributes:
        file: where it lies now.
        path: in the new version.
        label: its class.
        group: of the base's table; "" for none.
        reviewer: who said so; "" for the base.
        origin: base or reviewed.
    """

    file: Path
    path: str
    label: str
    group: str = ""
    reviewer: str = ""
    origin: str = "base"

    def row(self) -> tuple[str, ...]:
        """Its row of the table."""
        return self.path, self.label, self.group, self.reviewer, self.origin


def read_base(folder: Path) -> list[Item]:
    """The images of an earlier version: a folder with `labels.csv`, or one sub-folder a class.

    Raises:
        PersonError: it is neither; the line names the row.
    """
    if not folder.is_dir():
        raise PersonError(f"--base {folder} is no folder: give the data that came before, for example data/raw/parts")
    if (folder / TABLE).is_file():
        return list(_rows(folder))
    found = [
        Item(folder / name / path, f"{name}/{path}", name)
        for name in folders_in(folder)
        for path in files_below(folder / name)
        if is_image(path)
    ]
    if not found:
        raise PersonError(f"--base {folder} holds neither {TABLE} nor a sub-folder a class with images")
    return found


def _rows(folder: Path) -> Iterator[Item]:
    named = {"path": "path", "label": "label"}
    header = (folder / TABLE).read_text(encoding="utf-8-sig", errors="replace").split("\n", 1)[0].strip().split(",")
    optional = {name: name for name in ("group", "reviewer") if name in header}
    for row in read_csv(folder / TABLE, named | optional, encoding="utf-8"):
        path = str(PurePosixPath(row["path"]))
        kept = f"base/{path}" if path.startswith(FORMULA) else path  # which the table would write with an apostrophe
        yield Item(inside(folder, path), kept, row["label"], row.get("group", ""), row.get("reviewer", ""))


def reviewed(folder: Path, answers: Sequence[Answer], *, name: str) -> list[Item]:
    """The images that people labelled, in a folder of that name.

    Raises:
        PersonError: a path leaves the folder or names no file.
    """
    return [
        Item(inside(folder, one.path), f"{name}/{PurePosixPath(one.path)}", one.label, "", one.reviewer, "reviewed")
        for one in answers
    ]


def join(base: Sequence[Item], new: Sequence[Item]) -> tuple[list[Item], int]:
    """Both, each content once.

    Returns:
        The items, sorted by path, and how many labels of the base a review changed.

    Raises:
        PersonError: one content has two labels within the base or within the review, or two contents would have one path.
    """
    kept: dict[str, Item] = {}
    changed = 0
    for items in (base, new):
        met: dict[str, Item] = {}
        for item in items:
            content = hashlib.sha256(item.file.read_bytes()).hexdigest()
            other = met.setdefault(content, item)
            if other.label != item.label:
                raise PersonError(
                    f"{item.file} and {other.file} are one picture with the labels {item.label!r} and {other.label!r}: settle "
                    f"it, or remove one of them"
                )
            before = kept.get(content)
            if before is None or before.origin == "base":
                changed += before is not None and before.label != item.label
                kept[content] = item if before is None else _overruled(before, item)
    joined = sorted(kept.values(), key=lambda item: item.path.encode())
    if len({item.path for item in joined}) < len(joined):
        raise PersonError("the base holds a folder of the new version's name with other images: choose another --name")
    check_collisions([item.path for item in joined], what="images")
    return joined, changed


def _overruled(before: Item, item: Item) -> Item:
    """The base's image and group with the review's label; a repeat within the base is the first of them."""
    if item.origin == "base":
        return before
    return Item(before.file, before.path, item.label, before.group, item.reviewer, item.origin)


def counts(items: Sequence[Item]) -> str:
    """How many of each class, for people."""
    return ", ".join(f"{name} {number}" for name, number in sorted(Counter(item.label for item in items).items()))
