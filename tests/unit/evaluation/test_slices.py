"""Groups of samples: names, the worst one and what may be said of it."""

import numpy as np
import pytest

from pipeline.evaluation import slices
from pipeline.evaluation.slices import Known

KINDS = ["class", "group", "confidence", "brightness"]


def known(count=80):
    rng = np.random.default_rng(0)
    return Known(["a" if n % 2 else "b" for n in range(count)], [f"m{n // 20}" for n in range(count)],
                 np.where(np.arange(count) % 4 == 0, 0.5, 1.0), rng.uniform(0, 255, count))  # fmt: skip


def measure(score_N, facts, **changes):
    settings = {"is_share": True, "smallest": 10, "coverage": 0.95, **changes}
    return slices.measure(score_N, facts, changes.pop("kinds", KINDS), **{key: settings[key] for key in ("is_share", "smallest", "coverage")})


def test_the_worst_group_is_found_and_its_interval_is_widened_for_their_number():
    facts = known()
    right_N = np.ones(80)
    right_N[20:32] = 0  # most of module m1
    found = measure(right_N, facts)
    worst = found["worst"]
    assert (worst["by"], worst["name"], worst["samples"]) == ("group", "m1", 20)
    assert worst["value"] == pytest.approx(8 / 20)
    assert worst["compared"] == 2 + 4 + 2 + 4
    own = found["by"]["group"]["m1"]
    assert worst["low"] < own["low"] < own["high"] < worst["high"]


def test_small_groups_are_measured_and_never_the_worst():
    facts = known()
    right_N = np.ones(80)
    right_N[20:40] = 0
    found = measure(right_N, facts, smallest=21)
    assert found["by"]["group"]["m1"]["value"] == 0
    assert found["worst"]["by"] != "group"
    assert measure(right_N, facts, smallest=1000)["worst"] is None


def test_of_errors_the_largest_is_the_worst():
    error_N = np.arange(80.0)
    worst = measure(error_N, known(), is_share=False)["worst"]
    assert worst["name"] == "m3"
    assert worst["value"] == pytest.approx(69.5)


def test_a_kind_of_one_group_or_none_is_left_out():
    count = 20
    facts = Known(["a"] * count, [""] * count, np.ones(count), np.full(count, 7.0))
    found = measure(np.ones(count), facts)
    assert found == {"by": {}, "worst": None}


def test_groups_of_the_data_are_the_units_of_the_other_kinds():
    """Both classes of one module fail together: the class's interval must know it."""
    facts = known()
    right_N = np.repeat([1.0, 0.0, 1.0, 0.0], 20)
    grouped = measure(right_N, facts)["by"]["class"]["a"]
    alone = measure(right_N, Known(facts.truths, [""] * 80, facts.confidence, facts.brightness))["by"]["class"]["a"]
    assert grouped["high"] - grouped["low"] > 1.5 * (alone["high"] - alone["low"])


def test_numbers_become_quarters_in_their_order_and_few_values_stay():
    assert set(slices.quarters(np.array([0.33, 1.0, 0.33, 1.0]))) == {"0.33", "1"}
    names = slices.quarters(np.arange(100.0))
    assert names.count(names[0]) == 25
    found = measure(np.ones(100), Known(["a"] * 100, [""] * 100, np.ones(100), np.arange(100.0)))
    assert [float(name.split(" to ")[0]) for name in found["by"]["brightness"]] == sorted(
        float(name.split(" to ")[0]) for name in found["by"]["brightness"])  # fmt: skip
