"""A network is taken apart before its last linear layer, or is said not to have one."""

import pytest
import torch
from torch import nn

from pipeline.outlier.view import halves


class Residual(nn.Module):
    """Two linear layers of the same width; the last one is declared first."""

    def __init__(self):
        super().__init__()
        self.out, self.inner = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x):
        h = x.mean((2, 3))
        return self.out(h + self.inner(h).relu())


class Scaled(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.Linear(4, 3)

    def forward(self, x):
        return 2 * self.out(x.mean((2, 3)))


class Twice(nn.Module):
    """One layer, used two times: what comes before its last use cannot be had by taking it out."""

    def __init__(self):
        super().__init__()
        self.out = nn.Linear(4, 4)

    def forward(self, x):
        return self.out(self.out(x.mean((2, 3))).relu())


@pytest.fixture
def x():
    return torch.rand(3, 4, 5, 5, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("model", [
    Residual(), nn.Sequential(nn.Flatten(), nn.Linear(100, 6), nn.ReLU(), nn.Sequential(nn.Dropout(), nn.Linear(6, 2, bias=False)), nn.Dropout()),
], ids=["residual", "nested"])  # fmt: skip
def test_body_and_last_layer_give_the_outputs(model, x):
    model = model.eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    body, last = halves(model, x)
    with torch.no_grad():
        assert torch.allclose(last(body(x)), model(x))
        assert body(x).shape == (3, last.in_features)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize("model", [Scaled(), Twice(), nn.Sequential(nn.Conv2d(4, 3, 5), nn.Flatten())], ids=["scaled", "twice", "convolution"])
def test_a_network_without_such_a_layer_has_none(model, x):
    assert halves(model.eval(), x) is None
