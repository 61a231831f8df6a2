"""What a study keeps on disk, beside its cells: the plan of the run that goes on, what is done, and what failed and why.

A job counts as done where its note names an output that DVC's cache still holds; DVC alone decides whether anything runs. All
files are written whole or not at all, and may be removed: what they say is then found out again from DVC's run-cache.
"""

import fcntl
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.core.artifact import read_json
from pipeline.core.errors import PersonError
from pipeline.study.plan import Cell, Job, Plan

STUDIES = Path(".run") / "study"
STATE = ".state"
WAIT_SECONDS = 3600.0  # for another job of the same cell to restore what both stand on


@dataclass(frozen=True)
class Book:
    """One study's files.

    Args:
        root: the repository.
        study: its name.
    """

    root: Path
    study: str

    @property
    def folder(self) -> Path:
        """Of the study: its cells and its page."""
        return self.root / STUDIES / self.study

    @property
    def state(self) -> Path:
        """Of its notes."""
        return self.folder / STATE

    def cell(self, name: str) -> Path:
        """A cell's workspace."""
        return self.folder / name

    def done(self, job: str) -> Path:
        """The note of a job that ended well."""
        return self.state / "done" / f"{job}.json"

    def failed(self, job: str) -> Path:
        """The note of a job that failed."""
        return self.state / "failed" / f"{job}.json"

    def finished(self, cell: str) -> Path:
        """The note of a cell whose stages are all there."""
        return self.state / "cells" / f"{cell}.json"

    def log(self, name: str) -> Path:
        """What a job said."""
        return self.state / "log" / f"{name}.txt"

    def write(self, path: Path, facts: Mapping[str, Any]) -> None:
        """Write a note, whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(path.name + ".part")
        partial.write_text(json.dumps(facts, sort_keys=True, indent=1) + "\n", encoding="utf-8")
        partial.replace(path)

    def save(self, plan: Plan, facts: Mapping[str, Any]) -> None:
        """Write the plan that the jobs of this run follow."""
        cells, jobs = ({name: asdict(value) for name, value in found.items()} for found in (plan.cells, plan.jobs))
        whole = {**facts, "stages": plan.stages, "upstream": plan.upstream, "cells": cells, "jobs": jobs}
        self.write(self.state / "plan.json", whole)

    def plan(self) -> "Planned":
        """Read the plan of the run that goes on, or that went last.

        Raises:
            PersonError: there is none.
        """
        found = read(self.state / "plan.json")
        if found is None:
            raise PersonError(f"the study {self.study} was not begun: run  python -m pipeline study run {self.study}")
        cells = {name: Cell(**{**cell, "overrides": tuple(cell["overrides"])}) for name, cell in found["cells"].items()}
        jobs = {name: Job(**{**job, "needs": tuple(job["needs"])}) for name, job in found["jobs"].items()}
        return Planned(cells, jobs, found["stages"], found["upstream"], found)

    def settled(self, plan: Plan, cache: Path) -> set[str]:
        """Jobs whose output DVC's cache holds."""
        return {name for name in plan.jobs if held_by(cache, read(self.done(name)))}

    @contextmanager
    def hold(self, name: str, *, root: bool = False) -> Iterator[None]:
        """Hold a lock of the study, or of all studies of the repository; another process waits.

        Raises:
            PersonError: it was not free within an hour.
        """
        path = (self.root / STUDIES / STATE if root else self.state) / "locks" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        deadline = time.monotonic() + WAIT_SECONDS
        with path.open("a", encoding="utf-8") as file:
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError as error:
                    if time.monotonic() > deadline:
                        raise PersonError(f"{path} is held by another process for an hour: end that process") from error
                    time.sleep(0.1)
            yield


@dataclass(frozen=True)
class Planned:
    """A plan as its jobs read it.

    Attributes:
        cells: name -> cell.
        jobs: name -> job.
        stages: in the order of running.
        upstream: stage -> stages that it reads.
        facts: `cache`, `base`, `snapshot`, `source`, `missing` and `unfinished` of this run.
    """

    cells: dict[str, Cell]
    jobs: dict[str, Job]
    stages: list[str]
    upstream: dict[str, list[str]]
    facts: dict[str, Any]

    def above(self, stage: str) -> list[str]:
        """Every stage that one stands on, in the order of running."""
        found: set[str] = set()
        waiting = [stage]
        while waiting:
            for other in self.upstream[waiting.pop()]:
                if other not in found:
                    found.add(other)
                    waiting.append(other)
        return [name for name in self.stages if name in found]


def read(path: Path) -> dict[str, Any] | None:
    """A note; None where there is none, or none that can be read."""
    try:
        found = read_json(path)
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def held_by(cache: Path, note: Mapping[str, Any] | None) -> bool:
    """Whether DVC's cache holds the output that a note names."""
    digest = str((note or {}).get("md5", ""))
    return len(digest) > 2 and (cache / "files" / "md5" / digest[:2] / digest[2:]).is_file()
