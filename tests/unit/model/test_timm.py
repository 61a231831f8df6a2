"""Networks of timm: names, tags, sizes and weights."""

import pytest
import timm
import torch
from safetensors.torch import save_file

from pipeline.core.errors import PersonError
from pipeline.model.timm import Timm

FACTS = {"height": 32, "width_pixels": 32, "channels": 3, "mean": [0.5] * 3, "std": [0.5] * 3}
SMALL = "mobilenetv3_small_050"


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    save_file(timm.create_model(SMALL, num_classes=9).state_dict(), path)
    return path


def test_weights_of_other_classes_fit_but_for_the_head(weights):
    made = Timm(outputs=3, name=SMALL, weights=str(weights), **FACTS)
    theirs = timm.create_model(SMALL, num_classes=9)
    torch.manual_seed(0)
    theirs = timm.create_model(SMALL, num_classes=9)
    assert torch.equal(made.network.conv_stem.weight, theirs.conv_stem.weight)
    assert made.network.classifier.weight.shape[0] == 3
    assert made.origin["from"] == "file"


def test_a_vision_transformer_is_built_for_the_size_of_the_images():
    made = Timm(outputs=3, name="vit_tiny_patch16_224", **FACTS).eval()
    with torch.no_grad():
        assert made(torch.rand(2, 3, 32, 32)).shape == (2, 3)


@pytest.mark.parametrize(("name", "line"), [
    ("resnet81", "timm has no network 'resnet81': did you mean 'resnet18'"),
    ("resnet18.a1_in2k", "timm has no network 'resnet18.a1_in2k': did you mean 'resnet18.a1_in1k'"),
])  # fmt: skip
def test_an_unknown_name_or_tag_names_the_nearest(name, line):
    with pytest.raises(PersonError, match=line):
        Timm(outputs=3, name=name, **FACTS)


def test_what_the_network_was_trained_with(weights):
    made = Timm(outputs=3, name=SMALL, normalise="network", **FACTS)
    assert made.mean.flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])
    grey = Timm(outputs=3, name=SMALL, normalise="network", **{**FACTS, "channels": 1, "mean": [0.5], "std": [0.5]})
    assert grey.mean.flatten().tolist() == pytest.approx([0.449])
