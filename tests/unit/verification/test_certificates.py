"""Verdicts: how they follow from bounds and attacks, and the laws that hold them."""

import numpy as np
import pytest

from pipeline.verification.certificates import Findings, enforce, enforce_bounds

NAN = np.nan
RADII = [0.1, 0.2, 0.3]


def findings(least, violated, right=None):
    least, violated = np.asarray(least, dtype=float), np.asarray(violated, dtype=bool)
    right = np.ones(len(least), dtype=bool) if right is None else np.asarray(right)
    return Findings(right, violated, least, np.full(least.shape, "interval"))


def test_a_larger_ball_holds_the_smaller_ones():
    found = findings([[NAN, 0.5, -1], [0.1, NAN, NAN], [NAN, NAN, NAN]], [[0, 0, 0], [0, 1, 0], [0, 0, 1]])
    assert found.status.tolist() == [
        ["verified", "verified", "unproven"], ["verified", "violated", "violated"], ["unproven", "unproven", "violated"],
    ]  # fmt: skip
    np.testing.assert_array_equal(found.shares.mean(axis=0) * 3, [3, 3, 2, 1, 2, 1, 0])


def test_a_bound_of_zero_proves_nothing_and_a_mistake_is_violated_at_every_radius():
    found = findings([[0.0, NAN, NAN], [NAN, NAN, NAN]], np.zeros((2, 3)), right=[True, False])
    assert found.status.tolist() == [["unproven"] * 3, ["violated"] * 3]


def test_the_sandwich_is_enforced():
    enforce(findings([[0.5, -1, NAN]], [[0, 1, 1]]), ["a"], RADII, who="exported")
    with pytest.raises(RuntimeError, match=r"sample b, is verified by interval and violated by an attack at a radius of 0\.1"):
        enforce(findings([[NAN] * 3, [0.5, NAN, NAN]], [[0] * 3, [1, 0, 0]]), ["a", "b"], RADII, who="exported")
    with pytest.raises(RuntimeError, match="the exported model contradict"):
        enforce(findings([[NAN, NAN, 0.1]], [[0, 1, 0]]), ["a"], RADII, who="exported")  # proven further out than it is broken
    with pytest.raises(RuntimeError, match="contradict"):
        enforce(findings([[0.1, NAN, NAN]], [[0, 0, 0]], right=[False]), ["a"], RADII, who="exported")


def test_a_margin_below_its_bound_is_caught_and_unknown_ones_are_not():
    least = np.asarray([[1.0, NAN], [-np.inf, 2.0]])
    enforce_bounds(least, np.asarray([[1.0, -5.0], [-9.0, np.inf]]), who="trained", slack=1e-6)
    enforce_bounds(least, np.asarray([[NAN, -5.0], [-9.0, 2.0]]), who="trained", slack=1e-6)
    with pytest.raises(RuntimeError, match=r"margin of the trained model is 1\.98, below its lower bound of 2"):
        enforce_bounds(least, np.asarray([[1.0, -5.0], [-9.0, 1.98]]), who="trained", slack=1e-6)
