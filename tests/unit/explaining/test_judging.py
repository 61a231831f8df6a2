"""The three checks: each planted fault turns its own one red, and an explainer without one passes."""

import numpy as np
import pytest

from pipeline.explaining.cue import Found
from pipeline.explaining.judging import Limits, _mean, cells, judge, summary, warnings

LIMITS = Limits(alike=0.5, found=0.5, resamples=200, coverage=0.95, seed=0)
RNG = np.random.default_rng(0)
GOOD = {"gain": RNG.normal(1.0, 0.3, 12), "control": RNG.normal(0.0, 0.2, 6), "hits": np.ones(8), "told": 1.0}


def verdict(name="mine", **changes):
    given = {**GOOD, **changes}
    found = Found(np.asarray(given["hits"], np.bool_), np.full(8, 0.4), 0.06, given["told"])
    return judge(name, given["gain"], given["control"], found, groups=[""] * 12, limits=LIMITS)


def test_an_explainer_without_a_fault_passes():
    good = verdict()
    assert good.failed == good.unchecked == []
    assert good.numbers["gain"]["value"] == pytest.approx(GOOD["gain"].mean(), abs=1e-6)
    assert good.numbers["gain"]["low"] < good.numbers["gain"]["value"] < good.numbers["gain"]["high"]
    assert summary([good], 12) == "12 samples explained: mine passes every check that could be made"
    assert warnings([good], LIMITS, 1.0) == []
    assert cells(good)[-1] == "passes"


@pytest.mark.parametrize(("changes", "failed", "said"), [
    ({"gain": RNG.normal(0.0, 0.5, 12)}, ["faithfulness"], "no better than chance"),
    ({"gain": RNG.normal(-1.0, 0.3, 12)}, ["faithfulness"], "no better than chance"),
    ({"control": np.full(6, 0.9)}, ["control"], "hardly depend"),
    ({"control": np.full(6, -0.9)}, ["control"], "hardly depend"),
    ({"hits": [1, 1, 1, 0, 0, 0, 0, 0]}, ["cue"], "38% of the planted cues"),
])  # fmt: skip
def test_each_fault_fails_its_own_check(changes, failed, said):
    bad = verdict(**changes)
    assert bad.failed == failed
    assert any(said in warning for warning in warnings([bad], LIMITS, 1.0))
    assert f"mine fails {failed[0]}" in summary([bad], 12)
    assert cells(bad)[-1] == f"fails {failed[0]}"


def test_a_cue_that_the_network_does_not_see_is_not_held_against_the_explainer():
    blind = verdict(hits=np.zeros(8), told=0.6)
    assert blind.failed == []
    assert blind.unchecked == ["cue"]
    assert any("not checked" in warning and "60%" in warning for warning in warnings([blind], LIMITS, 0.6))


def test_one_sentence_names_the_good_and_the_bad():
    text = summary([verdict("a"), verdict("b"), verdict("c", control=np.full(6, 0.9), gain=-GOOD["gain"])], 12)
    assert text == "12 samples explained: a and b pass every check that could be made; c fails faithfulness and control"


def test_a_random_map_passes_faithfulness_rarely():
    """The law behind the check: without knowledge the gain is zero in expectation."""
    rng = np.random.default_rng(1)
    passed = sum(_mean(rng.normal(0, 1, 12), [""] * 12, Limits(0.5, 0.5, 40, 0.95, n))["low"] > 0 for n in range(60))
    assert passed <= 6, "about one in forty"
