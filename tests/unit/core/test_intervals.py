"""Bootstrap intervals: coverage by simulation, and that ignoring groups is caught."""

import math

import numpy as np
import pytest

from pipeline.core import intervals, scores
from pipeline.core.errors import PersonError
from pipeline.core.intervals import bootstrap, count_groups


def mean_of(prediction, truth, weight):
    return {"mean": float(prediction.mean())}


def area_of(prediction, truth, weight):
    return {"auroc": scores.auroc(prediction, truth == 1)}


def interval(values, groups, **changes):
    settings = {"resamples": 250, "coverage": 0.95, "seed": 0, **changes}
    return bootstrap(mean_of, values, np.zeros(len(values)), np.ones(len(values)), groups, **settings)["mean"]


def coverage(*, use_groups, simulations, group_count, size=4):
    """Share of simulations whose interval holds the true mean 0; groups share most of their variance."""
    rng = np.random.default_rng(0)
    groups = [f"g{number // size}" for number in range(group_count * size)]
    hits = 0
    for number in range(simulations):
        values = np.repeat(rng.normal(size=group_count), size) + 0.5 * rng.normal(size=group_count * size)
        found = interval(values, groups if use_groups else [""] * len(values), seed=number, resamples=200)
        hits += found["low"] <= 0 <= found["high"]
    return hits / simulations


@pytest.mark.parametrize("group_count", [9, 60])
def test_the_interval_over_groups_covers_as_it_says(group_count):
    """With 3,000 simulations both cover .950 (measured); with 700 the standard error is .008."""
    assert 0.93 <= coverage(use_groups=True, simulations=700, group_count=group_count) <= 0.97


def test_planted_fault_ignoring_the_groups_covers_far_too_seldom():
    assert coverage(use_groups=False, simulations=100, group_count=60) < 0.85


def test_planted_fault_plain_percentiles_of_nine_groups_cover_too_seldom(monkeypatch):
    monkeypatch.setattr(intervals, "_tail", lambda units, coverage: (1 - coverage) / 2)
    assert coverage(use_groups=True, simulations=250, group_count=9) < 0.92


def test_the_interval_of_a_mean_has_the_width_of_the_normal_theory():
    values = np.random.default_rng(0).normal(size=400)
    found = interval(values, [""] * 400, resamples=4000)
    assert (found["high"] - found["low"]) / 2 == pytest.approx(1.96 * values.std() / math.sqrt(400), rel=0.05)
    assert found["value"] == pytest.approx(values.mean())


def test_the_same_seed_gives_the_same_interval_and_another_seed_another():
    values, groups = np.random.default_rng(0).normal(size=60), [f"g{n // 5}" for n in range(60)]
    assert interval(values, groups, seed=3) == interval(values, groups, seed=3)
    assert interval(values, groups, seed=3) != interval(values, groups, seed=4)


def test_a_group_is_drawn_whole():
    groups = ["a"] * 3 + ["b"] * 5 + ["", ""]
    seen = []

    def watch(prediction, truth, weight):
        seen.append(prediction.tolist())
        return {"n": 1.0}

    bootstrap(watch, np.arange(10), np.zeros(10), np.ones(10), groups, resamples=200, coverage=0.9, seed=0)
    for drawn in seen[1:]:
        assert len({drawn.count(number) for number in (0, 1, 2)}) == 1
        assert len({drawn.count(number) for number in (3, 4, 5, 6, 7)}) == 1
        assert drawn == [*drawn]
    assert any(drawn.count(8) != drawn.count(9) for drawn in seen[1:])


def test_resamples_with_one_class_are_skipped_and_counted():
    truth = np.array([1, 1, 0, 0, 0, 0, 0, 0])
    found = bootstrap(area_of, np.linspace(1, 0, 8), truth, np.ones(8), [""] * 8, resamples=300, coverage=0.95, seed=0)["auroc"]
    assert found["value"] == 1.0
    assert 0 < found["skipped"] < 150
    assert found["low"] <= found["value"]


def test_an_undefined_metric_is_left_out():
    assert bootstrap(area_of, np.ones(4), np.ones(4), np.ones(4), [""] * 4, resamples=50, coverage=0.95, seed=0) == {}


def test_groups_are_counted_as_they_are_resampled():
    assert count_groups(["", "", ""]) == 0
    assert count_groups(["a", "a", "a"]) == 0
    assert count_groups(["a", "a", "b", ""]) == 3


def test_no_samples_and_wrong_numbers_are_said():
    empty = np.zeros(0)
    with pytest.raises(PersonError, match="no samples"):
        bootstrap(mean_of, empty, empty, empty, [], resamples=10, coverage=0.95, seed=0)
    with pytest.raises(ValueError, match="coverage"):
        interval(np.ones(3), [""] * 3, coverage=1.5)
    with pytest.raises(ValueError, match="lengths differ"):
        interval(np.ones(3), [""] * 4)
