"""When a requirement is met, missed or not shown."""

import numpy as np
import pytest

from pipeline.loop import judge
from pipeline.loop.contract import Outcome, Requirement


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
