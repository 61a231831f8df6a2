"""Charts of a matrix study, with the house style."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.core.pictures import BLUE, GREEN, GREY, figure, grid, save, shorten
from pipeline.study.standing import Group

DPI = 110


def arms(group: Group, path: Path) -> Path:
    """Each configuration: its repeats, their mean and its interval."""
    fig = figure(7.4, 0.9 + 0.42 * len(group.arms))
    axes = fig.subplots()
    for place, arm in enumerate(reversed(group.arms)):
        found = arm.found
        axes.scatter(found.values, [place] * len(found.values), s=16, color=GREY, alpha=0.5, linewidths=0)
        if math.isfinite(found.low):
            axes.plot([found.low, found.high], [place, place], color=BLUE, linewidth=2.5)
        axes.plot([found.mean], [place], marker="o", color=BLUE)
    axes.set_yticks(range(len(group.arms)), [shorten(arm.name, 30) for arm in reversed(group.arms)])
    axes.set_ylim(-0.6, len(group.arms) - 0.4)
    axes.set_xlabel(group.label)
    grid(axes, "x")
    return save(fig, path, DPI)


def contests(group: Group, reference: str, path: Path) -> Path | None:
    """Difference of each configuration from the reference, with its interval; None where nothing could be compared."""
    shown = [one for one in reversed(group.contests) if one.compared is not None and math.isfinite(one.compared.low)]
    if not shown:
        return None
    fig = figure(7.4, 0.9 + 0.42 * len(shown))
    axes = fig.subplots()
    axes.axvline(0, color=GREY, linestyle=":", linewidth=1)
    for place, one in enumerate(shown):
        assert one.compared is not None
        colour = GREEN if one.better else GREY
        axes.plot([one.compared.low, one.compared.high], [place, place], color=colour, linewidth=2.5)
        axes.plot([one.compared.change], [place], marker="o", color=colour)
    axes.set_yticks(range(len(shown)), [shorten(one.arm, 30) for one in shown])
    axes.set_ylim(-0.6, len(shown) - 0.4)
    axes.set_xlabel(f"difference of {group.label} from {shorten(reference, 30)}, same repeats")
    grid(axes, "x")
    return save(fig, path, DPI)


def sharing(jobs: Mapping[str, int], cells: int, path: Path) -> Path:
    """How many jobs each stage takes for all cells."""
    names: Sequence[str] = list(jobs)[::-1]
    fig = figure(7.4, 0.8 + 0.22 * len(names))
    axes = fig.subplots()
    axes.barh(range(len(names)), [jobs[name] for name in names], color=BLUE, height=0.65)
    axes.axvline(cells, color=GREY, linestyle=":", linewidth=1)
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel(f"jobs for {cells} cells")
    grid(axes, "x")
    return save(fig, path, DPI)
