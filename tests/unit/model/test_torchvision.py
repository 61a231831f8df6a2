"""Networks of torchvision: theirs with the same weights, for grey images, other numbers of classes and small sides."""

import pytest
import torch
import torchvision
from safetensors.torch import save_file

from pipeline.backbone.preparation import IMAGENET_MEAN, IMAGENET_STD
from pipeline.core.errors import PersonError
from pipeline.model.torchvision import Torchvision, _on_meta, _smallest

PLAIN = {"height": 32, "width_pixels": 32, "channels": 3, "mean": [0.5] * 3, "std": [0.5] * 3}
GREY = {"height": 32, "width_pixels": 32, "channels": 1, "mean": [0.5], "std": [0.5]}


@pytest.fixture(scope="module")
def squeezenet(tmp_path_factory):
    """A file of SqueezeNet weights for 7 classes, and the network they are of."""
    torch.manual_seed(0)
    network = torchvision.models.squeezenet1_1(num_classes=7).eval()
    path = tmp_path_factory.mktemp("weights") / "squeezenet.safetensors"
    save_file(network.state_dict(), path)
    return path, network


def test_googlenet_computes_what_torchvisions_does_and_leaves_its_auxiliary_heads_out(tmp_path):
    torch.manual_seed(0)
    theirs = torchvision.models.googlenet(num_classes=6, aux_logits=True, init_weights=False).eval()
    save_file(theirs.state_dict(), tmp_path / "googlenet.safetensors")
    named = {"name": "googlenet", "weights": str(tmp_path / "googlenet.safetensors"), "normalise": "network"}
    ours = Torchvision(outputs=6, **named, **PLAIN).eval()
    x = torch.rand(2, 3, 32, 32)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    with torch.no_grad():
        assert torch.allclose(ours(x), theirs((x - mean) / std), atol=1e-5)
    assert not [name for name in ours.state_dict() if "aux" in name]
    assert ours.origin["file"] == "googlenet.safetensors"
    assert len(ours.origin["sha256"]) == 64


def test_grey_weights_are_the_sum_over_colours_and_so_give_the_same_answer(squeezenet):
    path, _ = squeezenet
    colour = Torchvision(outputs=7, name="squeezenet1_1", weights=str(path), **PLAIN).eval()
    grey = Torchvision(outputs=7, name="squeezenet1_1", weights=str(path), **GREY).eval()
    x = torch.rand(2, 1, 32, 32)
    with torch.no_grad():
        assert torch.allclose(grey(x), colour(x.expand(-1, 3, -1, -1)), atol=1e-5)


def test_random_grey_weights_are_the_sum_too():
    first = []
    for facts in (PLAIN, GREY):
        torch.manual_seed(3)
        first.append(Torchvision(outputs=2, name="squeezenet1_1", **facts).network.features[0].weight)
    assert torch.equal(first[0].sum(1, keepdim=True), first[1])


def test_another_number_of_classes_keeps_all_but_the_head(squeezenet):
    path, theirs = squeezenet
    ours = Torchvision(outputs=3, name="squeezenet1_1", weights=str(path), **PLAIN)
    given, own = theirs.state_dict(), ours.network.state_dict()
    other = [name for name in own if own[name].shape != given[name].shape or not torch.equal(own[name], given[name])]
    assert other == ["classifier.1.weight", "classifier.1.bias"]


def test_squeezenet_can_answer_below_zero():
    torch.manual_seed(0)
    ours = Torchvision(outputs=40, name="squeezenet1_1", **PLAIN).eval()
    with torch.no_grad():
        assert float(ours(torch.rand(4, 3, 32, 32)).min()) < 0


def test_weights_of_another_network_name_the_first_mismatches(squeezenet):
    path, _ = squeezenet
    with pytest.raises(PersonError) as error:
        Torchvision(outputs=7, name="squeezenet1_0", weights=str(path), **PLAIN)
    assert "features.0.weight expected 96x3x7x7 received 64x3x3x3" in str(error.value)
    assert "more" in str(error.value)


def test_false_ignores_the_weights(squeezenet):
    made = Torchvision(outputs=7, name="squeezenet1_1", weights="/nowhere.safetensors", pretrained=False, **PLAIN)
    assert made.origin is None


@pytest.mark.parametrize(("name", "parameters"), [
    ("alexnet", 57_003_840 + 4097 * 5), ("vgg16", 134_260_544 + 4097 * 5), ("vgg19", 139_570_240 + 4097 * 5),
    ("googlenet", 5_599_904 + 1025 * 5), ("squeezenet1_1", 722_496 + 513 * 5),
])  # fmt: skip
def test_the_networks_have_their_authors_sizes_and_a_head_for_five(name, parameters):
    made = _on_meta(name, 5)
    assert sum(parameter.numel() for parameter in made.parameters()) == parameters
    side = max(_smallest(name), 32)
    assert made(torch.empty(2, 3, side, side, device="meta")).shape == (2, 5)


def test_small_images_are_brought_to_the_smallest_side_that_the_network_takes():
    assert Torchvision(outputs=2, name="squeezenet1_1", **{**PLAIN, "height": 8, "width_pixels": 20}).size == (17, 20)
    assert Torchvision(outputs=2, name="squeezenet1_1", **PLAIN).size is None
    assert _smallest("alexnet") == 63


@pytest.mark.parametrize(("changes", "line"), [
    ({"name": "squeeznet1_1"}, "no classification network 'squeeznet1_1': did you mean 'squeezenet1_1'"),
    ({"name": "vgg16", "side": 16}, "vgg16 does not take images of 16x16 pixels .* set  model.side  to what it takes, 32 or more"),
    ({"name": "vit_b_16", "side": 32}, "vit_b_16 does not take images of 32x32 pixels"),
    ({"name": "shufflenet_v2_x0_5", "dropout": 0.3}, "model.dropout=0.3 has no effect: shufflenet_v2_x0_5 has no dropout layer"),
    ({"name": "squeezenet1_1", "normalise": "netwrk"}, "model.normalise 'netwrk' is not known: did you mean 'network'"),
])  # fmt: skip
def test_what_does_not_fit_is_refused(changes, line):
    with pytest.raises(PersonError, match=line):
        Torchvision(outputs=2, **changes, **PLAIN)


def test_dropout_reaches_every_dropout_layer():
    made = Torchvision(outputs=2, name="squeezenet1_1", dropout=0.25, **PLAIN)
    assert {module.p for module in made.modules() if isinstance(module, torch.nn.Dropout)} == {0.25}
