"""The measured candidates, drawn: the metric against what each takes."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.compression.choice import Result
from pipeline.core.pictures import GREY, INK, PALETTE, RED, figure, grid, save

DPI = 110
Cost = Callable[[Result], float]


def _at(result: Result, size: int) -> Any:
    assert result.measured is not None
    return result.measured.at[size]


def _size(result: Result) -> float:
    return result.measured.size / 1000 if result.measured else 0.0


PANELS: Sequence[tuple[str, Cost]] = (
    ("KB of the file", _size),
    ("time at batch 1, original = 1", lambda result: float(1 / _at(result, 1).faster[1])),
    ("time at batch 32, original = 1", lambda result: float(1 / _at(result, 32).faster[1])),
    ("MB of memory at batch 1, peak", lambda result: _at(result, 1).memory / 1e6),
    ("MB of memory at batch 32, peak", lambda result: _at(result, 32).memory / 1e6),
    ("processor time at batch 32, original = 1", lambda result: float(_at(result, 32).work)),
)


def pareto(
    results: Sequence[Result], chosen: Result | None, path: Path, *, label: str, limits: Mapping[str, Any], higher: bool
) -> Path:
    """The metric with its interval against six costs; the chosen one ringed, the largest loss that is allowed dashed."""
    shown = [result for result in results if result.measured is not None and result.metric]
    kinds = list(dict.fromkeys(result.candidate.compressor for result in shown if result.candidate is not None))
    fig = figure(11.0, 6.2)
    axes = fig.subplots(2, 3).ravel()
    for panel, (title, cost) in zip(axes, PANELS, strict=True):
        for result in shown:
            metric = result.metric
            colour = INK if result.candidate is None else PALETTE[kinds.index(result.candidate.compressor) % len(PALETTE)]
            panel.vlines(cost(result), metric["low"], metric["high"], color=colour, alpha=0.25, linewidth=1)
            panel.scatter(cost(result), metric["value"], s=60 if result.candidate is None else 22, color=colour, zorder=3,
                          marker="*" if result.candidate is None else "o", linewidths=0)  # fmt: skip
            if chosen is not None and result.name == chosen.name:
                panel.scatter(cost(result), metric["value"], s=130, facecolors="none", edgecolors=RED, linewidths=1.6, zorder=4)
        original = next((result for result in shown if result.candidate is None), None)
        if original is not None:
            drop = float(limits["max_drop"])
            panel.axhline(original.metric["value"] - (drop if higher else -drop), color=GREY, linestyle="--", linewidth=1)
        panel.set_xlabel(title)
        panel.set_ylabel(label)
        if shown and max(map(cost, shown)) > 8 * min(map(cost, shown)) > 0:
            panel.set_xscale("log")
        grid(panel)
    for number, name in enumerate(["original", *kinds]):
        colour = INK if number == 0 else PALETTE[(number - 1) % len(PALETTE)]
        axes[0].scatter([], [], color=colour, marker="*" if number == 0 else "o", label=name)
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=len(kinds) + 1)
    return save(fig, path, DPI)
