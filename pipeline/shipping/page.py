"""What a reader sees of the targets: one row each."""

from typing import Any

from pipeline.core.section import Cell, Table
from pipeline.shipping.judge import Judged
from pipeline.shipping.trial import milliseconds, speedup

COLUMNS = (
    "target", "state", "precision", "samples_same_class", "max_abs_diff", "size_bytes", "metric", "low", "high", "lost", "why",
)  # fmt: skip
CAPTION = "Every target beside the trained model"


def row(one: Judged) -> list[Any]:
    """Of targets.csv."""
    trial, metric = one.trial, one.metric
    seen = [one.agreement, one.difference, trial.size] if one.agreement is not None else ["", "", trial.size or ""]
    told = [metric.get(name, "") for name in ("value", "low", "high")]
    lost = one.lost if one.agreement is not None else ""
    return [trial.name, trial.state, trial.precision, *seen, *told, lost, trial.why or one.unfit]


def shown(one: Judged) -> list[Cell]:
    """Of the section."""
    trial, metric = one.trial, one.metric
    if one.agreement is None:
        size = f"{trial.size / 1e6:.2f}" if trial.size else None
        return [trial.name, trial.state, trial.precision, None, None, size, None, None, None]
    value = f"{metric['value']:.3f} [{metric['low']:.3f}, {metric['high']:.3f}]" if metric else None
    state = trial.state + (", not fit" if one.unfit else "")
    return [trial.name, state, trial.precision, f"{one.agreement:.4f}", f"{one.difference:.1e}", f"{trial.size / 1e6:.2f}", value,
            f"{0.0 - one.lost:+.4f}", "inside" if one.detector else "-"]  # fmt: skip


def table(columns: list[str], rows: list[list[Cell]]) -> Table:
    """Of the section."""
    return Table(CAPTION, columns, rows)


def timings(found: list[Judged], best: str, options: dict[str, Any]) -> dict[str, Any]:
    """What a clock and the memory of this machine say, with a table for the report."""
    batches = [int(size) for size in options["timed"]]
    measured: dict[str, Any] = {}
    rows: list[list[Cell]] = []
    for one in found:
        pairs = one.trial.seconds
        if not pairs:
            continue
        memory = one.trial.memory
        measured[one.trial.name] = {
            f"batch_{size}": {"median_ms": milliseconds(times), "times_eager": speedup(times), "memory_bytes": memory[size]}
            for size, times in pairs.items()
        }
        cells: list[Cell] = [one.trial.name + (" (ships)" if one.trial.name == best else "")]
        for size in batches:
            cells += [f"{milliseconds(pairs[size]):.2f}", f"{speedup(pairs[size]):.2f}", f"{memory[size] / 1e6:.0f}"]
        rows.append(cells)
    columns = ["target"]
    for size in batches:
        columns += [f"batch {size} (ms)", f"times faster at {size}", f"MB at {size}"]
    caption = "Time of one call beside the trained model, in turn, and memory; on the machine that made this page"
    shown_as = {"caption": caption, "columns": columns, "rows": rows}
    return {"ships": best, "budget_ms": options["budget_ms"], "targets": measured, "table": shown_as}
