"""Every option of conf/shrinker is held to the laws of a shrinker; a new option is tested with no new test file."""

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch import nn

from pipeline.core.artifact import read_json
from pipeline.core.errors import PersonError
from pipeline.core.parts import build, is_off
from pipeline.training.predict import BATCH, to_batch
from pipeline.training.saved_model import load_model
from pipeline.training.subset import read_subset
from tests import trained

CONF = Path(__file__).resolve().parents[2] / "conf/shrinker"
OPTIONS = sorted(path for path in CONF.glob("*.yaml") if not is_off(yaml.safe_load(path.read_text(encoding="utf-8"))))


@pytest.fixture(params=OPTIONS, ids=lambda path: path.stem)
def shrinker(request):
    text = request.param.read_text(encoding="utf-8")
    assert text.startswith(f"# @package shrinker.{request.param.stem}\n"), "a listed room needs its package line"
    return build(yaml.safe_load(text))


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folders = trained.folders(tmp_path_factory.mktemp("shrink"), count=300)
    task = build(folders.task, card=read_json(folders.ingest / "card.json"))
    subset = read_subset(task, folders.ingest, folders.split, ["train"])
    return load_model(folders.train), lambda: (to_batch(list(batch)) for batch in subset.batches(BATCH))


def weights(network):
    return sum(parameter.numel() for parameter in network.parameters())


def test_fewer_weights_the_same_outputs_shape_and_the_original_untouched(shrinker, world):
    network, batches = world
    before = {name: value.clone() for name, value in network.state_dict().items()}
    small = shrinker.shrink(network, batches)
    assert weights(small) < 0.9 * weights(network)
    assert not small.training
    x_BCHW = next(iter(batches()))
    for size in (1, 7):
        found = small(x_BCHW[:size])
        assert found.shape == network(x_BCHW[:size]).shape
        assert torch.isfinite(found).all()
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_the_same_again_gives_the_same_network(shrinker, world):
    network, batches = world
    one, two = (shrinker.shrink(network, batches).state_dict() for _ in range(2))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_it_says_so_where_nothing_can_go(shrinker):
    with pytest.raises(PersonError, match="choose"):
        shrinker.shrink(nn.Sequential(nn.Flatten(), nn.Linear(16, 2)).eval(), lambda: iter([torch.rand(4, 1, 4, 4)]))


def test_each_can_be_trained_on_and_exported(shrinker, world, tmp_path):
    from pipeline.exporter.onnx import Onnx

    network, batches = world
    small = shrinker.shrink(network, batches)
    small.train()
    small(next(iter(batches()))).sum().backward()
    assert all(parameter.grad is not None for parameter in small.parameters())
    small.eval().requires_grad_(requires_grad=False)

    class Whole(nn.Module):
        def __init__(self):
            super().__init__()
            self.network = small

        def forward(self, pixels_BHWC):
            return self.network(pixels_BHWC.permute(0, 3, 1, 2).float() / 255)

    pixels = np.random.default_rng(0).integers(0, 256, (5, 16, 16, 1), dtype=np.uint8)
    opened = Onnx().load(Onnx().save(Whole().eval(), torch.zeros((2, 16, 16, 1), dtype=torch.uint8), tmp_path, {}))
    with torch.no_grad():
        wanted = Whole()(torch.from_numpy(pixels)).numpy()
    assert np.abs(opened(pixels) - wanted).max() < 1e-4
