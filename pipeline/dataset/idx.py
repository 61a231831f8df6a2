"""A person's images in files of the idx format, as MNIST, EMNIST and KMNIST are published; plain, or packed by gzip."""

from collections.abc import Iterator
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from pipeline.core.errors import PersonError
from pipeline.core.record import Entry
from pipeline.source.folder import check_path, check_source
from pipeline.source.idx import IdxFile, balanced, held_out, labelled


class Idx:
    """Images and labels of two files, or of four with a test set.

    Args:
        source: the folder that holds the files.
        images: the images, relative to `source`: unsigned bytes, (N, H, W) or (N, H, W, C).
        labels: the labels, relative to `source`: unsigned bytes, (N,).
        test_images: images of the test split, or None; with them, every image names its split.
        test_labels: their labels, or None.
        classes: name of each label; None names them by their number.
        limit: of the first files: a subset with equally many of each class, the first of them; 0 uses all.
        val: share of each class for validation, the last of them, where there is a test set; in [0, 1).
        max_bytes: of one file, unpacked; a larger one is refused.
        title: name of the data, for the card and the report.
        licence: of the data.
        citation: of the data.

    Raises:
        PersonError: one of test_images and test_labels is missing, or a number is out of range.
    """

    def __init__(
        self, *, source: Path, images: str, labels: str, test_images: str | None, test_labels: str | None,
        classes: list[str] | None, limit: int, val: float, max_bytes: int, title: str, licence: str, citation: str,
    ) -> None:  # fmt: skip
        if (test_images is None) != (test_labels is None):
            raise PersonError("dataset.test_images and dataset.test_labels go together: set both or neither")
        if limit < 0 or not 0 <= val < 1 or max_bytes < 1:
            raise PersonError(
                f"dataset.limit must be 0 or more, val in [0, 1), max_bytes 1 or more: received {limit}, {val}, {max_bytes}"
            )
        self.source, self.images, self.labels = source, images, labels
        self.test_images, self.test_labels, self.names = test_images, test_labels, classes
        self.limit, self.val, self.max_bytes = limit, val, max_bytes
        self.title, self.licence, self.citation = title, licence, citation

    def card(self) -> dict[str, Any]:
        """Name, licence and classes.

        Raises:
            PersonError: a file is missing, damaged or does not fit the others.
        """
        return {
            "name": self.title,
            "source": f"idx files {self.images} in {self.source.resolve().name}",
            "license": self.licence,
            "citation": self.citation,
            "classes": self._found[1],
            "target": None,
        }

    def __len__(self) -> int:
        return len(self._found[0])

    def entries(self) -> Iterator[Entry]:
        """The images in the order of the files; those of the test set come last."""
        for file, number, label, given in self._found[0]:
            yield Entry(f"{file.path.name}#{number:06d}", partial(file.row, number), label=label, given=given)

    @cached_property
    def _found(self) -> tuple[list[tuple[IdxFile, int, int, str]], list[str]]:
        """File, position, label and split of each image; and the names of the classes."""
        check_source(self.source)
        tested = self.test_images is not None and self.test_labels is not None
        images, truth = self._opened("images", "labels")
        positions = balanced(truth, self.limit)
        val = held_out(truth, positions, self.val) if tested else set()
        found = [
            (images, place, int(truth[place]), ("val" if place in val else "train") if tested else "")
            for place in positions.tolist()
        ]
        if tested:
            others, labels = self._opened("test_images", "test_labels")
            if others.shape[1:] != images.shape[1:]:
                raise PersonError(
                    f"{others.path.name} holds images of {others.shape[1:]} pixels, and {images.path.name} of "
                    f"{images.shape[1:]}: they do not belong together, fetch both again"
                )
            found += [(others, place, int(label), "test") for place, label in enumerate(labels)]
        highest = max(label for _, _, label, _ in found)
        names = [str(number) for number in range(highest + 1)] if self.names is None else self.names
        if highest >= len(names):
            raise PersonError(
                f"{self.labels} holds the label {highest}, and dataset.classes has {len(names)} names: add the others"
            )
        return found, names

    def _opened(self, images: str, labels: str) -> tuple[IdxFile, Any]:
        paths = []
        for key in (images, labels):
            name = getattr(self, key)
            check_path(self.source, name, where=f"dataset.{key}")
            paths.append(self.source / name)
            if not paths[-1].is_file():
                raise PersonError(f"{paths[-1]} does not exist: set dataset.{key}")
        file = IdxFile(paths[0], axes=(3, 4), max_bytes=self.max_bytes)
        return file, labelled(file, IdxFile(paths[1], axes=(1,), max_bytes=self.max_bytes))
