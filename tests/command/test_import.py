"""`python -m pipeline import`: foreign networks and weights, the chain torch -> ONNX -> torch -> ONNX, and what is refused."""

import pickle
import re
import shutil
import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn

from pipeline.__main__ import main
from pipeline.backbone import torchscript
from pipeline.backbone.foreign import kind_of, open_onnx
from pipeline.core.errors import PersonError
from pipeline.core.parts import build
from pipeline.exporter.onnx import Onnx
from tests import toy

CARD = {"channels": 3, "height": 32, "width_pixels": 32, "outputs": 4, "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.2, 0.2]}


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    (tmp_path / "conf/model").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)


def written(network, name="net.onnx"):
    proto = Onnx().proto(network.eval(), torch.rand(2, 3, 32, 32), ["output"])
    Path(name).write_bytes(proto.SerializeToString())
    return Path(name)


def small():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(24, 4))


def test_an_untrained_network_goes_to_onnx_to_torch_and_to_onnx_again(capsys):
    """resnet_small as it starts, written by our exporter at opset 18, which onnx2torch by itself refuses (ReduceMean 18)."""
    torch.manual_seed(0)
    path = written(build(toy.option("model", "resnet_small"), **CARD))
    assert main(["import", str(path), "--name", "theirs"]) == 0
    found = [float(text) for text in re.findall(r"largest difference (\S+)", capsys.readouterr().out)]
    assert len(found) == 2
    assert max(found) < 1e-5
    assert Path("weights/theirs.onnx").read_bytes() == path.read_bytes()
    option = toy.yaml.safe_load(Path("conf/model/theirs.yaml").read_text())
    model = build(option, **CARD).eval()
    assert model(torch.rand(3, 3, 32, 32)).shape == (3, 4)


def test_constant_shapes_survive_the_way_back(capsys):
    """onnx2torch looks at the values of shapes, which torch.export cannot follow: Reshape with 0 and -1, and Expand."""
    path = of_nodes(
        helper.make_node("Expand", ["x", "wide"], ["e"]), helper.make_node("Reshape", ["e", "flat"], ["y"]),
        weights=[helper.make_tensor("wide", TensorProto.INT64, [4], [1, 3, 8, 8]), helper.make_tensor("flat", TensorProto.INT64, [2], [0, -1])],
    )  # fmt: skip
    assert main(["import", str(path)]) == 0
    assert [float(text) for text in re.findall(r"largest difference (\S+)", capsys.readouterr().out)] == [0.0, 0.0]


def test_an_imported_network_computes_what_the_file_does_and_trains(monkeypatch):
    network = nn.Sequential(small(), nn.Softmax(1))
    path = written(network)
    part = {**toy.option("model", "onnx_file"), "file": str(path), "normalise": "none"}
    model = build(part, **CARD)
    x_BCHW = torch.rand(5, 3, 32, 32)
    assert torch.allclose(model.eval()(x_BCHW), network[0](x_BCHW), atol=1e-5)  # raw outputs: the Softmax at the end is left out
    model.train()(x_BCHW).square().sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    other = build({**part, "head": "fresh"}, **{**CARD, "outputs": 9})
    assert other(x_BCHW).shape == (5, 9)
    with pytest.raises(PersonError, match=r"model\.head=fresh"):
        build(part, **{**CARD, "outputs": 9})
    with pytest.raises(PersonError, match="expected 00"):
        build({**part, "file_sha256": "00"}, **CARD)
    grey = build(part, **{**CARD, "channels": 1, "mean": [0.5], "std": [0.2]})
    assert grey(torch.rand(2, 1, 32, 32)).shape == (2, 4)


def test_what_torch_says_otherwise_is_refused(monkeypatch, capsys):
    """A planted fault: a converter that loses a bias."""
    import onnx2torch

    convert = onnx2torch.convert

    def wrong(proto):
        network = convert(proto)
        list(network.modules())[-1].bias.data.add_(0.5)
        return network

    path = written(nn.Sequential(small()))
    monkeypatch.setattr(onnx2torch, "convert", wrong)
    assert main(["import", str(path)]) == 1
    assert "torch differs from the file by" in capsys.readouterr().err
    assert not list(Path("conf/model").iterdir())


def of_nodes(*nodes, domain="", weights=()):
    """A file of these nodes, from x to y."""
    graph = helper.make_graph(list(nodes), "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["b", 3, 8, 8])],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["b", "c"])], list(weights))  # fmt: skip
    sets = [helper.make_opsetid("", 17), *([helper.make_opsetid(domain, 1)] if domain else [])]
    path = Path("made.onnx")
    path.write_bytes(helper.make_model(graph, opset_imports=sets, ir_version=9).SerializeToString())
    return path


def elsewhere():
    weight = helper.make_tensor("w", TensorProto.FLOAT, [1], np.ones(1, np.float32).tobytes(), raw=True)
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="../../etc/passwd")
    return of_nodes(helper.make_node("Add", ["x", "w"], ["y"], name="add"), weights=[weight])


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: of_nodes(helper.make_node("Relu", ["x"], ["h"], name="first"), helper.make_node("Det", ["h"], ["y"], name="det_7")),
         r"Det \(layer det_7\)"),
        (lambda: of_nodes(helper.make_node("Shady", ["x"], ["y"], name="odd", domain="com.other"), domain="com.other"), r"com\.other\.Shady \(odd\)"),
        (elsewhere, "keeps weights in other files"),
        (lambda: Path("made.onnx").write_bytes(b"nothing of the kind") and Path("made.onnx"), "is no valid ONNX file|is no ONNX file"),
        (lambda: Path("made.onnx").write_bytes(b"") or Path("made.onnx"), "is no valid ONNX file|is no ONNX file"),
        (lambda: Path("made.onnx").write_bytes(written(small()).read_bytes()[:-300]) and Path("made.onnx"), "is no valid ONNX file"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_read_is_refused_with_its_layer(make, said, capsys):
    assert main(["import", str(make())]) == 1
    assert re.search(said, capsys.readouterr().err)
    assert not list(Path("conf/model").iterdir())


class Bomb:
    def __reduce__(self):
        return (Path.write_text, (Path("owned"), "it ran"))


def test_a_state_dict_becomes_safetensors_and_a_pickle_runs_nothing(capsys):
    network = small()
    torch.save({"state_dict": {f"module.{name}": tensor for name, tensor in network.state_dict().items()}, "epoch": 3}, "good.pth")
    assert main(["import", "good.pth"]) == 0
    from safetensors.torch import load_file

    again = load_file("weights/good.safetensors")
    assert {name: tensor.shape for name, tensor in again.items()} == {name: tensor.shape for name, tensor in network.state_dict().items()}
    assert all(torch.equal(again[name], tensor) for name, tensor in network.state_dict().items())
    assert "model.weights_sha256=" in capsys.readouterr().out
    torch.save({"w": torch.zeros(2), "b": Bomb()}, "bad.pth")
    Path("raw.pth").write_bytes(pickle.dumps(Bomb()))
    for name in ("bad.pth", "raw.pth"):
        assert main(["import", name]) == 1
        assert "nothing of it was run" in capsys.readouterr().err
    assert not Path("owned").exists()
    torch.save([1, 2], "list.pth")
    assert main(["import", "list.pth"]) == 1


@pytest.mark.slow
def test_torchscript_is_opened_only_when_trusted_and_in_a_process_of_its_own(capsys, monkeypatch):
    network = small().eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch would rather have torch.export
        torch.jit.trace(network, torch.rand(1, 3, 32, 32)).save("script.pt")
    assert kind_of(Path("script.pt")) == "torchscript"
    monkeypatch.setattr(torch.jit, "load", lambda *_, **__: pytest.fail("it was opened in this process"))
    assert main(["import", "script.pt"]) == 1
    assert "which is a program" in capsys.readouterr().err
    assert main(["import", "script.pt", "--trust"]) == 1
    assert "--image" in capsys.readouterr().err
    content = torchscript.to_onnx(Path("script.pt"), (32, 32, 3))
    x_BCHW = torch.rand(3, 3, 32, 32)
    assert torch.allclose(open_onnx(content, name="it").network(x_BCHW), network(x_BCHW), atol=1e-5)
    with pytest.raises(PersonError, match="for images of 1x1x3"):
        torchscript.to_onnx(Path("script.pt"), (1, 1, 3))


def test_a_torch_export_archive_is_not_opened(capsys):
    torch.export.save(torch.export.export(small().eval(), (torch.rand(2, 3, 32, 32),)), "net.pt2")
    assert main(["import", "net.pt2"]) == 1
    assert "runs code when it is opened" in capsys.readouterr().err


def test_nothing_is_overwritten(capsys):
    path = written(small())
    Path("conf/model/net.yaml").write_text("mine")
    assert main(["import", str(path)]) == 1
    assert "exists already" in capsys.readouterr().err
    assert Path("conf/model/net.yaml").read_text() == "mine"


def test_a_file_of_a_newer_opset_is_valid_before_and_after():
    path = written(build(toy.option("model", "resnet_small"), **CARD))
    assert max(opset.version for opset in onnx.load(path).opset_import) == 18
    assert open_onnx(path, name="it").shape == (None, 3, 32, 32)


def test_an_untrained_network_is_written_by_command_and_comes_in_again(capsys):
    shutil.copyfile(toy.PROJECT / "conf/model/mlp.yaml", "conf/model/mlp.yaml")
    assert main(["models", "write", "mlp", "start.onnx", "--image", "8x9x1", "--outputs", "3"]) == 0
    assert "untrained" in capsys.readouterr().out
    assert open_onnx(Path("start.onnx"), name="it").network(torch.rand(2, 1, 8, 9)).shape == (2, 3)
    for words, said in ((["mpl", "x.onnx"], "did you mean 'mlp'"), (["mlp", "start.onnx"], "exists already"), (["mlp", "x.onnx", "widht=3"], "unknown key model.widht"),
                        (["mlp", "x.onnx", "--image", "8"], "HEIGHTxWIDTHxCHANNELS")):  # fmt: skip
        assert main(["models", "write", *words]) == 1
        assert said in capsys.readouterr().err


def test_a_file_with_its_pre_processing_inside_is_compared_and_not_made_a_model(capsys):
    """What this project exports takes uint8 images, channels last."""

    class Whole(nn.Module):
        def forward(self, pixels_BHWC):
            return pixels_BHWC.permute(0, 3, 1, 2).to(torch.float32).mean((2, 3))

    Onnx().save(Whole(), torch.zeros((2, 6, 5, 3), dtype=torch.uint8), Path(), {})
    assert main(["import", "model.onnx", "--name", "ours"]) == 1
    said = capsys.readouterr()
    assert said.out.count("largest difference") == 2
    assert "takes uint8 (None, 6, 5, 3)" in said.err
    assert not list(Path("conf/model").iterdir())
