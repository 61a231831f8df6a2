"""What tests of bounds share: small networks of every kind, samples of a box, and exact bounds by mixed-integer programming."""

from itertools import pairwise

import numpy as np
import torch
from scipy.optimize import Bounds, LinearConstraint, milp
from torch import nn

from pipeline.verification.graph import Graph, Node
from pipeline.verification.intervals import Box


def dense(*sizes, seed=0, activation=nn.ReLU):
    """A perceptron on (B, 1, 1, sizes[0])."""
    torch.manual_seed(seed)
    layers = [nn.Flatten()]
    for before, after in pairwise(sizes):
        layers += [nn.Linear(before, after), activation()]
    return nn.Sequential(*layers[:-1]).eval()


KINDS = {nn.ReLU: "relu", nn.Sigmoid: "sigmoid", nn.Tanh: "tanh"}


def graph_of(model):
    """The graph of a perceptron, written down by hand: torch.export costs seconds at its first call."""
    nodes = [Node("x", "input"), Node("flat", "flatten", ("x",), {}, {"start": 1})]
    for number, layer in enumerate(list(model)[1:]):
        constants = {"weight": layer.weight, "bias": layer.bias} if isinstance(layer, nn.Linear) else {}
        nodes.append(Node(str(number), "linear" if constants else KINDS[type(layer)], (nodes[-1].name,), constants))
    return Graph(tuple(nodes))


class Residual(nn.Module):
    """Every layer of the house's own networks: normalised pixels, batch norm, residual joins, pools, a joined head."""

    def __init__(self, activation=torch.relu, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.register_buffer("mean", torch.tensor([0.4, 0.6]).view(1, 2, 1, 1))
        self.stem, self.norm = nn.Conv2d(2, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.wide, self.deep = nn.Conv2d(6, 6, 3, 2, 1, groups=3, bias=False), nn.Conv2d(6, 6, 1, 2)
        self.pool, self.head = nn.MaxPool2d(2, 2), nn.Linear(12, 3)
        self.activation = activation
        for buffer in (self.norm.running_mean, self.norm.running_var):
            buffer.uniform_(0.3, 0.9)

    def forward(self, x_BCHW):
        h = self.activation(self.norm(self.stem((x_BCHW - self.mean) / 0.25)))
        h = self.activation(self.wide(h)) + self.deep(h)
        pooled = torch.cat([h.mean((2, 3)), self.pool(h).amax((2, 3))], dim=1)
        return self.head(pooled)


def samples(box, count, *, seed=0):
    """Points of a box (1, ...): its inside, its faces and its corners, (count, ...)."""
    rng = torch.Generator().manual_seed(seed)
    share = torch.rand((count, *box.low.shape[1:]), generator=rng, dtype=box.low.dtype)
    third = count // 3
    share[:third] = share[:third].round()
    share[third : 2 * third] = (3 * share[third : 2 * third] - 1).clamp(0, 1)
    return box.low + share * (box.high - box.low)


def exact_lower(model, box, weights_K):
    """The least value of a linear function of the outputs of a ReLU perceptron, by HiGHS; independent of our bounds.

    Variables: the pixels, then for each layer the values before and after its ReLU and whether it is on (Tjeng et al. 2019, arXiv
    1711.07356, equation 4).
    """
    low, high = (end[0].flatten().double().numpy() for end in box)
    layers = [module for module in model if isinstance(module, nn.Linear)]
    least, most, whole, rows = list(low), list(high), [0] * len(low), []
    before = list(range(len(low)))
    for number, layer in enumerate(layers):
        weight, bias = layer.weight.detach().double().numpy(), layer.bias.detach().double().numpy()
        centre, radius = (high + low) / 2, (high - low) / 2
        low, high = weight @ centre + bias - abs(weight) @ radius, weight @ centre + bias + abs(weight) @ radius
        first = len(least)
        least, most, whole = least + list(low), most + list(high), whole + [0] * len(low)
        rows += [
            ({first + unit: 1.0, **{at: -w for at, w in zip(before, weight[unit], strict=True)}}, bias[unit], bias[unit])
            for unit in range(len(low))
        ]  # fmt: skip
        before = list(range(first, first + len(low)))
        if number == len(layers) - 1:
            break
        after = len(least)
        low, high = np.maximum(low, 0), np.maximum(high, 0)
        least, most, whole = least + list(low) + [0.0] * len(low), most + list(high) + [1.0] * len(low), whole + [0] * len(low) + [1] * len(low)
        for unit, at in enumerate(before):
            y, on, a, b = after + unit, after + len(low) + unit, least[at], most[at]
            rows.append(({y: 1.0, at: -1.0}, 0.0, np.inf))
            rows.append(({y: 1.0, at: -1.0, on: -min(a, 0.0)}, -np.inf, -min(a, 0.0)))
            rows.append(({y: 1.0, on: -max(b, 0.0)}, -np.inf, 0.0))
        before = list(range(after, after + len(low)))
    matrix = np.zeros((len(rows), len(least)))
    for row, (entries, _, _) in enumerate(rows):
        for at, value in entries.items():
            matrix[row, at] += value
    goal = np.zeros(len(least))
    goal[before] = np.asarray(weights_K)
    found = milp(
        goal, constraints=LinearConstraint(matrix, [row[1] for row in rows], [row[2] for row in rows]),
        bounds=Bounds(least, most), integrality=whole,
    )  # fmt: skip
    assert found.success, found.message
    return float(found.fun)


def around(x_BCHW, eps):
    """The box of radius eps, in float64."""
    return Box((x_BCHW.double() - eps).clamp_min(0), (x_BCHW.double() + eps).clamp_max(1))
