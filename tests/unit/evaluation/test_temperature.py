"""Temperature against scikit-learn and a grid; what does not determine it; what an honest fit does to an over-confident model."""

import numpy as np
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import log_loss

from pipeline.core import scores
from pipeline.evaluation import temperature
from pipeline.evaluation.temperature import fit, interval, log_probabilities


def overconfident(count, classes=3, *, heat=3.0, seed=0):
    """Logits of a model that is `heat` times too sure, and truths drawn from its honest probabilities."""
    rng = np.random.default_rng(seed)
    honest_NK = 1.5 * rng.normal(size=(count, classes))
    chance_NK = np.exp(log_probabilities(honest_NK))
    truth_N = (rng.random(count)[:, None] > chance_NK.cumsum(axis=1)).sum(axis=1)
    return (heat * honest_NK).astype(np.float32), np.minimum(truth_N, classes - 1)


class Logits:
    """A fitted classifier whose decision function is its input."""

    def __init__(self, classes):
        self.classes_ = np.arange(classes)
        self.is_fitted_ = True

    def fit(self, x, y):
        return self

    def decision_function(self, x):
        return x

    def predict(self, x):
        return x.argmax(axis=1)

    def __sklearn_is_fitted__(self):
        return True

    def __sklearn_tags__(self):
        from sklearn.linear_model import LogisticRegression

        return LogisticRegression().__sklearn_tags__()


def test_it_equals_the_temperature_of_scikit_learn():
    output_NK, truth_N = overconfident(400)
    theirs = CalibratedClassifierCV(FrozenEstimator(Logits(3)), method="temperature").fit(output_NK.astype(np.float64), truth_N)
    ours = np.exp(log_probabilities(output_NK, fit(output_NK, truth_N).value))
    np.testing.assert_allclose(ours, theirs.predict_proba(output_NK.astype(np.float64)), atol=2e-4)


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_no_other_temperature_is_more_likely(classes):
    output_NK, truth_N = overconfident(300, classes)
    found = fit(output_NK, truth_N)
    assert found.determined
    grid = np.exp(np.linspace(np.log(0.2), np.log(15), 25))
    best = min(log_loss(truth_N, np.exp(log_probabilities(output_NK, heat)), labels=range(classes)) for heat in grid)
    ours = log_loss(truth_N, np.exp(log_probabilities(output_NK, found.value)), labels=range(classes))
    assert ours <= best + 1e-9
    assert found.value == pytest.approx(3.0, rel=0.35)


def test_the_error_of_an_over_confident_model_falls_by_half_on_samples_it_was_not_fitted_on():
    (val_NK, val_N), (test_NK, test_N) = overconfident(500, seed=1), overconfident(4000, seed=2)
    heat = fit(val_NK, val_N).value

    def error(at):
        p_NK = np.exp(log_probabilities(test_NK, at))
        return scores.expected_calibration_error(p_NK.max(1), p_NK.argmax(1) == test_N, bins=15)

    assert error(heat) <= 0.5 * error(1.0)
    assert error(heat) < 0.03


def test_the_order_of_classes_never_changes():
    output_NK, _ = overconfident(200)
    assert (log_probabilities(output_NK, 7.3).argmax(1) == output_NK.argmax(1)).all()


def test_extreme_logits_stay_finite():
    log_NK = log_probabilities(np.array([[1e4, -1e4], [0.0, 5e3]], dtype=np.float32))
    assert np.isfinite(log_NK).all()
    np.testing.assert_allclose(np.exp(log_NK).sum(axis=1), 1)


@pytest.mark.parametrize(("output_NK", "truth_N"), [
    (np.array([[9.0, 0.0], [0.0, 9.0]] * 5), np.array([0, 1] * 5)),         # every prediction right
    (np.array([[9.0, 0.0], [0.0, 9.0]] * 5), np.array([1, 0] * 5)),         # every prediction wrong
    (np.array([[1.0, 0.0], [0.0, 1.0]] * 5), np.zeros(10, dtype=np.int64)),   # one class
])  # fmt: skip
def test_samples_that_do_not_determine_it_change_nothing(output_NK, truth_N):
    found = fit(output_NK, truth_N)
    assert (found.value, found.determined) == (1.0, False)


def test_the_interval_holds_the_value_and_is_wider_over_groups_of_copies():
    output_NK, truth_N = overconfident(120)
    wide = {"resamples": 100, "coverage": 0.9, "seed": 0}
    single = interval(output_NK, truth_N, [""] * 120, **wide)
    assert single["low"] < single["value"] < single["high"]
    copies = np.repeat(np.arange(40), 3)
    grouped = interval(output_NK[copies], truth_N[copies], [f"g{n}" for n in copies], **wide)
    ungrouped = interval(output_NK[copies], truth_N[copies], [""] * 120, **wide)
    assert grouped["high"] - grouped["low"] > 1.3 * (ungrouped["high"] - ungrouped["low"])
    assert temperature.interval(np.array([[9.0, 0.0], [0.0, 9.0]] * 5), np.array([0, 1] * 5), [""] * 10, **wide) == {}
