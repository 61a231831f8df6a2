"""Evidence: numbers that other stages published, each with its interval, the file that it stands in and the hash of that file."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.core import artifact

ANY = "*"  # a step of a path that takes every child


@dataclass(frozen=True)
class Source:
    """One file of an artifact.

    Attributes:
        stage: whose artifact it is.
        file: its name there.
        sha256: of its bytes, as they are now.
        declared: its SHA-256 as the artifact's manifest has it; "" where it is not named there.
        digest: of the whole artifact.
    """

    stage: str
    file: str
    sha256: str
    declared: str
    digest: str

    @property
    def place(self) -> str:
        """For people: `evaluate/metrics.json`."""
        return f"{self.stage}/{self.file}"


@dataclass(frozen=True)
class Evidence:
    """One number and where it stands.

    Attributes:
        value: the number.
        low: lower end of its interval; None without one.
        high: upper end.
        key: dotted path inside the file.
        sources: the files that it rests on; the key stands in the first.
        words: what was measured, where the key alone does not say it.
    """

    value: float
    low: float | None
    high: float | None
    key: str
    sources: tuple[Source, ...]
    words: str = ""

    @property
    def interval(self) -> tuple[float, float]:
        """The interval; the number itself where there is none."""
        return (self.value if self.low is None else self.low), (self.value if self.high is None else self.high)


class Shelf:
    """The artifacts that a run was handed, read file by file.

    Args:
        directories: stage -> its artifact.
    """

    def __init__(self, directories: Mapping[str, Path]) -> None:
        self.directories = dict(directories)
        self._read: dict[tuple[str, str], Any] = {}
        self._sources: dict[tuple[str, str], Source] = {}

    def has(self, stage: str, file: str) -> bool:
        """Whether the artifact was handed over and holds the file."""
        return stage in self.directories and (self.directories[stage] / file).is_file()

    def json(self, stage: str, file: str) -> Any:
        """Content of a JSON file; None where it is missing."""
        if not self.has(stage, file):
            return None
        if (stage, file) not in self._read:
            self._read[stage, file] = artifact.read_json(self.directories[stage] / file)
        return self._read[stage, file]

    def source(self, stage: str, file: str) -> Source:
        """A file with its hashes; it must be there."""
        if (stage, file) not in self._sources:
            directory = self.directories[stage]
            declared = artifact.read_json(directory / artifact.MANIFEST)["files"].get(file, "")
            found = Source(stage, file, artifact.sha256(directory / file), declared, artifact.digest(directory))
            self._sources[stage, file] = found
        return self._sources[stage, file]

    def used(self) -> list[Source]:
        """Every file that was asked for, by stage and name."""
        return [self._sources[key] for key in sorted(self._sources)]

    def numbers(self, stage: str, file: str, *path: str) -> list[Evidence]:
        """Every number that a path leads to; a step `ANY` takes all children, so there may be several, or none.

        A node `{value, low, high}` is a number with its interval, where that has a width. What is not finite is left out.
        """
        return [
            Evidence(value, low, high, key, (self.source(stage, file),))
            for key, node in walk(self.json(stage, file), path)
            for value, low, high in _number(node)
        ]

    def number(self, stage: str, file: str, *path: str) -> Evidence | None:
        """The number that a path leads to, or None."""
        found = self.numbers(stage, file, *path)
        return found[0] if found else None

    def worst(self, stage: str, file: str, *path: str, least: bool) -> Evidence | None:
        """The smallest (for a lower limit) or largest (for an upper one) of the numbers that a path leads to."""
        found = self.numbers(stage, file, *path)
        return (min if least else max)(found, key=lambda one: one.value) if found else None


def walk(node: Any, path: tuple[str, ...], key: str = "") -> Iterator[tuple[str, Any]]:
    """Every node that a path leads to, with its dotted key; keys of a mapping in their order, places of a list as numbers."""
    if not path:
        if node is not None:
            yield key, node
        return
    children: dict[str, Any] = {}
    if isinstance(node, dict):
        children = node
    elif isinstance(node, list):
        children = {str(place): child for place, child in enumerate(node)}
    for name in children if path[0] == ANY else [path[0]]:
        if name in children:
            yield from walk(children[name], path[1:], f"{key}.{name}".lstrip("."))


def _number(node: Any) -> Iterator[tuple[float, float | None, float | None]]:
    entry = node if isinstance(node, dict) else {"value": node}
    value, low, high = (_finite(entry.get(name)) for name in ("value", "low", "high"))
    if low == high:  # a bootstrap of samples that all agree, such as none right of four, says nothing of others
        low = high = None
    if value is not None:
        yield value, low, high


def _finite(value: Any) -> float | None:
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    return None
