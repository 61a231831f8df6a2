"""Scores of probabilities against scikit-learn and torchmetrics; the paired change."""

import numpy as np
import pytest
import torch
from sklearn.metrics import brier_score_loss, log_loss
from torchmetrics.classification import MulticlassCalibrationError

from pipeline.evaluation import probabilities
from pipeline.evaluation.temperature import log_probabilities

MEASURE = {"resamples": 60, "coverage": 0.9, "seed": 0}


def drawn(classes, count=300):
    rng = np.random.default_rng(classes)
    output_NK = 2 * rng.normal(size=(count, classes))
    return output_NK, rng.integers(0, classes, count)


@pytest.mark.parametrize("classes", [2, 4])
def test_scores_equal_scikit_learn_and_torchmetrics(classes):
    output_NK, truth_N = drawn(classes)
    ours = probabilities.summary(probabilities.columns(output_NK, truth_N, 1.3), 15)
    p_NK = np.exp(log_probabilities(output_NK, 1.3))
    assert ours["nll"] == pytest.approx(log_loss(truth_N, p_NK))
    assert ours["brier"] == pytest.approx(brier_score_loss(truth_N, p_NK[:, 1] if classes == 2 else p_NK))
    theirs = MulticlassCalibrationError(num_classes=classes, n_bins=15, norm="l1")(torch.from_numpy(p_NK), torch.from_numpy(truth_N))
    assert ours["ece"] == pytest.approx(float(theirs), abs=1e-6)


def test_fewer_samples_than_bins_have_no_calibration_error():
    output_NK, truth_N = drawn(2, 14)
    found = probabilities.before_and_after(output_NK, truth_N, [""] * 14, temperature=2.0, bins=15, measure=MEASURE)
    assert set(found["before"]) == set(found["after"]) == set(found["change"]) == {"brier", "nll"}


def test_the_change_is_after_minus_before_and_paired():
    output_NK, truth_N = drawn(3, 200)
    found = probabilities.before_and_after(output_NK, truth_N, [""] * 200, temperature=4.0, bins=15, measure=MEASURE)
    for name in probabilities.MEANINGS:
        before, after, change = (found[when][name] for when in ("before", "after", "change"))
        assert change["value"] == pytest.approx(after["value"] - before["value"])
        assert all(entry["low"] <= entry["high"] for entry in (before, after, change))
    assert found["change"]["nll"]["high"] < 0, "random truths: a cooler guess is a better one"
    same = probabilities.before_and_after(output_NK, truth_N, [""] * 200, temperature=1.0, bins=15, measure=MEASURE)
    assert all(entry == {"value": 0, "low": 0, "high": 0} for entry in same["change"].values())
