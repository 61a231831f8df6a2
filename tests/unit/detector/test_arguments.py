"""Numbers out of range are refused with what was expected and received, and a network without a gradient is named."""

import pytest
import torch
from torch import nn

from pipeline.core.errors import PersonError
from pipeline.core.parts import build
from pipeline.detector.knn import Knn
from pipeline.detector.odin import Odin
from pipeline.detector.vim import complement
from pipeline.outlier.view import Known, Seen
from tests import toy


@pytest.mark.parametrize(("name", "argument", "value"), [
    ("softmax", "temperature", 0.0), ("energy", "temperature", -1.0), ("odin", "temperature", 0.0), ("odin", "eps", 1.5),
    ("odin", "eps", -0.1), ("mahalanobis", "components", 0), ("knn", "k", 0), ("knn", "components", 0), ("vim", "dimension", 0),
])  # fmt: skip
def test_a_number_out_of_range(name, argument, value):
    with pytest.raises(PersonError, match=f"detector.{name}.*{argument}.*received .*{value}"):
        build(toy.option("detector", name, **{argument: value}))


def test_fewer_samples_than_neighbours():
    features = torch.rand(5, 3)
    known = Known(features, features, torch.zeros(5, dtype=torch.int64), torch.zeros(3, 3), torch.zeros(3))
    with pytest.raises(PersonError, match="k=10 needs as many train samples, and there are 5"):
        Knn(k=10).fit(known)


@pytest.mark.parametrize("network", [
    lambda x: torch.zeros(len(x), 2), lambda x: x.detach().mean((2, 3)), lambda x: nn.Parameter(torch.ones(len(x), 2)),
])  # fmt: skip
def test_a_network_that_cannot_be_differentiated_is_named(network):
    x = torch.rand(2, 2, 4, 4)
    with pytest.raises(PersonError, match="detector=odin needs a model that can be differentiated"):
        Odin().fit(None).score(Seen(x[:, 0, 0, :2], x[:, 0, 0, :2], x, network))


def test_the_complement_is_an_orthonormal_basis_of_what_is_left():
    whole = torch.linalg.qr(torch.rand(12, 12, generator=torch.Generator().manual_seed(0)))[0]
    null, kept = whole[:, :8], whole[:, 8:]
    found = complement(null, 4)
    assert torch.allclose(found.T @ found, torch.eye(4), atol=1e-5)
    assert float((null.T @ found).abs().max()) < 1e-5
    assert torch.allclose(found @ found.T, kept @ kept.T, atol=1e-5)
