"""Gates: what the result must reach, held against the evidence; the numbers are said, and what an interval leaves open too."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.assurance.checks import Check
from pipeline.assurance.evidence import Evidence

MET, MET_OPEN = "met", "met, inside the noise"
FAILED, FAILED_OPEN = "failed", "failed, inside the noise"
WAIVED, NO_LIMIT, NOT_MEASURED, MISSING = "waived", "no limit", "not measured", "failed: not measured"
SIGNIFICANT = 3  # digits of a number in a line for people


@dataclass(frozen=True)
class Gate:
    """One requirement that a number can meet, its limit and its evidence.

    Attributes:
        name: its key in conf, under `gates`.
        limit: from conf; None where none was set.
        least: whether the number must not be below the limit, instead of not above it.
        evidence: what was measured; None where it was not.
        whole: whether the whole interval must keep the limit, instead of the measured value.
        waiver: the reason that a person gave, or "".
        means: what the number is, for people.
        mend: what to do about it.
        lacks: why there is no evidence, for people.
    """

    name: str
    limit: float | None
    least: bool
    evidence: Evidence | None
    whole: bool
    waiver: str
    means: str
    mend: str
    lacks: str = ""

    @property
    def passed(self) -> bool:
        """Whether the limit is kept; a gate without a limit asks for nothing, one without evidence is not passed."""
        if self.limit is None:
            return True
        if self.evidence is None:
            return False
        low, high = self.evidence.interval if self.whole else (self.evidence.value, self.evidence.value)
        return low >= self.limit if self.least else high <= self.limit

    @property
    def open(self) -> bool:
        """Whether the limit lies inside the interval, so that these samples cannot tell on which side the truth is."""
        if self.limit is None or self.evidence is None:
            return False
        low, high = self.evidence.interval
        return low < self.limit < high

    @property
    def verdict(self) -> str:
        """In words."""
        if self.limit is None:
            return NO_LIMIT if self.evidence else NOT_MEASURED
        if self.passed:
            return MET_OPEN if self.open else MET
        if self.waiver:
            return WAIVED
        if self.evidence is None:
            return MISSING
        return FAILED_OPEN if self.open else FAILED

    @property
    def stops(self) -> bool:
        """Whether it stops the run."""
        return not self.passed and not self.waiver

    def asked(self) -> str:
        """The limit in words: `at least 0.75`."""
        return "" if self.limit is None else f"at {'least' if self.least else 'most'} {told(self.limit)}"

    def as_json(self) -> dict[str, Any]:
        """For `gates.json`."""
        found = self.evidence
        return {
            "gate": self.name, "limit": self.limit, "least": self.least, "value": found.value if found else None,
            "low": found.low if found else None, "high": found.high if found else None, "passed": self.passed,
            "verdict": self.verdict, "waiver": self.waiver,
        }  # fmt: skip


def told(value: float) -> str:
    """A number for a line of text."""
    return f"{value:.{SIGNIFICANT}g}"


def measured(found: Evidence) -> str:
    """A number with its interval, and what it was taken of."""
    known = found.low is not None and found.high is not None
    interval = f" [{told(found.interval[0])}, {told(found.interval[1])}]" if known else " (no interval)"
    return told(found.value) + interval + (f" ({found.words})" if found.words else "")


def stopping(gates: Sequence[Gate], checks: Sequence[Check]) -> str:
    """What stops the run, in one line: broken checks before gates; "" where nothing does.

    A check cannot be waived, because without it nothing else on the page means anything.
    """
    broken = [one for one in checks if one.faults]
    if broken:
        law, more = broken[0], len(broken[0].faults) - 1
        others = f" (also broken: {', '.join(one.name for one in broken[1:])})" if len(broken) > 1 else ""
        return f"assurance, {law.name}: {law.faults[0]}{f' (and {more} more)' if more else ''}{others}; {law.mend}"
    failed = [gate for gate in gates if gate.stops]
    if not failed:
        return ""
    others = f" (also failed: {'; '.join(f'{gate.name} {_short(gate)}' for gate in failed[1:])})" if len(failed) > 1 else ""
    first = failed[0]
    waive = f"or say why it may ship all the same in  gates.waivers.{first.name}"
    return f"gate {first.name}: {_line(first)}{others}; {first.mend}, {waive}"


def _line(gate: Gate) -> str:
    if gate.evidence is None:
        return f"{gate.means} was not measured ({gate.lacks}), the limit is {gate.asked()}"
    tail = ""
    if gate.open:
        judged = "gates.hold=interval asks that all of it keep the limit" if gate.whole else "more test samples could decide it"
        tail = f", which lies inside the interval: {judged}"
    return f"{gate.means} is {measured(gate.evidence)}, the limit is {gate.asked()}{tail}"


def _short(gate: Gate) -> str:
    return f"not measured, {gate.asked()}" if gate.evidence is None else f"{measured(gate.evidence)}, {gate.asked()}"
