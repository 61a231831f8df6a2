"""A person's own images: one sub-folder of `source` a class, as in `source/cat/1.jpg`. Deeper folders belong to their class."""

from collections import Counter
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from pipeline.core.errors import PersonError
from pipeline.core.record import Entry, OnDisk, Rejected
from pipeline.source.folder import IMAGES, check_source, class_names, endings, folders_in, is_image, names_below


class ImageFolder:
    """Images in class folders.

    Hidden files and folders, `__MACOSX`, README files and what systems leave behind are not looked at; other files that are
    not images are counted. Classes are the sorted names of the folders.

    Args:
        source: the folder that holds the class folders.
        title: name of the data, for the card and the report.
        licence: of the data.
        citation: of the data.
    """

    def __init__(self, *, source: Path, title: str, licence: str, citation: str) -> None:
        self.source, self.title, self.licence, self.citation = source, title, licence, citation

    def card(self) -> dict[str, Any]:
        """Name, licence, classes, and files that are not images.

        Raises:
            PersonError: the folder's structure does not give at least two classes with images each.
        """
        classes, _, ignored = self._found
        return {
            "name": self.title,
            "source": f"image folder {self.source.resolve().name}",
            "license": self.licence,
            "citation": self.citation,
            "classes": classes,
            "target": None,
            "ignored": endings(ignored),
        }

    def __len__(self) -> int:
        return len(self._found[1])

    def entries(self) -> Iterator[Entry | Rejected]:
        """The images, sorted by the bytes of their names."""
        classes, images, _ = self._found
        label = {name: number for number, name in enumerate(classes)}
        for name in images:
            kind, inside, _ = name.partition("/")
            if not inside:
                yield Rejected(name, "lies in no class folder")
            else:
                yield Entry(name, OnDisk(f"{self.source}/{name}"), label[kind])

    @cached_property
    def _found(self) -> tuple[list[str], list[str], list[str]]:
        """Classes, images and other files; the structure is held against what is expected."""
        check_source(self.source)
        classes = class_names(folders_in(self.source))
        files = names_below(self.source)
        images: list[str] = []
        others: list[str] = []
        for name in files:
            (images if is_image(name) else others).append(name)
        self._check(classes, images, files)
        return classes, images, others

    def _check(self, classes: list[str], images: list[str], files: list[str]) -> None:
        expected = f"expected {self.source}/CLASS/image.jpg with at least two class folders"
        if not files:
            raise PersonError(f"the data folder {self.source} is empty: {expected}")
        if not images:
            found = ", ".join(f"{count} {ending}" for ending, count in endings(files).items())
            raise PersonError(f"no images in {self.source} (found {found}; accepted endings: {' '.join(IMAGES)}): {expected}")
        held = Counter(name.partition("/")[0] for name in images if "/" in name)
        counts = {name: held[name] for name in classes}
        told = ", ".join(f"{name} {count}" for name, count in counts.items()) or f"{len(images)} images in no class folder"
        if len(classes) < 2:
            raise PersonError(f"{len(classes)} class folders in {self.source} ({told}): {expected}")
        empty = [name for name, count in counts.items() if count == 0]
        if empty:
            raise PersonError(
                f"no images in the class folder {self.source / empty[0]} (images of each class: {told}): "
                f"add some, or remove the folder"
            )
