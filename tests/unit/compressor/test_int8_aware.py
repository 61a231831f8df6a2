"""Whether training sees the rounding that the file has, and whether it helps."""

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from pipeline.compressor.int8 import Int8
from pipeline.compressor.int8_aware import Int8Aware
from pipeline.core.errors import PersonError
from pipeline.exporter.onnx import Onnx
from pipeline.training.deploy import Deployed
from tests.unit.compressor.test_int8 import Task


def network():
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(1, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(288, 16), nn.ReLU(), nn.Linear(16, 2))
    with torch.no_grad():
        layers[1].running_mean.uniform_(-0.1, 0.1)
        layers[1].running_var.uniform_(0.5, 2)
        layers[1].weight.uniform_(0.5, 1.5)
    return layers.eval()


def batch(count=8, seed=0):
    return torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(seed))


def rounders(simulated):
    """Of weights, by the number of their channels, and of activations."""
    from torchao.quantization.pt2e import FakeQuantizeBase

    found = [module for module in simulated.modules() if isinstance(module, FakeQuantizeBase)]
    return [one for one in found if one.dtype == torch.int8], [one for one in found if one.dtype == torch.uint8]


def test_weights_take_the_very_steps_of_the_file(tmp_path):
    """Batch norm folded, symmetric, one step for each channel: bit for bit what ONNX Runtime writes."""
    model = network()
    simulated = Int8Aware().simulate(model, batch())
    simulated.eval()
    simulated(batch())
    weights, activations = rounders(simulated)
    assert len(weights) == 2, "the head stays float"
    assert len(activations) >= 2
    file = Onnx().save(Deployed(model, Task()).eval(), torch.zeros(2, 8, 8, 1, dtype=torch.uint8), tmp_path, {})
    (tmp_path / "small").mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (16, 8, 8, 1), dtype=np.uint8)
    proto = onnx.load(Int8()(file, [pixels], tmp_path / "small"))
    kept = {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    steps = {len(kept[node.input[1]]): kept[node.input[1]] for node in proto.graph.node
             if node.op_type == "DequantizeLinear" and kept.get(node.input[0], np.zeros(1)).dtype == np.int8}  # fmt: skip
    for one in weights:
        assert np.allclose(one.scale.numpy(), steps[len(one.scale)], rtol=1e-5)


def test_seven_bits_one_scale_and_the_head_are_followed():
    weights, activations = rounders(Int8Aware(reduce_range=True, quantize_head=True, per_channel=False).simulate(network(), batch()))
    assert len(weights) == 3
    assert {(one.quant_min, one.quant_max) for one in weights} == {(-64, 64)}
    assert {(one.quant_min, one.quant_max) for one in activations} == {(0, 127)}
    assert all(one.qscheme == torch.per_tensor_symmetric for one in weights)


def test_training_under_rounding_beats_rounding_after_training():
    """A network that one scale a tensor ruins: its first layer has one channel 200 times as large as the others."""
    model = network()
    with torch.no_grad():
        model[0].weight[0] *= 200
        model[4].weight[:, :36] /= 200
    aware, x_BCHW = Int8Aware(per_channel=False), batch(64)
    with torch.no_grad():
        wanted = model(x_BCHW)
    simulated = aware.simulate(model, x_BCHW)
    simulated.train()
    gaps = []
    optimiser = torch.optim.Adam(simulated.parameters(), lr=3e-3)
    for _ in range(80):
        optimiser.zero_grad()
        loss = (simulated(x_BCHW) - wanted).square().mean()
        loss.backward()
        optimiser.step()
        gaps.append(loss.item())
    assert np.mean(gaps[-5:]) < 0.25 * gaps[0]


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"lr": 0.0}])
def test_steps_and_rate_are_checked(wrong):
    with pytest.raises(PersonError, match=r"compressor\.steps"):
        Int8Aware(**wrong)


def test_a_missing_torchao_is_one_line(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "torchao.quantization.pt2e", None)
    with pytest.raises(PersonError, match="pip install torchao"):
        Int8Aware().simulate(network(), batch())
