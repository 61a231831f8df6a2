"""Which trial is worth its next piece of training: successive halving, synchronous or not, and Hyperband's brackets.

A trial is one run with its whole schedule; a rung is a validation on its way, at the share eta^-k of its steps, and the last
rung is its end. A trial that waits on a rung keeps its checkpoint, so that going on costs only the steps that are missing.

Sources: K. Jamieson and A. Talwalkar, Non-stochastic Best Arm Identification (2016), algorithm 1 (`halving`); L. Li et al., A
System for Massively Parallel Hyperparameter Tuning (2020), algorithm 2 (`asha`); L. Li et al., Hyperband (JMLR 18, 2018),
algorithm 1. What differs: the learning rate falls over the whole run, whatever rung a trial reaches; with a finite number of
trials `asha` brings at least one trial of each bracket to its end; and Hyperband's brackets are filled in proportion to their
sizes for any number of trials.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from pipeline.core.errors import PersonError
from pipeline.search.space import Params

OPEN, COMPLETE, STOPPED, FAILED = "open", "complete", "stopped", "failed"


@dataclass
class Trial:
    """One point of the space and what is known of it.

    Attributes:
        number: from 0, in the order of asking.
        params: the point.
        bracket: the rung that it first runs to.
        values: rung -> objective.
        state: `open` (waits or runs), `complete`, `stopped` on a rung, or `failed`.
        running: whether a worker has it now.
        facts: what else is kept of it: overrides, steps, reason, digest.
    """

    number: int
    params: Params
    bracket: int = 0
    values: dict[int, float] = field(default_factory=dict)
    state: str = OPEN
    running: bool = False
    facts: dict[str, object] = field(default_factory=dict)

    @property
    def rung(self) -> int:
        """The last rung that it reached, -1 for none."""
        return max(self.values, default=-1)


@dataclass(frozen=True)
class Rule:
    """How trials are stopped.

    Attributes:
        rungs: looks, the end included.
        eta: one in eta goes on.
        synchronous: decide on a rung once all have reached it.
        brackets: number of starting rungs.
        maximise: whether a larger objective is better.
    """

    rungs: int
    eta: int
    synchronous: bool
    brackets: int
    maximise: bool

    def order(self, trials: Sequence[Trial], rung: int) -> list[Trial]:
        """Those that reached a rung, best first; the earlier one of equals."""
        reached = [trial for trial in trials if rung in trial.values]
        return sorted(reached, key=lambda trial: ((-1 if self.maximise else 1) * trial.values[rung], trial.number))

    def bracket(self, number: int) -> int:
        """The bracket of a trial: filled in proportion to ceil(K / (s + 1) eta^s), s being the looks before the end."""
        weights = [math.ceil(self.rungs / (self.rungs - b) * self.eta ** (self.rungs - 1 - b)) for b in range(self.brackets)]
        filled = [0] * self.brackets
        place = 0
        for before in range(number + 1):
            lacking = [weight * (before + 1) / sum(weights) - has for weight, has in zip(weights, filled, strict=True)]
            place = lacking.index(max(lacking))
            filled[place] += 1
        return place


@dataclass(frozen=True)
class Job:
    """What a worker does next: bring a trial (None: a new one of this bracket) to a rung."""

    trial: Trial | None
    rung: int


def rule_of(name: str, *, eta: int, rungs: int, maximise: bool) -> Rule:
    """The rule that a study names."""
    looks = 1 if name == "none" else rungs
    return Rule(looks, eta, synchronous=name in {"halving", "hyperband"}, brackets=looks if name == "hyperband" else 1,
                maximise=maximise)  # fmt: skip


def following(trials: Sequence[Trial], rule: Rule, count: int) -> Job | None:
    """The next job, or None while there is none: everything is done, or whoever runs now must come back first.

    A pure function of what is known, so that a study which was killed goes on as if it had not been.

    Args:
        trials: all that were asked.
        rule: of stopping.
        count: trials to ask in all.
    """
    for trial in trials:
        if trial.state == OPEN and not trial.running and not trial.values:
            return Job(trial, trial.bracket)
    new = Job(None, rule.bracket(len(trials))) if len(trials) < count else None
    promoted = _synchronous(trials, rule, count) if rule.synchronous else _asynchronous(trials, rule)
    if promoted is not None:
        return promoted
    if new is not None:
        return new
    if any(trial.running for trial in trials):
        return None
    return None if rule.synchronous else _last(trials, rule)


def steps_of(max_steps: int, validate_every: int, rule: Rule) -> list[int]:
    """The step of each rung: the first validation at or after its share of the steps.

    Raises:
        PersonError: there are too few validations for so many looks.
    """
    shares = [rule.eta ** -(rule.rungs - 1 - rung) for rung in range(rule.rungs)]
    steps = [validate_every * max(1, math.ceil(share * max_steps / validate_every - 1e-9)) for share in shares[:-1]] + [max_steps]
    if any(before >= after for before, after in pairwise(steps)):
        finest = max(1, int(shares[0] * max_steps))
        raise PersonError(
            f"{rule.rungs} looks of the pruner need as many validations: train.validate_every {validate_every} in "
            f"train.max_steps {max_steps} gives the steps {steps}; set train.validate_every={finest} or less, or fewer rungs"
        )
    return steps


def _asynchronous(trials: Sequence[Trial], rule: Rule) -> Job | None:
    """The best that waits among the first 1 in eta of its rung; the highest rung first."""
    for rung in range(rule.rungs - 2, -1, -1):
        for bracket in range(rule.brackets):
            order = rule.order([trial for trial in trials if trial.bracket == bracket], rung)
            for trial in order[: len(order) // rule.eta]:
                if _waits(trial, rung):
                    return Job(trial, rung + 1)
    return None


def _synchronous(trials: Sequence[Trial], rule: Rule, count: int) -> Job | None:
    """The next of the first 1 in eta of a rung that everybody who shall be there has reached."""
    asked = [rule.bracket(number) for number in range(count)]
    for bracket in range(rule.brackets):
        members = [trial for trial in trials if trial.bracket == bracket]
        if len(members) < asked.count(bracket) or any(t.state == OPEN and not t.values for t in members):
            continue
        for rung in range(bracket, rule.rungs - 1):
            order = rule.order(members, rung)
            chosen = order[: max(1, len(order) // rule.eta)]
            missing = [trial for trial in chosen if trial.state == OPEN and trial.rung == rung]
            free = [trial for trial in missing if not trial.running]
            if free:
                return Job(free[0], rung + 1)
            if missing:
                break
    return None


def _last(trials: Sequence[Trial], rule: Rule) -> Job | None:
    """Bring the best of a bracket on that has nobody at its end."""
    for bracket in range(rule.brackets):
        members = [trial for trial in trials if trial.bracket == bracket]
        if any(trial.state == COMPLETE for trial in members):
            continue
        for rung in range(rule.rungs - 2, -1, -1):
            waiting = [trial for trial in rule.order(members, rung) if _waits(trial, rung)]
            if waiting:
                return Job(waiting[0], rung + 1)
    return None


def _waits(trial: Trial, rung: int) -> bool:
    return trial.state == OPEN and not trial.running and trial.rung == rung
