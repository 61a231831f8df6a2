"""Paired tests: equal models are seldom called different, different ones often, and six pairs are the least."""

import math

import numpy as np
import pytest
from scipy.stats import permutation_test

from pipeline.evaluation import paired
from pipeline.evaluation.paired import by_seed, sign_flip, verdict
from tests import simulations


def test_the_p_of_seeds_equals_scipys_exact_permutation_test():
    rng = np.random.default_rng(0)
    a, b = rng.normal(0.8, 0.02, 8), rng.normal(0.81, 0.02, 8)
    theirs = permutation_test((b - a, np.zeros(8)), lambda x, y, axis: (x - y).mean(axis=axis), permutation_type="samples", n_resamples=9999,
                              vectorized=True)  # fmt: skip
    assert by_seed(a, b, metric="accuracy", coverage=0.95).p == pytest.approx(theirs.pvalue)


def test_the_smallest_p_is_that_of_two_exchanges():
    for pairs in (3, 5, 6, 8):
        gain = np.linspace(0.01, 0.02, pairs)
        assert by_seed(np.zeros(pairs), gain, metric="m", coverage=0.95).p == pytest.approx(2 / 2**pairs)


def test_five_pairs_never_have_a_winner_and_six_may():
    five = by_seed([0.80] * 5, [0.95, 0.951, 0.952, 0.949, 0.95], metric="accuracy", coverage=0.95)
    assert five.winner(higher_is_better=True, coverage=0.95) == ""
    said = verdict(five, names=("A", "B"), label="accuracy", higher_is_better=True, coverage=0.95, what="seeds")
    assert "No winner is named" in said
    assert "fewer than 6 pairs" in said
    six = by_seed([0.80] * 6, [0.95, 0.951, 0.952, 0.949, 0.95, 0.951], metric="accuracy", coverage=0.95)
    assert six.winner(higher_is_better=True, coverage=0.95) == "B"
    assert six.winner(higher_is_better=False, coverage=0.95) == "A"
    assert verdict(six, names=("plain", "mixup"), label="accuracy", higher_is_better=True, coverage=0.95, what="seeds").startswith(
        "mixup is better than plain: +0.1505 [")  # fmt: skip


def test_inside_the_noise_it_says_no_difference():
    rng = np.random.default_rng(1)
    found = by_seed(rng.normal(0.8, 0.02, 10), rng.normal(0.8, 0.02, 10), metric="accuracy", coverage=0.95)
    assert verdict(found, names=("A", "B"), label="accuracy", higher_is_better=True, coverage=0.95, what="seeds").startswith("No difference")


def test_what_the_test_split_leaves_to_chance_is_added_in_quadrature():
    a, b = [0.8] * 6, [0.81, 0.812, 0.811, 0.809, 0.81, 0.811]
    alone = by_seed(a, b, metric="m", coverage=0.95)
    both = by_seed(a, b, metric="m", coverage=0.95, of_samples=(alone.change - 0.03, alone.change + 0.04))
    assert alone.winner(higher_is_better=True, coverage=0.95) == "B"
    assert both.winner(higher_is_better=True, coverage=0.95) == ""
    assert both.change - both.low == pytest.approx(math.hypot(0.03, alone.change - alone.low))
    assert both.high - both.change == pytest.approx(math.hypot(0.04, alone.high - alone.change))
    wider = by_seed(a, b, metric="m", coverage=0.95, overlap=0.25)
    assert (wider.high - wider.low) / (alone.high - alone.low) == pytest.approx(math.sqrt((1 / 6 + 0.25) * 6))


def test_equal_configurations_are_called_different_in_five_of_a_hundred_trials_at_most():
    assert simulations.winners_by_seed(200) <= 0.05
    assert simulations.winners_by_seed(50, gain=0.03) >= 0.9


def test_equal_models_are_called_different_in_five_of_a_hundred_trials_at_most():
    assert simulations.winners_by_sample(200, count=40, resamples=60) <= 0.05
    assert simulations.winners_by_sample(20, gain=1.5) >= 0.9


def test_planted_fault_ignoring_groups_of_copies_calls_equal_models_different(monkeypatch):
    """Every sample ten times: their group is their unit, or the tests believe in ten times as many samples."""
    def share(**changes):
        won = 0
        for number in range(25):
            rng = np.random.default_rng(number)
            a, b = (np.repeat((rng.random(20) < 0.7).astype(float), 10)[:, None] for _ in range(2))
            groups = [f"g{n // 10}" for n in range(200)]
            samples = paired.Samples(np.zeros(200), np.ones(200), changes.get("groups", groups))
            measure = {"resamples": 60, "coverage": 0.95, "seed": number}
            found = paired.by_sample(simulations.accuracy_of, a, b, samples, tested="accuracy", measure=measure)
            won += bool(found[0].winner(higher_is_better=True, coverage=0.95))
        return won / 25

    assert share() <= 0.12
    assert share(groups=[""] * 200) > 0.3


def test_a_model_against_itself_has_no_difference_at_all():
    a = (np.random.default_rng(0).random((40, 1)) < 0.8).astype(float)
    samples = paired.Samples(np.zeros(40), np.ones(40), [""] * 40)
    found = paired.by_sample(simulations.accuracy_of, a, a, samples, tested="accuracy",
                             measure={"resamples": 50, "coverage": 0.95, "seed": 0})[0]  # fmt: skip
    assert (found.change, found.low, found.high, found.p) == (0, 0, 0, 1)
    assert found.winner(higher_is_better=True, coverage=0.95) == ""


def test_few_exchanges_are_tried_all_and_many_are_drawn_and_count_the_observed_one():
    tried = set()

    def watch(flip_FU):
        tried.update(map(tuple, flip_FU.tolist()))
        return np.ones(len(flip_FU))

    assert sign_flip(watch, 5, draws=1000, seed=0) == 1.0
    assert len(tried) == 32
    assert sign_flip(lambda flip_FU: (~flip_FU).sum(axis=1).astype(float), 40, draws=99, seed=0) == pytest.approx(0.01)


def test_values_that_are_not_paired_are_refused():
    with pytest.raises(ValueError, match="1 and 2"):
        by_seed([1.0], [1.0, 2.0], metric="m", coverage=0.95)
    one = by_seed([1.0], [2.0], metric="m", coverage=0.95)
    assert math.isnan(one.low)
    assert one.facts()["low"] is None
