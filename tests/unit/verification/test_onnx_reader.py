"""The reader of exported files: what it makes of every operator against ONNX Runtime, and what it refuses by name."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from pipeline.core.errors import PersonError
from pipeline.verification.graph import Unboundable
from pipeline.verification.onnx_reader import read_onnx

SHAPE = (6, 5, 2)  # height, width, channels
RNG = np.random.default_rng(0)


def random(*shape):
    return RNG.normal(0, 0.4, shape).astype(np.float32)


def write(path, nodes, constants=(), *, output="y", shape=SHAPE, kind=TensorProto.UINT8, opset=18):
    """A file whose nodes start from `x`, the pixels in [0, 1] (B, C, H, W), and end in `output`."""
    first = [
        helper.make_node("Transpose", ["pixels"], ["moved"], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["moved"], ["real"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["real", "most"], ["x"]),
    ]
    held = {"most": np.float32(255), **dict(constants)}
    graph = helper.make_graph(
        [*first, *nodes], "test",
        [helper.make_tensor_value_info("pixels", kind, ["batch", *shape])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in held.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    path.write_bytes(model.SerializeToString())
    return path


def node(kind, *inputs, output="y", **settings):
    return helper.make_node(kind, list(inputs), [output] if isinstance(output, str) else list(output), name=f"the_{kind}_of_{inputs[0]}", **settings)


FLAT = [node("Flatten", "x", output="flat")]
CASES = {
    "conv": ([node("Conv", "x", "w", "b", pads=[1, 0, 2, 1], strides=[2, 1], dilations=[1, 2])], {"w": random(4, 2, 3, 2), "b": random(4)}),
    "grouped conv": ([node("Conv", "x", "w", group=2, auto_pad="SAME_UPPER", strides=[2, 2])], {"w": random(4, 1, 3, 3)}),
    "same lower": ([node("Conv", "x", "w", auto_pad="SAME_LOWER", strides=[2, 2])], {"w": random(3, 2, 4, 3)}),
    "gemm": ([*FLAT, node("Gemm", "flat", "w", "b", alpha=0.5, beta=2.0)], {"w": random(60, 3), "b": random(1, 3)}),
    "gemm transposed": ([*FLAT, node("Gemm", "flat", "w", transB=1)], {"w": random(3, 60)}),
    "matmul": ([*FLAT, node("MatMul", "flat", "w")], {"w": random(60, 3)}),
    "batch norm": ([node("BatchNormalization", "x", "s", "b", "m", "v", epsilon=1e-3)],
                   {"s": random(2), "b": random(2), "m": random(2), "v": np.abs(random(2))}),
    "constant minus": ([node("Sub", "c", "x")], {"c": random(2, 1, 1)}),
    "minus constant": ([node("Sub", "x", "c")], {"c": random(1, 2, 1, 1)}),
    "divide": ([node("Div", "x", "c")], {"c": np.abs(random(1, 2, 1, 1)) + 1}),
    "sum": ([node("Mul", "x", "c", output="z"), node("Sum", "x", "z", "c")], {"c": random(2, 6, 5)}),
    "add and sub": ([node("Relu", "x", output="r"), node("Sub", "x", "r", output="s"), node("Add", "s", "r")], {}),
    "gate": ([node("ReduceMean", "x", "axes", output="m"), node("Sigmoid", "m", output="g"), node("Mul", "x", "g")],
             {"axes": np.array([2, 3])}),
    "silu": ([node("Sub", "x", "c", output="z"), node("Sigmoid", "z", output="g"), node("Mul", "g", "z")], {"c": np.float32(0.5)}),
    "hardswish": ([node("Sub", "x", "c", output="z"), node("HardSwish", "z")], {"c": np.float32(0.7)}),
    "hard sigmoid": ([node("HardSigmoid", "x", alpha=0.3, beta=0.4)], {}),
    "clip": ([node("Clip", "x", "", "high")], {"high": np.float32(0.6)}),
    "max and min": ([node("Max", "x", "a", output="z"), node("Min", "b", "z")], {"a": np.float32(0.2), "b": np.float32(0.7)}),
    "leaky": ([node("Sub", "x", "c", output="z"), node("LeakyRelu", "z", alpha=0.2)], {"c": np.float32(0.5)}),
    "tanh": ([node("Tanh", "x")], {}),
    "max pool": ([node("MaxPool", "x", kernel_shape=[3, 2], strides=[2, 2], pads=[1, 0, 1, 1])], {}),
    "max pool up": ([node("MaxPool", "x", kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1)], {}),
    "mean pool": ([node("AveragePool", "x", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])], {}),
    "mean pool with padding": ([node("AveragePool", "x", kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1)], {}),
    "global pools": ([node("GlobalAveragePool", "x", output="a"), node("GlobalMaxPool", "x", output="b"), node("Concat", "a", "b", axis=1)], {}),
    "reductions": ([node("ReduceMean", "x", "axes", output="a", keepdims=0), node("ReduceMax", "x", "axes", output="b", keepdims=0),
                    node("ReduceSum", "x", "axes", output="c", keepdims=0), node("Concat", "a", "b", "c", axis=-1)],
                   {"axes": np.array([-2, -1])}),
    "reshape": ([node("Reshape", "x", "s")], {"s": np.array([0, -1, 3])}),
    "reshape by shape": ([node("Shape", "x", output="s", end=1), node("Concat", "s", "rest", output="all", axis=0), node("Reshape", "x", "all")],
                         {"rest": np.array([-1])}),
    "squeeze": ([node("ReduceMean", "x", "axes", output="m"), node("Squeeze", "m", "axes", output="q"), node("Unsqueeze", "q", "one")],
                {"axes": np.array([2, 3]), "one": np.array([1])}),
    "transpose": ([node("Transpose", "x", perm=[0, 2, 3, 1], output="t"), node("Transpose", "t", perm=[0, 2, 1, 3])], {}),
    "expand": ([node("Slice", "x", "zero", "one", "one", output="z"), node("Expand", "z", "s")],
               {"zero": np.array([0]), "one": np.array([1]), "s": np.array([1, 3, 1, 1])}),
    "split": ([node("Split", "x", output=("a", "b"), axis=2, num_outputs=2), node("Sub", "a", "b")], {}),
    "slice": ([node("Slice", "x", "from", "to", "axes", "steps")],
              {"from": np.array([1, -4]), "to": np.array([99, -1]), "axes": np.array([2, 3]), "steps": np.array([2, 1])}),
    "pad": ([node("Pad", "x", "ends", "value")], {"ends": np.array([0, 0, 1, 2, 0, 0, 0, 1]), "value": np.float32(0.3)}),
    "quantised": ([node("QuantizeLinear", "x", "s", "z", output="q"), node("DequantizeLinear", "q", "s", "z")],
                  {"s": np.float32(0.013), "z": np.uint8(3)}),
    "quantised by channel": ([node("QuantizeLinear", "x", "s", "z", output="q", axis=1), node("DequantizeLinear", "q", "s", "z", axis=1)],
                             {"s": np.array([0.013, 0.02], np.float32), "z": np.array([3, -7], np.int8)}),
    "quantised weights": ([node("DequantizeLinear", "i", "s", output="w", axis=0), node("Conv", "x", "w")],
                          {"i": RNG.integers(-127, 127, (4, 2, 3, 3)).astype(np.int8), "s": np.abs(random(4))}),
    "no operation": ([node("Identity", "x", output="i"), node("Dropout", "i", output="d"), node("Add", "d", "c")], {"c": random(1)}),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_the_graph_computes_what_the_runtime_computes(tmp_path, name):
    nodes, constants = CASES[name]
    path = write(tmp_path / "m.onnx", nodes, constants)
    levels = np.random.default_rng(1).integers(0, 256, (4, *SHAPE), dtype=np.uint8)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    expected = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"]).run(None, {"pixels": levels})[0]
    graph = read_onnx(path)
    found = graph.run(torch.from_numpy(levels).permute(0, 3, 1, 2).double() / 255)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found.numpy(), expected, atol=2e-6 if "quantised" not in name else 2e-5)
    assert all(value.dtype == torch.float64 for one in graph.nodes for value in one.constants.values())
    assert graph.nodes[0].kind == "input"
    assert "transpose" not in {one.kind for one in graph.nodes[:3]} or name == "transpose", "the change of layout must cancel"


def test_a_silu_and_a_hardswish_are_seen_as_one_curve(tmp_path):
    kinds = {one.kind for one in read_onnx(write(tmp_path / "m.onnx", *CASES["silu"])).nodes}
    assert "silu" in kinds
    assert not {"mul", "sigmoid"} & kinds


def test_a_softmax_at_the_end_is_left_off_and_other_outputs_are_not_followed(tmp_path):
    nodes = [*FLAT, node("MatMul", "flat", "w", output="logits"), node("Softmax", "logits", axis=-1)]
    weights = random(60, 3)
    graph = read_onnx(write(tmp_path / "m.onnx", [*nodes, node("Erf", "logits", output="unused")], {"w": weights}))
    x = torch.rand(2, 2, 6, 5, dtype=torch.float64)
    np.testing.assert_allclose(graph.run(x).numpy(), x.flatten(1).numpy() @ weights, rtol=1e-12)
    assert len(graph.nodes) == 3


REFUSED = {
    "Erf": [node("Erf", "x")],
    "Softmax": [node("Softmax", "x", output="s"), node("Relu", "s")],
    "MatMul whose parameters depend": [node("Transpose", "x", perm=[0, 1, 3, 2], output="t"), node("MatMul", "x", "t")],
    "Div whose parameters depend": [node("Relu", "x", output="r"), node("Div", "x", "r")],
    "Transpose that mixes": [node("Transpose", "x", perm=[1, 0, 2, 3])],
    "Reshape that mixes": [node("Reshape", "x", "flat_shape")],
    "ReduceMean over the whole batch": [node("ReduceMean", "x")],
    "ReduceMax over": [node("ReduceMax", "x", "one")],
    "Cast to integers": [node("Cast", "x", output="i", to=TensorProto.INT32), node("Cast", "i", to=TensorProto.FLOAT)],
    "Pad (reflect": [node("Pad", "x", "ends", mode="reflect")],
    "DequantizeLinear with another scale": [node("QuantizeLinear", "x", "s", "z", output="q"), node("DequantizeLinear", "q", "other", "z")],
}  # fmt: skip


@pytest.mark.parametrize("said", REFUSED)
def test_what_cannot_be_bounded_is_named(tmp_path, said):
    constants = {"flat_shape": np.array([-1]), "one": np.array([1]), "ends": np.array([0, 0, 1, 1, 0, 0, 1, 1]), "s": np.float32(0.1),
                 "other": np.float32(0.2), "z": np.uint8(0)}  # fmt: skip
    with pytest.raises(Unboundable, match="the verifier cannot bound the layer 'the_") as caught:
        read_onnx(write(tmp_path / "m.onnx", REFUSED[said], constants))
    assert said in str(caught.value)


def test_files_of_another_kind_are_refused_in_words(tmp_path):
    (tmp_path / "text.onnx").write_text("not a network")
    with pytest.raises(PersonError, match=r"text\.onnx is not an ONNX file"):
        read_onnx(tmp_path / "text.onnx")
    (tmp_path / "empty.onnx").write_bytes(b"")
    with pytest.raises(PersonError, match="holds no network"):
        read_onnx(tmp_path / "empty.onnx")
    with pytest.raises(PersonError, match="uint8 images") as caught:
        read_onnx(write(tmp_path / "m.onnx", [node("Relu", "x")], kind=TensorProto.FLOAT))
    assert "pixels FLOAT" in str(caught.value)
    with pytest.raises(PersonError, match="without looking at the image"):
        read_onnx(write(tmp_path / "m.onnx", [node("Relu", "c")], {"c": random(3)}))


def test_a_changed_weight_of_the_file_changes_the_graph(tmp_path):
    nodes, constants = CASES["matmul"]
    first = read_onnx(write(tmp_path / "a.onnx", nodes, constants))
    proto = onnx.load(tmp_path / "a.onnx")
    changed = {**constants, "w": constants["w"] + np.float32(0.25)}
    second = read_onnx(write(tmp_path / "b.onnx", nodes, changed))
    x = torch.rand(2, 2, 6, 5, dtype=torch.float64)
    np.testing.assert_allclose((second.run(x) - first.run(x)).numpy(), 0.25 * x.flatten(1).sum(1, keepdim=True).expand(-1, 3).numpy(), rtol=1e-6)
    assert proto.graph.output[0].name == "y"
