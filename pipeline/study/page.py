"""The page of a matrix study: one self-contained HTML file with its configurations side by side, and every cell."""

import math
import tempfile
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pipeline import search
from pipeline.core import figures
from pipeline.search.compare import Estimate
from pipeline.study import pictures
from pipeline.study.book import read
from pipeline.study.standing import FAILED, FINISHED, TO_DO, Standing

BUDGET = 3_000_000  # characters of all pictures together
FOLDERS = [Path(__file__).parent, Path(search.__file__).parent]  # the look is that of a search's page


def write_page(standing: Standing, path: Path) -> Path:
    """Write the page, whole or not at all."""
    environment = Environment(loader=FileSystemLoader(FOLDERS), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
                              lstrip_blocks=True)  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        drawn = _drawn(standing, Path(folder))
        shown = figures.encode(list(drawn.values()), budget=BUDGET, width=1400)
        charts = {name: shown[file].uri for name, file in drawn.items()}
    text = environment.get_template("matrix_page.html.j2").render(
        it=standing, charts=charts, lead=lead(standing), interval=interval, rows=_rows(standing), facts=_facts(standing)
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".part")
    partial.write_text(text, encoding="utf-8")
    return partial.replace(path)


def tell(standing: Standing) -> list[str]:
    """What there is to say on a terminal."""
    lines = [lead(standing)]
    lines += [f"  {row.cell.name}: {row.reason}" for row in standing.rows if row.state == FAILED]
    for group in standing.groups:
        where = f"  {group.experiment}"
        lines += [f"{where}, {arm.name}: {group.label} {interval(arm.found)} ({arm.cells} cells)" for arm in group.arms]
        lines += [f"  {group.experiment}: {one.said}" for one in group.contests]
    return [*lines, standing.looks]


def lead(standing: Standing) -> str:
    """How many cells stand where, in one sentence."""
    counts = {state: standing.count(state) for state in (FINISHED, FAILED, TO_DO)}
    said = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    return f"study {standing.study.name}: {len(standing.rows)} cells, {said}; {len(standing.plan.jobs)} jobs for them all"


def interval(found: Estimate) -> str:
    """A mean with its interval, where there is one."""
    if not math.isfinite(found.low):
        return f"{found.mean:.4f}"
    return f"{found.mean:.4f} [{found.low:.4f}, {found.high:.4f}]"


def _drawn(standing: Standing, folder: Path) -> dict[str, Path]:
    drawn = {"sharing": pictures.sharing(_jobs(standing), len(standing.rows), folder / "sharing.png")}
    for number, group in enumerate(standing.groups):
        drawn[f"arms{number}"] = pictures.arms(group, folder / f"arms{number}.png")
        gains = pictures.contests(group, standing.study.reference, folder / f"contests{number}.png")
        if gains is not None:
            drawn[f"contests{number}"] = gains
    return drawn


def _jobs(standing: Standing) -> dict[str, int]:
    jobs = standing.plan.jobs.values()
    return {stage: sum(job.stage == stage for job in jobs) for stage in standing.plan.stages}


def _facts(standing: Standing) -> dict[str, str]:
    """Name -> value for people: what the study took."""
    places = len(standing.rows) * len(standing.plan.stages)
    notes = [read(standing.book.done(name)) for name in standing.plan.jobs]
    done = [note for note in notes if note is not None]
    return {
        "cells x stages": f"{places:,}",
        "jobs, one a distinct digest": f"{len(standing.plan.jobs):,}",
        "jobs that ran; others were restored from DVC's run-cache": f"{sum(bool(note['ran']) for note in done):,}",
        "seconds in jobs": f"{sum(float(note['seconds']) for note in done):,.0f}",
    }


def _rows(standing: Standing) -> list[dict[str, Any]]:
    """A row a cell, the failed first."""
    ranked = sorted(standing.rows, key=lambda row: (row.state != FAILED, row.state != TO_DO))
    return [
        {
            "name": row.cell.name, "experiment": row.cell.experiment, "arm": row.cell.arm, "seed": row.cell.seed,
            "fold": "–" if row.cell.fold is None else row.cell.fold, "state": row.state, "reason": row.reason,
            "value": figures.number(row.note.get("value")), "kept": row.note.get("experiment", ""),
        }
        for row in ranked
    ]  # fmt: skip
