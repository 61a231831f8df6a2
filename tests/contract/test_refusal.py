"""What a person reads when a network cannot be written as ONNX."""

import pytest
import torch
from torch import nn

from pipeline.core.errors import PersonError
from pipeline.exporter.onnx import Onnx


class Odd(nn.Module):
    """An operator of torch that ONNX does not have."""

    def forward(self, x_BD):
        return torch.special.bessel_j0(x_BD)


class Untraceable(nn.Module):
    """Control flow that depends on values."""

    def forward(self, x_BD):
        return x_BD * 2 if float(x_BD.sum()) > 0 else x_BD


def test_the_operator_its_layer_and_who_takes_it_are_named():
    network = nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.ReLU(), Odd()), nn.Linear(4, 2)).eval()
    with pytest.raises(PersonError, match=r"bessel_j0 in the layer 1\.1 \(Odd\).*exporter=none .*target=\[torch_export\].*executorch"):
        Onnx().proto(network, torch.rand(2, 4), ["output"])
    with torch.no_grad():  # and what the message promises is so
        program = torch.export.export(network, (torch.rand(2, 4),))
    assert torch.allclose(program.module()(torch.ones(2, 4)), network(torch.ones(2, 4)))


def test_what_cannot_be_traced_says_so():
    with pytest.raises(PersonError, match=r"torch\.export cannot trace the network"):
        Onnx().proto(nn.Sequential(Untraceable()).eval(), torch.rand(2, 4), ["output"])
