"""Regression: the map between model and unit, the loss in closed form, and what it refuses."""

import numpy as np
import pytest
import torch
from sklearn import metrics as reference

from pipeline.core.errors import PersonError
from pipeline.task.regression import Regression

TARGET = {"name": "wear", "unit": "mm", "low": -2.0, "high": 6.0}
SETTINGS = {"headline": "mae", "delta": 0.1, "clamp": True}


def make(target=TARGET, **changes):
    return Regression(card={"name": "toy", "classes": [], "target": target}, **{**SETTINGS, **changes})


def test_scaling_is_a_round_trip():
    truth_B = torch.linspace(-2, 6, 9)
    task = make()
    shares_BK = ((truth_B + 2) / 8)[:, None]
    torch.testing.assert_close(task.decode(shares_BK)[:, 0], truth_B)
    assert task.losses(shares_BK, truth_B).abs().max() < 1e-10
    assert task.decode(torch.tensor([[0.0], [1.0]])).tolist() == [[-2.0], [6.0]]


def test_predictions_are_held_to_the_range_only_when_asked():
    wild = torch.tensor([[-1.0], [0.5], [3.0]])
    assert make().decode(wild)[:, 0].tolist() == [-2.0, 2.0, 6.0]
    assert make(clamp=False).decode(wild)[:, 0].tolist() == [-10.0, 2.0, 22.0]
    assert make().bound(np.array([[-9.0], [9.0]]))[:, 0].tolist() == [-2.0, 6.0]
    assert make(clamp=False).bound(np.array([[-9.0]]))[:, 0].tolist() == [-9.0]


def test_a_clamped_prediction_still_learns():
    output_BK = torch.tensor([[5.0]], requires_grad=True)
    make().losses(output_BK, torch.tensor([0.0])).sum().backward()
    assert output_BK.grad.item() > 0


@pytest.mark.parametrize("delta", [0.05, 0.3])
def test_the_loss_is_hubers(delta):
    output_BK = torch.randn(50, 1, generator=torch.Generator().manual_seed(0))
    truth_B = torch.rand(50, generator=torch.Generator().manual_seed(1)) * 8 - 2
    expected = torch.nn.functional.huber_loss(output_BK[:, 0], (truth_B + 2) / 8, reduction="none", delta=delta)
    torch.testing.assert_close(make(delta=delta).losses(output_BK, truth_B), expected)


def test_without_a_delta_it_is_half_the_squared_error():
    output_BK, truth_B = torch.tensor([[0.5], [2.0]]), torch.tensor([-2.0, 6.0])
    assert make(delta=0.0).losses(output_BK, truth_B).tolist() == pytest.approx([0.125, 0.5])


def test_metrics_equal_scikit_learn():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=80).astype(np.float32)
    value = truth + rng.normal(size=80).astype(np.float32)
    found = make().metrics(value[:, None], truth, np.ones(80))
    assert found["mae"] == pytest.approx(reference.mean_absolute_error(truth, value), rel=1e-6)
    assert found["rmse"] == pytest.approx(reference.root_mean_squared_error(truth, value), rel=1e-6)
    assert found["r2"] == pytest.approx(reference.r2_score(truth.astype(float), value.astype(float)))


def test_direction_words_and_bins():
    task = make()
    assert not task.higher_is_better
    assert make(headline="r2").higher_is_better
    assert task.text(np.array([1.23456])) == "1.23 mm"
    actual, predicted = task.bins(np.array([[-2.0], [99.0]]), np.array([-1.9, 6.0]))
    assert actual == predicted == ["-2 to -0.4", "4.4 to 6"]


@pytest.mark.parametrize(
    ("changes", "message"), [({"headline": "rsme"}, "did you mean 'rmse'"), ({"delta": -1.0}, "received -1.0")]
)
def test_arguments_out_of_range_are_said(changes, message):
    with pytest.raises(PersonError, match=message):
        make(**changes)


def test_a_missing_or_constant_target_is_refused():
    with pytest.raises(PersonError, match="real-valued target"):
        make(None).check()
    with pytest.raises(PersonError, match="varies"):
        make({**TARGET, "high": -2.0}).check()
    with pytest.raises(PersonError, match="1 of 2 samples have no finite target"):
        make().truth({"target": np.array([0.5, np.nan])})
    classes = Regression(card={"name": "toy", "classes": ["a", "b"], "target": None}, **SETTINGS)
    with pytest.raises(PersonError, match="task=classification"):
        classes.check()
