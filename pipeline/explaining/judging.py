"""The three checks of an explainer, and what follows from them. Each catches maps that the others let pass.

- faithfulness: taking away what the map calls important must lower the score more than any order without knowledge would;
  a random map fails.
- control: maps of networks with shuffled weights must differ (Adebayo et al. 2018); a map of the image alone, such as its
  edges, fails, though edges are often faithful.
- cue: the brightest point must lie on a planted cue whose place is known; a map that is drawn to the middle fails.

N samples.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core import intervals
from pipeline.core.section import Cell
from pipeline.explaining.cue import Found

TELLS = 0.75  # share that a probe must tell rightly for the cue to count: what a network does not see, no map can show


@dataclass(frozen=True)
class Limits:
    """From which numbers a check fails, and how intervals are made.

    Attributes:
        alike: mean rank correlation with maps of shuffled weights, at most.
        found: share of the planted cues that are found, at least.
        resamples: of the bootstrap.
        coverage: of the intervals.
        seed: of the draws.
    """

    alike: float
    found: float
    resamples: int
    coverage: float
    seed: int


@dataclass(frozen=True)
class Verdict:
    """The checks of one explainer.

    Attributes:
        name: of the explainer.
        numbers: `gain`, `control`, `cue` and `cue_mass`, each with `value`, `low` and `high`; `cue_area` and `probe` alone.
        cues: images with a planted cue.
        failed: names of the checks that failed: faithfulness, control, cue.
        unchecked: of those that could not be made.
    """

    name: str
    numbers: dict[str, dict[str, float]]
    cues: int
    failed: list[str]
    unchecked: list[str]


def judge(
    name: str, gain_N: NDArray[np.float64], control_N: NDArray[np.float64], found: Found, *, groups: Sequence[str], limits: Limits
) -> Verdict:
    """Hold an explainer to the three checks.

    Args:
        name: of it.
        gain_N: area between insertion and deletion of each sample.
        control_N: mean rank correlation with the maps of shuffled weights, of the samples that were compared.
        found: of the planted cue.
        groups: of the N samples, for the interval.
        limits: from which numbers on a check fails.
    """
    numbers = {
        "gain": _mean(gain_N, groups, limits),
        "control": _mean(control_N, groups[: len(control_N)], limits),
        "cue": _mean(found.hits.astype(np.float64), [""] * len(found.hits), limits),
        "cue_mass": _mean(found.mass, [""] * len(found.mass), limits),
        "cue_area": {"value": found.area},
        "probe": {"value": found.told},
    }
    failed = []
    if not numbers["gain"]["low"] > 0:
        failed.append("faithfulness")
    if not abs(numbers["control"]["value"]) <= limits.alike:
        failed.append("control")
    tells = found.told >= TELLS
    if tells and not numbers["cue"]["value"] >= limits.found:
        failed.append("cue")
    return Verdict(name, numbers, len(found.hits), failed, [] if tells else ["cue"])


def summary(verdicts: Sequence[Verdict], samples: int) -> str:
    """One sentence."""
    good = [verdict.name for verdict in verdicts if not verdict.failed]
    bad = [f"{verdict.name} fails {' and '.join(verdict.failed)}" for verdict in verdicts if verdict.failed]
    parts = [f"{' and '.join(good)} {'passes' if len(good) == 1 else 'pass'} every check that could be made"] if good else []
    return f"{samples} samples explained: {'; '.join([*parts, *bad])}"


def warnings(verdicts: Sequence[Verdict], limits: Limits, alone: float) -> list[str]:
    """What a reader must know before looking at a map.

    Args:
        verdicts: of the explainers.
        limits: that they were held to.
        alone: share of images that the probe of the cue tells rightly.
    """
    said = []
    for verdict in verdicts:
        numbers = verdict.numbers
        if "faithfulness" in verdict.failed:
            gain = numbers["gain"]
            interval = f"{gain['value']:.3g} [{gain['low']:.3g}, {gain['high']:.3g}]"
            said.append(f"{verdict.name}: its maps order the regions of an image no better than chance can ({interval}, 0 is "
                        "chance). Do not read them as reasons.")
        if "control" in verdict.failed:
            said.append(f"{verdict.name}: its maps hardly depend on what was learnt: rank correlation "
                        f"{numbers['control']['value']:.2f} with maps of shuffled weights (at most {limits.alike:g} passes). "
                        "Do not read them as reasons.")
        if "cue" in verdict.failed:
            said.append(f"{verdict.name}: its maps find {numbers['cue']['value']:.0%} of the planted cues whose place is known "
                        f"(at least {limits.found:.0%} passes).")
    if any("cue" in verdict.unchecked for verdict in verdicts):
        said.append(f"The planted cue was not checked: a probe of this network tells only {alone:.0%} of the images with it from "
                    f"those without (needed: {TELLS:.0%}).")
    return said


def cells(verdict: Verdict) -> list[Cell]:
    """The numbers of a verdict in words, as a row of the table."""
    def text(name: str) -> str:
        entry = verdict.numbers[name]
        return f"{entry['value']:.2f} [{entry['low']:.2f}, {entry['high']:.2f}]"

    words = f"fails {' and '.join(verdict.failed)}" if verdict.failed else "passes"
    if verdict.unchecked:
        words += f"; {' and '.join(verdict.unchecked)} not checked"
    chance = f" (chance {verdict.numbers['cue_area']['value']:.2f})"
    return [text("gain"), text("control"), text("cue"), text("cue_mass") + chance, words]


def _mean(value_N: NDArray[np.float64], groups: Sequence[str], limits: Limits) -> dict[str, float]:
    """Mean with its interval over groups or samples; with a single sample the interval is the value."""
    def measure(values: NDArray[Any], *_: NDArray[Any]) -> dict[str, float]:
        return {"mean": float(values.mean())}

    found = intervals.bootstrap(
        measure, value_N, np.zeros(len(value_N)), np.ones(len(value_N)), groups,
        resamples=limits.resamples, coverage=limits.coverage, seed=limits.seed,
    )["mean"]  # fmt: skip
    return {key: round(found[key], 6) for key in ("value", "low", "high")}
