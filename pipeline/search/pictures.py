"""Charts of a study, with the house style: history, importance, parallel coordinates, and one panel for each key."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from optuna.distributions import CategoricalDistribution

from pipeline.core.pictures import BLUE, GREEN, GREY, ORANGE, RED, figure, grid, save, shorten
from pipeline.search.compare import Candidate
from pipeline.search.halving import COMPLETE, FAILED, Rule, Trial
from pipeline.search.space import Dimension

DPI = 110
PANELS = 12  # keys that get a panel of their own


def history(trials: Sequence[Trial], rule: Rule, metric: str, path: Path) -> Path:
    """Every trial where it stands, and the best so far of those that reached their end."""
    fig = figure(8.4, 3.4)
    axes = fig.subplots()
    last = rule.rungs - 1
    ended = [trial for trial in trials if trial.state == COMPLETE]
    on_the_way = [trial for trial in trials if trial.values and trial.state != COMPLETE]
    axes.scatter([t.number for t in on_the_way], [t.values[t.rung] for t in on_the_way], s=18, color=GREY, alpha=0.6,
                 label="stopped on the way", linewidths=0)  # fmt: skip
    axes.scatter([t.number for t in ended], [t.values[last] for t in ended], s=26, color=BLUE, label="to the end", linewidths=0)
    best, line = math.nan, []
    for trial in sorted(ended, key=lambda t: t.number):
        value = trial.values[last]
        best = value if math.isnan(best) else (max if rule.maximise else min)(best, value)
        line.append((trial.number, best))
    if line:
        axes.step([place for place, _ in line], [value for _, value in line], where="post", color=ORANGE, label="best so far")
    failed = [trial.number for trial in trials if trial.state == FAILED]
    low, high = axes.get_ylim()
    if failed:
        axes.scatter(failed, [low] * len(failed), marker="x", color=RED, s=24, label="failed")
        axes.set_ylim(low - 0.03 * (high - low), high)
    axes.set(xlabel="trial", ylabel=metric)
    grid(axes)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return save(fig, path, DPI)


def importances(found: Mapping[str, float], path: Path) -> Path:
    """Bars, the most important key on top."""
    ranked = sorted(found.items(), key=lambda entry: entry[1])
    fig = figure(6.4, 0.9 + 0.32 * len(ranked))
    axes = fig.subplots()
    axes.barh(range(len(ranked)), [share for _, share in ranked], color=BLUE, height=0.6)
    axes.set_yticks(range(len(ranked)), [shorten(key, 34) for key, _ in ranked])
    axes.set_xlim(0, 1)
    axes.set_xlabel("share of what the keys explain")
    grid(axes, "x")
    return save(fig, path, DPI)


def coordinates(trials: Sequence[Trial], dimensions: Sequence[Dimension], path: Path, *, rule: Rule, metric: str) -> Path:
    """One line a trial through its values; the darker, the better; those that reached their end are drawn thicker."""
    from matplotlib import colormaps

    shown = [trial for trial in trials if trial.values]
    ranked = sorted(shown, key=lambda t: (t.rung, (1 if rule.maximise else -1) * t.values[t.rung]))
    fig = figure(max(5.0, 1.5 * (len(dimensions) + 1)), 3.6)
    axes = fig.subplots()
    values = [trial.values[trial.rung] for trial in shown] or [0.0]
    low, high = min(values), max(values)
    colours = colormaps["Blues"]
    for place, trial in enumerate(ranked):
        points = [(x, dimension.place(trial.params[dimension.key])) for x, dimension in enumerate(dimensions)
                  if dimension.key in trial.params]  # fmt: skip
        points.append((len(dimensions), (trial.values[trial.rung] - low) / ((high - low) or 1)))
        axes.plot(*zip(*points, strict=True), color=colours(0.25 + 0.7 * place / max(1, len(ranked) - 1)),
                  linewidth=1.9 if trial.state == COMPLETE else 0.9)  # fmt: skip
    names = [shorten(dimension.key, 18) for dimension in dimensions]
    axes.set_xticks(range(len(names) + 1), [*names, metric], rotation=20 if len(names) > 3 else 0)
    for x, dimension in enumerate(dimensions):
        _ends(axes, x, dimension)
    axes.text(len(names) + 0.04, 0.0, f"{low:.3g}", fontsize=7, color=GREY)
    axes.text(len(names) + 0.04, 1.0, f"{high:.3g}", fontsize=7, color=GREY)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    grid(axes, "x")
    return save(fig, path, DPI)


def slices(trials: Sequence[Trial], dimensions: Sequence[Dimension], metric: str, path: Path) -> Path:
    """The objective against each key; grey where a trial was stopped on the way."""
    shown = [trial for trial in trials if trial.values]
    kept = list(dimensions)[:PANELS]
    columns = min(4, len(kept))
    rows = math.ceil(len(kept) / columns)
    fig = figure(2.7 * columns + 0.4, 2.4 * rows)
    panels = fig.subplots(rows, columns, squeeze=False, sharey=True).flat
    for axes, dimension in zip(panels, [*kept, *[None] * (rows * columns - len(kept))], strict=True):
        if dimension is None:
            axes.set_axis_off()
            continue
        here = [trial for trial in shown if dimension.key in trial.params]
        ended = [trial.state == COMPLETE for trial in here]
        of = dimension.distribution
        if isinstance(of, CategoricalDistribution):
            x: list[Any] = [of.choices.index(trial.params[dimension.key]) for trial in here]
            axes.set_xticks(range(len(of.choices)), [shorten(str(choice), 12) for choice in of.choices], rotation=25)
            axes.set_xlim(-0.5, len(of.choices) - 0.5)
        else:
            x = [trial.params[dimension.key] for trial in here]
            axes.set_xscale("log" if getattr(of, "log", False) else "linear")
        colours = [BLUE if end else GREY for end in ended]
        axes.scatter(x, [trial.values[trial.rung] for trial in here], s=18, c=colours, alpha=0.75, linewidths=0)
        axes.set_xlabel(shorten(dimension.key, 24))
        grid(axes)
    fig.supylabel(metric, fontsize=9)
    return save(fig, path, DPI)


def gains(found: Sequence[Candidate], path: Path) -> Path:
    """Gain of each candidate over the default with its interval, and the pairs."""
    fig = figure(7.0, 0.9 + 0.45 * len(found))
    axes = fig.subplots()
    axes.axvline(0, color=GREY, linestyle=":", linewidth=1)
    for place, candidate in enumerate(reversed(found)):
        gain, colour = candidate.gain, GREEN if candidate.shown else GREY
        axes.scatter(gain.values, [place] * len(gain.values), s=14, color=colour, alpha=0.4, linewidths=0)
        axes.plot([gain.low, gain.high], [place, place], color=colour, linewidth=2.5)
        axes.plot([gain.mean], [place], marker="o", color=colour)
    axes.set_yticks(range(len(found)), [shorten(candidate.name, 30) for candidate in reversed(found)])
    axes.set_ylim(-0.6, len(found) - 0.4)
    axes.set_xlabel("gain over the default, same seeds")
    grid(axes, "x")
    return save(fig, path, DPI)


def _ends(axes: Any, x: int, dimension: Dimension) -> None:
    of = dimension.distribution
    if isinstance(of, CategoricalDistribution):
        marks = [(place / max(1, len(of.choices) - 1), shorten(str(choice), 12)) for place, choice in enumerate(of.choices)]
    else:
        marks = [(0.0, f"{of.low:.3g}"), (1.0, f"{of.high:.3g}")]  # type: ignore[attr-defined]
    for height, said in marks:
        axes.text(x + 0.03, height, said, fontsize=7, color=GREY)
