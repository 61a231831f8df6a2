"""Intervals and verdicts: against scipy, and against simulations with known truth."""

import math

import numpy as np
import pytest
from scipy import stats

from pipeline.search.compare import FEWEST, compare, estimate, overlap_of, verdict


def test_the_interval_is_students():
    values = np.random.default_rng(0).normal(0.8, 0.02, 7)
    found = estimate(values, coverage=0.9)
    low, high = stats.t.interval(0.9, 6, loc=values.mean(), scale=stats.sem(values))
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))


def test_overlapping_training_sets_widen_it():
    values = [0.8, 0.81, 0.79, 0.82, 0.8]
    plain, wide = estimate(values, coverage=0.95), estimate(values, coverage=0.95, overlap=1 / 3)
    assert (wide.high - wide.mean) / (plain.high - plain.mean) == pytest.approx(math.sqrt((1 / 5 + 1 / 3) / (1 / 5)))


def test_one_value_has_no_interval():
    assert math.isnan(estimate([0.5], coverage=0.95).low)
    assert math.isnan(estimate([0.5, math.nan], coverage=0.95).low)


def test_equal_candidates_are_rarely_called_better():
    rng, called = np.random.default_rng(1), 0
    for _ in range(500):
        default, *others = rng.normal(0.9, 0.01, (4, 6)) + rng.normal(0, 0.02, 6)
        called += any(found.shown for found in compare(default, dict(zip("abc", others, strict=True)), maximise=True, coverage=0.95))
    assert called / 500 <= 0.04, "one-sided 2.5 % for all three together"


def test_a_real_gain_is_found_and_named():
    rng = np.random.default_rng(2)
    default = rng.normal(0.9, 0.01, 6)
    found = compare(default, {"worse": default - 0.02, "trial 7": default + 0.03 + rng.normal(0, 0.003, 6)}, maximise=True, coverage=0.95)
    assert [candidate.name for candidate in found] == ["trial 7", "worse"]
    assert found[0].shown
    assert not found[1].shown
    assert verdict(found, "val_accuracy").startswith("trial 7 is better than the default: +0.0")
    assert compare(default, {"lower": default - 0.02 + rng.normal(0, 0.001, 6)}, maximise=False, coverage=0.95)[0].shown


def test_few_pairs_show_nothing():
    default = [0.9, 0.91, 0.89, 0.9, 0.9]
    found = compare(default, {"a": [value + 0.1 + 0.001 * n for n, value in enumerate(default)]}, maximise=True, coverage=0.95)
    assert found[0].gain.low > 0
    assert not found[0].shown
    assert f"fewer than {FEWEST} pairs cannot show it" in verdict(found, "m")


def test_noise_names_no_winner():
    rng = np.random.default_rng(3)
    found = compare(rng.normal(0.9, 0.01, 8), {"a": rng.normal(0.9, 0.01, 8)}, maximise=True, coverage=0.95)
    assert "within the noise" in verdict(found, "m")
    assert "not known" in verdict([], "m")


def test_overlap_counts_only_where_splits_differ():
    same = {"train": list("abcdef"), "val": list("gh"), "test": list("ij")}
    other = {"train": list("abcdgh"), "val": list("ef"), "test": list("ij")}
    assert overlap_of([same, same], "val") == 0
    assert overlap_of([same, other], "val") == pytest.approx(1 / 3)
    assert overlap_of([same, other], "test") == 0
