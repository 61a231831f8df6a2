"""Grad-CAM against its formula, the choice of the layer, and networks that it cannot explain."""

import pytest
import torch
from torch import nn

from pipeline.core.errors import PersonError
from pipeline.explainer.gradcam import GradCam


class Score:
    """The largest output of a network."""

    def __init__(self, model):
        self.model = model

    def __call__(self, x):
        return self.model(x).max(dim=1).values


class Squeezed(nn.Module):
    """Two convolutions that see places, and a 1x1 of a squeeze-and-excitation after them."""

    def __init__(self):
        super().__init__()
        self.late = nn.Conv2d(4, 6, 3, padding=1)  # registered first, executed second
        self.early = nn.Conv2d(1, 4, 3, stride=2, padding=1)
        self.squeeze = nn.Conv2d(6, 6, 1)
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        h = torch.relu(self.late(torch.relu(self.early(x))))
        return self.head((h * torch.sigmoid(self.squeeze(h.mean((2, 3), keepdim=True)))).mean((2, 3)))


@pytest.fixture
def score():
    torch.manual_seed(0)
    return Score(Squeezed().eval())


@pytest.fixture
def x():
    return torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(1))


def by_hand(score, layer, x):
    """Equations 1 and 2 of the paper, with a hook and autograd."""
    kept = []
    handle = layer.register_forward_hook(lambda module, inputs, output: kept.append(output))
    value = score(x.clone().requires_grad_()).sum()
    handle.remove()
    slope = torch.autograd.grad(value, kept[0])[0]
    raw = torch.relu((slope.mean((2, 3), keepdim=True) * kept[0]).sum(1, keepdim=True))
    return nn.functional.interpolate(raw, x.shape[2:], mode="bilinear")[:, 0].detach()


def test_it_is_the_formula_at_the_last_convolution_that_sees_places(score, x):
    assert torch.allclose(GradCam()(score, x), by_hand(score, score.model.late, x), atol=1e-6)


def test_a_layer_can_be_named(score, x):
    found = GradCam(layer="early")(score, x)
    assert torch.allclose(found, by_hand(score, score.model.early, x), atol=1e-6)
    assert not torch.allclose(found, GradCam()(score, x))


def test_frozen_networks_are_explained_alike(score, x):
    expected = GradCam()(score, x)
    score.model.requires_grad_(False)
    assert torch.equal(GradCam()(score, x), expected)


def test_an_activation_in_place_changes_nothing(x):
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2)).eval()
    inplace = nn.Sequential(plain[0], nn.ReLU(inplace=True), *plain[2:])
    assert torch.allclose(GradCam()(Score(inplace), x), GradCam()(Score(plain), x), atol=1e-6)


def test_what_cannot_be_explained_is_said(score, x):
    with pytest.raises(PersonError, match="did you mean 'late'"):
        GradCam(layer="latee")(score, x)
    with pytest.raises(PersonError, match=r"explainer=\[integrated_gradients\]"):
        GradCam()(Score(nn.Sequential(nn.Flatten(), nn.Linear(64, 2))), x)
    with pytest.raises(PersonError, match="1x1"):
        GradCam()(Score(nn.Sequential(nn.Conv2d(1, 2, 8), nn.Flatten())), x)
    with pytest.raises(PersonError, match=r"score_of\.model"):
        GradCam()(lambda images: images.sum((1, 2, 3)), x)

    class Deaf(Squeezed):
        def forward(self, images):
            with torch.no_grad():
                return super().forward(images)

    with pytest.raises(PersonError, match=r"differentiated.*explainer=\[occlusion\]"):
        GradCam()(Score(Deaf()), x)
