"""Conformal sets and intervals: the promise held by simulation, small samples, and a planted fault."""

import numpy as np
import pytest

from pipeline.evaluation import conformal
from pipeline.evaluation.conformal import fewest, fit, scores, sets


def drawn(rng, count, classes=4):
    """Probabilities of a poor model (of the wrong temperature), and truths."""
    logits = 2 * rng.normal(size=(count, classes))
    chance = np.exp(logits / 2)
    chance /= chance.sum(axis=1, keepdims=True)
    truth = np.minimum((rng.random(count)[:, None] > chance.cumsum(axis=1)).sum(axis=1), classes - 1)
    claimed = np.exp(logits)
    return claimed / claimed.sum(axis=1, keepdims=True), truth


def coverage(method, promised, *, held=60, simulations=200, shift=0.0):
    """Mean share of new truths in their sets, over many draws of the held-out samples."""
    rng, shares = np.random.default_rng(0), []
    for _ in range(simulations):
        p, truth = drawn(rng, held)
        found = fit(scores(p, method)[np.arange(held), truth], method=method, coverage=promised)
        if shift and found.quantile is not None:
            found = conformal.Conformal(method, promised, found.quantile - shift, held)
        p, truth = drawn(rng, 100)
        shares.append(sets(found, p)[np.arange(100), truth].mean())
    return float(np.mean(shares))


@pytest.mark.parametrize("method", ["lac", "aps"])
def test_sets_of_a_badly_calibrated_model_cover_what_they_promise(method):
    """Exchangeable samples: between the promise and the promise + 1 / (n + 1), here .016; the standard error is .004."""
    assert 0.89 <= coverage(method, 0.9) <= 0.9 + 1 / 61 + 0.01


def test_planted_fault_a_quantile_that_is_too_small_covers_too_seldom():
    assert coverage("lac", 0.9, shift=0.1, simulations=60) < 0.88


def test_intervals_of_values_cover_what_they_promise():
    rng, shares = np.random.default_rng(0), []
    for _ in range(400):
        found = fit(np.abs(rng.standard_t(3, size=39)), method="residual", coverage=0.8)
        shares.append((np.abs(rng.standard_t(3, size=50)) <= found.quantile).mean())
    assert np.mean(shares) == pytest.approx(0.8, abs=0.02)


def test_the_quantile_is_the_order_statistic_of_the_definition():
    assert fit(np.arange(1.0, 10.0), method="lac", coverage=0.9).quantile == 9  # ceil(10 x .9) = 9th of 9
    assert fit(np.arange(1.0, 9.0), method="lac", coverage=0.9).quantile is None  # 9th of 8
    assert fit(np.arange(1.0, 100.0), method="lac", coverage=0.9).quantile == 90
    assert (fewest(0.9), fewest(0.95), fewest(0.8)) == (9, 19, 4)


def test_too_few_samples_keep_everything():
    found = fit(np.zeros(3), method="lac", coverage=0.9)
    assert sets(found, np.full((2, 5), 0.2)).all()


def test_scores_by_hand():
    p = np.array([[0.5, 0.2, 0.3]])
    np.testing.assert_allclose(scores(p, "lac"), [[0.5, 0.8, 0.7]])
    np.testing.assert_allclose(scores(p, "aps"), [[0.5, 1.0, 0.8]])


def test_unknown_methods_and_impossible_coverages_are_refused():
    with pytest.raises(ValueError, match="'raps'"):
        scores(np.ones((1, 2)), "raps")
    with pytest.raises(ValueError, match="coverage in"):
        fit(np.ones(5), method="lac", coverage=1.0)


def test_what_is_measured_of_sets_and_intervals():
    p = np.array([[0.95, 0.05], [0.6, 0.4], [0.5, 0.5], [0.1, 0.9]] * 5)
    truth = np.array([0, 1, 0, 0] * 5)
    found = conformal.Conformal("lac", 0.9, 0.45, 50)
    told = conformal.measure_sets(found, p, truth, [""] * 20, classes=["a", "b"], coverage=0.9)
    assert told["covered"]["value"] == 0.25
    assert told["size"]["value"] == 0.75
    assert told["single"]["value"] == 0.75
    assert told["empty"]["value"] == 0.25
    assert told["classes"]["a"]["value"] == pytest.approx(1 / 3)
    assert told["classes"]["b"]["value"] == 0 < told["classes"]["b"]["high"], "none of five is not never"
    covered = conformal.measure_intervals(found, np.array([0.1, 0.4, 0.5, 0.9]), [""] * 4, coverage=0.9)
    assert covered["covered"]["value"] == 0.5
