"""What an exported file says of itself, and what it must not hold."""

import json

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from pipeline.core.errors import PersonError
from pipeline.exporter.onnx import Onnx
from pipeline.training.deploy import Deployed, metadata


class Task:
    """Doubles, so that decoding can be seen in the file."""

    name, columns = "doubling", ["a", "b"]

    def decode(self, output):
        return 2 * output


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Deployed(
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16 * 4, 2)), Task()
    ).eval()


@pytest.fixture
def file(model, tmp_path):
    card = {"height": 6, "width": 6, "channels": 3, "classes": ["ä", "b"], "license": "CC0", "digest": "d1", "name": "toy"}
    return Onnx().save(model, torch.zeros(2, 6, 6, 3, dtype=torch.uint8), tmp_path, metadata(card, Task()))


def test_input_and_output_are_those_of_a_person(file):
    graph = onnx.load(file).graph
    shape = [d.dim_param or d.dim_value for d in graph.input[0].type.tensor_type.shape.dim]
    assert [i.name for i in graph.input] == ["pixels"]
    assert graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert isinstance(shape[0], str)
    assert shape[1:] == [6, 6, 3]
    assert [o.name for o in graph.output] == ["prediction"]


def test_pre_and_post_processing_are_inside(file, model):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 6, 6, 3), dtype=np.uint8)
    by_hand = 2 * model.model(torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255)
    assert np.abs(Onnx().load(file)(pixels) - by_hand.detach().numpy()).max() < 1e-6


def test_metadata_says_what_a_stranger_needs(file):
    facts = {entry.key: entry.value for entry in onnx.load(file).metadata_props}
    assert json.loads(facts["labels"]) == ["ä", "b"]
    assert json.loads(facts["input"])["shape"] == ["batch", 6, 6, 3]
    assert (facts["data_licence"], facts["data_digest"]) == ("CC0", "d1")


def test_nothing_of_the_code_or_the_build_is_left(file):
    proto = onnx.load(file)
    for part in (*proto.graph.node, *proto.graph.value_info, *proto.graph.initializer):
        assert not part.metadata_props
        assert not part.doc_string
    assert "+" not in proto.producer_version


def test_threads_come_from_the_environment(file, monkeypatch):
    import onnxruntime

    seen = {}
    real = onnxruntime.InferenceSession
    monkeypatch.setattr(onnxruntime, "InferenceSession", lambda path, options, **rest: seen.update(n=options.intra_op_num_threads)
                        or real(path, options, **rest))  # fmt: skip
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    Onnx().load(file)
    assert seen == {"n": 3}


def test_an_old_opset_is_refused():
    with pytest.raises(PersonError, match="at least 18"):
        Onnx(opset=11)
