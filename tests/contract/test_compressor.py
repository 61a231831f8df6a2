"""Every option of conf/compressor is held to the laws of a compressor; a new option is tested with no new test file."""

from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch
import yaml
from scipy.stats import spearmanr
from torch import nn

from pipeline.core.errors import PersonError
from pipeline.core.parts import build, is_off
from pipeline.exporter.onnx import Onnx
from pipeline.model.resnet import ResNet
from pipeline.outlier.view import Known, halves
from pipeline.outlier.watch import Chosen, Watch
from pipeline.runtime.further import PREFIX, take_out
from pipeline.training.deploy import deploy
from pipeline.training.predict import predict
from tests import toy

CONF = Path(__file__).resolve().parents[2] / "conf/compressor"
OPTIONS = sorted(path for path in CONF.glob("*.yaml") if not is_off(yaml.safe_load(path.read_text(encoding="utf-8"))))
SIDE = 32
CARD = {"classes": ["a", "b", "c"], "channels": 1, "height": SIDE, "width": SIDE, "name": "toy"}


class Levels(nn.Module):
    """ReLU6 blocks whose outputs are pooled by mean and maximum, concatenated, standardised and mapped linearly."""

    def __init__(self):
        super().__init__()
        sizes = [1, 32, 64, 128]
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, b, 3, 2, 1), nn.BatchNorm2d(b), nn.ReLU6(), nn.Conv2d(b, b, 3, 1, 1, groups=b), nn.ReLU6())
            for a, b in zip(sizes, sizes[1:], strict=False)
        )
        self.norm = nn.BatchNorm1d(2 * sum(sizes[1:]))
        self.head = nn.Linear(2 * sum(sizes[1:]), 3)

    def forward(self, x):
        pooled = []
        for block in self.blocks:
            x = block(x)
            pooled += [x.mean((2, 3)), x.amax((2, 3))]
        return self.head(self.norm(torch.cat(pooled, 1)))


def images(count, seed):
    rng = np.random.default_rng(seed)
    return np.stack([cv2.GaussianBlur(rng.integers(0, 256, (SIDE, SIDE), dtype=np.uint8), (0, 0), 1 + number % 3)[..., None]
                     for number in range(count)])  # fmt: skip


def batches(pixels):
    return (pixels[start : start + 8] for start in range(0, len(pixels), 8))


@pytest.fixture(scope="module")
def network():
    """Its norms have seen data."""
    torch.manual_seed(0)
    model = Levels()
    with torch.no_grad():
        for norm in (module for module in model.modules() if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d)):
            norm.momentum = None
        model(torch.from_numpy(images(256, 5)).permute(0, 3, 1, 2).float() / 255)
    return model.eval().requires_grad_(requires_grad=False)


@pytest.fixture(scope="module")
def source(network, tmp_path_factory):
    """It is exported."""
    task = build(toy.option("task", "classification"), card=CARD)
    return deploy(network, task, CARD, exporter=Onnx(), directory=tmp_path_factory.mktemp("source"))


def made(path):
    return build(yaml.safe_load(path.read_text(encoding="utf-8")))


@pytest.fixture(params=OPTIONS, ids=lambda path: path.stem)
def compressor(request):
    return made(request.param)


@pytest.fixture(params=[path for path in OPTIONS if made(path).bits < 16], ids=lambda path: path.stem)
def rounding(request):
    """One that rounds activations, and so needs their ranges."""
    return made(request.param)


@pytest.fixture(params=[path for path in OPTIONS if hasattr(made(path), "simulate")], ids=lambda path: path.stem)
def aware(request):
    """One that trains the network under its rounding."""
    return made(request.param)


def test_it_becomes_small_and_the_original_is_untouched(compressor, source, tmp_path):
    before = source.read_bytes()
    small = compressor(source, batches(images(32, 1)), tmp_path)
    assert source.read_bytes() == before
    assert small.stat().st_size < (compressor.bits / 32 + 0.08) * len(before)
    assert list(tmp_path.iterdir()) == [small]


def test_it_answers_like_the_original(compressor, source, tmp_path):
    pixels = images(256, 2)
    small = compressor(source, batches(images(64, 1)), tmp_path)
    full, less = Onnx().load(source)(pixels), Onnx().load(small)(pixels)
    assert full.std(axis=0).min() > 0.02, "the toy network must tell its inputs apart"
    assert np.corrcoef(full[:, 0], less[:, 0])[0, 1] > 0.97
    assert np.mean(full.argmax(1) == less.argmax(1)) > 0.9
    assert not np.array_equal(full, less), "nothing was compressed"


def test_calibration_images_matter(rounding, source, tmp_path):
    compressor, pixels = rounding, images(128, 2)
    found = []
    for number, calibration in enumerate((images(64, 1), np.full_like(images(16, 1), 3))):
        folder = tmp_path / str(number)
        folder.mkdir()
        found.append(Onnx().load(compressor(source, batches(calibration), folder))(pixels))
    full = Onnx().load(source)(pixels)
    assert np.abs(found[1] - full).mean() > 2 * np.abs(found[0] - full).mean()


def test_the_same_bytes_wherever_and_no_path_of_the_machine(compressor, source, tmp_path):
    files = []
    for name in ("here", "a much longer name of a folder"):
        (tmp_path / name).mkdir()
        files.append(compressor(source, batches(images(32, 1)), tmp_path / name).read_bytes())
    assert files[0] == files[1]
    for path in (tmp_path, source.parent, Path(torch.__file__).parents[1], Path(toy.__file__).parents[1]):
        assert str(path).encode() not in files[0]


def test_no_calibration_image_is_said(rounding, source, tmp_path):
    with pytest.raises(PersonError, match="validation split is empty"):
        rounding(source, iter(()), tmp_path)


def watched(model, name, card, folder, pixels):
    """A network as a file, with a detector behind it that was fitted on these images."""
    body, last = halves(model, torch.rand(2, 1, card["height"], card["width"]))
    part = build(toy.option("detector", name))
    with torch.no_grad():
        features_ND = body(torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255)
        known = Known(last(features_ND), features_ND, torch.arange(len(pixels)) % len(card["classes"]), last.weight, last.bias)
        watch = Watch(body, last, part.graph(part.fit(known).state), Chosen(name, 1.0, 0.05, 64)).eval()
    task = build(toy.option("task", "classification"), card=card)
    return deploy(model, task, card, exporter=Onnx(), directory=folder, watch=watch)


@pytest.mark.parametrize("name", ["energy", "knn", "mahalanobis", "vim"])
def test_a_detector_behind_it_stays_as_it_was(compressor, network, name, tmp_path):
    """Its products are not rounded, its matrices are stored once, and what it says ranks as before."""
    for folder in ("source", "out"):
        (tmp_path / folder).mkdir()
    source = watched(network, name, CARD, tmp_path / "source", images(600, 4))
    small = compressor(source, batches(images(64, 1)), tmp_path / "out")
    before, after = (Onnx().load(path).answers(images(256, 2)) for path in (source, small))
    assert list(before) == list(after) == ["prediction", "unknown_score", "unknown"]
    assert spearmanr(before["unknown_score"], after["unknown_score"]).statistic > 0.97
    graph = onnx.load(small).graph
    own = [node for node in graph.node if node.name.startswith(PREFIX) and not node.name.endswith("_widen")]
    assert [node.op_type for node in own] == [node.op_type for node in take_out(onnx.load(source))[1].nodes]
    types = {tensor.name: tensor.data_type for tensor in graph.initializer if tensor.name.startswith(PREFIX)}
    narrow = {key.rsplit(".")[-1] for key, kind in types.items() if kind == onnx.TensorProto.FLOAT16}
    assert narrow == {"energy": set(), "knn": {"bank_NM_narrow", "axes_DM_narrow"}, "mahalanobis": {"axes_DM_narrow"}, "vim": {"axes_DM_narrow"}}[name]
    assert onnx.TensorProto.INT8 not in types.values()


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """1.2 M weights with the detector that takes the most, fitted on as many samples as ood.fitted says."""
    torch.manual_seed(0)
    facts = {"channels": 1, "height": 28, "width_pixels": 28, "outputs": 10, "mean": [0.3], "std": [0.35]}
    card = {**CARD, "classes": list("abcdefghij"), "height": 28, "width": 28}
    model = ResNet(**facts, width=64, stages=3, dropout=0.0).eval()
    return watched(model, "knn", card, tmp_path_factory.mktemp("large"), images(2000, 4)[:, :28, :28])


def test_a_detector_keeps_a_network_of_some_size_within_the_goal(compressor, large, tmp_path):
    """.30 of the size in 8 bits."""
    small = compressor(large, batches(images(16, 1)[:, :28, :28]), tmp_path)
    assert small.stat().st_size < (compressor.bits / 32 + 0.05) * large.stat().st_size


@pytest.fixture(scope="module")
def lite0(tmp_path_factory):
    """EfficientNet-Lite0 with random weights as a file, and images."""
    from pipeline.model.lite0 import Lite0

    torch.manual_seed(0)
    model = Lite0(channels=1, height=64, width_pixels=64, outputs=2, mean=[0.5], std=[0.2], pretrained=False).eval()
    nn.init.normal_(model.head.linear.weight, std=0.05)
    card = {**CARD, "classes": ["a", "b"], "height": 64, "width": 64}
    task = build(toy.option("task", "classification"), card=card)
    full = deploy(model, task, card, exporter=Onnx(), directory=tmp_path_factory.mktemp("lite0"))
    pixels = np.repeat(np.repeat(images(24, 1), 2, 1), 2, 2)
    for size in (1, 7):
        assert np.abs(Onnx().load(full)(pixels[:size]) - predict(model, task, pixels[:size], total=size)).max() < 1e-5
    return full, pixels


def test_efficientnet_lite0_with_random_weights(compressor, lite0, tmp_path):
    full, pixels = lite0
    small = compressor(full, batches(pixels), tmp_path)
    assert small.stat().st_size < (compressor.bits / 32 + 0.05) * full.stat().st_size
    found, expected = Onnx().load(small)(pixels), Onnx().load(full)(pixels)
    assert np.corrcoef(found[:, 0], expected[:, 0])[0, 1] > 0.9


def test_rounding_in_training_leaves_the_network_alone_and_reaches_every_weight(aware):
    torch.manual_seed(0)
    model = Levels().eval().requires_grad_(requires_grad=False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    x_BCHW = torch.from_numpy(images(8, 3)).permute(0, 3, 1, 2).float() / 255
    simulated = aware.simulate(model, x_BCHW)
    simulated.train()
    simulated(x_BCHW).square().sum().backward()
    found = dict(simulated.named_parameters())
    assert {name for name, _ in model.named_parameters()} <= set(found)
    assert all(found[name].grad is not None and found[name].grad.abs().sum() > 0 for name, _ in model.named_parameters())
    with torch.no_grad():
        for parameter in simulated.parameters():
            parameter.add_(0.01)
    simulated.eval()
    plain = aware.settled(simulated, model)
    assert plain.state_dict().keys() == before.keys()
    assert torch.equal(plain.head.weight, found["head.weight"])
    assert not plain.training
    assert not any(parameter.requires_grad for parameter in plain.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_rounding_in_training_says_what_it_cannot_trace(aware):
    class Branch(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 2)

        def forward(self, x):
            return self.layer(x) if x.sum() > 0 else -self.layer(x)

    with pytest.raises(PersonError, match="compressor=int8"):
        aware.simulate(Branch(), torch.rand(8, 4))
    with pytest.raises(PersonError, match="nothing in this network would be rounded"):
        aware.simulate(nn.Sequential(nn.Flatten(), nn.LayerNorm(4)), torch.rand(8, 4))
