"""Several runs side by side: what they reached, where their configurations differ, their curves, tables and pictures."""

import base64
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.tracking.chart import Chart, chart, number
from pipeline.tracking.records import Run

MOST_BYTES = 60 * 2**20  # of all embedded pictures; what lies beyond is named and not shown
IMAGES = {"png": "image/png", "jpg": "image/jpeg", "jpeg": "image/jpeg", "gif": "image/gif", "webp": "image/webp"}
LEADING = ("loss", "val_loss")  # curves that come first
ABSENT = "-"
DIGEST = re.compile(r"^([0-9a-f]{12})[0-9a-f]{20,}$")  # the first twelve digits tell two of them apart
CONFUSION = ["Actual", "Predicted", "nPredictions"]


@dataclass(frozen=True)
class Interval:
    """A value with its interval, as text and as positions in percent of the scale that all runs share."""

    text: str
    value: float
    at: float = 0.0
    low_at: float | None = None
    high_at: float | None = None


@dataclass(frozen=True)
class Row:
    """A run in the table of runs."""

    index: int
    run: Run
    headline: Interval | None
    baselines: dict[str, Interval]
    order: int


@dataclass(frozen=True)
class Difference:
    """A key with one cell a run."""

    key: str
    cells: list[str]


@dataclass(frozen=True)
class Shown:
    """A picture of one run: its bytes in the page, or the reason why they are not."""

    index: int
    caption: str
    source: str
    reason: str = ""


@dataclass(frozen=True)
class Grid:
    """A small table of one run."""

    index: int
    columns: list[str]
    rows: list[list[str]]


@dataclass(frozen=True)
class Comparison:
    """All that the page shows."""

    metric: str
    rows: list[Row]
    baselines: list[str]
    charts: list[Chart]
    differences: list[Difference]
    same: list[Difference]
    summaries: list[Difference]
    words: dict[str, list[tuple[int, str]]]
    pictures: dict[str, list[Shown]]
    tables: dict[str, list[Grid]] = field(default_factory=dict)


def compare(runs: Sequence[Run]) -> Comparison:
    """Lay the runs side by side, in the order in which they are given."""
    metric = next((str(run.summary["headline_metric"]) for run in runs if "headline_metric" in run.summary), "")
    rows, baselines = _rows(runs, metric)
    flat = [flatten(run.config) for run in runs]
    keys = sorted({key for config in flat for key in config}, key=lambda key: (key.startswith("facts."), key))
    lines = [Difference(key, [config.get(key, ABSENT) for config in flat]) for key in keys]
    words = {
        key.removeprefix("section/"): [(index, str(run.summary[key])) for index, run in enumerate(runs) if key in run.summary]
        for key in _in_order(runs, "summary") if key.startswith("section/")
    }  # fmt: skip
    differing = [line for line in lines if len(set(line.cells)) > 1]
    return Comparison(
        metric=metric, rows=rows, baselines=baselines, charts=_charts(runs), differences=differing,
        same=[line for line in lines if line not in differing], summaries=_summaries(runs), words=words,
        pictures=_pictures(runs), tables=_tables(runs),
    )  # fmt: skip


def flatten(node: Any, name: str = "") -> dict[str, str]:
    """Dotted keys and their values as text; lists without mappings in them are one value."""
    if isinstance(node, Mapping) and node:
        return {key: text for child, value in node.items() for key, text in flatten(value, f"{name}.{child}".lstrip(".")).items()}
    if isinstance(node, list) and any(isinstance(value, Mapping) for value in node):
        return {key: text for place, value in enumerate(node) for key, text in flatten(value, f"{name}[{place}]").items()}
    return {name: DIGEST.sub(r"\1", node) if isinstance(node, str) else json.dumps(node)}


def _rows(runs: Sequence[Run], metric: str) -> tuple[list[Row], list[str]]:
    found: list[tuple[Any, dict[str, Any]]] = []
    for run in runs:
        same = str(run.summary.get("headline_metric", "")) == metric
        split = {key: key.split("/") for key in run.summary}
        others = {words[1]: run.summary[key] for key, words in split.items() if words[0] == "baseline" and words[2:] == [metric]}
        found.append((run.summary.get("headline") if same else None, others if same else {}))
    numbers = [part for headline, others in found for entry in (headline, *others.values()) for part in _parts(entry)]
    low, high = min(numbers, default=0.0), max(numbers, default=1.0)
    order = {id(run): place for place, run in enumerate(sorted(runs, key=lambda run: run.started), start=1)}
    rows = []
    for index, (run, (headline, others)) in enumerate(zip(runs, found, strict=True)):
        baselines = {name: interval for name, entry in others.items() if (interval := _interval(entry, low, high))}
        rows.append(Row(index, run, _interval(headline, low, high), baselines, order[id(run)]))
    return rows, sorted({name for row in rows for name in row.baselines})


def _parts(entry: Any) -> list[float]:
    values = [entry.get(name) for name in ("value", "low", "high")] if isinstance(entry, Mapping) else [entry]
    return [float(value) for value in values if isinstance(value, int | float) and not isinstance(value, bool)]


def _interval(entry: Any, low: float, high: float) -> Interval | None:
    parts = _parts(entry)
    if not parts:
        return None
    at = [round(4 + 92 * (part - low) / ((high - low) or 1.0), 2) for part in parts]
    if len(parts) == 3:
        return Interval(f"{parts[0]:.3f} [{parts[1]:.3f}, {parts[2]:.3f}]", parts[0], at[0], at[1], at[2])
    return Interval(number(parts[0]), parts[0], at[0])


def _charts(runs: Sequence[Run]) -> list[Chart]:
    series: dict[str, dict[int, dict[int, float]]] = {}
    for index, run in enumerate(runs):
        for step, values in run.history.items():
            for metric, value in values.items():
                series.setdefault(metric, {}).setdefault(index, {})[step] = value
    leading = [metric for metric in LEADING if metric in series]
    return [chart(metric, series[metric]) for metric in [*leading, *sorted(set(series) - set(leading))]]


def _summaries(runs: Sequence[Run]) -> list[Difference]:
    def text(value: Any) -> str:
        interval = _interval(value, 0.0, 1.0)
        return interval.text if interval else str(value)

    curves = {metric for run in runs for values in run.history.values() for metric in values}
    keys = sorted({key for run in runs for key in run.summary if not key.startswith(("section/", "headline"))} - curves)
    return [Difference(key, [text(run.summary.get(key, ABSENT)) for run in runs]) for key in keys]


def _in_order(runs: Sequence[Run], attribute: str) -> list[str]:
    """Keys of all runs in the order in which they were sent."""
    return list(dict.fromkeys(key for run in runs for key in getattr(run, attribute)))


def _media(runs: Sequence[Run], kind: str) -> Iterator[tuple[str, int, Mapping[str, Any], Path | None]]:
    """Key, index of the run, description and file of every medium of one kind, key by key in the order of the stages."""
    said = [key.removeprefix("section/") for key in _in_order(runs, "summary") if key.startswith("section/")]
    stages = {stage: place for place, stage in enumerate(said)}
    for key in sorted(_in_order(runs, "media"), key=lambda key: (stages.get(key.split("/")[0], -1), key)):
        for index, run in enumerate(runs):
            folder, description = run.media.get(key, (None, {}))
            if folder is not None and description.get("_type") == kind:
                yield key, index, description, inside(folder, str(description.get("path", "")))


def _pictures(runs: Sequence[Run]) -> dict[str, list[Shown]]:
    left = MOST_BYTES
    shown: dict[str, list[Shown]] = {}
    for key, index, description, path in _media(runs, "image-file"):
        caption = str(description.get("caption", ""))
        kind = IMAGES.get(path.suffix[1:].lower()) if path else None
        if path is None or kind is None:
            shown.setdefault(key, []).append(Shown(index, caption, "", "its file is missing"))
        elif path.stat().st_size > left:
            shown.setdefault(key, []).append(Shown(index, caption, "", "left out: the page would grow too large"))
        else:
            left -= path.stat().st_size
            data = base64.b64encode(path.read_bytes()).decode()
            shown.setdefault(key, []).append(Shown(index, caption, f"data:{kind};base64,{data}"))
    return shown


def _tables(runs: Sequence[Run]) -> dict[str, list[Grid]]:
    tables: dict[str, list[Grid]] = {}
    for key, index, _, path in _media(runs, "table-file"):
        if path is not None:
            raw = json.loads(path.read_text(encoding="utf-8"))
            columns, rows = _matrix(raw["data"]) if raw["columns"] == CONFUSION else (raw["columns"], raw["data"])
            grid = Grid(index, [str(name) for name in columns], [[_cell(cell) for cell in row] for row in rows])
            tables.setdefault(key.removesuffix("_table"), []).append(grid)
    return tables


def _matrix(counts: Sequence[Sequence[Any]]) -> tuple[list[str], list[list[Any]]]:
    """A list of (actual, predicted, count) as a matrix."""
    names = list(dict.fromkeys(str(actual) for actual, _, _ in counts))
    found = {(str(actual), str(predicted)): count for actual, predicted, count in counts}
    return ["actual \\ predicted", *names], [[actual, *(found.get((actual, name), 0) for name in names)] for actual in names]


def _cell(cell: Any) -> str:
    if cell is None:
        return ABSENT
    return number(float(cell)) if isinstance(cell, int | float) and not isinstance(cell, bool) else str(cell)


def inside(folder: Path, name: str) -> Path | None:
    """The file of that name in the folder of a run; None when it is missing or lies elsewhere, whatever the name says."""
    base = (folder / "files").resolve()
    path = (base / name).resolve()
    return path if name and path.is_relative_to(base) and path.is_file() else None
