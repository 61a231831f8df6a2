"""The gate of quality on sets whose verdict is known, and what it says where it cannot tell."""

import numpy as np
import pytest

from pipeline.training.gates import View, quality

RNG = np.random.default_rng(0)
LIMITS = {"max_position": 0.5, "min_variety": 0.3, "min_precision": 0.25, "min_recall": 0.25}


def view(x_ND):
    return View(np.zeros((len(x_ND), 1, 1, 1), np.uint8), x_ND.astype(np.float32), {}, embedded=True)


def judged(made, *, train=None, held=None, **changed):
    train, held = RNG.normal(size=(150, 8)) if train is None else train, RNG.normal(size=(150, 8)) if held is None else held
    kinds = np.arange(len(train)) % 2, np.arange(len(made)) % 2
    cfg = {"synthesize": {**LIMITS, **changed}, "seed": 0}
    return quality((view(train), view(held), view(made)), RNG.normal(9, 1, (60, 8)), kinds, embedding="toy", cfg=cfg)


def test_other_real_samples_pass():
    found = judged(RNG.normal(size=(150, 8)))
    assert found["passed"]
    assert found["why"] == ""
    assert found["limits"]["recall"] == pytest.approx(0.25 * found["measures"]["train"]["recall"])


def test_a_set_beside_the_real_one_fails_by_precision_and_recall_alone():
    """Planted fault: a cloud that lies near and varies, but in which no real sample lies, nor any of it among them."""
    beside = RNG.normal(3.5, 0.6, (150, 8))
    found = judged(beside)
    assert (found["precision"], found["recall"]) == (0, 0)
    assert found["position"] < LIMITS["max_position"]
    assert found["variety"] > LIMITS["min_variety"]
    assert not found["passed"]
    assert found["why"].startswith("0.000 of them lie among the real ones (at least 0.")
    assert "and 0.000 of the real ones lie among them" in found["why"]
    assert judged(beside, min_precision=0, min_recall=0)["passed"]


@pytest.mark.parametrize(("made", "name"), [
    (RNG.normal(0, 3, (150, 8)), "precision"), (RNG.normal(0, 0.5, (150, 8)), "recall"),
], ids=["too wide", "too narrow"])  # fmt: skip
def test_each_of_the_two_sees_its_own_fault(made, name):
    found = judged(made)
    failed = [key for key in ("precision", "recall") if found[key] < found["limits"][key]]
    assert failed == [name]
    assert not found["passed"]


def test_a_yardstick_of_zero_lets_nothing_pass():
    """Training samples far from validation have no precision themselves, so that any set would reach a share of theirs."""
    far = RNG.normal(7, 1, (150, 8))
    found = judged(far, train=far)
    assert not found["passed"]
    assert found["why"] == "in this embedding even training samples have a precision and a recall of 0 against validation"


def test_too_few_samples_are_not_judged():
    assert judged(RNG.normal(size=(3, 8)))["why"] == "too few samples to measure it"
