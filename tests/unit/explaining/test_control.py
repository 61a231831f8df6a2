"""Shuffled networks and rank correlation."""

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import nn

from pipeline.explaining.control import randomised, rank_correlation


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2)).eval()


def test_weights_are_shuffled_and_the_original_stays(model):
    x = torch.rand(6, 1, 8, 8)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    other = randomised(model, x, torch.Generator().manual_seed(0))
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    changed = dict(other.named_parameters())
    for name, tensor in model.named_parameters():
        assert torch.equal(changed[name].flatten().sort().values, tensor.flatten().sort().values), name
    assert not torch.equal(changed["0.weight"], model[0].weight)
    assert not other.training
    assert not other[1].training


def test_batch_norm_is_measured_again(model):
    x = torch.rand(32, 1, 8, 8)
    other = randomised(model, x, torch.Generator().manual_seed(0))
    with torch.no_grad():
        inner = other[0](x)
    assert torch.allclose(other[1].running_mean, inner.mean((0, 2, 3)), atol=1e-5)
    single = randomised(model, x[:1], torch.Generator().manual_seed(0))
    assert torch.equal(single[1].running_mean, model[1].running_mean)


def test_rank_correlation_is_that_of_scipy():
    rng = np.random.default_rng(0)
    first = rng.random((4, 5, 6)).round(1)
    second = (first + rng.random((4, 5, 6))).round(1)
    expected = [spearmanr(a.ravel(), b.ravel()).statistic for a, b in zip(first, second, strict=True)]
    assert rank_correlation(first, second) == pytest.approx(expected)
    assert rank_correlation(np.zeros((1, 3, 3)), second[:1, :3, :3]).tolist() == [0.0]
