"""Which parameters each optimiser steps, and that Muon on kernels is torch's Muon on matrices."""

import copy

import pytest
import torch
from torch import nn

from pipeline.core.errors import PersonError
from pipeline.model.resnet import ResNet
from pipeline.training.optimisers import Muon, optimisers_of

RECIPE = {"lr": 0.02, "weight_decay": 0.1, "momentum": 0.9}


def network(layout=torch.contiguous_format):
    torch.manual_seed(0)
    made = ResNet(channels=1, height=8, width_pixels=8, outputs=3, mean=[0.5], std=[0.3], width=4, stages=2, dropout=0.0)
    return made.to(memory_format=layout)


def names(model, optimiser):
    by_memory = {parameter.data_ptr(): name for name, parameter in model.named_parameters()}
    return {by_memory[parameter.data_ptr()] for group in optimiser.param_groups for parameter in group["params"]}


def backward(model):
    model.zero_grad()
    model.eval()  # batch norm's batch statistics differ in the last bits between layouts
    model(torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(1))).square().sum().backward()


@pytest.mark.parametrize("kind", ["adamw", "sgd", "muon"])
def test_every_trained_parameter_has_one_optimiser_and_only_weights_decay(kind):
    model = network()
    model.head.bias.requires_grad_(False)
    optimisers = optimisers_of(model, {**RECIPE, "optimizer": kind}, {})
    found = [name for optimiser in optimisers for name in sorted(names(model, optimiser))]
    assert sorted(found) == sorted(name for name, parameter in model.named_parameters() if parameter.requires_grad)
    for optimiser in optimisers:
        for group in optimiser.param_groups:
            assert {parameter.ndim > 1 for parameter in group["params"]} == {group["weight_decay"] > 0}


def test_muon_steps_hidden_weights_and_adamw_the_first_the_last_and_the_rest():
    model = network()
    first, second = optimisers_of(model, {**RECIPE, "optimizer": "muon"}, {})
    weights = [name for name, parameter in model.named_parameters() if parameter.ndim > 1]
    assert isinstance(first, Muon)
    assert names(model, first) == set(weights[1:-1])
    assert {weights[0], weights[-1]} <= names(model, second)


def test_depthwise_kernels_are_no_matrices():
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3, groups=4), nn.Conv2d(4, 4, 1), nn.Flatten(), nn.Linear(4, 2))
    first, _ = optimisers_of(model, {**RECIPE, "optimizer": "muon"}, {})
    assert names(model, first) == {"2.weight"}


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_muon_on_kernels_is_torchs_on_matrices(layout):
    model, plain = network(layout), network()
    ours, _ = optimisers_of(model, {**RECIPE, "optimizer": "muon"}, {})
    hidden = [parameter for name, parameter in plain.named_parameters() if name in names(model, ours)]
    matrices = [nn.Parameter(parameter.detach().flatten(1).clone()) for parameter in hidden]
    reference = torch.optim.Muon(matrices, lr=0.02, weight_decay=0.1, momentum=0.9, adjust_lr_fn="match_rms_adamw")
    for _ in range(3):
        backward(model)
        backward(plain)
        for matrix, parameter in zip(matrices, hidden, strict=True):
            matrix.grad = parameter.grad.flatten(1)
        ours.step()
        reference.step()
        with torch.no_grad():
            for matrix, parameter in zip(matrices, hidden, strict=True):
                parameter.copy_(matrix.view_as(parameter))
    stepped = [parameter for name, parameter in model.named_parameters() if name in names(model, ours)]
    tolerance = 0.0 if layout is torch.contiguous_format else 2e-3  # bf16 inside, other order of columns
    for parameter, matrix in zip(stepped, matrices, strict=True):
        assert torch.allclose(parameter, matrix.view_as(parameter), rtol=0, atol=tolerance)
        assert parameter.is_contiguous(memory_format=layout)


def test_one_step_of_muon_is_orthogonal_up_to_its_scale():
    """Liu et al. 2025: a step has the root mean square 0.2 lr of AdamW; the singular values of the iteration lie near 1."""
    weight = nn.Parameter(torch.zeros(8, 2, 3, 3))
    optimiser = Muon([{"params": [weight]}], lr=1.0, weight_decay=0.0, momentum=0.0, adjust_lr_fn="match_rms_adamw")
    weight.grad = torch.randn(8, 2, 3, 3, generator=torch.Generator().manual_seed(0))
    optimiser.step()
    values = torch.linalg.svdvals(weight.detach().flatten(1)) / (0.2 * 18**0.5)
    assert values.min() > 0.6
    assert values.max() < 1.3
    assert weight.detach().square().mean().sqrt() == pytest.approx(0.2, rel=0.25)


def test_muon_continues_from_its_state():
    model = network()
    ours = optimisers_of(model, {**RECIPE, "optimizer": "muon"}, {})
    backward(model)
    for optimiser in ours:
        optimiser.step()
    other = network()
    other.load_state_dict(model.state_dict())
    again = optimisers_of(other, {**RECIPE, "optimizer": "muon"}, {})
    for optimiser, before in zip(again, ours, strict=True):
        optimiser.load_state_dict(copy.deepcopy(before.state_dict()))
    for one, optimisers in ((model, ours), (other, again)):
        backward(one)
        for optimiser in optimisers:
            optimiser.step()
    for one, two in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(one, two)


def test_a_weight_that_is_no_matrix_in_memory_is_refused():
    with pytest.raises(ValueError, match="cannot be seen as a matrix"):
        Muon([{"params": [nn.Parameter(torch.zeros(4, 3, 3, 2).permute(0, 2, 3, 1)[:, :, ::2])]}], lr=0.1)


def test_sgd_is_nesterovs():
    model = nn.Linear(2, 2)
    (sgd,) = optimisers_of(model, {**RECIPE, "optimizer": "sgd"}, {})
    assert isinstance(sgd, torch.optim.SGD)
    assert all(group["nesterov"] and group["momentum"] == 0.9 for group in sgd.param_groups)
    (plain,) = optimisers_of(model, {**RECIPE, "optimizer": "sgd", "momentum": 0.0}, {})
    assert not any(group["nesterov"] for group in plain.param_groups)


def test_what_cannot_be_is_refused():
    with pytest.raises(PersonError, match=r"train.optimizer 'adam' is not known: did you mean 'adamw'"):
        optimisers_of(nn.Linear(1, 2), {**RECIPE, "optimizer": "adam"}, {})
    with pytest.raises(PersonError, match="no trainable parameter"):
        optimisers_of(nn.Linear(1, 2).requires_grad_(False), RECIPE, {})
    with pytest.raises(PersonError, match=r"hidden layers and the model trains none: use {2}train.optimizer=adamw"):
        optimisers_of(nn.Linear(1, 2), {**RECIPE, "optimizer": "muon"}, {})


def test_the_trunk_has_its_own_rate():
    model = nn.ModuleDict({"network": nn.Linear(2, 2), "head": nn.Linear(2, 2)})
    (adamw,) = optimisers_of(model, RECIPE, {"network": 0.1})
    assert sorted({group["initial_lr"] for group in adamw.param_groups}) == pytest.approx([0.002, 0.02])
