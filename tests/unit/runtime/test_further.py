"""Taking out what only further outputs need, and putting it back, on a graph written by hand."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from pipeline.runtime.further import bytes_of_further, put_back, set_limit, take_out
from pipeline.runtime.ort import open_file


def model(path, *, watched=True):
    """pixels (B, 4, 4, 1) -> features x 2 -> prediction; of the features also a score by unit axes, and whether it exceeds 1."""
    rng = np.random.default_rng(0)
    axes = np.linalg.qr(rng.normal(size=(64, 64)))[0].astype(np.float32)
    grow = rng.normal(size=(16, 64)).astype(np.float32) * 1e3
    nodes = [
        helper.make_node("Cast", ["pixels"], ["floats"], to=TensorProto.FLOAT, name="cast"),
        helper.make_node("Flatten", ["floats"], ["rows"], name="flatten"),
        helper.make_node("MatMul", ["rows", "grow"], ["features"], name="grow_product"),
        helper.make_node("Mul", ["features", "two"], ["prediction"], name="twice"),
    ]
    kept = [numpy_helper.from_array(grow, "grow"), numpy_helper.from_array(np.float32(2), "two")]
    outputs = [helper.make_tensor_value_info("prediction", TensorProto.FLOAT, ["batch", 64])]
    if watched:
        nodes += [
            helper.make_node("MatMul", ["features", "axes"], ["away"], name="project"),
            helper.make_node("Div", ["away", "two"], ["half"], name="half"),
            helper.make_node("ReduceL2", ["half", "one"], ["score"], keepdims=0, name="norm"),
            helper.make_node("Greater", ["score", "limit"], ["flag"], name="above"),
        ]
        kept += [numpy_helper.from_array(axes, "axes"), numpy_helper.from_array(np.float32(1), "limit"), numpy_helper.from_array(np.array([1]), "one")]
        outputs += [helper.make_tensor_value_info("score", TensorProto.FLOAT, ["batch"]), helper.make_tensor_value_info("flag", TensorProto.BOOL, ["batch"])]
    graph = helper.make_graph(nodes, "toy", [helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["batch", 4, 4, 1])], outputs, kept)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    for key in ("data", "unknown"):
        proto.metadata_props.add(key=key, value="before")
    onnx.save(proto, path)
    return path


@pytest.fixture
def pixels():
    return np.random.default_rng(1).integers(0, 256, (5, 4, 4, 1), dtype=np.uint8)


def test_what_is_left_is_the_network_with_what_the_detector_reads(tmp_path):
    rest, further = take_out(onnx.load(model(tmp_path / "a.onnx")))
    onnx.checker.check_model(rest, full_check=True)
    assert [output.name for output in rest.graph.output] == ["prediction", "features"]
    assert [node.name for node in rest.graph.node] == ["cast", "flatten", "grow_product", "twice"]
    assert {tensor.name for tensor in rest.graph.initializer} == {"grow", "two"}
    assert [node.name for node in further.nodes] == ["project", "half", "norm", "above"]
    assert {tensor.name for tensor in further.constants} == {"two", "axes", "limit", "one"}


def test_put_back_it_says_the_same_with_its_axes_in_16_bits(tmp_path, pixels):
    source = model(tmp_path / "a.onnx")
    small, further = take_out(onnx.load(source))
    put_back(small, further)
    onnx.checker.check_model(small, full_check=True)
    onnx.save(small, tmp_path / "b.onnx")
    before, after = (open_file(path).answers(pixels) for path in (source, tmp_path / "b.onnx"))
    assert list(after) == ["prediction", "score", "flag"]
    assert np.array_equal(before["prediction"], after["prediction"])
    assert after["score"] == pytest.approx(before["score"], rel=1e-3)
    assert not np.array_equal(before["score"], after["score"])
    types = {tensor.name: tensor.data_type for tensor in small.graph.initializer}
    assert types["further.axes_narrow"] == TensorProto.FLOAT16
    assert types["grow"] == types["further.limit"] == TensorProto.FLOAT, "what is no matrix of unit vectors stays"
    assert bytes_of_further(tmp_path / "b.onnx") == 2 * 64 * 64 + 4 + 4 + 8


def test_a_file_of_one_output_is_left_alone(tmp_path):
    source = onnx.load(model(tmp_path / "a.onnx", watched=False))
    rest, further = take_out(source)
    put_back(rest, further)
    assert rest == source


def test_a_constant_that_others_read_too_stays_theirs(tmp_path, pixels):
    proto = onnx.load(model(tmp_path / "a.onnx"))
    proto.graph.node[-1].input[1] = "two"  # as an optimiser joins equal constants
    onnx.save(proto, tmp_path / "a.onnx")
    before = open_file(tmp_path / "a.onnx").answers(pixels)
    for rank in (2, 4):
        set_limit(tmp_path / "a.onnx", "flag", float(np.sort(before["score"])[rank]), {})
        after = open_file(tmp_path / "a.onnx").answers(pixels)
        assert after["flag"].sum() == len(pixels) - rank - 1
        assert all(np.array_equal(before[name], after[name]) for name in ("prediction", "score"))


def test_another_limit_and_what_tells_of_it_are_written(tmp_path, pixels):
    path = model(tmp_path / "a.onnx")
    score = open_file(path).answers(pixels)["score"]
    set_limit(path, "flag", float(np.sort(score)[2]), {"unknown": "after"})
    assert open_file(path).answers(pixels)["flag"].sum() == 2
    assert {entry.key: entry.value for entry in onnx.load(path).metadata_props} == {"data": "before", "unknown": "after"}
