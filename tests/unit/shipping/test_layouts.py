"""Triton's config and the container, of a hand-made release: what is named, and what is left out."""

import json
from pathlib import Path

import pytest
from onnx import TensorProto, helper

from pipeline.core.errors import PersonError
from pipeline.shipping.layouts import image_name, write_container, write_triton


@pytest.fixture
def folder(tmp_path):
    """uint8 images (B, 4, 5, 1) -> a prediction (B, 2), and a score an image (B,)."""
    nodes = [
        helper.make_node("Cast", ["pixels"], ["x"], to=TensorProto.FLOAT), helper.make_node("Flatten", ["x"], ["flat"]),
        helper.make_node("Slice", ["flat", "start", "end", "axis"], ["prediction"]),
        helper.make_node("ReduceSum", ["flat", "axis"], ["unknown_score"], keepdims=0),
    ]  # fmt: skip
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["batch", 4, 5, 1])],
        [helper.make_tensor_value_info("prediction", TensorProto.FLOAT, ["batch", 2]), helper.make_tensor_value_info("unknown_score", TensorProto.FLOAT, ["batch"])],
        [helper.make_tensor(name, TensorProto.INT64, [1], [value]) for name, value in (("start", 0), ("end", 2), ("axis", 1))],
    )  # fmt: skip
    (tmp_path / "onnx").mkdir()
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    (tmp_path / "onnx/model.onnx").write_bytes(model.SerializeToString())
    (tmp_path / "model.json").write_text(json.dumps({"labels": ["good", "a  crack"]}))
    return tmp_path


def entry(room, **part):
    return {"agreement": 1.0, "target": {"_target_": f"pipeline.target.{room}", **part}}


def test_tritons_config_says_what_the_file_says(folder):
    text = write_triton(folder, "cells").read_text()
    assert 'input [ { name: "pixels" data_type: TYPE_UINT8 dims: [ 4, 5, 1 ] } ]' in text
    assert 'output [ { name: "prediction" data_type: TYPE_FP32 dims: [ 2 ] label_filename: "labels.txt"} ]' in text
    assert 'output [ { name: "unknown_score" data_type: TYPE_FP32 dims: [ 1 ] reshape { shape: [ ] } } ]' in text
    assert (folder / "triton/cells/labels.txt").read_text() == "good\na crack\n"


def test_the_container_holds_what_serve_imports_and_no_more(folder):
    targets = {"onnx": entry("onnx.OnnxRuntime"), "torch_export": entry("torch_export.TorchExport")}
    text = write_container(folder, targets, name="cells", signed=False, python="3.11").read_text()
    assert '"--target", "onnx"' in text
    code = {str(path.relative_to(folder / "container/code")) for path in (folder / "container/code").rglob("*.py")}
    assert {"pipeline/__init__.py", "pipeline/command/serve.py", "pipeline/serving/app.py", "pipeline/target/torch_export.py"} <= code
    assert not any(name.startswith(("pipeline/training/", "pipeline/model/")) for name in code)
    wanted = dict(line.split("==") for line in (folder / "container/requirements.txt").read_text().splitlines())
    assert {"onnxruntime", "fastapi", "uvicorn", "numpy"} <= set(wanted)
    assert not {"torch", "dvc", "hydra-core"} & set(wanted)
    other = folder / "signed"
    (other / "container").mkdir(parents=True)
    assert "--public-key" in write_container(other, targets, name="cells", signed=True, python="3.11").read_text()
    assert "model-signing==" in (other / "container/requirements.txt").read_text()


def test_what_cannot_be_served_is_said(folder):
    with pytest.raises(PersonError, match=r"target=\[onnx\]"):
        write_container(folder, {"torch_export": entry("torch_export.TorchExport")}, name="x", signed=False, python="3.11")
    (folder / "onnx/model.onnx").unlink()
    with pytest.raises(PersonError, match=r"target=\[onnx\]"):
        write_triton(folder, "cells")


def test_names_that_tools_take():
    assert image_name(Path("out/Cells 1.0 (new)")) == "cells-1.0-new"
