"""What a file's weights are stored in, of hand-made files."""

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from pipeline.core.delivery import Made
from pipeline.core.errors import PersonError
from pipeline.runtime.stored import stored_precision
from pipeline.target.tensorrt import TensorRt


def file(path, dtype, operator):
    """x (B, 2) through one operator that takes a weight of two numbers."""
    graph = helper.make_graph(
        [helper.make_node(operator, ["x", "weight"], ["prediction"])], "toy",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 2])],
        [helper.make_tensor_value_info("prediction", TensorProto.FLOAT, ["batch", 2])],
        [numpy_helper.from_array(np.ones(2, dtype), "weight"), numpy_helper.from_array(np.ones(2, np.float32), "bias")],
    )  # fmt: skip
    onnx.save(helper.make_model(graph), path)
    return path


CASES = [
    (np.float32, "Add", "fp32"), (np.float16, "Add", "fp16"), (ml_dtypes.bfloat16, "Add", "bf16"), (np.int64, "Add", "fp32"),
    (np.int8, "DequantizeLinear", "int8"), (np.float16, "DequantizeLinear", "int8"), (np.int8, "QLinearConv", "int8"),
    (np.float32, "DynamicQuantizeLinear", "int8"),
]  # fmt: skip


@pytest.mark.parametrize(("dtype", "operator", "wanted"), CASES)
def test_the_file_says_what_it_is_in(tmp_path, dtype, operator, wanted):
    assert stored_precision(file(tmp_path / "model.onnx", dtype, operator)) == wanted


@pytest.mark.parametrize(("dtype", "operator", "wanted"), CASES)
def test_tensorrt_is_told_of_integers_only_where_the_file_has_scales(tmp_path, dtype, operator, wanted):
    made = Made(None, None, np.zeros((2, 4, 5, 1), np.uint8), None, file(tmp_path / "small.onnx", dtype, operator), (), {}, {}, {})
    text = TensorRt(source="compress").build(made, tmp_path).read_text()
    assert ("--int8" in text) == (wanted == "int8")
    assert "--fp16" in text


def test_a_broken_file_is_said(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"\xff" * 50)
    with pytest.raises(PersonError, match=r"model\.onnx is no ONNX file"):
        stored_precision(tmp_path / "model.onnx")
