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
from pipeline.training.learner import Learner
from pipeline.training.schedules import Schedule
from tests.stepping import RECIPE, Stepping, batch_of

CARD = {"classes": ["a", "b"], "target": None, "name": "toy"}


@pytest.fixture(scope="module")
def task():
    return build({
        "_target_": "pipeline.task.classification.Classification", "headline": "accuracy", "label_smoothing": 0.0,
        "positive": None, "bins": 5, "equal_mass": False,
    }, card=CARD)  # fmt: skip


def test_the_rate_rises_linearly_and_falls_as_a_cosine():
    factors = [Schedule("cosine", 100, 0.1)(step) for step in range(101)]
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


def toy_batch(count=12):
    rng = torch.Generator().manual_seed(1)
    return batch_of(torch.rand(count, 3, generator=rng), torch.arange(count) % 2, torch.rand(count, generator=rng) + 0.1)


def small():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.Tanh(), torch.nn.Linear(5, 2))


def test_the_average_moves_after_each_step_and_is_shipped(task):
    learner = Stepping(small(), task=task, recipe={**RECIPE, "ema": 0.9}, seed=0)
    before = learner.average[0].weight.clone()
    learner.training_step(toy_batch(), 0)
    after = learner.model[0].weight
    assert not torch.equal(after, before)
    assert torch.allclose(learner.average[0].weight, 0.1 * before + 0.9 * after, atol=1e-7)  # the decay of step 0 is 1 / 10
    assert learner.shipped() is learner.average


def test_steps_are_those_of_a_loop_written_by_hand(task):
    """Bit for bit: AdamW on single parameters, clipping, a schedule of LambdaLR, weighted mean loss."""
    recipe = {**RECIPE, "weight_decay": 0.1, "warmup": 0.2, "max_steps": 10, "clip": 0.05}
    learner, model, batch = Stepping(small(), task=task, recipe=recipe, seed=0), small(), toy_batch()
    groups = [{"params": [one], "weight_decay": 0.1 if one.ndim > 1 else 0.0} for one in model.parameters()]
    adamw = torch.optim.AdamW(groups, lr=0.05)
    falling = torch.optim.lr_scheduler.LambdaLR(adamw, Schedule("cosine", 10, 0.2))
    for _ in range(10):
        learner.training_step(batch, 0)
        adamw.zero_grad()
        losses = torch.nn.functional.cross_entropy(model(batch["x"]), batch["truth"], reduction="none")
        ((losses * batch["weight"]).sum() / batch["weight"].sum()).backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 0.05)
        adamw.step()
        falling.step()
        assert learner.grad_norm == float(norm)
    for ours, theirs in zip(learner.model.parameters(), model.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    assert learner.rate() == falling.get_last_lr()[0]


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "muon"])
def test_every_optimiser_lowers_the_loss_at_the_rate_of_the_schedule(task, optimizer):
    model = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Tanh(), torch.nn.Linear(8, 8), torch.nn.Tanh(), torch.nn.Linear(8, 2))
    recipe = {**RECIPE, "optimizer": optimizer, "schedule": "linear", "max_steps": 40}
    learner = Stepping(model, task=task, recipe=recipe, seed=0)
    batch, groups = toy_batch(), sum(len(one.param_groups) for one in learner._prepared())
    losses = [learner.training_step(batch, 0).item() for _ in range(40)]
    assert losses[-1] < 0.97 * losses[0]
    assert [group["lr"] for stepper in learner._steppers for group in stepper.param_groups] == pytest.approx([0.05 / 40] * groups)


@pytest.mark.parametrize("parts", [2, 5, 12])
@pytest.mark.parametrize("mix", ["none", "mixup"])
def test_parts_of_a_batch_add_up_to_its_gradient(task, parts, mix):
    """Weighted samples, a penalty, and partners that lie in another part."""
    owner = small()
    owner.penalty = lambda: 0.01 * owner[0].weight.square().sum()
    whole, cut = (
        Stepping(owner, task=task, recipe={**RECIPE, "accumulate": count, "mix": mix, "mix_alpha": 1.0}, seed=0)
        for count in (1, parts)
    )
    whole._rest["mixer"].check(images=True)
    batch = toy_batch()
    found = []
    for learner in (whole, cut):
        learner.configure_optimizers = lambda: [torch.optim.SGD(owner.parameters(), lr=0.0)]
        for group in learner._prepared()[0].param_groups:
            group["initial_lr"] = 0.0
        loss = learner.training_step(batch, 0)
        found.append((loss, [one.grad.clone() for one in owner.parameters()]))
    assert found[0][0].item() == pytest.approx(found[1][0].item(), rel=1e-5)
    for one, two in zip(found[0][1], found[1][1], strict=True):
        assert torch.allclose(one, two, rtol=1e-4, atol=1e-6)


def test_more_parts_than_samples_are_refused(task):
    learner = Stepping(small(), task=task, recipe={**RECIPE, "accumulate": 13}, seed=0)
    with pytest.raises(PersonError, match=r"train.accumulate=13 cuts 12 samples"):
        learner.training_step(toy_batch(), 0)


def test_a_loss_that_is_not_finite_stops_before_the_step(task):
    learner = Stepping(torch.nn.Linear(1, 2), task=task, recipe=RECIPE, seed=0)
    learner.taken, before = 7, learner.model.weight.clone()
    batch = {**batch_of(torch.tensor([[1.0], [math.nan]]), torch.tensor([0, 1])), "index": torch.tensor([4, 9])}
    with pytest.raises(PersonError, match=r"loss is nan at step 7 \(learning rate 0.05, samples \[9\]\): lower train.lr"):
        learner.training_step(batch, 0)
    assert torch.equal(learner.model.weight, before)


def test_a_gradient_that_is_not_finite_stops_before_the_step(task):
    class Root(torch.nn.Module):
        """Finite at zero, with a slope that is not."""

        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(2))

        def forward(self, x):
            return self.weight.sqrt() * x

    learner = Stepping(Root(), task=task, recipe=RECIPE, seed=0)
    with pytest.raises(PersonError, match=r"norm of the gradient is (inf|nan) at step 0 .*lower train.lr"):
        learner.training_step(batch_of(torch.ones(2, 1), torch.tensor([0, 1])), 0)
    assert torch.equal(learner.model.weight, torch.zeros(2))


def test_randomness_inside_the_model_follows_from_seed_and_step_alone(task):
    outputs = []
    for seed, step, noise in ((0, 3, 1), (0, 3, 2), (0, 4, 1), (1, 3, 1)):
        learner = Stepping(torch.nn.Dropout(0.5), task=task, recipe=RECIPE, seed=seed)
        torch.manual_seed(noise)
        learner._seed(learner._step_seed(step))
        outputs.append(learner.model(torch.ones(64)).tolist())
    assert outputs[0] == outputs[1]
    assert outputs[2] != outputs[0] != outputs[3]


def test_a_model_without_trainable_parameters_is_refused(task):
    with pytest.raises(PersonError, match="no trainable parameter"):
        Learner(torch.nn.Linear(1, 2).requires_grad_(False), task=task, recipe=RECIPE, seed=0).configure_optimizers()


def test_the_trunk_learns_at_its_own_rate(task):
    model = torch.nn.ModuleDict({"network": torch.nn.Linear(2, 2), "head": torch.nn.Linear(2, 2)})
    model.learning_rates = lambda: {"network": 0.1}
    groups = Learner(model, task=task, recipe=RECIPE, seed=0).configure_optimizers()[0].param_groups
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


def test_the_running_hooks_name_goes_past_torchs_setter_and_nothing_else_does(task):
    learner = Learner(torch.nn.Linear(2, 2), task=task, recipe=RECIPE, seed=0)
    learner._current_fx_name = "training_step"
    assert learner.__dict__["_current_fx_name"] == "training_step"
    learner.extra = torch.nn.Linear(2, 2)
    assert "extra" in dict(learner.named_children())
    assert len(list(learner.parameters())) >= 4
