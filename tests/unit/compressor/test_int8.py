"""What is quantised, what stays float, and what is refused."""

from collections import Counter

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from pipeline.compressor.int8 import Int8
from pipeline.core.errors import PersonError
from pipeline.exporter.onnx import Onnx
from pipeline.training.deploy import Deployed


class Task:
    """No decoding."""

    def decode(self, output):
        return output


def export(model, folder, channels=1):
    folder.mkdir(exist_ok=True)
    torch.manual_seed(0)
    return Onnx().save(Deployed(model, Task()).eval(), torch.zeros(2, 8, 8, channels, dtype=torch.uint8), folder, {"labels": "x"})


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (32, 8, 8, 1), dtype=np.uint8)


@pytest.fixture
def source(tmp_path):
    torch.manual_seed(0)
    return export(nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU6(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(128, 16),
                                nn.ReLU(), nn.Linear(16, 2)), tmp_path / "source")  # fmt: skip


def weights(path):
    """Operator -> names of the types of the weights that reach it."""
    graph = onnx.load(path).graph
    made = {output: node for node in graph.node for output in node.output}
    kept = {tensor.name: tensor for tensor in graph.initializer}
    found = Counter()
    for node in graph.node:
        if node.op_type in {"Conv", "Gemm", "MatMul"}:
            before = made.get(node.input[1])
            name = before.input[0] if before is not None and before.op_type == "DequantizeLinear" else node.input[1]
            found[node.op_type, onnx.TensorProto.DataType.Name(kept[name].data_type)] += 1
    return dict(found)


def test_products_are_int8_and_the_head_stays_float(source, pixels, tmp_path):
    assert weights(Int8()(source, [pixels], tmp_path)) == {("Conv", "INT8"): 2, ("Gemm", "INT8"): 1, ("Gemm", "FLOAT"): 1}
    assert weights(Int8(quantize_head=True)(source, [pixels], tmp_path)) == {("Conv", "INT8"): 2, ("Gemm", "INT8"): 2}


def test_no_clip_or_relu_stands_between_a_product_and_its_rounding(source, pixels, tmp_path):
    graph = onnx.load(Int8(quantize_head=True)(source, [pixels], tmp_path)).graph
    assert not [node for node in graph.node if node.op_type in {"Relu", "Clip"}]


def test_scales_are_one_a_channel_or_one_a_tensor(source, pixels, tmp_path):
    for per_channel, sizes in ((True, {8, 16}), (False, {1})):
        graph = onnx.load(Int8(per_channel=per_channel)(source, [pixels], tmp_path)).graph
        kept = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
        int8 = [node for node in graph.node if node.op_type == "DequantizeLinear" and node.input[0] in kept
                and kept[node.input[0]].dtype == np.int8]  # fmt: skip
        assert {kept[node.input[1]].size for node in int8} == sizes


def test_seven_bits_halve_the_range_of_weights(source, pixels, tmp_path):
    widest = {}
    for reduced in (False, True):
        proto = onnx.load(Int8(reduce_range=reduced)(source, [pixels], tmp_path))
        values = [onnx.numpy_helper.to_array(t) for t in proto.graph.initializer if t.data_type == onnx.TensorProto.INT8]
        widest[reduced] = max(int(np.abs(value.astype(int)).max()) for value in values)
    assert widest[False] >= 127
    assert widest[True] <= 64


def test_percentile_calibration_cuts_outliers_and_says_nothing(source, pixels, tmp_path, capsys):
    first = Int8()(source, [pixels], tmp_path).read_bytes()
    assert Int8(calibration="percentile", percentile=95.0)(source, [pixels], tmp_path).read_bytes() != first
    assert capsys.readouterr() == ("", "")


def test_metadata_is_kept_and_only_used_operator_sets_are_declared(source, pixels, tmp_path):
    proto = onnx.load(Int8()(source, [pixels], tmp_path))
    assert {entry.key: entry.value for entry in proto.metadata_props} == {"labels": "x"}
    assert [opset.domain for opset in proto.opset_import] == [""]


def test_a_perceptron_is_compressed_too(pixels, tmp_path):
    source = export(nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 2)), tmp_path / "mlp")
    assert weights(Int8()(source, [pixels], tmp_path)) == {("Gemm", "INT8"): 1, ("Gemm", "FLOAT"): 1}
    alone = export(nn.Sequential(nn.Flatten(), nn.Linear(64, 2)), tmp_path / "linear")
    assert weights(Int8()(alone, [pixels], tmp_path)) == {("Gemm", "INT8"): 1}


def test_what_cannot_be_compressed_is_said(source, pixels, tmp_path):
    class Mean(nn.Module):
        def forward(self, x):
            return x.mean((2, 3))

    with pytest.raises(PersonError, match="compressor=none"):
        Int8()(export(Mean(), tmp_path / "mean"), [pixels], tmp_path)
    with pytest.raises(PersonError, match=r"\.xml file; choose {2}exporter=onnx"):
        Int8()(source.with_suffix(".xml"), [pixels], tmp_path)
    with pytest.raises(PersonError, match="did you mean 'percentile'"):
        Int8(calibration="percentle")
    with pytest.raises(PersonError, match="50 to 100"):
        Int8(percentile=0.99)
