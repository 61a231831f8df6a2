"""The score of one class, held while the image changes."""

import pytest
import torch
from torch import nn

from pipeline.core.errors import PersonError
from pipeline.core.parts import build
from pipeline.explaining.score import Score, check_differentiable, check_finite, network_of
from tests import toy

CARD = {"classes": ["a", "b", "c"], "target": {"name": "t", "unit": "", "low": 0.0, "high": 1.0}, "name": "toy"}


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 3)).eval().requires_grad_(False)


def test_the_class_of_the_image_is_scored_where_another_one_wins(model):
    task = build(toy.option("task", "classification"), card=CARD)
    x = torch.rand(40, 1, 4, 4, generator=torch.Generator().manual_seed(0)) * 4
    kinds = model(x).argmax(1)
    assert len(kinds.unique()) > 1, "the toy network must know several classes"
    first, other = x[:1], x[kinds != kinds[0]]
    score_of = Score(model, task, first)
    assert torch.equal(score_of(other), model(other)[:, int(kinds[0])])
    assert bool((task.score(model(other)) > score_of(other)).all()), "the largest logit would be another class's"
    assert score_of.model is model


def test_a_value_is_scored_as_it_is():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 1)).eval()
    task = build(toy.option("task", "regression"), card=CARD)
    x = torch.rand(3, 1, 4, 4)
    assert torch.equal(Score(model, task, x[:1])(x), model(x)[:, 0])
    assert all(parameter.grad is None for parameter in model.parameters())


def test_it_works_where_gradients_are_off(model):
    task = build(toy.option("task", "classification"), card=CARD)
    x = torch.rand(2, 1, 4, 4)
    expected = Score(model, task, x[:1])(x)
    with torch.no_grad():
        assert torch.equal(Score(model, task, x[:1])(x), expected)


def test_what_an_explainer_cannot_use_is_said(model):
    x = torch.rand(2, 1, 4, 4)
    with pytest.raises(PersonError, match=r"Mine looks into a network's layers.*do this"):
        network_of(lambda images: images.sum((1, 2, 3)), method="Mine", remedy="do this")
    with pytest.raises(PersonError, match=r"Mine: .*differentiated.*do this"):
        check_differentiable(lambda images: images.detach().sum((1, 2, 3)), x, method="Mine", remedy="do this")
    check_differentiable(lambda images: model(images)[:, 0], x, method="Mine", remedy="")
    with pytest.raises(PersonError, match="Mine gave values that are not finite"):
        check_finite(torch.tensor([1.0, torch.inf]), method="Mine")
