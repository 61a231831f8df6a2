"""Integrated gradients against closed forms and against completeness, their own axiom."""

import pytest
import torch
from torch import nn

from pipeline.core.errors import PersonError
from pipeline.explainer.integrated_gradients import IntegratedGradients


@pytest.fixture
def x():
    return torch.rand(3, 2, 6, 7, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("baseline", [None, 0.0, 0.25])
def test_a_quadratic_has_a_closed_form(x, baseline):
    """The integral of 2 (b + a (x - b)) (x - b) over a in [0, 1] is x^2 - b^2."""
    rest = x.mean((2, 3), keepdim=True).expand_as(x) if baseline is None else torch.full_like(x, baseline)
    maps = IntegratedGradients(steps=4, baseline=baseline, batch=3)(lambda images: images.square().sum((1, 2, 3)), x)
    assert torch.allclose(maps, (x.square() - rest.square()).sum(1), atol=1e-5)


def test_a_map_adds_up_to_the_difference_of_the_scores(x):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 8, 3), nn.Tanh(), nn.Flatten(), nn.Linear(160, 16), nn.Tanh(), nn.Linear(16, 1)).eval()
    found = IntegratedGradients(steps=32, baseline=0.0, batch=8)(lambda images: model(images)[:, 0], x)
    with torch.no_grad():
        expected = (model(x) - model(torch.zeros_like(x)))[:, 0]
    assert torch.allclose(found.sum((1, 2)), expected, atol=1e-4)
    plain = IntegratedGradients(steps=1, baseline=0.0, batch=8)(lambda images: model(images)[:, 0], x)
    assert not torch.allclose(plain.sum((1, 2)), expected, atol=1e-4), "with one step the axiom is broken: the test can fail"


def test_what_has_no_gradient_is_said_with_a_remedy(x):
    with pytest.raises(PersonError, match=r"differentiated.*explainer=\[occlusion\]"):
        IntegratedGradients(steps=4, baseline=None, batch=1)(lambda images: images.detach().sum((1, 2, 3)), x)
    with pytest.raises(PersonError, match="not finite"):
        IntegratedGradients(steps=4, baseline=None, batch=1)(lambda images: (0 * images).log().sum((1, 2, 3)), x)


def test_numbers_out_of_range_are_said():
    with pytest.raises(PersonError, match="steps=0"):
        IntegratedGradients(steps=0, baseline=None, batch=1)
    with pytest.raises(PersonError, match=r"baseline=1\.5"):
        IntegratedGradients(steps=1, baseline=1.5, batch=1)
