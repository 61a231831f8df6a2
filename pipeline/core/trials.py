"""Metrics under a series of disturbances: tables, curves and what a reader should be warned of."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.core import pictures
from pipeline.core.section import Cell

DPI = 110
COLLAPSE = 0.5  # share of the skill above chance whose loss is called a collapse


@dataclass(frozen=True)
class Trial:
    """Metrics under one disturbance.

    Attributes:
        name: of the corruption or attack; "clean" for none.
        level: severity 1 to 5, or the radius in pixels in [0, 1]; 0 for none.
        metrics: name -> value, NaN where undefined.
        loss: mean loss of the samples (attacks alone), else NaN.
    """

    name: str
    level: float
    metrics: dict[str, float]
    loss: float = math.nan


def names(trials: Sequence[Trial]) -> list[str]:
    """Disturbances in order, without the clean trial that stands first."""
    return list(dict.fromkeys(trial.name for trial in trials[1:]))


def flat_metrics(headline: str, corrupted: Sequence[Trial], attacks: Sequence[Trial]) -> dict[str, float]:
    """Name -> number: the clean metrics, the headline over all corruptions, under each, and under each attack at each radius."""
    values = {f"clean_{name}": value for name, value in corrupted[0].metrics.items()}
    if len(corrupted) > 1:
        values[f"corrupted_{headline}"] = mean(corrupted[1:], headline)
    for name in names(corrupted):
        values[f"{name}_{headline}"] = mean([trial for trial in corrupted if trial.name == name], headline)
    for trial in attacks[1:]:
        values[f"{trial.name}_{255 * trial.level:.3g}_{headline}"] = trial.metrics[headline]
    return {name: value for name, value in values.items() if math.isfinite(value)}


def mean(trials: Sequence[Trial], headline: str) -> float:
    """Mean of one metric; NaN where a trial lacks it."""
    return float(np.mean([trial.metrics[headline] for trial in trials]))


def collapsed(trials: Sequence[Trial], headline: str, chance: dict[str, float]) -> list[str]:
    """Disturbances that take more than half of what the model is better than chance, at some level."""
    skill = trials[0].metrics[headline] - chance[headline]
    if not math.isfinite(skill) or skill == 0:
        return []
    lost = [trial for trial in trials[1:] if (trial.metrics[headline] - chance[headline]) / skill < 1 - COLLAPSE]
    return list(dict.fromkeys(trial.name.replace("_", " ") for trial in lost))


def cells(trial: Trial, metrics: Sequence[str]) -> list[Cell]:
    """Values for a table; None where undefined."""
    return [finite(trial.metrics[name]) for name in metrics]


def finite(value: float) -> float | None:
    """The value, or None where it is not finite."""
    return value if math.isfinite(value) else None


def draw(trials: Sequence[Trial], headline: str, path: Path, *, label: str, axis: str, scale: float = 1.0) -> None:
    """One curve a disturbance from the clean value on; a placard where there is none.

    Args:
        trials: the clean one first.
        headline: metric on the vertical axis.
        path: the PNG to write.
        label: of the vertical axis.
        axis: label of the horizontal axis.
        scale: factor of the levels.
    """
    if len(trials) == 1:
        pictures.placard("nothing was tried", path)
        return
    fig = pictures.figure(6.2, 3.4)
    axes = fig.subplots()
    for number, name in enumerate(names(trials)):
        points = [trials[0], *sorted((trial for trial in trials if trial.name == name), key=lambda trial: trial.level)]
        axes.plot(
            [scale * trial.level for trial in points], [trial.metrics[headline] for trial in points], marker="o", markersize=3.5,
            label=name.replace("_", " "), color=pictures.PALETTE[number % len(pictures.PALETTE)],
        )  # fmt: skip
    axes.set_xlabel(axis)
    axes.set_ylabel(label)
    pictures.grid(axes)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    pictures.save(fig, path, DPI)
