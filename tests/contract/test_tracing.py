"""The graph of a module computes what the module does, follows its parameters, and names what it does not know."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from pipeline.model.mlp import Mlp
from pipeline.model.resnet import ResNet
from pipeline.verification.backward import Effort, relax
from pipeline.verification.graph import Unboundable
from pipeline.verification.intervals import propagate
from pipeline.verification.tracing import from_module
from tests import bounding

FACTS = {"channels": 2, "height": 8, "width_pixels": 8, "outputs": 3, "mean": [0.4, 0.5], "std": [0.2, 0.3]}


class Kitchen(nn.Module):
    """One of each operation that no network of the house has."""

    def forward(self, x_BCHW):
        x = functional.pad(x_BCHW, (0, 1, 2, 0), value=0.3)
        x = functional.interpolate(x, (9, 7), mode="bilinear")
        x = functional.avg_pool2d(x, 3, 2, 1, count_include_pad=False) + functional.avg_pool2d(x, 3, 2, 1)
        a, b = x.chunk(2, dim=1)
        x = torch.cat([a.expand(-1, 3, -1, -1), b, -a], dim=1).permute(0, 2, 3, 1)
        x = functional.leaky_relu(x[:, 1:, ::2, :], 0.2).transpose(1, 3) * torch.sigmoid(b[:, :, :2, 0:1].mean((2, 3), keepdim=True))
        x = functional.max_pool2d(x, 2, 2, 1, ceil_mode=True)
        x = functional.silu(x) - 2 * functional.gelu(x) + functional.hardsigmoid(x) / 4
        x = x.clamp(-1, 1).unsqueeze(2).squeeze(2).flatten(1)
        return torch.tanh(x[:, :6]) + (1 - x[:, 6:12]) + x.sum(1, keepdim=True)


class InPlace(nn.Module):
    """Changes its tensors where they stand."""

    def __init__(self):
        super().__init__()
        self.conv, self.act, self.head = nn.Conv2d(2, 4, 3), nn.ReLU6(inplace=True), nn.Linear(4, 3)

    def forward(self, x_BCHW):
        h = self.conv(x_BCHW)
        h = self.act(h)
        h += 1
        return self.head(functional.adaptive_avg_pool2d(h, 1).flatten(1))


MODULES = {
    "resnet": lambda: ResNet(**FACTS, width=4, stages=2), "mlp": lambda: Mlp(**FACTS, hidden=(8,)), "kitchen": Kitchen, "in place": InPlace,
}  # fmt: skip


@pytest.mark.parametrize("name", MODULES)
def test_the_graph_is_the_module_and_bounds_hold_it(name):
    torch.manual_seed(0)
    model = MODULES[name]().train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.3, 0.3)
            module.running_var.uniform_(0.3, 0.9)
    x_BCHW = torch.rand(3, 2, 8, 8)
    graph = from_module(model, x_BCHW)
    assert model.training, "its mode is left as it was"
    model.eval()
    with torch.no_grad():
        assert torch.allclose(graph.run(x_BCHW), model(x_BCHW), atol=1e-5)
        box = bounding.around(x_BCHW[:1], 0.02)
        seen = model(bounding.samples(box, 300).float()).double()
        exact = graph.to(torch.float64)
        loose, relaxed = propagate(exact, box)[graph.output.name], relax(exact, box, unit=0.0, effort=Effort(neurons=4096))
        unit = torch.eye(seen.shape[1], dtype=torch.float64).unsqueeze(0)
        low = relaxed.lower(unit, graph.output.name)
        high = -relaxed.lower(-unit, graph.output.name)
    assert bool(((seen >= loose.low - 1e-6) & (seen <= loose.high + 1e-6)).all())
    assert bool(((seen >= low - 1e-6) & (seen <= high + 1e-6)).all())
    assert float((high - low).mean()) < float((loose.high - loose.low).mean())


def test_it_follows_the_live_parameters():
    model = bounding.dense(4, 3, 2)
    x_BCHW = torch.rand(2, 1, 2, 2)
    graph = from_module(model, x_BCHW, live=True)
    with torch.no_grad():
        model[1].weight.mul_(-2)
    assert torch.equal(graph.run(x_BCHW), model(x_BCHW))
    propagate(graph, bounding.Box(x_BCHW - 0.1, x_BCHW + 0.1))[graph.output.name].low.sum().backward()
    assert float(model[1].weight.grad.abs().sum()) > 0


class Derived(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.rand(3, 4))

    def forward(self, x_BCHW):
        return functional.linear(x_BCHW.flatten(1), self.weight / 2)


class Mixing(nn.Module):
    def forward(self, x_BCHW):
        return x_BCHW.flatten(1) - x_BCHW.flatten(1).mean(0, keepdim=True)


@pytest.mark.parametrize(("model", "words"), [
    (nn.Sequential(nn.Flatten(), nn.Softmax(1)), "softmax"), (nn.Sequential(nn.Conv2d(1, 2, 1)), r"one tensor \(B, K\)"),
    (nn.Sequential(nn.ConvTranspose2d(1, 1, 2), nn.Flatten()), "transpose"), (Mixing(), "batch"), (Derived(), "computed from others"),
])  # fmt: skip
def test_what_it_cannot_bound_is_named(model, words):
    with pytest.raises(Unboundable, match=words):
        from_module(model, torch.rand(2, 1, 2, 2), live=True)
