"""Proposals: a function of what is known, and better than chance on a planted surface."""

import math

import pytest

from pipeline.search.halving import COMPLETE, OPEN, Trial
from pipeline.search.sampling import propose
from pipeline.search.space import read_space
from pipeline.search.study import Sampler

DIMENSIONS = read_space({
    "lr": {"low": 1e-5, "high": 1.0, "log": True}, "width": {"low": 4, "high": 64}, "mix": ["none", "cutmix", "mixup"],
    "decay": {"low": 0.0, "high": 1.0},
})  # fmt: skip


def surface(params):
    """Highest, 1, at lr 1e-2, width 40, cutmix, decay 0.3."""
    away = (math.log10(params["lr"] / 1e-2) / 2.5) ** 2 + ((params["width"] - 40) / 30) ** 2 + ((params["decay"] - 0.3) / 0.5) ** 2
    return 1 - 0.3 * away - (0.2 if params["mix"] != "cutmix" else 0)


def search(sampler, count):
    trials = []
    for number in range(count):
        params = propose(sampler, DIMENSIONS, trials, last=0, maximise=True)
        trials.append(Trial(number, params, values={0: surface(params)}, state=COMPLETE))
    return trials


def test_tpe_beats_random_on_a_planted_surface():
    best = {
        name: [max(trial.values[0] for trial in search(Sampler(name, seed, 8), 30)) for seed in range(4)] for name in ("tpe", "random")
    }
    assert sum(a > b for a, b in zip(best["tpe"], best["random"], strict=True)) >= 3
    assert sum(best["tpe"]) / 4 > sum(best["random"]) / 4 + 0.01


def test_a_proposal_follows_from_what_is_known_alone():
    known = search(Sampler("tpe", 3, 5), 12)
    for name in ("tpe", "random"):
        for number in (3, 9, 12):
            first, again = (propose(Sampler(name, 3, 5), DIMENSIONS, known[:number], last=0, maximise=True) for _ in range(2))
            assert first == again
    other = propose(Sampler("tpe", 4, 5), DIMENSIONS, known, last=0, maximise=True)
    assert other != propose(Sampler("tpe", 3, 5), DIMENSIONS, known, last=0, maximise=True)


def test_startup_points_differ_from_each_other():
    points = [tuple(trial.params.values()) for trial in search(Sampler("tpe", 0, 10), 10)]
    assert len(set(points)) == 10, "a sampler made anew with the seed of the study would ask for one point ten times"


def test_trials_that_wait_are_learned_from_and_those_that_run_are_kept_away_from():
    known = search(Sampler("random", 0, 10), 30)
    waiting = [Trial(t.number, t.params, values={0: t.values[0]}, state=OPEN) for t in known]
    asked = [propose(Sampler("tpe", seed, 10), DIMENSIONS, waiting, last=2, maximise=True) for seed in range(12)]
    blind = [propose(Sampler("random", seed, 10), DIMENSIONS, waiting, last=2, maximise=True) for seed in range(12)]
    assert sum(map(surface, asked)) / 12 > sum(map(surface, blind)) / 12 + 0.2
    running = [*known, Trial(30, propose(Sampler("tpe", 1, 10), DIMENSIONS, known, last=0, maximise=True), running=True)]
    assert propose(Sampler("tpe", 1, 10), DIMENSIONS, running, last=0, maximise=True) != running[-1].params


def test_a_grid_is_taken_in_its_order():
    dimensions = read_space({"a": [1, 2], "b": ["x", "y"]})
    trials = []
    for number in range(4):
        trials.append(Trial(number, propose(Sampler("grid"), dimensions, trials, last=0, maximise=True)))
    assert [tuple(trial.params.values()) for trial in trials] == [("1", "x"), ("1", "y"), ("2", "x"), ("2", "y")]


@pytest.mark.parametrize("maximise", [True, False])
def test_the_direction_counts(maximise):
    sign = 1 if maximise else -1
    trials = [Trial(t.number, t.params, values={0: sign * t.values[0]}, state=COMPLETE) for t in search(Sampler("random", 0, 10), 30)]
    asked = [propose(Sampler("tpe", seed, 10), DIMENSIONS, trials, last=0, maximise=maximise) for seed in range(8)]
    assert sum(map(surface, asked)) / 8 > 0.6
