"""The page of a search for the smallest model: one self-contained HTML file, and the same table as CSV."""

import csv
import shlex
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pipeline.compression import pictures
from pipeline.compression.candidates import Candidate
from pipeline.compression.choice import Result, front, missed
from pipeline.compression.measuring import BATCHES
from pipeline.core import figures

BUDGET = 2_000_000  # characters of the picture
TAKEN = ("ms", "ms_upper_quartile", "times_faster", "memory_bytes", "cpu_ms_a_sample", "cpu_of_original")
COLUMNS = (
    "candidate", "metric", "low", "high", "change", "change_low", "change_high", "size_bytes",
    *(f"{name}_{size}" for size in BATCHES for name in TAKEN), "undominated", "misses", "overrides",
)  # fmt: skip


@dataclass(frozen=True)
class Searched:
    """What a search came to.

    Attributes:
        results: the original first.
        chosen: the smallest that keeps the limits; None where none does.
        limits: `smallest` of the configuration.
        label: of the metric.
        higher: whether more of it is better.
        facts: name -> value for people.
        overrides: candidate -> all words that the configuration with it is composed of.
    """

    results: Sequence[Result]
    chosen: Result | None
    limits: Mapping[str, Any]
    label: str
    higher: bool
    facts: Mapping[str, str]
    overrides: Callable[[Candidate], Sequence[str]]

    def asked(self) -> str:
        """The limits in words."""
        said = [f"loses at most {self.limits['max_drop']:g} ({self.limits['hold']})"]
        units = {"max_size_mb": "MB", "max_ms": "ms", "max_memory_mb": "MB of memory"}
        for key, unit in units.items():
            if self.limits[key] is not None:
                where = "" if key == "max_size_mb" else f" at batch {self.limits['batch']}"
                said.append(f"at most {self.limits[key]:g} {unit}{where}")
        return ", ".join(said)

    def command(self) -> str:
        """What takes the chosen one, for a shell; `exp` replaces the overrides of params.yaml, so they are among the words."""
        assert self.chosen is not None
        assert self.chosen.candidate is not None
        return f"python -m pipeline exp {shlex.join(self.overrides(self.chosen.candidate))}"


def rows(searched: Searched) -> list[dict[str, Any]]:
    """A row a result: the original, then by size, and last what could not be made."""
    best = front(searched.results, higher=searched.higher)
    ordered = sorted(
        searched.results[1:], key=lambda one: (one.measured is None, one.measured.size if one.measured else 0, one.name)
    )
    found = []
    for one in [searched.results[0], *ordered]:
        row: dict[str, Any] = dict.fromkeys(COLUMNS, "")
        row |= {"candidate": one.name, "undominated": one.name in best}
        row |= {"metric": one.metric.get("value", ""), "low": one.metric.get("low", ""), "high": one.metric.get("high", "")}
        row |= {"change": one.change.get("value", ""), "change_low": one.change.get("low", ""),
                "change_high": one.change.get("high", "")}  # fmt: skip
        row["overrides"] = shlex.join(searched.overrides(one.candidate)) if one.candidate else ""
        row["misses"] = "; ".join(missed(one, searched.limits, higher=searched.higher)) if one.candidate else ""
        if one.measured is not None:
            row["size_bytes"] = one.measured.size
            for size, at in one.measured.at.items():
                row |= {f"ms_{size}": at.ms, f"ms_upper_quartile_{size}": at.ms_high, f"times_faster_{size}": at.faster[1],
                        f"memory_bytes_{size}": at.memory, f"cpu_ms_a_sample_{size}": at.cpu_ms,
                        f"cpu_of_original_{size}": at.work}  # fmt: skip
        found.append(row)
    return found


def write_page(searched: Searched, folder: Path) -> Path:
    """Write `pareto.csv` and `report.html`, whole or not at all; return the page."""
    table = rows(searched)
    partial = folder / "pareto.csv.part"
    with partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(table)
    partial.replace(folder / "pareto.csv")
    environment = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined,
                              trim_blocks=True, lstrip_blocks=True)  # fmt: skip
    environment.filters["number"] = lambda value: "–" if value == "" else figures.number(value)
    with tempfile.TemporaryDirectory() as place:
        drawn = pictures.pareto(searched.results, searched.chosen, Path(place) / "pareto.png", label=searched.label,
                                limits=searched.limits, higher=searched.higher)  # fmt: skip
        uri = figures.encode([drawn], budget=BUDGET, width=1400)[drawn].uri
    text = environment.get_template("page.html.j2").render(it=searched, rows=table, uri=uri, batches=BATCHES)
    partial = folder / "report.html.part"
    partial.write_text(text, encoding="utf-8")
    return partial.replace(folder / "report.html")
