"""Convolutions in order, filters of the first layer, structure, activations."""

import numpy as np
import torch
from torch import nn

from pipeline.explaining.layers import activations, alikeness, convolutions, first_filters, structured


class Net(nn.Module):
    """Registered in another order than it runs; one output is 1x1."""

    def __init__(self):
        super().__init__()
        self.late = nn.Conv2d(4, 6, 3)
        self.early = nn.Conv2d(3, 4, 3)
        self.squeeze = nn.Conv2d(6, 6, 1)

    def forward(self, x):
        h = self.late(torch.relu(self.early(x)))
        return (h * self.squeeze(h.mean((2, 3), keepdim=True))).mean((2, 3))


def test_convolutions_come_as_they_run_without_those_that_see_no_place():
    torch.manual_seed(0)
    model, x = Net().eval(), torch.rand(1, 3, 8, 8)
    found = convolutions(model, lambda: model(x))
    assert [name for name, _ in found] == ["early", "late"]
    assert found[0][1] is model.early
    assert not any(module._forward_hooks for module in model.modules())


def test_filters_are_the_weights_of_the_first_layer():
    torch.manual_seed(0)
    model = Net()
    found = first_filters(model, [("early", model.early), ("late", model.late)], (3, 8, 8))
    assert np.array_equal(found[1], model.early.weight[1].detach().permute(1, 2, 0).numpy())
    dense = nn.Sequential(nn.Flatten(), nn.Linear(32, 5), nn.Linear(5, 2))
    shown = first_filters(dense, [], (2, 4, 4))
    assert shown.shape == (5, 4, 4, 1), "two channels are shown as their mean"
    assert np.allclose(shown[3, :, :, 0], dense[1].weight[3].detach().reshape(2, 4, 4).mean(0).numpy())
    assert len(first_filters(nn.Sequential(nn.Flatten(), nn.Linear(9, 2)), [], (2, 4, 4))) == 0


def test_edges_are_structured_and_noise_is_not():
    rng = np.random.default_rng(0)
    row, column = np.mgrid[-3:4, -3:4] / 3
    edges = np.stack([np.exp(-2 * (row**2 + column**2)) * np.cos(3 * (np.cos(a) * row + np.sin(a) * column)) for a in np.linspace(0, 3, 20)])
    assert structured(edges[..., None].astype(np.float32), rng) > 0.9
    noise = rng.normal(size=(100, 7, 7, 1)).astype(np.float32)
    assert structured(noise, rng) < 0.15
    assert structured(noise[:, :2, :2], rng) is None
    assert structured(np.zeros((0, 1, 1, 1), np.float32), rng) is None
    both = np.stack([np.ones((4, 4)), np.indices((4, 4)).sum(0) % 2])[..., None].astype(np.float32)
    assert alikeness(both).tolist() == [0, -1]


def test_activations_are_of_layers_spaced_in_depth_and_channels_that_vary():
    torch.manual_seed(0)
    model = nn.Sequential(*(nn.Conv2d(1 if depth == 0 else 4, 4, 3, padding=1) for depth in range(7)), nn.Flatten()).eval()
    x = torch.rand(1, 1, 6, 6)
    found = activations(model, x, convolutions(model, lambda: model(x)), layers=3, channels=2)
    assert [name for name, _ in found] == ["0", "3", "6"]
    with torch.no_grad():
        answer = model[:4](x)[0]
    order = answer.flatten(1).std(1).argsort(descending=True)
    assert np.allclose(found[1][1], answer[order[:2]].numpy())
    assert activations(model, x, [], layers=3, channels=2) == []
