"""Gates: limits that data must keep, or a person says in writing why they need not."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.core.errors import PersonError, near_match

SHOWN = 5  # of the worst
WORDS = 3  # of a reason, at least
LETTERS = 15


@dataclass(frozen=True)
class Gate:
    """One measured value and its limit.

    Attributes:
        gate: its name in conf, under `quality.gates`.
        value: what was measured.
        limit: what is still allowed.
        least: whether the value must not be below the limit, instead of not above it.
        waiver: the reason that a person gave, or "".
        means: what the value is, for people.
        mend: what to do about it.
        worst: names of what weighs most, the worst first.
    """

    gate: str
    value: float
    limit: float
    least: bool
    waiver: str
    means: str
    mend: str
    worst: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether the limit is kept."""
        return self.value >= self.limit if self.least else self.value <= self.limit


def check_waivers(
    waivers: Mapping[str, str], gates: Sequence[str], *, key: str = "quality.waivers", what: str = "the data may be used"
) -> None:
    """Hold waivers to naming a gate and a reason.

    Args:
        waivers: gate -> reason, "" for none.
        gates: names of all gates.
        key: where the waivers stand in conf.
        what: is to be justified.

    Raises:
        PersonError: an unknown gate, or a reason of less than three words.
    """
    for name, reason in waivers.items():
        if name not in gates:
            raise PersonError(f"{key} names the gate {name!r}, which does not exist: {near_match(name, gates)}")
        if reason and (len(reason.split()) < WORDS or len(reason.strip()) < LETTERS):
            raise PersonError(
                f"{key}.{name} must say why {what} all the same, in at least {WORDS} words and {LETTERS} "
                f"letters (it stands on the first page of the report): received {reason!r}"
            )


def stopping(gates: Sequence[Gate]) -> str:
    """What stops the run: the first gate that fails and is not waived, in one line; "" where there is none.

    It says the gate, its value, its limit, the worst offenders, the two remedies, and which others failed.
    """
    failed = [gate for gate in gates if not gate.passed and not gate.waiver]
    if not failed:
        return ""
    first, more = failed[0], len(failed[0].worst) - SHOWN
    others = f" (also failed: {', '.join(gate.gate for gate in failed[1:])})" if len(failed) > 1 else ""
    worst = f"; the worst: {'; '.join(first.worst[:SHOWN])}{f'; and {more} more' if more > 0 else ''}" if first.worst else ""
    return (
        f"quality gate {first.gate}: {first.means} is {first.value:.4g}, the limit is {'at least' if first.least else 'at most'} "
        f"{first.limit:.4g}{others}{worst}; {first.mend}, or say why it may stay in  quality.waivers.{first.gate}"
    )
