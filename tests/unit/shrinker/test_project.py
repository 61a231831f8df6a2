"""The mathematics of projection, against scikit-learn's principal components and a closed form."""

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from torch import nn

from pipeline.core.errors import PersonError
from pipeline.shrinker.project import Project, moments


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 24, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(24 * 9, 32),
                         nn.ReLU(), nn.Linear(32, 5)).eval()  # fmt: skip


def batches():
    return (torch.rand(16, 3, 8, 8, generator=torch.Generator().manual_seed(number)) for number in range(4))


def test_moments_are_those_of_scikit_learns_principal_components():
    model = network()
    found = moments(model, ["2", "5"], batches())
    with torch.no_grad():
        rows = torch.cat([model[:5](x) for x in batches()]).numpy() @ model[5].weight.detach().numpy().T
    pca = PCA().fit(rows)
    values = np.linalg.eigvalsh(found["5"].covariance().numpy())[::-1] * len(rows) / (len(rows) - 1)
    assert np.allclose(values, pca.explained_variance_, rtol=1e-4, atol=1e-9)
    assert np.allclose(found["5"].mean().numpy(), pca.mean_, atol=1e-5)
    assert found["2"].count == 64 * 9


def test_all_directions_are_exact():
    """A layer of rank 4 becomes two through 4 directions, and says the same."""
    model = network()
    with torch.no_grad():
        model[5].weight.copy_(torch.randn(32, 4) @ torch.randn(4, 24 * 9))
    small = Project(variance=1 - 1e-9, worth=0.5).shrink(model, batches)
    assert isinstance(small[5], nn.Sequential)
    assert small[5][0].out_features == 4
    x = next(batches())
    with torch.no_grad():
        assert torch.allclose(small(x), model(x), atol=1e-3, rtol=1e-4)


def test_a_convolution_keeps_stride_padding_and_its_error_is_what_was_left_out():
    model = network()
    small = Project(variance=0.6, worth=0.9).shrink(model, batches)
    assert isinstance(small[2], nn.Sequential)
    assert (small[2][0].stride, small[2][0].padding, small[2][1].kernel_size) == ((2, 2), (0, 0), (1, 1))
    inner, total = 0.0, 0.0
    seen = moments(model, ["2"], batches())["2"]
    with torch.no_grad():
        for x in batches():
            before = model[:2](x)
            inner += (small[2](before) - model[2](before)).double().square().sum().item()
        total = seen.covariance().diagonal().sum().item() * seen.count
    # the layers before it are changed too in `small`; here the same input goes through both
    kept = small[2][0].out_channels
    values = torch.linalg.eigvalsh(seen.covariance()).flip(0)
    assert inner / total == pytest.approx(float(values[kept:].sum() / values.sum()), rel=0.05)


def test_numbers_outside_their_range_are_refused():
    with pytest.raises(PersonError, match="variance and worth"):
        Project(variance=1.5)
