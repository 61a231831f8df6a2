"""A person's own images in a CSV table: a path in each row, with its class, its group or a number to predict."""

import math
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.contracts import Rejected, Sample
from pipeline.core.decode import sample_id
from pipeline.core.errors import BadSampleError, PersonError
from pipeline.core.folder import check_collisions, check_source, class_names, files_below, is_image
from pipeline.core.table import Row, read_csv

LISTED = 10  # rows that an error names before it counts the rest


class ImageTable:
    """Images named by a table. Every row must be usable; rows are checked before the first image is read.

    Args:
        source: the folder that holds the table.
        decode: bytes of an image file to uint8 pixels (H, W, C).
        file: the table, relative to `source`; UTF-8, comma-separated, with a header.
        path: column of the image's path, relative to the table's folder, which it must not leave.
        label: column of the class, or None.
        group: column of the group, or None; an empty cell is a group of its own.
        target: column of a number to predict, or None.
        unit: of the target.
        target_low: lowest possible target; None takes the smallest.
        target_high: highest possible target; None takes the largest.
        unlisted: images below the table's folder that no row names: `stop` or `ignore`.
        encoding: of the table.
        title: name of the data, for the card and the report.
        licence: of the data.
        citation: of the data.

    Raises:
        PersonError: neither `label` nor `target` is given, or `unlisted` is unknown.
    """

    def __init__(
        self, *, source: Path, decode: Callable[[bytes], NDArray[np.uint8]], file: str, path: str, label: str | None,
        group: str | None, target: str | None, unit: str, target_low: float | None, target_high: float | None, unlisted: str,
        encoding: str, title: str, licence: str, citation: str,
    ) -> None:  # fmt: skip
        if label is None and target is None:
            raise PersonError("dataset.label and dataset.target are both null: name the column that is to be predicted")
        if unlisted not in ("stop", "ignore"):
            raise PersonError(f"dataset.unlisted must be stop or ignore: received {unlisted!r}")
        self.source, self.decode, self.encoding, self.unlisted = source, decode, encoding, unlisted
        self.file, self.path, self.label, self.group, self.target = file, path, label, group, target
        self.unit, self.target_low, self.target_high = unit, target_low, target_high
        self.title, self.licence, self.citation = title, licence, citation

    def card(self) -> dict[str, Any]:
        """Name, licence, classes and the target's range.

        Raises:
            PersonError: the table cannot be used; the line names the row.
        """
        rows = self._rows
        target = None
        if self.target is not None:
            values = [self._number(row) for row in rows]
            low = min(values) if self.target_low is None else self.target_low
            high = max(values) if self.target_high is None else self.target_high
            target = {"name": self.target, "unit": self.unit, "low": float(low), "high": float(high)}
        return {
            "name": self.title,
            "source": f"image table {PurePosixPath(self.file).name} in {self.source.resolve().name}",
            "license": self.licence,
            "citation": self.citation,
            "classes": self._classes,
            "target": target,
        }

    def __len__(self) -> int:
        return len(self._rows)

    def samples(self) -> Iterator[Sample | Rejected]:
        """The images in the order of the rows."""
        classes = {name: number for number, name in enumerate(self._classes)}
        for order, row in enumerate(self._rows):
            name = row[self.path]
            try:
                pixels = self.decode((self._folder / name).read_bytes())
            except BadSampleError as error:
                yield Rejected(name, str(error))
                continue
            yield Sample(
                id=sample_id(pixels),
                pixels_HWC=pixels,
                label=-1 if self.label is None else classes[row[self.label]],
                target=math.nan if self.target is None else self._number(row),
                group="" if self.group is None else row[self.group],
                order=order,
                name=name,
            )

    @property
    def _folder(self) -> Path:
        return (self.source / self.file).parent

    @cached_property
    def _classes(self) -> list[str]:
        return [] if self.label is None else class_names(row[self.label] for row in self._rows)

    @cached_property
    def _rows(self) -> list[Row]:
        check_source(self.source)
        _check_path(self.source, self.file, where="dataset.file")
        asked = {"path": self.path, "label": self.label, "group": self.group, "target": self.target}
        rows = read_csv(
            self.source / self.file,
            {f"dataset.{key}": name for key, name in asked.items() if name is not None},
            encoding=self.encoding,
        )
        if not rows:
            raise PersonError(f"{self.file} has a header and no rows")
        for row in rows:
            _check_path(self._folder, row[self.path], where=f"{self.file} line {row.line}")
        self._check_values(rows)
        self._check_files(rows)
        return rows

    def _check_values(self, rows: list[Row]) -> None:
        seen: dict[str, int] = {}
        for row in rows:
            other = seen.setdefault(str(PurePosixPath(row[self.path])), row.line)
            if other != row.line:
                raise PersonError(f"{self.file} names {row[self.path]!r} twice, in lines {other} and {row.line}: remove one")
            if self.target is not None:
                self._number(row)
        check_collisions(seen, what="paths")
        empty = [] if self.label is None else [row for row in rows if not row[self.label].strip()]
        if empty:
            raise PersonError(f"{len(empty)} rows of {self.file} have no {self.label}: {_listed(self._told(empty))}")

    def _check_files(self, rows: list[Row]) -> None:
        missing = [row for row in rows if not (self._folder / row[self.path]).is_file()]
        if missing:
            raise PersonError(
                f"{len(missing)} of {len(rows)} files that {self.file} names do not exist in {self._folder}: "
                f"{_listed(self._told(missing))}"
            )
        named = {PurePosixPath(row[self.path]) for row in rows}
        unnamed = [str(path) for path in files_below(self._folder) if is_image(path) and path not in named]
        if unnamed and self.unlisted == "stop":
            raise PersonError(
                f"{len(unnamed)} images in {self._folder} have no row in {self.file}: {_listed(unnamed)}; "
                f"add rows, or set dataset.unlisted=ignore"
            )

    def _number(self, row: Row) -> float:
        assert self.target is not None
        try:
            value = float(row[self.target])
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise PersonError(
                f"{self.file} line {row.line}: {self.target} must be a finite number: received {row[self.target]!r}"
            )
        return value

    def _told(self, rows: list[Row]) -> list[str]:
        return [f"{row[self.path]} (line {row.line})" for row in rows]


def _check_path(folder: Path, name: str, *, where: str) -> None:
    path = PurePosixPath(name)
    if not name.strip() or "\\" in name or "\0" in name:
        raise PersonError(f"{where}: {name!r} is not a path with forward slashes, relative to {folder}")
    if path.is_absolute() or ".." in path.parts:
        raise PersonError(f"{where}: the path {name!r} leaves the folder {folder}")
    links = [part for part in [path, *path.parents] if (folder / part).is_symlink() and str(part) != "."]
    if links:
        raise PersonError(
            f"{where}: {folder / links[-1]} is a link; links inside the data folder are not followed: copy the file itself"
        )


def _listed(names: list[str]) -> str:
    return ", ".join(names[:LISTED]) + (f" and {len(names) - LISTED} more" if len(names) > LISTED else "")
