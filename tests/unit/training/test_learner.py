"""Steps, schedules, averages and weights against closed forms and other libraries."""

import math

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.utils.class_weight import compute_sample_weight

from pipeline.core.errors import PersonError
from pipeline.core.parts import build
from pipeline.model.lite0 import Head
from pipeline.training.inputs import FeatureInputs, Labels, balanced, to_tensor
from pipeline.training.learner import Learner, rate_factor

CARD = {"classes": ["a", "b"], "target": None, "name": "toy"}
RECIPE = {"lr": 0.05, "weight_decay": 0.0, "warmup": 0.0, "max_steps": 400, "clip": 0.0, "ema": 0.0}


@pytest.fixture(scope="module")
def task():
    return build({
        "_target_": "pipeline.task.classification.Classification", "headline": "accuracy", "label_smoothing": 0.0,
        "positive": None, "bins": 5, "equal_mass": False,
    }, card=CARD)  # fmt: skip


def test_the_rate_rises_linearly_and_falls_as_a_cosine():
    factors = [rate_factor(step, 100, 0.1) for step in range(101)]
    assert factors[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert factors[10] == 1.0
    assert factors[55] == pytest.approx(0.5)
    assert factors[100] == pytest.approx(0.0)
    reference = torch.optim.lr_scheduler.CosineAnnealingLR(torch.optim.SGD([torch.zeros(1)], lr=1.0), 90)
    for step in range(10, 100):
        assert factors[step] == pytest.approx(reference.get_last_lr()[0], abs=1e-6)
        reference.optimizer.step()
        reference.step()


def test_balanced_weights_equal_scikit_learn():
    truth = np.array([0, 0, 0, 1, 2, 2])
    expected = compute_sample_weight("balanced", truth)
    assert balanced(truth, np.ones(6, np.float32)) == pytest.approx(expected)
    assert balanced(truth, np.full(6, 0.5, np.float32)) == pytest.approx(expected / 2)


def test_the_head_with_its_penalty_is_a_logistic_regression():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(200, 5)).astype(np.float32)
    truth = (features @ np.array([1.0, -1, 0.5, 0, 0]) + rng.normal(size=200) > 0).astype(np.int64)
    l2 = 0.05
    head = Head(5, 2, dropout=0.0)
    optimiser = torch.optim.LBFGS(head.parameters(), max_iter=300, tolerance_grad=1e-9, line_search_fn="strong_wolfe")

    def closure():
        optimiser.zero_grad()
        loss = (
            torch.nn.functional.cross_entropy(head(torch.tensor(features)), torch.tensor(truth))
            + l2 * head.linear.weight.square().sum()
        )
        loss.backward()
        return loss

    optimiser.step(closure)
    # Two symmetric logits w and -w: their difference 2w has the penalty l2 * 2 w^2 = l2 / 2 * (2w)^2, so C = 1 / (n * l2).
    reference = LogisticRegression(C=1 / (200 * l2), tol=1e-8, max_iter=1000).fit(features, truth)
    weight = head.linear.weight.detach()
    assert (weight[1] - weight[0]).numpy() == pytest.approx(reference.coef_[0], abs=2e-3)


def test_the_average_is_exponential(task, monkeypatch):
    learner = Learner(torch.nn.Linear(1, 2), task=task, recipe={**RECIPE, "ema": 0.9}, seed=0)
    before = learner.average.weight.clone()
    learner.model.weight.data += 1.0
    monkeypatch.setattr("pytorch_lightning.LightningModule.optimizer_step", lambda self, *a, **k: None)
    learner.optimizer_step()
    assert learner.average.weight == pytest.approx((0.9 * before + 0.1 * learner.model.weight).detach())
    assert learner.shipped() is learner.average


def test_a_loss_that_is_not_finite_stops_before_the_step(task, monkeypatch):
    learner = Learner(torch.nn.Linear(1, 2), task=task, recipe=RECIPE, seed=0)
    monkeypatch.setattr(Learner, "global_step", 7)
    monkeypatch.setattr(Learner, "global_rank", 0)
    monkeypatch.setattr(Learner, "rate", lambda self: 0.05)
    batch = {
        "x": torch.tensor([[1.0], [math.nan]]),
        "truth": torch.tensor([0, 1]),
        "weight": torch.ones(2),
        "index": torch.tensor([4, 9]),
    }
    with pytest.raises(PersonError, match=r"loss is nan at step 7 \(learning rate 0.05, samples \[9\]\): lower train.lr"):
        learner.training_step(batch, 0)


def test_a_model_without_trainable_parameters_is_refused(task):
    with pytest.raises(PersonError, match="no trainable parameter"):
        Learner(torch.nn.Linear(1, 2).requires_grad_(False), task=task, recipe=RECIPE, seed=0).configure_optimizers()


def test_the_trunk_learns_at_its_own_rate(task):
    model = torch.nn.ModuleDict({"network": torch.nn.Linear(2, 2), "head": torch.nn.Linear(2, 2)})
    model.learning_rates = lambda: {"network": 0.1}
    groups = Learner(model, task=task, recipe=RECIPE, seed=0).configure_optimizers()["optimizer"].param_groups
    assert sorted({group["initial_lr"] for group in groups}) == pytest.approx([0.005, 0.05])


def test_pixels_become_a_tensor_in_zero_to_one():
    pixels = np.arange(12, dtype=np.uint8).reshape(2, 3, 2) * 20
    tensor = to_tensor(pixels)
    assert tensor.shape == (2, 2, 3)
    assert tensor[1, 0, 2].item() == pytest.approx(pixels[0, 2, 1] / 255)


def test_features_are_copied_from_a_mapped_matrix():
    matrix = np.ones((3, 2), np.float32)
    inputs = FeatureInputs(matrix, Labels(np.zeros(3, np.int64), np.ones(3, np.float32), ["a", "b", "c"]))
    inputs[0, 1]["x"][:] = 5.0
    assert matrix.sum() == 6
