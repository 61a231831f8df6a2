"""Metrics against scikit-learn, torchmetrics and closed forms."""

import math

import numpy as np
import pytest
import torch
from sklearn import metrics as reference
from torchmetrics.classification import MulticlassCalibrationError

from pipeline.core import scores


@pytest.fixture(params=range(5))
def rng(request):
    return np.random.default_rng(request.param)


def tied(rng, count=200):
    """Scores with many ties, and labels that lean on them."""
    score = np.round(rng.random(count), 1)
    return score, rng.random(count) < 0.2 + 0.6 * score


def test_auroc_and_average_precision_equal_scikit_learn_also_with_ties(rng):
    score, positive = tied(rng)
    assert scores.auroc(score, positive) == pytest.approx(reference.roc_auc_score(positive, score), abs=1e-12)
    assert scores.average_precision(score, positive) == pytest.approx(
        reference.average_precision_score(positive, score), abs=1e-12
    )


def test_auroc_is_the_share_of_pairs_in_the_right_order():
    score, positive = np.array([0.1, 0.4, 0.35, 0.8]), np.array([False, False, True, True])
    assert scores.auroc(score, positive) == 0.75


def test_the_roc_curve_encloses_the_area(rng):
    score, positive = tied(rng)
    false, true = scores.roc(score, positive)
    assert (false[0], true[0], false[-1], true[-1]) == (0, 0, 1, 1)
    assert np.trapezoid(true, false) == pytest.approx(scores.auroc(score, positive), abs=1e-12)


def test_one_class_only_is_undefined_and_not_a_number_that_looks_good():
    score, ones = np.array([0.2, 0.7]), np.array([True, True])
    assert math.isnan(scores.auroc(score, ones))
    assert math.isnan(scores.auroc(score, ~ones))
    assert math.isnan(scores.average_precision(score, ~ones))


def test_accuracies_and_f1_equal_scikit_learn(rng):
    truth, guess, weight = rng.integers(0, 4, 150), rng.integers(0, 4, 150), rng.random(150)
    assert scores.accuracy(guess, truth) == pytest.approx(reference.accuracy_score(truth, guess))
    assert scores.accuracy(guess, truth, weight) == pytest.approx(reference.accuracy_score(truth, guess, sample_weight=weight))
    assert scores.balanced_accuracy(guess, truth) == pytest.approx(reference.balanced_accuracy_score(truth, guess))
    assert [scores.f1(guess, truth, k) for k in range(4)] == pytest.approx(
        reference.f1_score(truth, guess, average=None).tolist()
    )


@pytest.mark.parametrize("bins", [5, 15])
def test_the_calibration_error_equals_torchmetrics(rng, bins):
    chances, truth = rng.dirichlet(np.ones(4), 300), rng.integers(0, 4, 300)
    theirs = MulticlassCalibrationError(num_classes=4, n_bins=bins, norm="l1")(torch.from_numpy(chances), torch.from_numpy(truth))
    ours = scores.expected_calibration_error(chances.max(1), chances.argmax(1) == truth, bins=bins)
    assert ours == pytest.approx(float(theirs), abs=1e-6)


def test_full_confidence_lies_in_the_last_bin():
    table = scores.calibration(np.array([1.0, 1.0, 0.95]), np.array([True, False, True]), bins=10, equal_mass=False)
    assert table.shape == (1, 3)
    assert table[0].tolist() == pytest.approx([3, 2.95 / 3, 2 / 3])


def test_equal_mass_bins_hold_equal_counts(rng):
    table = scores.calibration(rng.random(103) ** 4, rng.random(103) < 0.5, bins=10, equal_mass=True)
    assert set(table[:, 0]) <= {10, 11}
    assert (np.diff(table[:, 1]) >= 0).all()


def test_calibrated_predictions_have_a_small_error_and_overconfident_ones_the_gap():
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.5, 1, 20_000)
    assert scores.expected_calibration_error(confidence, rng.random(20_000) < confidence, bins=15) < 0.02
    gap = scores.expected_calibration_error(np.full(20_000, 0.9), rng.random(20_000) < 0.6, bins=15)
    assert gap == pytest.approx(0.3, abs=0.015)


def test_r_squared_and_spearman_equal_their_references(rng):
    from scipy.stats import spearmanr

    truth = np.round(rng.normal(size=100), 1)
    value = truth + rng.normal(size=100)
    assert scores.r_squared(value, truth) == pytest.approx(reference.r2_score(truth, value))
    assert scores.spearman(value, truth) == pytest.approx(spearmanr(value, truth).statistic)


def test_a_constant_truth_or_prediction_has_no_r_squared_or_rank():
    flat, line = np.ones(5), np.arange(5.0)
    assert math.isnan(scores.r_squared(line, flat))
    assert math.isnan(scores.spearman(line, flat))
    assert math.isnan(scores.spearman(flat, line))
    assert scores.r_squared(np.full(5, line.mean()), line) == pytest.approx(0)
