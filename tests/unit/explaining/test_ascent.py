"""Gradient ascent on the input: it climbs, never falls, stays in range, and each image climbs by itself."""

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.explaining.ascent import Energy, Towards, ascend, direction, start


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(400, 3)).eval().requires_grad_(False)


def test_scores_rise_from_noise_and_never_fall(model):
    begin = start(3, (1, 12, 12), np.random.default_rng(0))
    assert torch.equal(begin[0], begin[2])
    end, score = ascend(Towards(model, torch.eye(3)), begin, steps=20, step=0.1)
    assert score.shape == (21, 3)
    assert (np.diff(score, axis=0) >= 0).all()
    assert (score[-1] > score[0] + 0.1).all()
    assert float(end.min()) >= 0
    assert float(end.max()) <= 1
    with torch.no_grad():
        assert np.allclose(model(end).diagonal().numpy(), score[-1], atol=1e-5)


def test_a_step_that_overshoots_is_taken_back_and_shrunk():
    goal = torch.full((1, 1, 4, 4), 0.6)
    end, score = ascend(lambda x: -(x - goal).square().sum((1, 2, 3)), torch.full((1, 1, 4, 4), 0.5), steps=30, step=0.35)
    assert (np.diff(score[:, 0]) >= 0).all()
    assert torch.allclose(end, goal, atol=1e-2)


def test_an_image_does_not_depend_on_its_companions(model):
    begin = start(2, (1, 12, 12), np.random.default_rng(0))
    together, _ = ascend(Towards(model, torch.eye(3)[:2]), begin, steps=5, step=0.1)
    alone, _ = ascend(Towards(model, torch.eye(3)[1:2]), begin[:1], steps=5, step=0.1)
    assert torch.allclose(together[1:], alone, atol=1e-5)


def test_the_direction_climbs_and_holds_wider_scales():
    slope = torch.randn(2, 1, 24, 24, generator=torch.Generator().manual_seed(0))
    found = direction(slope)
    assert torch.allclose(found.square().mean((1, 2, 3)).sqrt(), torch.ones(2))
    assert ((found * slope).sum((1, 2, 3)) > 0).all()
    smooth = (found[..., 1:] * found[..., :-1]).mean() / found.square().mean()
    assert smooth > 0.2 > (slope[..., 1:] * slope[..., :-1]).mean() / slope.square().mean()
    assert torch.equal(direction(torch.zeros(1, 1, 8, 8)), torch.zeros(1, 1, 8, 8))


def test_energy_is_the_mean_square_of_a_layer(model):
    x = torch.rand(2, 1, 12, 12)
    assert torch.allclose(Energy(model, model[0])(x), model[0](x).square().mean((1, 2, 3)))
    _, score = ascend(Energy(model, model[0]), x, steps=5, step=0.05)
    assert (score[-1] > score[0]).all()
    assert not model[0]._forward_hooks
