"""FGSM against its closed form, and the guards around foolbox."""

import pytest
import torch

from pipeline.attack.fgsm import Fgsm
from pipeline.core.errors import PersonError


@pytest.fixture
def x():
    return torch.rand(5, 1, 4, 4, generator=torch.Generator().manual_seed(1)) * 0.6 + 0.2


@pytest.fixture
def weights():
    return torch.randn(1, 4, 4, generator=torch.Generator().manual_seed(2))


def rng():
    return torch.Generator().manual_seed(0)


def test_a_linear_loss_gives_the_closed_form(x, weights):
    found = Fgsm(eps=0.1)(lambda images: (images * weights).sum((1, 2, 3)), x, rng())
    assert torch.allclose(found, x + 0.1 * weights.sign(), atol=1e-6)


def test_in_l2_the_step_has_the_direction_of_the_gradient(x, weights):
    found = Fgsm(eps=0.1, norm="l2")(lambda images: (images * weights).sum((1, 2, 3)), x, rng())
    assert torch.allclose(found, x + 0.1 * weights / weights.norm(), atol=1e-6)


def test_pixels_stay_in_range_at_the_border(weights):
    ends = torch.cat([torch.zeros(2, 1, 4, 4), torch.ones(2, 1, 4, 4)])
    found = Fgsm(eps=0.3)(lambda images: (images * weights).sum((1, 2, 3)), ends, rng())
    assert torch.equal(found, (ends + 0.3 * weights.sign()).clamp(0, 1))


def test_a_sample_whose_loss_would_fall_keeps_its_pixels(x):
    def loss_of(images):  # a narrow ridge: one long step jumps over it and lands lower
        return -((images.mean((1, 2, 3)) - x.mean((1, 2, 3)) - 0.01) ** 2)

    found = Fgsm(eps=0.2)(loss_of, x, rng())
    assert torch.equal(found, x)


def test_frozen_parameters_can_be_attacked(x):
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 1)).requires_grad_(False)
    assert not torch.equal(Fgsm(eps=0.1)(lambda images: model(images)[:, 0], x, rng()), x)


@pytest.mark.parametrize("loss_of", [
    lambda images: images.detach().sum((1, 2, 3)),
    lambda images: torch.zeros(len(images), requires_grad=True) * 1.0,
])  # fmt: skip
def test_a_model_without_gradient_is_said_so(x, loss_of):
    with pytest.raises(PersonError, match="differentiated"):
        Fgsm(eps=0.1)(loss_of, x, rng())


def test_wrong_inputs_are_refused(x):
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        Fgsm(eps=0.1)(lambda images: images.sum((1, 2, 3)), 255 * x, rng())
    with pytest.raises(ValueError, match="one loss a sample"):
        Fgsm(eps=0.1)(lambda images: images.sum(), x, rng())
    with pytest.raises(PersonError, match="2/255"):
        Fgsm(eps=8)
    with pytest.raises(PersonError, match="positive multiples"):
        Fgsm(eps=0.1, radii=[0.0, 1.0])
