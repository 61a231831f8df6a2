"""The threshold keeps its promise, and separation is what it says on cases that can be counted by hand."""

import math

import numpy as np
import pytest

from pipeline.outlier.measure import alarms, measured, promised, separation, threshold

BOOTSTRAP = {"resamples": 60, "coverage": 0.95, "seed": 0}


def test_false_alarms_are_what_was_asked_for_on_average():
    rng = np.random.default_rng(0)
    for count, asked in ((39, 0.05), (50, 0.1), (19, 0.05)):
        draws = rng.gamma(2, size=(2000, count))
        limits = np.array([threshold(row, asked) for row in draws])
        rate = float((rng.gamma(2, size=(2000, 50)) > limits[:, None]).mean())
        assert asked - 1 / (count + 1) - 0.005 < rate < asked + 0.005


def test_a_plain_quantile_would_break_the_promise():
    """The planted fault: with 19 samples the 95th percentile is passed by about 9 % and not by 5 %."""
    rng = np.random.default_rng(0)
    limits = np.quantile(rng.gamma(2, size=(2000, 19)), 0.95, axis=1)
    assert float((rng.gamma(2, size=(2000, 50)) > limits[:, None]).mean()) > 0.055


def test_with_too_few_validation_samples_less_is_promised():
    assert threshold(np.arange(19.0), 0.05) == threshold(np.arange(19.0), 0.01) == 18
    assert promised(19, 0.05) == promised(400, 0.05) == 0.05
    assert promised(18, 0.05) == 1 / 19
    rng = np.random.default_rng(0)
    limits = np.array([threshold(row, 0.05) for row in rng.gamma(2, size=(2000, 9))])
    rate = float((rng.gamma(2, size=(2000, 50)) > limits[:, None]).mean())
    assert rate == pytest.approx(promised(9, 0.05), abs=0.01)


def test_separation_by_hand():
    score, unknown = np.array([0.1, 0.4, 0.35, 0.8]), np.array([False, False, True, True])
    assert separation(score, unknown) == {"auroc": 0.75, "fpr95": 0.5}
    assert separation(np.zeros(4), unknown) == {"auroc": 0.5, "fpr95": 1.0}
    assert all(math.isnan(value) for value in separation(score, np.zeros(4, bool)).values())


def test_intervals_hold_the_value_and_groups_widen_them():
    rng = np.random.default_rng(1)
    known = np.repeat(rng.normal(size=20), 10) + 0.01 * rng.normal(size=200)
    unknown = rng.normal(1, 1, size=60)
    single = measured(known, unknown, [""] * 200, limit=1.5, **BOOTSTRAP)
    grouped = measured(known, unknown, [f"g{row // 10}" for row in range(200)], limit=1.5, **BOOTSTRAP)
    assert set(single) == {"auroc", "fpr95", "flagged"}
    for entry in (*single.values(), *grouped.values()):
        assert entry["low"] <= entry["value"] <= entry["high"]
    assert single["flagged"]["value"] == pytest.approx(float((unknown > 1.5).mean()))
    width = [found["auroc"]["high"] - found["auroc"]["low"] for found in (single, grouped)]
    assert width[1] > 1.3 * width[0]


def test_alarms_count_known_inputs_above_the_limit():
    found = alarms(np.arange(40.0), [""] * 40, limit=29.5, **BOOTSTRAP)
    assert found["value"] == 0.25
    assert found["low"] < 0.25 < found["high"]
