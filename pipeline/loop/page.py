"""The page of a simulation: one self-contained HTML file, and its tables and pictures beside it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pipeline.core import figures
from pipeline.core.artifact import write_json
from pipeline.core.table import write_csv
from pipeline.loop import pictures
from pipeline.loop.contract import Outcome, Requirement

PAGE, FACTS, EVENTS = "report.html", "outcome.json", "events.csv"
BUDGET = 3_000_000  # characters of all pictures together
FIRST = (
    "What is asked, as a share of its limit. Green: all of the interval keeps it; orange: the value alone; red: not even that."
)


def write(outcome: Outcome, folder: Path, model: Mapping[str, str]) -> Path:
    """Write `report.html`, `outcome.json`, `events.csv` and the pictures; return the page.

    Args:
        outcome: what came of the run.
        folder: that they go into; made where it is missing.
        model: name -> value of what was simulated.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.png"):
        old.unlink()
    drawn = {FIRST: pictures.requirements(outcome.requirements, folder / "requirements.png")}
    drawn |= {chart.caption: chart.draw(folder / f"{chart.name}.png") for chart in outcome.charts}
    shown = figures.encode(list(drawn.values()), budget=BUDGET, width=1400)
    environment = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined,
                              trim_blocks=True, lstrip_blocks=True)  # fmt: skip
    text = environment.get_template("page.html.j2").render(
        it=outcome, model=model, rows=[row(one) for one in outcome.requirements],
        charts=[(caption, shown[file].uri) for caption, file in drawn.items()], number=figures.number,
    )  # fmt: skip
    facts = {"held": outcome.held, "summary": outcome.summary, "model": dict(model),
             "requirements": {one.name: _plain(one) for one in outcome.requirements}}  # fmt: skip
    write_json(folder / FACTS, facts)
    write_csv(folder / EVENTS, outcome.columns, outcome.events)
    partial = folder / f"{PAGE}.part"
    partial.write_text(text, encoding="utf-8")
    return partial.replace(folder / PAGE)


def row(one: Requirement) -> list[str]:
    """Of the table of requirements: meaning, value with interval, limit, state."""
    limit = "-" if one.limit is None else f"at {'least' if one.at_least else 'most'} {one.limit:.4g} {unit(one)}".strip()
    return [one.meaning, f"{one.value:.4g} [{one.low:.4g}, {one.high:.4g}] {unit(one)}".strip(), limit, one.state]


def unit(one: Requirement) -> str:
    """As it is printed behind a number; "" for shares and ratios."""
    return "" if one.unit in {"share", "ratio"} else one.unit


def _plain(one: Requirement) -> dict[str, Any]:
    """As JSON, which knows no infinity."""
    ends = {name: value if np.isfinite(value) else None for name, value in one.found.items()}
    return {"meaning": one.meaning, **ends, "limit": one.limit, "at_least": one.at_least, "unit": one.unit,
            "measured": one.measured, "state": one.state}  # fmt: skip
