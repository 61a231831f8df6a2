"""The traceability matrix: requirement -> gate -> evidence -> hash, and back from each file of evidence to its requirements."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.assurance.checks import Check, check
from pipeline.assurance.evidence import Shelf, Source
from pipeline.assurance.gates import Gate
from pipeline.assurance.requirements import REQUIREMENTS, Requirement
from pipeline.core.artifact import write_json
from pipeline.core.table import write_csv

COLUMNS = ("requirement", "gate", "limit", "value", "low", "high", "verdict", "waiver", "artifact", "file", "key", "sha256",
           "artifact_digest", "duty")  # fmt: skip
NOWHERE: list[object] = [""] * 5  # of the columns artifact to artifact_digest


@dataclass(frozen=True)
class Matrix:
    """Every requirement with what was found for it.

    Attributes:
        rows: requirements with a gate, in the order of the page.
        checks: laws that hold without a limit.
        sources: every file of evidence.
    """

    rows: tuple[tuple[Requirement, Gate], ...]
    checks: tuple[Check, ...]
    sources: tuple[Source, ...]

    @property
    def gates(self) -> list[Gate]:
        """Of all rows."""
        return [gate for _, gate in self.rows]

    def backwards(self) -> dict[str, list[str]]:
        """File of evidence -> the requirements that rest on it."""
        found: dict[str, list[str]] = {source.place: [] for source in self.sources}
        for requirement, gate in self.rows:
            for source in gate.evidence.sources if gate.evidence else ():
                found[source.place].append(requirement.gate)
        for one in self.checks:
            for place in dict.fromkeys(one.rests):
                found[place].append(one.name)
        return found


def trace(options: Mapping[str, Any], shelf: Shelf) -> Matrix:
    """Find the evidence of every requirement and hold it against its limit.

    Args:
        options: the key `gates`.
        shelf: the artifacts.
    """
    rows = []
    for requirement in REQUIREMENTS:
        least = requirement.least(shelf) if callable(requirement.least) else requirement.least
        limit, evidence = options[requirement.gate], requirement.measure(shelf, options)
        rows.append((requirement, Gate(
            name=requirement.gate, limit=None if limit is None else float(limit), least=least, evidence=evidence,
            whole=options["hold"] == "interval", waiver=str(options["waivers"].get(requirement.gate, "")).strip(),
            means=requirement.means, mend=requirement.mend, lacks=requirement.where,
        )))  # fmt: skip
    checks = tuple(check(shelf))
    return Matrix(tuple(rows), checks, tuple(shelf.used()))


def write(matrix: Matrix, out: Path) -> None:
    """Write `matrix.csv` (a line a requirement and file), `gates.json`, `checks.json` and `evidence.json`."""
    lines: list[list[object]] = []
    for requirement, gate in matrix.rows:
        found = gate.evidence
        numbers = [found.value, found.low, found.high] if found else [None, None, None]
        head = [requirement.says, gate.name, gate.asked(), *numbers, gate.verdict, gate.waiver]
        rests = [_place(source, found.key) for source in found.sources] if found else [NOWHERE]
        lines += [[*head, *place, requirement.duty] for place in rests]
    known = {source.place: source for source in matrix.sources}
    for one in matrix.checks:
        head = [one.says, one.name, "", None, None, None, one.verdict, ""]
        rests = [_place(known[place], "") for place in one.rests] or [NOWHERE]
        lines += [[*head, *place, ""] for place in rests]
    write_csv(out / "matrix.csv", COLUMNS, lines)
    write_json(out / "gates.json", [gate.as_json() for gate in matrix.gates if gate.limit is not None])
    write_json(
        out / "checks.json",
        [{"check": one.name, "says": one.says, "verdict": one.verdict, "faults": list(one.faults)} for one in matrix.checks],
    )
    back = matrix.backwards()
    write_json(out / "evidence.json", {
        source.place: {"sha256": source.sha256, "artifact_digest": source.digest, "requirements": back[source.place]}
        for source in matrix.sources
    })  # fmt: skip


def _place(source: Source, key: str) -> list[object]:
    return [source.stage, source.file, key, source.sha256, source.digest]
