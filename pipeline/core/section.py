"""What a stage tells the report and the tracker: words, tables and pictures, in one `section.json` beside its files.

The report shows every section in the order of the DAG and knows nothing of any stage, so a new stage or picture needs no
change there.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pipeline.core.artifact import read_json, write_json

SECTION = "section.json"
Cell = str | int | float | None


@dataclass(frozen=True)
class Picture:
    """A PNG of the artifact and what a reader should see in it."""

    file: str
    caption: str


@dataclass(frozen=True)
class Table:
    """A table of a few rows; numbers are formatted by the report, None is shown as a dash."""

    caption: str
    columns: list[str]
    rows: list[list[Cell]]


@dataclass(frozen=True)
class Section:
    """One stage's part of the report.

    Attributes:
        title: a heading for people.
        summary: one sentence with the finding and its numbers; also the stage's line on the terminal.
        text: further paragraphs, plain text.
        warnings: what a reader must know before trusting the rest; shown on the first page.
        tables: small tables.
        pictures: PNG files of the artifact.
    """

    title: str
    summary: str
    text: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)


def write_section(directory: Path, section: Section) -> str:
    """Write `section.json`; return the summary, which a stage returns in turn.

    Raises:
        FileNotFoundError: a picture that the section names was not written.
    """
    for picture in section.pictures:
        if not (directory / picture.file).is_file():
            raise FileNotFoundError(directory / picture.file)
    write_json(directory / SECTION, asdict(section))
    return section.summary


def read_section(directory: Path) -> Section:
    """Read an artifact's section."""
    raw: dict[str, Any] = read_json(directory / SECTION)
    return Section(
        title=raw["title"], summary=raw["summary"], text=raw["text"], warnings=raw["warnings"],
        tables=[Table(**table) for table in raw["tables"]], pictures=[Picture(**picture) for picture in raw["pictures"]],
    )  # fmt: skip


def metric_rows(results: dict[str, dict[str, dict[str, float]]], names: Sequence[str]) -> list[list[Cell]]:
    """Rows `[who, "value [low, high]", ...]` of a table of metrics with intervals."""
    def text(entry: dict[str, float] | None) -> Cell:
        return None if entry is None else f"{entry['value']:.3f} [{entry['low']:.3f}, {entry['high']:.3f}]"

    return [[who, *(text(metrics.get(name)) for name in names)] for who, metrics in results.items()]
