"""What a network knows before its last layer, and the nearest training samples there."""

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.core.errors import PersonError
from pipeline.core.parts import build
from pipeline.explaining.features import Features, agreement, features_of, nearest
from tests import toy

CARD = {"classes": ["a", "b"], "target": {"name": "t", "unit": "", "low": 0.0, "high": 1.0}, "name": "toy"}


class Reversed(nn.Module):
    """The layer that is registered first runs last, and one never runs."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(4, 2)
        self.idle = nn.Linear(9, 9)
        self.trunk = nn.Conv2d(1, 4, 3)

    def forward(self, x):
        return self.head(self.trunk(x).mean((2, 3)))


def test_it_is_the_input_of_the_last_layer_that_runs():
    torch.manual_seed(0)
    model, x = Reversed().eval(), torch.rand(5, 1, 6, 6)
    features = Features(model, x[:1])
    assert features.layer is model.head
    assert torch.equal(features(x), model.trunk(x).mean((2, 3)))
    assert torch.allclose(model.head(features(x)), model(x))
    assert not model.head._forward_pre_hooks
    many = features_of(features, x.split(2))
    assert many.shape == (5, 4)
    assert many.dtype == np.float32


def test_places_of_a_convolution_and_tokens_are_averaged():
    torch.manual_seed(0)
    x = torch.rand(2, 1, 6, 6)
    convolution = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Conv2d(3, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    assert torch.equal(Features(convolution, x[:1])(x), convolution[:2](x).mean((2, 3)))
    tokens = nn.Sequential(nn.Flatten(2), nn.Linear(36, 2)).eval()
    assert torch.allclose(Features(tokens, x[:1])(x), x.flatten(2).mean(1))


def test_gradients_pass_and_a_network_without_layers_is_said():
    x = torch.rand(2, 1, 6, 6, requires_grad=True)
    Features(Reversed().eval(), x[:1])(x).sum().backward()
    assert x.grad is not None
    with pytest.raises(PersonError, match="neither a linear layer nor a convolution"):
        Features(nn.Flatten(), x[:1])


def test_neighbours_are_those_of_standardised_distances():
    rng = np.random.default_rng(0)
    query, prototypes = rng.normal(size=(4, 6)), rng.normal(size=(9, 6)) * [1, 100, 1, 1, 1, 1]
    prototypes[:, 5] = 7  # never varies
    scaled = (prototypes - prototypes.mean(0)) / np.where(prototypes.std(0) > 0, prototypes.std(0), np.inf)
    asked = (query - prototypes.mean(0)) / np.where(prototypes.std(0) > 0, prototypes.std(0), np.inf)
    expected = np.linalg.norm(asked[:, None] - scaled[None], axis=2).argsort(1)[:, :3]
    found = nearest(query.astype(np.float32), prototypes.astype(np.float32), 3)
    assert np.array_equal(found, expected)
    assert nearest(query.astype(np.float32), prototypes.astype(np.float32), 99).shape == (4, 9)
    assert np.array_equal(nearest(prototypes.astype(np.float32), prototypes.astype(np.float32), 1)[:, 0], np.arange(9))


def test_agreement_compares_the_neighbours_with_everybody():
    task = build(toy.option("task", "classification"), card=CARD)
    truth = np.asarray([0, 0, 1, 1])
    prediction = np.asarray([[0.9, 0.1], [0.2, 0.8]], np.float32)
    own, chance = agreement(task, prediction, np.asarray([[0, 1], [2, 3]]), truth)
    assert own == pytest.approx(np.mean([0.1 - 0.9, 0.2 - 0.8]))
    assert chance == pytest.approx(0, abs=1e-6)
    assert agreement(task, prediction, np.asarray([[2, 3], [0, 1]]), truth)[0] == pytest.approx(-own)
