"""Every option of conf/model is held to the laws of a model; a new option is tested with no new test file."""

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from pipeline.core.parts import build
from pipeline.exporter.onnx import Onnx
from pipeline.training.saved_model import load_model, save_model

CONF = Path(__file__).resolve().parents[2] / "conf/model"
HEAVY = {"alexnet", "vgg16", "vgg19", "googlenet"}  # large, or long to export; of the same class as squeezenet and torchvision
OPTIONS = [
    pytest.param(path, id=path.stem, marks=[pytest.mark.slow] if path.stem in HEAVY else []) for path in sorted(CONF.glob("*.yaml"))
]
CARD = {"channels": 3, "height": 32, "width_pixels": 32, "outputs": 4, "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.2, 0.2]}


@pytest.fixture(params=OPTIONS)
def part(request, tmp_path):
    """An option as it stands in conf; one that needs a person's file gets a small one."""
    part = yaml.safe_load(request.param.read_text())
    if part["_target_"] == "pipeline.model.onnx_file.OnnxFile":
        network = torch.nn.Sequential(
            torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(),
            torch.nn.Linear(8, 4),
        )  # fmt: skip
        path = tmp_path / "theirs.onnx"
        path.write_bytes(Onnx().proto(network.eval(), images(2), ["output"]).SerializeToString())
        return {**part, "file": str(path)}
    return part


@pytest.fixture
def model(part):
    torch.manual_seed(0)
    return build(part, **CARD)


def images(count):
    return torch.from_numpy(np.random.default_rng(0).random((count, 3, 32, 32), dtype=np.float32))


def test_the_output_has_the_declared_shape(model):
    assert model.eval()(images(3)).shape == (3, 4)
    assert model.eval()(images(1)).shape == (1, 4)


def test_samples_of_a_batch_are_independent_in_evaluation(model):
    x = images(3)
    model.eval()
    with torch.no_grad():
        together, alone = model(x), torch.cat([model(x[i : i + 1]) for i in range(3)])
    assert torch.allclose(together, alone, atol=1e-4)


def test_every_trainable_parameter_gets_a_finite_gradient(model):
    for name, parameter in model.named_parameters():  # a layer that starts at zero hides the gradient of those before it
        if name.endswith("weight") and not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    model.train()
    model(images(4)).square().sum().backward()
    named = [(name, parameter.grad) for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert named
    for name, gradient in named:
        assert gradient is not None, name
        assert torch.isfinite(gradient).all(), name
        assert gradient.abs().sum() > 0, name


def test_frozen_parameters_and_statistics_stay(model):
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    model.train()
    optimiser = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    model(images(4)).square().sum().backward()
    optimiser.step()
    frozen = [name for name, _ in model.named_parameters() if name not in trained]
    for name in frozen:
        assert torch.equal(before[name], model.state_dict()[name]), name


def test_the_saved_model_computes_the_same(model, part, tmp_path):
    save_model(model, {"part": part, "facts": CARD, "task": {}}, tmp_path)
    with torch.no_grad():
        assert torch.allclose(load_model(tmp_path)(images(2)), model.eval()(images(2)), atol=1e-5)  # another memory layout


def test_it_can_be_exported(model):
    program = torch.export.export(model.eval(), (images(2),), dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=64)},))
    assert torch.allclose(program.module()(images(5)), model(images(5)), atol=1e-4)
