"""Charts of calibration, cost and groups, in the house style.

Letters: N samples, T thresholds.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core import scores
from pipeline.core.pictures import BLUE, GREEN, GREY, ORANGE, PALETTE, figure, grid, save, shorten
from pipeline.evaluation import shares
from pipeline.evaluation.slices import KINDS

MANY = 14  # groups of one kind; of more, the worst are drawn


def reliability(
    drawn: Mapping[str, tuple[NDArray[Any], NDArray[np.bool_]]], path: Path, *, bins: int, equal_mass: bool, dpi: int
) -> Path:
    """Share right against confidence, one line for each pair (confidence (N,), right (N,)), with Wilson's intervals of 95 %."""
    fig = figure(4.8, 5.0)
    top, bottom = fig.subplots(2, 1, height_ratios=[3.6, 1], sharex=True)
    top.plot([0, 1], [0, 1], color=GREY, linestyle=":", linewidth=1, label="honest")
    for number, (name, (confidence_N, right_N)) in enumerate(drawn.items()):
        color, aside = PALETTE[number], 0.006 * (number - (len(drawn) - 1) / 2)
        count, confidence, right = scores.calibration(confidence_N, right_N, bins=bins, equal_mass=equal_mass).T
        ends = [shares.share(np.repeat([1.0, 0.0], [round(r * n), round(n) - round(r * n)]), [""] * round(n), coverage=0.95)
                for n, r in zip(count, right, strict=True)]  # fmt: skip
        reach = np.abs(np.asarray([[end["low"], end["high"]] for end in ends]).T - right)
        look: dict[str, Any] = {"marker": "o", "markersize": 4, "linewidth": 1.2, "elinewidth": 0.8}
        top.errorbar(confidence + aside, right, yerr=reach, color=color, label=name, **look)
        bottom.bar(confidence + aside, count, width=0.012, color=color, alpha=0.8)
    top.set_ylabel("share right")
    top.set_ylim(-0.02, 1.02)
    top.legend(loc="upper left")
    bottom.set_xlabel("confidence of the prediction")
    bottom.set_ylabel("samples")
    bottom.set_xlim(0, 1.02)
    grid(top)
    grid(bottom, "y")
    return save(fig, path, dpi)


def cost(
    curve: tuple[NDArray[Any], NDArray[Any]], path: Path, *, marks: Mapping[str, float], positive: str, dpi: int
) -> Path:  # fmt: skip
    """Mean cost on validation against the threshold, some of which are marked; `curve` as `operating.curve` returns it."""
    threshold_T, cost_T = curve
    fig = figure(4.8, 3.4)
    axes = fig.add_subplot()
    edges = np.concatenate([[0.0], threshold_T, [1.0]])
    axes.stairs(cost_T, edges, color=BLUE, linewidth=1.6, baseline=None)
    for (name, at), color, style in zip(marks.items(), (GREY, GREEN, ORANGE), (":", "--", "-"), strict=True):
        axes.axvline(min(at, 1.0), color=color, linestyle=style, linewidth=1.4, label=f"{name} {at:.3f}")
    axes.set_xlim(0, 1)
    axes.set_ylim(bottom=0)
    axes.set_xlabel(f"threshold of {shorten(positive, 30)} (calibrated probability)")
    axes.set_ylabel("mean cost of a decision")
    axes.legend(loc="best")
    grid(axes, "y")
    return save(fig, path, dpi)


def nonconformity(score_N: NDArray[Any], quantile: float | None, label: str, path: Path, *, dpi: int) -> Path:
    """Histogram of the scores of the truths on validation, and the largest that is kept."""
    fig = figure(4.8, 3.0)
    axes = fig.add_subplot()
    top = float(score_N.max()) or 1.0
    axes.hist(score_N, bins=np.linspace(0, top, 31).tolist(), color=BLUE)
    if quantile is not None:
        axes.axvline(quantile, color=ORANGE, linewidth=1.6, label=f"kept up to {quantile:.3g}")
        axes.legend(loc="upper right")
    axes.set_xlabel(label)
    axes.set_ylabel("validation samples")
    grid(axes, "y")
    return save(fig, path, dpi)


def groups(
    by: Mapping[str, Mapping[str, Mapping[str, float]]], path: Path, *, overall: float, label: str, low_is_bad: bool, dpi: int
) -> Path:
    """A line with its interval for each group, kind by kind; of many groups the worst.

    Args:
        by: kind of `slices.KINDS` -> group -> `samples`, `value` and, where known, `low` and `high`.
        path: the PNG to write.
        overall: the value of all samples, as a dotted line.
        label: of the axis.
        low_is_bad: whether it is the low values that are bad.
        dpi: dots an inch.
    """
    lines: list[tuple[str, Mapping[str, float] | None]] = []
    for kind, entries in by.items():
        kept = sorted(entries.items(), key=lambda entry: entry[1]["value"] * (1 if low_is_bad else -1))[:MANY]
        more = f", the {MANY} worst of {len(entries)}" if len(entries) > MANY else ""
        lines += [(f"{KINDS[kind]}{more}", None), *((name, dict(entry)) for name, entry in entries.items() if name in dict(kept))]
    fig = figure(7.2, 0.8 + 0.21 * len(lines))
    axes = fig.add_subplot()
    axes.axvline(overall, color=GREY, linestyle=":", linewidth=1.2)
    for place, (_, entry) in enumerate(lines):
        if entry is not None:
            if "low" in entry:
                axes.plot([entry["low"], entry["high"]], [place, place], color=BLUE, linewidth=2, alpha=0.45)
            axes.plot(entry["value"], place, marker="o", markersize=4.5, color=BLUE)
    axes.set_yticks(range(len(lines)), [name if entry is None else _named(name, entry) for name, entry in lines])
    for tick, (_, entry) in zip(axes.get_yticklabels(), lines, strict=True):
        tick.set_fontweight("bold" if entry is None else "normal")
        tick.set_fontsize(8)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(lines) - 0.4, -0.6)
    axes.set_xlabel(label)
    grid(axes, "x")
    return save(fig, path, dpi)


def _named(name: str, entry: Mapping[str, float]) -> str:
    return f"{shorten(name, 30)}  (n = {int(entry['samples']):,})"
