"""When a requirement is met, missed or not shown."""

import numpy as np
import pytest

from pipeline.loop import judge
from pipeline.loop.contract import Material, Outcome, Requirement


def asked(value, low, high, limit, at_least=False):
    return Requirement("it", "it", {"value": value, "low": low, "high": high}, limit, at_least)


@pytest.mark.parametrize(
    ("one", "state"),
    [
        (asked(0.05, 0.02, 0.09, 0.1), "met"),
        (asked(0.05, 0.02, 0.19, 0.1), "not shown"),
        (asked(0.15, 0.12, 0.19, 0.1), "missed"),
        (asked(0.15, 0.05, 0.19, 0.1), "missed"),
        (asked(0.15, 0.05, 0.19, None), "not asked"),
        (asked(2.0, 1.8, 2.2, 1.5, at_least=True), "met"),
        (asked(2.0, 1.4, 2.2, 1.5, at_least=True), "not shown"),
        (asked(1.4, 1.3, 1.6, 1.5, at_least=True), "missed"),
        (asked(float("nan"), 0, 1, 0.5), "missed"),
    ],
)
def test_a_limit_is_held_by_the_whole_interval(one, state):
    assert one.state == state
    outcome = Outcome("", "", [one], {}, {}, [], [])
    assert outcome.held == (state in {"met", "not asked"})


def test_a_rate_is_that_of_the_gaps():
    rng = np.random.default_rng(0)
    found = judge.rate(np.cumsum(rng.normal(0.5, 0.02, 200)), 0.95)
    assert found["low"] < 2 < found["high"]
    assert found["high"] - found["low"] < 0.05


def test_late_answers_in_succession_count_less_than_single_ones():
    hit = np.zeros(200, dtype=bool)
    hit[:20] = True
    scattered = hit[np.random.default_rng(0).permutation(200)]
    together, apart = (judge.in_time(one, 0.95) for one in (hit, scattered))
    assert together["value"] == apart["value"] == 0.1
    assert together["high"] > apart["high"]
    assert np.isnan(judge.share(np.zeros(0), [], 0.95)["value"])


def sojourns(events, *, busy, runs, seed=0):
    """Times from arrival to answer in a queue with a fixed answer time of 1 (M/D/1), by Lindley's recursion: (runs, events)."""
    gaps = np.random.default_rng(seed).exponential(1 / busy, (events, runs))
    spent = np.empty((events, runs))
    wait = np.zeros(runs)
    for event in range(events):
        spent[event] = wait + 1
        wait = np.maximum(0, spent[event] - gaps[event])
    return spent.T


def covered(found, true):
    return np.mean([one["low"] <= true <= one["high"] for one in found])


@pytest.mark.parametrize(("busy", "events"), [(0.3, 400), (0.5, 4000), (0.7, 400), (0.9, 1500)])
def test_the_interval_of_a_percentile_holds_where_answers_queue(busy, events):
    true = np.percentile(sojourns(12_000, busy=busy, runs=100, seed=1)[:, 2000:], 99)  # of a million
    found = [judge.percentile(one, 99.0, 0.95) for one in sojourns(events, busy=busy, runs=150)]
    assert covered(found, true) >= 0.9
    if events == 4000:
        assert np.mean([np.isfinite(one["high"]) for one in found]) > 0.8, "enough events have an upper end"
        assert np.median([one["high"] - one["low"] for one in found]) < 0.5 * true


def test_the_interval_of_the_share_of_late_answers_holds_where_they_queue():
    limit = np.percentile(sojourns(12_000, busy=0.7, runs=100, seed=1)[:, 2000:], 90)
    runs = sojourns(1500, busy=0.7, runs=150)
    assert covered([judge.in_time(one > limit, 0.95, one) for one in runs], 0.1) >= 0.88


def test_independent_answers_count_as_such_and_too_few_have_no_upper_end():
    rng = np.random.default_rng(0)
    assert judge.independent(rng.normal(1, 0.1, 2000)) > 1500
    assert judge.independent(np.full(50, 3.0)) == 50
    assert judge.independent(np.repeat(rng.normal(1, 0.1, 100), 20)) < 200
    few, many = (judge.percentile(rng.normal(1, 0.1, count), 99.0, 0.95) for count in (300, 2000))
    assert few["high"] == np.inf
    assert 1.2 < many["low"] < many["value"] < many["high"] < 1.35
    assert judge.percentile(np.array([2.0]), 99.0, 0.95) == {"value": 2.0, "low": 0.0, "high": np.inf}
    assert np.isnan(judge.percentile(np.zeros(0), 99.0, 0.95)["value"])
    assert "too few" in judge.evidence(rng.normal(1, 0.1, 300), 99.0, 0.95)
    assert "too few" not in judge.evidence(rng.normal(1, 0.1, 2000), 99.0, 0.95)


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_times_that_are_no_numbers_are_an_error_and_not_independent(wrong):
    with pytest.raises(ValueError, match="1 of 20 values in succession are not finite"):
        judge.independent(np.where(np.arange(20) == 7, wrong, 1.0))


def drawn(units, seed):
    rng = np.random.default_rng(seed)
    below = rng.lognormal(0, 0.5, units)
    return 0.5 * below * rng.lognormal(0, 0.4, units), below


def material(**changes):
    words = {"ask": None, "classes": [], "truth_N": np.zeros(0), "ids": [], "groups": [], "pixels": None, "dataset": None,
             "coverage": 0.95, "resamples": 200, "seed": 0}  # fmt: skip
    return Material(**{**words, **changes})


def test_a_ratio_over_one_unit_has_no_ends():
    assert judge.ratio(np.array([0.4]), np.array([0.8]), material()) == {"value": 0.5, "low": 0.0, "high": np.inf}
    assert np.isnan(judge.ratio(np.array([0.4]), np.array([0.0]), material())["value"])


@pytest.mark.parametrize("units", [2, 3, 5, 8])
def test_the_interval_of_a_ratio_holds_with_few_units(units):
    true = 0.5 * np.exp(0.4**2 / 2)
    assert covered([judge.ratio(*drawn(units, seed), material()) for seed in range(150)], true) >= 0.88


def test_a_share_and_a_mean_over_one_unit_have_no_ends():
    hit = np.arange(40) % 4 == 0
    assert judge.share(hit, ["one group"] * 40, 0.95) == {"value": 0.25, "low": 0.0, "high": 1.0}
    assert judge.mean(hit, ["one group"] * 40, 0.95) == {"value": 0.25, "low": -np.inf, "high": np.inf}
    assert judge.share(hit, [""] * 40, 0.95)["high"] < 0.5
    assert judge.mean(hit, ["one"] * 20 + ["other"] * 20, 0.95)["high"] < np.inf
