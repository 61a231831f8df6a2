"""Groups of test samples - by class, by the data's own groups, by confidence of the label, by brightness - and the worst of them.

The worst of many groups looks worse than it is, for chance chose it too; so its interval is widened for their number
(Bonferroni).

Letters: N samples.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation import shares

Floats = NDArray[np.floating]
KINDS = {
    "class": "truth",
    "group": "group of the data",
    "confidence": "confidence of the label",
    "brightness": "brightness of the image",
}
QUARTERS = 4
MANY = 6  # distinct values of a number that are still groups of their own


@dataclass(frozen=True)
class Known:
    """What is known of the test samples, N of each.

    Attributes:
        truths: truth in words: a class, or a range of values.
        groups: of the data; "" for none.
        confidence: of the label.
        brightness: mean grey level, 0 to 255.
    """

    truths: Sequence[str]
    groups: Sequence[str]
    confidence: Floats
    brightness: Floats

    def names(self, kind: str) -> list[str]:
        """The group of each sample of one kind; "" for none."""
        if kind == "class":
            return list(self.truths)
        if kind == "group":
            return list(self.groups)
        return quarters(self.confidence if kind == "confidence" else self.brightness)


def quarters(value_N: Floats) -> list[str]:
    """A name for each sample: its value where there are few distinct ones, else the quarter of the sorted samples it lies in."""
    values = np.asarray(value_N, dtype=np.float64)
    if len(np.unique(values)) <= MANY:
        return [f"{value:.3g}" for value in values]
    edges = np.quantile(values, np.linspace(0, 1, QUARTERS + 1))
    place_N = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, QUARTERS - 1)
    return [f"{edges[place]:.3g} to {edges[place + 1]:.3g}" for place in place_N]


def measure(
    score_N: Floats, known: Known, kinds: Sequence[str], *, is_share: bool, smallest: int, coverage: float
) -> dict[str, Any]:
    """The mean score of each group, and the worst group.

    Args:
        score_N: of each sample: whether it is right (a share, more is better), or its absolute error (less is better).
        known: what groups are made of.
        kinds: of `KINDS`, in the order of the tables; a kind with fewer than two groups is left out.
        is_share: which of the two the score is.
        smallest: samples; a smaller group is measured and never named the worst.
        coverage: of the intervals.

    Returns:
        `by`: kind -> name -> `samples`, `value`, `low`, `high`; `worst`: `by`, `name`, `samples`, `value`, `low`, `high` and
        `compared`, the number of groups it is the worst of, with an interval that is widened for it; or null where there is none.
        Intervals rest on the data's groups within a group of samples, and on single samples within one group of the data.
    """
    units = list(known.groups)
    interval = shares.share if is_share else shares.mean
    by: dict[str, dict[str, dict[str, float]]] = {}
    ranked: list[tuple[float, str, str, list[int]]] = []
    for kind in kinds:
        members = _members(known.names(kind))
        if len(members) < 2:
            continue
        by[kind] = {}
        for name, own in members.items():
            found = interval(score_N[own], [units[row] for row in own], coverage=coverage)
            by[kind][name] = {"samples": len(own), **found}
            if len(own) >= smallest:
                ranked.append((found["value"] if is_share else -found["value"], kind, name, own))
    if not ranked:
        return {"by": by, "worst": None}
    _, kind, name, own = min(ranked, key=lambda entry: entry[0])
    wider = interval(score_N[own], [units[row] for row in own], coverage=1 - (1 - coverage) / len(ranked))
    return {"by": by, "worst": {"by": kind, "name": name, "samples": len(own), "compared": len(ranked), **wider}}


def _members(names: Sequence[str]) -> dict[str, list[int]]:
    """Rows of each group, in the order of `_sorted`; samples without one are left out."""
    members: dict[str, list[int]] = {name: [] for name in _sorted(names) if name}
    for row, name in enumerate(names):
        if name:
            members[name].append(row)
    return members


def _sorted(names: Sequence[str]) -> list[str]:
    """Numbers by their value, other names by their letters."""
    def key(name: str) -> float:
        try:
            value = float(name.split(" to ", maxsplit=1)[0])
        except ValueError:
            return math.inf
        return value if math.isfinite(value) else math.inf

    return sorted(sorted(set(names)), key=key)
