"""The support vector machine: calibrated probabilities, and what it says when a class has one sample."""

import numpy as np
import pytest

from pipeline.baseline.linear import Linear
from pipeline.baseline.svm import Svm
from pipeline.core import scores
from pipeline.core.errors import PersonError

SETTINGS = {"C": 1.0, "balanced": False, "weighted": False, "folds": 5, "epsilon": 0.1}


def test_its_probabilities_are_calibrated():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(2600, 4))
    truth = (rng.random(2600) < 1 / (1 + np.exp(-1.5 * features[:, 0]))).astype(np.int64)
    chances = Svm(**SETTINGS).fit_predict(features[:600], truth[:600], np.ones(600), features[600:], categories=2)
    right = chances.argmax(1) == truth[600:]
    assert scores.expected_calibration_error(chances.max(1).astype(float), right, bins=10) < 0.08


def test_one_sample_of_a_class_is_said_with_the_way_out():
    features, truth = np.random.default_rng(0).normal(size=(5, 2)), np.array([0, 0, 0, 0, 1])
    with pytest.raises(PersonError, match=r"class 1 has one.*baseline=\[majority,linear\]"):
        Svm(**SETTINGS).fit_predict(features, truth, np.ones(5), features, categories=2)


@pytest.mark.parametrize(("name", "value"), [("C", 0.0), ("folds", 1), ("epsilon", -0.1)])
def test_numbers_out_of_range_are_said(name, value):
    with pytest.raises(PersonError, match=f"baseline.svm.{name}"):
        Svm(**{**SETTINGS, name: value})


def test_sample_weights_count_only_when_asked():
    rng = np.random.default_rng(0)
    features, truth, weight = rng.normal(size=(60, 3)), rng.integers(0, 2, 60), rng.choice([0.01, 1.0], 60)
    for make in (lambda weighted: Svm(**{**SETTINGS, "weighted": weighted}),
                 lambda weighted: Linear(C=1.0, alpha=1.0, balanced=True, weighted=weighted, max_iter=500)):  # fmt: skip
        for categories, goal in ((2, truth), (0, features[:, 0] + rng.normal(size=60))):
            fits = {
                (weighted, flat): make(weighted).fit_predict(features, goal, np.ones(60) if flat else weight, features, categories=categories)
                for weighted in (True, False) for flat in (True, False)
            }  # fmt: skip
            assert np.array_equal(fits[False, True], fits[False, False])
            assert not np.array_equal(fits[True, True], fits[True, False])


@pytest.mark.parametrize("name", ["C", "alpha", "max_iter"])
def test_the_linear_baseline_refuses_numbers_that_are_not_positive(name):
    settings = {"C": 1.0, "alpha": 1.0, "balanced": True, "weighted": False, "max_iter": 10, name: 0}
    with pytest.raises(PersonError, match=f"baseline.linear.{name}"):
        Linear(**settings)


def test_the_kernel_computed_once_is_scikit_learns_own():
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.model_selection import StratifiedKFold
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC, SVR

    rng = np.random.default_rng(0)
    features = rng.normal(3, 2, size=(120, 6))
    truth = (features[:, 0] + rng.normal(size=120) > 3).astype(np.int64)
    scaled = StandardScaler().fit(features[:80]).transform(features)
    cut = StratifiedKFold(5, shuffle=True, random_state=0)  # in order, Platt's sigmoid came out flat on the solar cells
    theirs = CalibratedClassifierCV(SVC(C=1.0), method="sigmoid", cv=cut, ensemble=False).fit(scaled[:80], truth[:80])
    ours = Svm(**SETTINGS).fit_predict(features[:80], truth[:80], np.ones(80), features[80:], categories=2)
    np.testing.assert_allclose(ours, theirs.predict_proba(scaled[80:]), atol=5e-3)  # libsvm stops at a tolerance of 1e-3
    value = features[:, 1]
    centred = (value[:80] - value[:80].mean()) / value[:80].std()
    line = SVR(C=1.0, epsilon=0.1).fit(scaled[:80], centred).predict(scaled[80:]) * value[:80].std() + value[:80].mean()
    ours = Svm(**SETTINGS).fit_predict(features[:80], value[:80], np.ones(80), features[80:], categories=0)
    np.testing.assert_allclose(ours[:, 0], line, atol=1e-2)
