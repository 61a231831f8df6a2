"""Replaced, frozen and slowed layers; frozen batch norms keep their statistics in whatever mode the network is."""

import copy

import pytest
import torch
from torch import nn

from pipeline.core.errors import PersonError
from pipeline.model.lite0 import Lite0
from pipeline.model.mlp import Mlp
from pipeline.model.resnet import ResNet
from pipeline.training import surgery
from pipeline.training.averaging import average_of
from pipeline.training.optimisers import optimisers_of
from pipeline.training.saved_model import load_model, save_model

FACTS = {"channels": 1, "height": 8, "width_pixels": 8, "outputs": 3, "mean": [0.5], "std": [0.3]}
RECIPE = {"lr": 0.1, "weight_decay": 0.0}


def resnet():
    torch.manual_seed(0)
    return ResNet(width=4, blocks=1, stages=2, dropout=0.0, **FACTS)


def images(count=16):
    return torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(1))


def step(model, count=3):
    """Some optimiser steps in training mode, as Lightning and a validation between them would run it."""
    optimiser = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    for _ in range(count):
        model.eval()
        model.train()
        optimiser.zero_grad()
        model(images()).square().sum().backward()
        optimiser.step()


def moved(model, before):
    return {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}


# --- freezing


def test_everything_up_to_the_layer_is_frozen_batch_norm_statistics_too():
    model = resnet()
    surgery.operate(model, {"freeze": "trunk_layers.1"}, FACTS)
    before = copy.deepcopy(model.state_dict())
    step(model)
    found = moved(model, before)
    assert not [name for name in found if name.startswith(("trunk_layers.0.", "trunk_layers.1."))]
    assert {"trunk_layers.2.conv1.weight", "trunk_layers.2.norm1.running_mean", "head.weight"} <= found


def test_without_the_hold_frozen_statistics_would_drift(monkeypatch):
    """The planted fault: parameters alone are frozen."""
    monkeypatch.setattr(surgery, "_hold", lambda module, _: None)
    model = resnet()
    surgery.freeze(model, "trunk_layers.1")
    before = copy.deepcopy(model.state_dict())
    step(model)
    assert "trunk_layers.1.norm1.running_mean" in moved(model, before)


def test_a_moving_average_holds_too():
    model = resnet()
    surgery.freeze(model, "trunk_layers.2")
    average = average_of(model)
    before = copy.deepcopy(average.state_dict())
    average.train()(images())
    assert moved(average, before) <= {name for name in before if name.startswith("trunk_layers.3.")}


def test_parameters_of_the_root_come_before_its_layers():
    from pipeline.model.vit import Vit

    model = Vit(width=12, depth=3, patch=4, **FACTS)
    surgery.freeze(model, "blocks.1")
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    assert {"token", "position", "patches.weight", "blocks.1.mlp.3.bias"} <= frozen
    assert not [name for name in frozen if name.startswith(("blocks.2", "norm", "head"))]


@pytest.mark.parametrize(("name", "line"), [
    ("trunk_layer.1", "train.freeze: ResNet has no layer 'trunk_layer.1'; did you mean 'trunk_layers.1'"),
    ("head", "train.freeze=head freezes every parameter"),
])  # fmt: skip
def test_a_name_that_cannot_be_frozen_is_refused(name, line):
    with pytest.raises(PersonError, match=line):
        surgery.operate(resnet(), {"freeze": name}, FACTS)


# --- rates


def rate_of(model):
    """Learning rate of each parameter, as the optimiser has it."""
    factors = getattr(model, "learning_rates", dict)()
    groups = optimisers_of(model, RECIPE, factors)[0].param_groups
    rates = {id(parameter): group["lr"] for group in groups for parameter in group["params"]}
    return {name: rates[id(parameter)] for name, parameter in model.named_parameters() if id(parameter) in rates}


def test_layers_learn_at_the_rates_that_are_named():
    model = resnet()
    surgery.operate(model, {"rates": {"trunk_layers": 0.1, "trunk_layers.2": 0.5}}, FACTS)
    rates = rate_of(model)
    assert rates["trunk_layers.0.weight"] == pytest.approx(0.01)
    assert rates["trunk_layers.2.conv1.weight"] == pytest.approx(0.05)
    assert rates["head.weight"] == pytest.approx(0.1)


def test_rates_decay_geometrically_from_the_output_back():
    model = resnet()  # convolution, block, block, norm, head
    surgery.operate(model, {"rate_decay": 0.5, "rates": {"head": 2.0}}, FACTS)
    rates = rate_of(model)
    assert rates["head.weight"] == pytest.approx(0.2)
    assert rates["trunk_layers.3.weight"] == rates["trunk_layers.2.conv1.weight"] == pytest.approx(0.05)
    assert rates["trunk_layers.1.conv2.weight"] == pytest.approx(0.025)
    assert rates["trunk_layers.0.weight"] == pytest.approx(0.0125)


def test_a_models_own_rates_hold_for_what_is_not_named():
    model = Lite0(channels=1, height=8, width_pixels=8, outputs=2, mean=[0.5], std=[0.3], pretrained=False, trainable_blocks=1)
    surgery.operate(model, {"rates": {"network.conv_head": 0.3}}, FACTS)
    found = model.learning_rates()
    assert found["network.conv_head.weight"] == 0.3
    assert found["network.blocks.6.0.conv_pw.weight"] == 0.1
    assert found["head.linear.weight"] == 1.0


def test_an_unknown_layer_of_rates_names_the_nearest():
    with pytest.raises(PersonError, match=r"train.rates: ResNet has no layer 'hed'; did you mean 'head'"):
        surgery.operate(resnet(), {"rates": {"hed": 0.1}}, FACTS)


def test_nothing_asked_changes_nothing():
    model = resnet()
    surgery.operate(model, {"replace": None, "freeze": None, "rates": None, "rate_decay": 1.0}, FACTS)
    assert not hasattr(model, "learning_rates")
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("recipe", [{"freeze": "network"}, {"rates": {"head": 0.5}}, {"rate_decay": 0.9}])
def test_what_would_have_no_effect_on_cached_features_is_refused(recipe):
    surgery.check_cached({"freeze": None, "rates": None, "rate_decay": 1.0})
    with pytest.raises(PersonError, match=f"train.{next(iter(recipe))} has no effect: this model's trunk is frozen"):
        surgery.check_cached(recipe)


# --- replacing


def test_a_head_becomes_a_row_whose_ends_fit():
    model = resnet()
    row = [{"kind": "Linear", "out_features": 7}, {"kind": "GELU"}, {"kind": "Dropout", "p": 0.2}, {"kind": "Linear", "in_features": 7}]
    surgery.replace(model, {"head": row}, FACTS)
    assert [type(layer).__name__ for layer in model.head] == ["Linear", "GELU", "Dropout", "Linear"]
    assert (model.head[0].in_features, model.head[3].out_features) == (16, 3)
    assert model(images(2)).shape == (2, 3)


def test_layers_take_the_shape_of_those_that_they_replace():
    model = resnet()
    before = model.trunk_layers[2].conv1
    surgery.replace(model, {
        "trunk_layers.2.conv1": {"kind": "Conv2d"}, "trunk_layers.2.norm1": {"kind": "GroupNorm", "num_groups": 2},
        "trunk_layers.4": {"kind": "SiLU"}, "dropout": {"kind": "Identity"},
    }, FACTS)  # fmt: skip
    after = model.trunk_layers[2].conv1
    assert after is not before
    assert after.weight.shape == before.weight.shape
    assert (after.stride, after.padding, after.bias) == (before.stride, before.padding, None)
    assert model.trunk_layers[2].norm1.num_channels == 4
    assert model.training


def test_the_saved_model_is_rebuilt_with_its_new_layers(tmp_path):
    replaced = {"head": [{"kind": "Linear", "out_features": 5}, {"kind": "Tanh"}, {"kind": "Linear", "in_features": 5}]}
    model = resnet()
    surgery.replace(model, replaced, FACTS)
    part = {"_target_": "pipeline.model.resnet.ResNet", "width": 4, "blocks": 1, "stages": 2, "dropout": 0.0}
    save_model(model, {"part": part, "facts": FACTS, "task": {}, "replace": replaced}, tmp_path)
    with torch.no_grad():
        assert torch.allclose(load_model(tmp_path)(images(2)), model.eval()(images(2)), atol=1e-6)


@pytest.mark.parametrize(("changes", "line"), [
    ({"heed": {"kind": "Linear"}}, "train.replace: ResNet has no layer 'heed'; did you mean 'head'"),
    ({"head": {"kind": "Liner"}}, "train.replace.head: unknown kind 'Liner'; did you mean 'Linear'"),
    ({"head": {"kind": "Module"}}, "train.replace.head: unknown kind 'Module'"),
    ({"head": "Linear"}, r"train.replace.head must be \{kind: NAME, ...\} or a list"),
    ({"head": {"kind": "Linear", "width": 3}}, "torch.nn.Linear cannot be built from .*unexpected keyword argument 'width'"),
    ({"head": {"kind": "Linear", "out_features": 4}}, r"gives outputs of shape \(2, 4\): expected \(2, 3\)"),
    ({"head": {"kind": "Linear", "in_features": 4}}, "after train.replace the network does not run"),
    ({"trunk_layers.2.norm1": {"kind": "GroupNorm", "num_groups": 3}}, "torch.nn.GroupNorm cannot be built"),
])  # fmt: skip
def test_what_does_not_fit_is_refused(changes, line):
    with pytest.raises(PersonError, match=line):
        surgery.replace(resnet(), changes, FACTS)


def test_a_trunk_whose_features_are_cached_stays_what_embed_ran():
    facts = {"channels": 1, "height": 8, "width_pixels": 8, "outputs": 2, "mean": [0.5], "std": [0.3]}
    for name in ("network.blocks.2", "head"):
        with pytest.raises(PersonError, match=f"train.replace: '{name}' belongs to a frozen trunk"):
            surgery.replace(Lite0(pretrained=False, **facts), {name: {"kind": "Identity"}}, facts)


def test_facts_for_people_and_a_warning_for_weights_without_a_hash():
    model = Mlp(hidden=(4,), **FACTS)
    model.origin = {"from": "file", "file": "net.safetensors", "sha256": "ab" * 32}
    rows = surgery.changes(model, {"train": {"freeze": "layers.0", "rate_decay": 0.5}})
    assert rows == [
        ["pretrained weights", f"net.safetensors (file), SHA-256 {'ab' * 32}"], ["train.freeze", "layers.0"], ["train.rate_decay", 0.5],
    ]  # fmt: skip
    assert surgery.changes(nn.Linear(1, 1), {"train": {}}) == []
    assert surgery.unpinned({"weights": "a.safetensors", "weights_sha256": None})
    for part in ({"weights": None}, {"weights": "a", "weights_sha256": "b"}, {"weights": "a", "pretrained": False}, {}):
        assert not surgery.unpinned(part)
