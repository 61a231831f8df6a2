"""Names, order and ends of stages of networks of several kinds, and what comes out of their layers."""

import pytest
import timm
import torch
from torch import nn

from pipeline.core.errors import PersonError
from pipeline.model.mlp import Mlp
from pipeline.model.resnet import ResNet
from pipeline.model.timm import Timm
from pipeline.model.vit import Vit
from pipeline.training import layers

FACTS = {"channels": 1, "outputs": 3, "mean": [0.5], "std": [0.3]}
X = torch.rand(2, 1, 16, 16, generator=torch.Generator().manual_seed(0))
SMALL = {"height": 16, "width_pixels": 16, **FACTS}


def test_steps_are_blocks_in_the_order_of_the_network():
    names = [name for name, _ in layers.steps(ResNet(width=4, blocks=2, stages=2, **SMALL))]
    assert names == [*(f"trunk_layers.{number}" for number in range(7)), "dropout", "head"]
    wrapped = [name for name, _ in layers.steps(Timm(name="resnet10t", **SMALL))]
    assert wrapped[0].startswith("network.conv1")
    assert wrapped[-6:-2] == ["network.layer1.0", "network.layer2.0", "network.layer3.0", "network.layer4.0"]


@pytest.mark.parametrize(("model", "ends"), [
    (ResNet(width=4, blocks=1, stages=3, **SMALL), ["trunk_layers.1", "trunk_layers.2", "trunk_layers.5"]),
    (Mlp(hidden=(8, 6), **SMALL), ["layers.2", "layers.5"]),
    (Vit(width=12, depth=8, **SMALL), ["patches", "blocks.1", "blocks.3", "blocks.6", "norm"]),
])  # fmt: skip
def test_a_stage_ends_before_the_size_changes_and_the_output_layer_is_none(model, ends):
    assert layers.stages(model, X) == ends
    assert model.training, "the mode is as it was"


def test_stages_of_a_library_network_are_its_own():
    made = Timm(name="resnet10t", **SMALL)
    found = layers.stages(made, torch.zeros(1, 1, 64, 64))
    assert [name for name in found if "layer" in name] == [f"network.layer{number}.0" for number in (1, 2, 3, 4)]


def test_taps_hold_what_the_layer_gave_even_if_it_is_changed_in_place():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(inplace=True))
    x = torch.randn(5, 3)
    with layers.tapped(model, ["0"], lambda output: output.clone()) as seen:
        model(x)
    assert torch.equal(seen["0"], model[0](x))
    assert (seen["0"] < 0).any()
    assert not model[0]._forward_hooks


def test_taps_equal_timms_own_features():
    torch.manual_seed(0)
    network = timm.create_model("resnet10t", in_chans=1).eval()
    own = timm.create_model("resnet10t", in_chans=1, features_only=True, out_indices=(1, 4)).eval()
    own.load_state_dict(network.state_dict(), strict=False)
    with torch.no_grad(), layers.tapped(network, ["layer1", "layer4"], lambda output: output) as seen:
        network(X)
        expected = own(X)
    assert torch.allclose(seen["layer1"], expected[0], atol=1e-6)
    assert torch.allclose(seen["layer4"], expected[1], atol=1e-6)


def test_pooling_is_mean_and_maximum():
    maps = torch.rand(2, 5, 4, 3)
    pooled = layers.pooled(maps)
    assert torch.allclose(pooled, torch.cat([nn.functional.adaptive_avg_pool2d(maps, 1), nn.functional.adaptive_max_pool2d(maps, 1)], 1).flatten(1))
    tokens = torch.rand(2, 7, 5)
    assert torch.allclose(layers.pooled(tokens), torch.cat([tokens.mean(1), tokens.max(1).values], 1))
    assert layers.pooled(torch.rand(2, 5)).shape == (2, 5)


def test_depth_counts_from_the_output_and_norms_go_with_the_layer_before():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Conv2d(2, 2, 3), nn.Flatten(), nn.Linear(2, 2))
    assert layers.depths(model) == {"0": 2, "1": 2, "3": 1, "5": 0}
    assert list(layers.depths(Vit(width=12, depth=2, **SMALL)).items()) == [
        ("patches", 3), ("blocks.0", 2), ("blocks.1", 1), ("norm", 1), ("head", 0),
    ]  # fmt: skip


def test_the_longest_name_counts_and_only_at_a_dot():
    factors = {"layer1": 0.1, "layer1.0": 0.2}
    assert layers.longest("layer1.0.weight", factors) == 0.2
    assert layers.longest("layer1.1.weight", factors) == 0.1
    assert layers.longest("layer10.weight", factors) is None


def test_an_unknown_layer_names_the_nearest():
    with pytest.raises(PersonError, match=r"--layer: ResNet has no layer 'haed'; did you mean 'head'"):
        layers.find(ResNet(width=4, **SMALL), "haed", key="--layer")


def test_a_layer_that_gives_no_tensor_is_named():
    class Pair(nn.Module):
        def forward(self, x):
            return {"x": x}

    class Whole(nn.Module):
        def __init__(self):
            super().__init__()
            self.pair = Pair()

        def forward(self, x):
            return self.pair(x)["x"]

    model = Whole()
    with layers.tapped(model, ["pair"], torch.sum), pytest.raises(PersonError, match="the layer 'pair' gives no tensor: received dict"):
        model(X)
    assert layers.shapes(model, X, ["pair"]) == {"": tuple(X.shape)}
