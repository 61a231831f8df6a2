"""What people read of corruptions: the section's words and table, and two CSV tables."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.core.section import Cell as Shown
from pipeline.core.section import Picture, Table
from pipeline.core.table import write_csv
from pipeline.corruption.catalogue import OWN, PAPER
from pipeline.corruption.measure import Cell, places_of

ENDS = ("value", "low", "high")
COLLAPSE = 0.5  # share of the skill above chance whose loss is called a collapse


@dataclass(frozen=True)
class Found:
    """What the stage measured.

    Attributes:
        cells: the clean one first.
        metrics: of the task, in each cell; NaN where undefined.
        numbers: name -> `value`, `low`, `high`, as `measure.errors` and `measure.headlines` give them.
        reference: name of the baseline that errors are divided by; "" for none.
        chance: metrics of a constant prediction.
    """

    cells: list[Cell]
    metrics: list[dict[str, float]]
    numbers: dict[str, dict[str, float]]
    reference: str
    chance: dict[str, float]

    @property
    def names(self) -> list[str]:
        """Corruptions, in order."""
        return list(places_of(self.cells))

    def text(self, name: str) -> str | None:
        """`value [low, high]`, or None where the number is undefined."""
        entry = self.numbers.get(name)
        return None if entry is None else f"{entry['value']:.3f} [{entry['low']:.3f}, {entry['high']:.3f}]"

    def ends(self, name: str) -> list[float | None]:
        """Value, low and high; None where the number is undefined."""
        return [self.numbers.get(name, {}).get(end) for end in ENDS]


@dataclass(frozen=True)
class Half:
    """What the section says of corruptions; see `pipeline.core.section.Section`. `said` are parts of the summary."""

    said: list[str] = field(default_factory=list)
    text: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)


def collapsed(found: Found, headline: str) -> list[str]:
    """Corruptions that take more than half of what the model is better than chance, at some severity."""
    skill = found.metrics[0][headline] - found.chance[headline]
    if not math.isfinite(skill) or skill == 0:
        return []
    left = [(metrics[headline] - found.chance[headline]) / skill for metrics in found.metrics]
    return [name for name, numbers in places_of(found.cells).items() if min(left[c] for c in numbers) < 1 - COLLAPSE]


def write_tables(found: Found, headline: str, out: Path) -> None:
    """`corruptions.csv`, one row a corruption and severity, and `corruption_errors.csv`, one row a corruption."""
    names = list(found.metrics[0])
    columns = [f"{headline}_low", f"{headline}_high", *_columns("error"), *_columns("reference_error")]
    rows = []
    for (name, severity), metrics in zip(found.cells, found.metrics, strict=True):
        key = f"{name}_{severity}" if severity else name
        values = [value if math.isfinite(value) else None for value in metrics.values()]
        ends = [*found.ends(f"{key}_{headline}")[1:], *found.ends(f"{key}_error"), *found.ends(f"reference_{key}_error")]
        rows.append([name, severity, *values, *ends])
    write_csv(out / "corruptions.csv", ["corruption", "severity", *names, *columns], rows)
    kinds = (headline, "error", "ce")
    lines = [[name, int(name in PAPER), *(end for kind in kinds for end in found.ends(f"{name}_{kind}"))] for name in found.names]
    write_csv(out / "corruption_errors.csv", ["corruption", "in_mce", *(end for kind in kinds for end in _columns(kind))], lines)


def half(task: Any, found: Found, *, count: int, coverage: float) -> Half:
    """Words, table and pictures; empty where nothing was tried."""
    if not found.names:
        return Half()
    headline, label = task.headline, task.meanings[task.headline][0]
    error = error_of(task)
    said, warnings = [], []
    if f"corrupted_{headline}" in found.numbers:
        said.append(f"{found.text(f'corrupted_{headline}')} on average over {len(found.names)} corruptions")
    if "mce" in found.numbers:
        said.append(f"mean corruption error {found.text('mce')} of {found.reference}'s")
    lost = [name.replace("_", " ") for name in collapsed(found, headline)]
    if lost:
        warnings.append(f"More than half of the model's skill is lost under corruption, at some severity: {', '.join(lost)}.")
    dashed = f"; dashed: the baseline {found.reference}" if found.reference else ""
    shown = [
        Picture("corruptions.png", f"The {error} as each corruption grows, with {100 * coverage:.0f} % intervals{dashed}."),
        Picture("corrupted.png", "One test image under every corruption, and what the model says of it."),
    ]
    caption = f"{label} and {error} on {count} test samples under corruption, mean over severities"
    return Half(said, [_words(found, error)], warnings, [_table(found, task, caption, coverage)], shown)


def error_of(task: Any) -> str:
    """What an error is, for people."""
    return "share of wrong answers" if task.categories else "mean absolute error"


def _words(found: Found, error: str) -> str:
    counted = [name for name in found.names if name in PAPER]
    severities = sorted({severity for _, severity in found.cells[1:]})
    over = "the fifteen" if len(counted) == len(PAPER) else f"{len(counted)} of the fifteen"
    text = f"Severities {', '.join(map(str, severities))} of five. Error is the {error}."
    if found.reference and counted:
        text += (
            f" The corruption error CE divides the model's error, summed over severities, by that of the baseline "
            f"{found.reference} on the same images; the mean corruption error is its mean over {over} of Hendrycks and "
            f"Dietterich (2019). Below 1, the model errs less than the baseline{_verdict(found)}."
        )
    own = [name for name in found.names if name in OWN]
    if own:
        text += f" {' and '.join(own).capitalize()} {'are' if len(own) > 1 else 'is'} ours and not counted in it."
    return text


def _verdict(found: Found) -> str:
    """Whether the mean corruption error is told from 1."""
    if "mce" not in found.numbers:
        return "; here it is undefined, since the baseline makes no error under some corruption"
    _, low, high = found.ends("mce")
    assert low is not None
    assert high is not None
    if low <= 1 <= high:
        return "; here the interval holds 1, so no difference is shown"
    return "; here it does" if high < 1 else "; here it errs more"


def _table(found: Found, task: Any, caption: str, coverage: float) -> Table:
    percent = f"[{100 * coverage:.0f} %]"
    columns = ["corruption", f"{task.meanings[task.headline][0]} {percent}", f"error {percent}"]
    columns += [f"error of {found.reference} {percent}", f"CE {percent}"] if found.reference else []
    rows: list[list[Shown]] = []
    for name in ("clean", *found.names, "corrupted"):
        keys = [f"{name}_{task.headline}", f"{name}_error"]
        keys += [f"reference_{name}_error", "mce" if name == "corrupted" else f"{name}_ce"] if found.reference else []
        rows.append(["mean of all" if name == "corrupted" else name.replace("_", " "), *(found.text(key) for key in keys)])
    return Table(caption, columns, rows)


def _columns(name: str) -> list[str]:
    return [name, f"{name}_low", f"{name}_high"]
