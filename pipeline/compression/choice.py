"""Which measured candidates keep the limits, which of these is the smallest, and which no other beats in every respect."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.compression.candidates import Candidate
from pipeline.compression.measuring import Measured

ALIKE = 1.05  # times (beside the original) and memory that differ by less are the same


@dataclass(frozen=True)
class Result:
    """What came of one candidate.

    Attributes:
        candidate: the setting; None for the trained network itself, in 32 bits.
        why: one line where it could not be made.
        measured: what its file takes.
        metric: value, low and high of the headline metric on validation.
        change: the same of the paired change from the original.
    """

    candidate: Candidate | None
    why: str = ""
    measured: Measured | None = None
    metric: Mapping[str, float] = field(default_factory=dict)
    change: Mapping[str, float] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """For people."""
        return "original" if self.candidate is None else self.candidate.name


def missed(result: Result, limits: Mapping[str, Any], *, higher: bool) -> list[str]:
    """Limits that it does not keep, each in a few words; a candidate without a metric keeps none."""
    if result.measured is None:
        return [result.why]
    if not result.change:
        return ["the metric is undefined on the validation split"]
    at = result.measured.at[int(limits["batch"])]
    kind = "value" if limits["hold"] == "value" else ("low" if higher else "high")
    lost = -result.change[kind] if higher else result.change[kind]
    found = []
    if lost > float(limits["max_drop"]) + 1e-12:
        found.append(f"loses {lost:.4f}")
    taken = {
        "max_ms": (at.ms_high, "ms"), "max_memory_mb": (at.memory / 1e6, "MB of memory"),
        "max_size_mb": (result.measured.size / 1e6, "MB"),
    }  # fmt: skip
    found += [
        f"{value:.3g} {unit}" for key, (value, unit) in taken.items() if limits[key] is not None and value > float(limits[key])
    ]
    return found


def smallest(results: Sequence[Result], limits: Mapping[str, Any], *, higher: bool) -> Result | None:
    """The smallest file that keeps every limit; None where none does."""
    kept = [result for result in results if result.measured is not None and not missed(result, limits, higher=higher)]
    return min(kept, key=lambda result: (result.measured.size if result.measured else 0, result.name), default=None)


def front(results: Sequence[Result], *, higher: bool) -> set[str]:
    """Names of those that no other beats: no worse in metric, size, and time and memory at both batch sizes, better in one."""
    known = {result.name: _costs(result, higher=higher) for result in results if result.measured is not None and result.metric}
    return {name for name, own in known.items() if not any(_beats(other, own) for other in known.values())}


def _costs(result: Result, *, higher: bool) -> list[tuple[float, float]]:
    """(cost, factor within which another is the same), the less the better."""
    assert result.measured is not None
    value = result.metric["value"]
    exact = [(-value if higher else value, 1.0), (float(result.measured.size), 1.0)]
    return exact + [(cost, ALIKE) for at in result.measured.at.values() for cost in (1 / at.faster[1], float(at.memory))]


def _beats(one: Sequence[tuple[float, float]], other: Sequence[tuple[float, float]]) -> bool:
    pairs = [(mine, theirs, factor) for (mine, factor), (theirs, _) in zip(one, other, strict=True)]
    no_worse = all(mine <= (theirs if factor == 1.0 else theirs * factor) for mine, theirs, factor in pairs)
    better = any(mine < (theirs if factor == 1.0 else theirs / factor) for mine, theirs, factor in pairs)
    return no_worse and better
