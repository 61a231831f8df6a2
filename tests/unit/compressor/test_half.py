"""Weights in 16 bits, against numpy's and ml_dtypes' own rounding."""

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from pipeline.compressor.half import Half
from pipeline.core.errors import PersonError
from pipeline.exporter.onnx import Onnx


def model(path, weight):
    """pixels (B, 4, 4, 1) -> their values over 255 times a weight (16, K), plus a bias that is too small to narrow."""
    columns = weight.shape[1]
    nodes = [
        helper.make_node("Cast", ["pixels"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["floats"], ["rows"]),
        helper.make_node("Gemm", ["rows", "weight", "bias"], ["prediction"], alpha=1 / 255),
    ]
    kept = [numpy_helper.from_array(weight, "weight"), numpy_helper.from_array(np.arange(columns, dtype=np.float32) + 1 / 3, "bias")]
    graph = helper.make_graph(
        nodes, "toy", [helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["batch", 4, 4, 1])],
        [helper.make_tensor_value_info("prediction", TensorProto.FLOAT, ["batch", columns])], kept,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return path


@pytest.mark.parametrize(("kind", "dtype"), [("float16", np.float16), ("bfloat16", ml_dtypes.bfloat16)])
def test_it_answers_with_the_rounded_weights_and_computes_in_32_bits(kind, dtype, tmp_path):
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(16, 3)).astype(np.float32)
    source = model(tmp_path / "a.onnx", weight)
    (tmp_path / "out").mkdir()
    small = Half(kind=kind)(source, [], tmp_path / "out")
    pixels = rng.integers(0, 256, (5, 4, 4, 1), dtype=np.uint8)
    rounded = weight.astype(dtype).astype(np.float32)
    wanted = pixels.reshape(5, 16).astype(np.float32) / 255 @ rounded + np.arange(3, dtype=np.float32) + np.float32(1 / 3)
    assert np.abs(Onnx().load(small)(pixels) - wanted).max() < 1e-5
    assert np.abs(rounded - weight).max() > 1e-4
    kept = {tensor.name: tensor.data_type for tensor in onnx.load(small).graph.initializer}
    assert kept["bias"] == TensorProto.FLOAT
    assert kept["weight_narrow"] in {TensorProto.FLOAT16, TensorProto.BFLOAT16}


def test_a_number_too_large_for_half_precision_is_refused_and_bfloat16_takes_it(tmp_path):
    source = model(tmp_path / "a.onnx", np.full((16, 3), 1e6, np.float32))
    with pytest.raises(PersonError, match="compressor=bf16"):
        Half()(source, [], tmp_path)
    assert Half(kind="bfloat16")(source, [], tmp_path).is_file()


def test_what_it_cannot_narrow_is_said(tmp_path):
    with pytest.raises(PersonError, match="float16"):
        Half(kind="flaot16")
    with pytest.raises(PersonError, match="exporter=onnx"):
        Half()(tmp_path / "model.pt2", [], tmp_path)
    with pytest.raises(PersonError, match="no weights in 32 bits"):
        Half()(model(tmp_path / "a.onnx", np.ones((16, 3), np.float16).astype(np.float64)), [], tmp_path)


def test_what_is_certified_reads_the_widened_weights(tmp_path):
    from pipeline.verification.onnx_reader import read_onnx

    for kind in ("float16", "bfloat16"):
        (tmp_path / kind).mkdir()
        assert read_onnx(Half(kind=kind)(model(tmp_path / "a.onnx", np.eye(16, 3, dtype=np.float32)), [], tmp_path / kind))
