"""Successive halving against its textbook form: who goes on, and what it costs."""

import random

import pytest

from pipeline.core.errors import PersonError
from pipeline.search.halving import COMPLETE, FAILED, OPEN, Rule, Trial, following, rule_of, steps_of

R = 27


def surface(number, rung, seed=0):
    """A final value, seen the less clearly the earlier one looks."""
    final = random.Random(f"{seed} {number}").random()
    return final + random.Random(f"{seed} {number} {rung}").gauss(0, 0.02 * (3 - rung))


def conduct(rule, count, *, seed=0, workers=1, fails=(), order=None):
    """Run the rule with some workers that come back in a random order; return trials and steps spent."""
    trials, steps, busy = [], 0, []
    draw = random.Random(order)
    costs = steps_of(R, 1, rule)
    while True:
        while len(busy) < workers and (job := following(trials, rule, count)) is not None:
            trial = job.trial
            if trial is None:
                trial = Trial(len(trials), {}, job.rung)
                trials.append(trial)
            trial.running = True
            busy.append((trial, job.rung))
        if not busy:
            return trials, steps
        trial, rung = busy.pop(draw.randrange(len(busy)))
        trial.running = False
        if trial.number in fails:
            trial.state = FAILED
            continue
        steps += costs[rung] - (costs[trial.rung] if trial.rung >= 0 else 0)
        trial.values[rung] = surface(trial.number, rung, seed)
        if rung == rule.rungs - 1:
            trial.state = COMPLETE


@pytest.mark.parametrize("workers", [1, 4])
def test_synchronous_halving_is_the_textbooks(workers):
    rule = rule_of("halving", eta=3, rungs=4, maximise=True)
    trials, steps = conduct(rule, 27, workers=workers, order=5)
    alive = list(range(27))
    for rung in range(4):
        assert sorted(trial.number for trial in trials if rung in trial.values) == sorted(alive)
        alive = sorted(alive, key=lambda number: -surface(number, rung))[: len(alive) // 3]
    assert steps == 27 * 1 + 9 * 2 + 3 * 6 + 1 * 18 == R * 27 / 9
    assert sum(trial.state == COMPLETE for trial in trials) == 1


def test_asynchronous_halving_costs_little_more_and_never_waits():
    rule = rule_of("asha", eta=3, rungs=4, maximise=True)
    spent = []
    for seed in range(20):
        trials, steps = conduct(rule, 27, seed=seed)
        spent.append(steps)
        assert any(trial.state == COMPLETE for trial in trials)
        for rung in range(3):
            order = rule.order(trials, rung)
            due = [trial for trial in order[: len(order) // 3] if trial.rung == rung]
            assert not due, "whoever is among the first third has gone on"
    assert sum(spent) / 20 <= R * 27 / 5
    assert max(spent) <= R * 27 / 4
    first = []
    assert following(first, rule, 27).trial is None
    first.append(Trial(0, {}, running=True))
    assert following(first, rule, 27).trial is None, "a second worker is not made to wait for the first"


def test_without_a_pruner_every_trial_runs_to_its_end():
    trials, steps = conduct(rule_of("none", eta=3, rungs=4, maximise=True), 5)
    assert steps == 5 * R
    assert all(trial.state == COMPLETE for trial in trials)


def test_hyperband_has_the_sizes_of_its_paper():
    rule = rule_of("hyperband", eta=3, rungs=4, maximise=True)
    sizes = [27, 12, 6, 4]  # ceil(4 / (s + 1) * 3^s) for s = 3, 2, 1, 0: Li et al. 2018, algorithm 1 with R = 27
    count = sum(sizes)
    assert [sum(rule.bracket(number) == bracket for number in range(count)) for bracket in range(4)] == sizes
    trials, _ = conduct(rule, count)
    for bracket in range(4):
        members = [trial for trial in trials if trial.bracket == bracket]
        assert min(min(trial.values) for trial in members) == bracket
        assert sum(trial.state == COMPLETE for trial in members) >= 1
    assert len({rule.bracket(number) for number in range(12)}) == 4, "a short study has all brackets too"


@pytest.mark.parametrize("name", ["asha", "halving", "hyperband"])
def test_failed_trials_hold_nobody_up(name):
    rule = rule_of(name, eta=3, rungs=3, maximise=True)
    trials, _ = conduct(rule, 12, fails={0, 3, 7}, workers=3, order=1)
    assert len(trials) == 12
    assert any(trial.state == COMPLETE for trial in trials)
    assert all(trial.state == FAILED for trial in trials if trial.number in {0, 3, 7})
    everybody, _ = conduct(rule, 4, fails=set(range(4)))
    assert all(trial.state == FAILED for trial in everybody)


def test_smaller_may_be_better():
    up, down = (rule_of("halving", eta=3, rungs=3, maximise=maximise) for maximise in (True, False))
    winner = {rule.maximise: next(t.number for t in conduct(rule, 9)[0] if t.state == COMPLETE) for rule in (up, down)}
    assert winner[True] != winner[False]


@pytest.mark.parametrize("name", ["asha", "halving", "hyperband", "none"])
def test_a_killed_study_takes_the_same_decisions(name):
    """Forget what runs at every point: what follows is the same job again."""
    rule = rule_of(name, eta=3, rungs=3, maximise=True)
    whole, _ = conduct(rule, 10)
    trials = []
    while (job := following(trials, rule, 10)) is not None:
        again = following([Trial(t.number, {}, t.bracket, dict(t.values), t.state) for t in trials], rule, 10)
        assert again.rung == job.rung
        assert (again.trial is None) == (job.trial is None)
        if job.trial is None:
            trials.append(Trial(len(trials), {}, job.rung))
            assert following(trials, rule, 10).trial is trials[-1], "asked and killed before it ran: it runs now"
        trial = job.trial or trials[-1]
        trial.values[job.rung] = surface(trial.number, job.rung)
        trial.state = COMPLETE if job.rung == rule.rungs - 1 else OPEN
    assert [(t.values, t.state) for t in trials] == [(t.values, t.state) for t in whole]


def test_looks_fall_on_validations():
    rule = Rule(4, 3, synchronous=True, brackets=1, maximise=True)
    assert steps_of(27, 1, rule) == [1, 3, 9, 27]
    assert steps_of(200, 5, rule) == [10, 25, 70, 200]
    with pytest.raises(PersonError, match=r"train\.validate_every=7 or less"):
        steps_of(200, 50, rule)
    assert steps_of(200, 7, rule)[0] == 14
