"""A person's own images in a CSV or Parquet table: a path in each row, with its class, group, split, time or a target."""

import math
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from pipeline.core.errors import PersonError
from pipeline.core.record import Entry
from pipeline.core.table import Row, moment, read_table
from pipeline.source.folder import (
    check_collisions,
    check_path,
    check_source,
    class_names,
    files_below,
    is_image,
    listed,
    plain_path,
)

SPLITS = ("train", "val", "test")


class ImageTable:
    """Images named by a table. Every row must be usable; rows are checked before the first image is read.

    Args:
        source: the folder that holds the table.
        file: the table, relative to `source`; UTF-8, comma-separated, with a header.
        path: column of the image's path, relative to the table's folder, which it must not leave.
        label: column of the class, or None.
        group: column of the group, or None; an empty cell is a group of its own.
        split: column of the split (train, val or test; an empty cell names none), or None.
        time: column of a number or an ISO date by which the rows are ordered, or None; equal ones keep the table's order.
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
        self, *, source: Path, file: str, path: str, label: str | None, group: str | None, split: str | None, time: str | None,
        target: str | None, unit: str, target_low: float | None, target_high: float | None, unlisted: str, encoding: str,
        title: str, licence: str, citation: str,
    ) -> None:  # fmt: skip
        if label is None and target is None:
            raise PersonError("dataset.label and dataset.target are both null: name the column that is to be predicted")
        if unlisted not in ("stop", "ignore"):
            raise PersonError(f"dataset.unlisted must be stop or ignore: received {unlisted!r}")
        self.source, self.encoding, self.unlisted = source, encoding, unlisted
        self.file, self.path, self.label, self.target = file, path, label, target
        self.group, self.split, self.time = group, split, time
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
            low, high = self._range([self._number(row) for row in rows])
            target = {"name": self.target, "unit": self.unit, "low": low, "high": high}
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

    def entries(self) -> Iterator[Entry]:
        """The images in the order of the rows, or of their times."""
        classes = {name: number for number, name in enumerate(self._classes)}
        folder = self._folder
        for row in self._rows:
            name = row[self.path]
            yield Entry(
                name,
                (folder / name).read_bytes,
                label=-1 if self.label is None else classes[row[self.label]],
                target=math.nan if self.target is None else self._number(row),
                group="" if self.group is None else row[self.group],
                given="" if self.split is None else row[self.split],
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
        check_path(self.source, self.file, where="dataset.file")
        asked = {name: getattr(self, name) for name in ("path", "label", "group", "split", "time", "target")}
        rows = read_table(
            self.source / self.file,
            {f"dataset.{key}": name for key, name in asked.items() if name is not None},
            encoding=self.encoding,
        )
        if not rows:
            raise PersonError(f"{self.file} has a header and no rows: add one row for each image")
        folder = self._folder
        for row in rows:
            check_path(folder, row[self.path], where=f"{self.file} {row.place}")
        self._check_values(rows)
        ordered = rows if self.time is None else self._ordered(rows, self.time)
        self._check_files(rows)
        return ordered

    def _check_values(self, rows: list[Row]) -> None:
        seen: dict[str, int] = {}
        for row in rows:
            other = seen.setdefault(plain_path(row[self.path]), row.line)
            if other != row.line:
                raise PersonError(
                    f"{self.file} names {row[self.path]!r} twice, in {row.unit}s {other} and {row.line}: remove one"
                )
            if self.target is not None:
                self._number(row)
            if self.split is not None and row[self.split] not in ("", *SPLITS):
                raise PersonError(
                    f"{self.file} {row.place}: {self.split} must be train, val, test or empty: received {row[self.split]!r}"
                )
        check_collisions(seen, what="paths")
        empty = [] if self.label is None else [row for row in rows if not row[self.label].strip()]
        if empty:
            raise PersonError(
                f"{len(empty)} rows of {self.file} have no {self.label}: {listed(self._told(empty))}; fill it in, or remove them"
            )

    def _check_files(self, rows: list[Row]) -> None:
        folder = self._folder
        present = files_below(folder)
        there = set(map(str, present))
        missing = [row for row in rows if row[self.path] not in there and not (folder / row[self.path]).is_file()]
        if missing:
            raise PersonError(
                f"{len(missing)} of {len(rows)} files that {self.file} names do not exist in {folder}: "
                f"{listed(self._told(missing))}; add the files, or correct the paths"
            )
        named = {plain_path(row[self.path]) for row in rows}
        unnamed = [str(path) for path in present if is_image(path) and str(path) not in named]
        if unnamed and self.unlisted == "stop":
            raise PersonError(
                f"{len(unnamed)} images in {folder} have no row in {self.file}: {listed(unnamed)}; "
                f"add rows, or set dataset.unlisted=ignore"
            )

    def _ordered(self, rows: list[Row], column: str) -> list[Row]:
        times = []
        for row in rows:
            try:
                times.append(moment(row[column]))
            except ValueError as error:
                raise PersonError(
                    f"{self.file} {row.place}: {column} must be a number or an ISO date such as 2024-03-01 or "
                    f"2024-03-01T12:30: received {row[column]!r}"
                ) from error
            if times[-1][0] != times[0][0]:
                raise PersonError(
                    f"{self.file} {row.place}: {column} is a {times[-1][0]} ({row[column]!r}) and a {times[0][0]} in "
                    f"{rows[0].place} ({rows[0][column]!r}): write all of them alike"
                )
        return [rows[place] for place in sorted(range(len(rows)), key=times.__getitem__)]

    def _range(self, values: list[float]) -> tuple[float, float]:
        low = min(values) if self.target_low is None else float(self.target_low)
        high = max(values) if self.target_high is None else float(self.target_high)
        if not low < high:
            raise PersonError(
                f"{self.target} reaches from {low:g} to {high:g} in {self.file}: expected numbers that differ, and "
                f"dataset.target_low below dataset.target_high"
            )
        return low, high

    def _number(self, row: Row) -> float:
        assert self.target is not None
        text = row[self.target]
        try:
            value = math.nan if "_" in text else float(text)
        except ValueError:
            value = math.nan
        low, high = self.target_low, self.target_high
        if not math.isfinite(value):
            raise PersonError(f"{self.file} {row.place}: {self.target} must be a finite number: received {text!r}")
        if (low is not None and value < low) or (high is not None and value > high):
            raise PersonError(
                f"{self.file} {row.place}: {self.target} must lie between dataset.target_low = {low} and "
                f"dataset.target_high = {high}: received {text!r}"
            )
        return value

    def _told(self, rows: list[Row]) -> list[str]:
        return [f"{row[self.path]} ({row.place})" for row in rows]
