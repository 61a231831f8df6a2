"""Classification against scikit-learn and torch, and what it refuses."""

import numpy as np
import pytest
import torch
from sklearn import metrics as reference

from pipeline.core.errors import PersonError
from pipeline.task.classification import Classification

SETTINGS = {"headline": "auroc", "label_smoothing": 0.0, "positive": None, "bins": 15, "equal_mass": False}


def make(classes, **changes):
    return Classification(card={"name": "toy", "classes": classes, "target": None}, **{**SETTINGS, **changes})


def predictions(classes, count=300):
    rng = np.random.default_rng(classes)
    truth = rng.integers(0, classes, count)
    logits = rng.normal(size=(count, classes))
    logits[np.arange(count), truth] += 1
    chances = np.exp(logits)
    return (chances / chances.sum(1, keepdims=True)).astype(np.float32), truth, rng.random(count)


def test_two_classes_are_measured_on_the_positive_one():
    chances, truth, weight = predictions(2)
    for positive, k in ((None, 1), ("no", 0)):
        found = make(["no", "yes"], positive=positive).metrics(chances, truth, weight)
        assert found["auroc"] == pytest.approx(reference.roc_auc_score(truth == k, chances[:, k]))
        assert found["ap"] == pytest.approx(reference.average_precision_score(truth == k, chances[:, k]))
        assert found["f1"] == pytest.approx(reference.f1_score(truth, chances.argmax(1), pos_label=k))


def test_more_classes_are_macro_averages_one_against_the_rest():
    chances, truth, weight = predictions(4)
    found = make(list("abcd")).metrics(chances, truth, weight)
    chances = chances.astype(np.float64) / chances.astype(np.float64).sum(1, keepdims=True)
    assert found["auroc"] == pytest.approx(reference.roc_auc_score(truth, chances, multi_class="ovr"), abs=1e-6)
    assert found["f1"] == pytest.approx(reference.f1_score(truth, chances.argmax(1), average="macro"))
    one_hot = np.eye(4)[truth]
    assert found["ap"] == pytest.approx(reference.average_precision_score(one_hot, chances, average="macro"), abs=1e-6)
    assert found["balanced_accuracy"] == pytest.approx(reference.balanced_accuracy_score(truth, chances.argmax(1)))


def test_only_the_weighted_accuracy_sees_the_weights():
    chances, truth, weight = predictions(3)
    task = make(list("abc"))
    with_weight, without = task.metrics(chances, truth, weight), task.metrics(chances, truth, np.ones(300))
    assert {name for name in with_weight if with_weight[name] != without[name]} == {"weighted_accuracy"}
    expected = reference.accuracy_score(truth, chances.argmax(1), sample_weight=weight)
    assert with_weight["weighted_accuracy"] == pytest.approx(expected)


def test_label_smoothing_is_that_of_the_closed_form():
    output_BK, truth_B = torch.randn(6, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 0, 1, 2])
    log_BK = output_BK.log_softmax(1)
    expected = -0.8 * log_BK[torch.arange(6), truth_B] - 0.2 * log_BK.mean(1)
    torch.testing.assert_close(make(list("abc"), label_smoothing=0.2).losses(output_BK, truth_B), expected)


def test_errors_rank_confident_mistakes_first_and_right_answers_below_zero():
    chances = np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8]])
    assert make(["a", "b"]).errors(chances, np.array([1, 0, 1])) == pytest.approx([0.8, 0.2, -0.6])


def test_the_score_is_the_logit_of_the_predicted_class():
    output_BK = torch.tensor([[1.0, 3.0], [2.0, -1.0]])
    assert make(["a", "b"]).score(output_BK).tolist() == [3.0, 2.0]


@pytest.mark.parametrize(("changes", "message"), [
    ({"headline": "acuracy"}, "did you mean 'accuracy'"), ({"label_smoothing": 1.0}, r"\[0, 1\): received 1.0"), ({"bins": 0}, "received 0"),
])  # fmt: skip
def test_arguments_out_of_range_are_said(changes, message):
    with pytest.raises(PersonError, match=message):
        make(["a", "b"], **changes)


def test_one_class_an_unknown_positive_and_unlabelled_samples_are_refused():
    with pytest.raises(PersonError, match="only the class 'a'"):
        make(["a"]).check()
    with pytest.raises(PersonError, match="did you mean 'crack'"):
        make(["fine", "crack"], positive="crak").check()
    with pytest.raises(PersonError, match="1 of 3 samples have no class"):
        make(["a", "b"]).truth({"label": np.array([0, -1, 1])})
    real = Classification(card={"name": "wear", "classes": [], "target": {"name": "mm"}}, **SETTINGS)
    with pytest.raises(PersonError, match="task=regression"):
        real.check()


def test_a_lower_calibration_error_is_better():
    assert make(["a", "b"]).higher_is_better
    assert not make(["a", "b"], headline="ece").higher_is_better
