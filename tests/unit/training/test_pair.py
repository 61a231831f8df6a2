"""Predictions and features of the same images: one pass where trunk and embedder are one, two where they are not."""

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.core.artifact import write_json
from pipeline.core.errors import PersonError
from pipeline.core.parts import build
from pipeline.training.pair import Pair
from tests import toy

TASK = build(toy.option("task", "classification"), card={"name": "toy", "classes": ["bar", "disc"]})
IMAGES = [np.full((4, 4, 1), 5 * number, np.uint8) for number in range(40)]
TRUNK = {"name": "toy"}


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.looks = 0
        self.head = nn.Linear(3, 2)

    def features(self, x_BCHW):
        self.looks += len(x_BCHW)
        return torch.stack([x_BCHW.mean((1, 2, 3)) * factor for factor in (1, 2, 3)], dim=1)

    def forward(self, x_BCHW):
        return self.head(self.features(x_BCHW))

    def trunk(self):
        return TRUNK


def artifact(folder, trunk):
    write_json(folder / "embedder.json", {"name": "toy", "trunk": trunk})
    return folder


def test_one_trunk_is_run_once_and_gives_what_two_would(tmp_path):
    net = Net()
    pair = Pair(net, TASK, {"_target_": "pipeline.embedder.pixels.Pixels"}, artifact(tmp_path, TRUNK))
    prediction, features = pair(iter(IMAGES))
    assert net.looks == len(IMAGES)
    x = torch.stack([torch.from_numpy(image).permute(2, 0, 1).float() / 255 for image in IMAGES])
    with torch.no_grad():
        assert np.allclose(prediction, TASK.decode(net(x)), atol=1e-6)
        assert np.allclose(features, net.features(x), atol=1e-6)


def test_another_embedder_looks_for_itself(tmp_path):
    pair = Pair(Net(), TASK, {"_target_": "pipeline.embedder.pixels.Pixels"}, artifact(tmp_path, {"name": "another"}))
    prediction, features = pair(iter(IMAGES))
    assert prediction.shape == (40, 2)
    assert np.allclose(features, np.stack(IMAGES).reshape(40, -1) / 255)


def test_nobody_asks_for_features(tmp_path):
    _, features = Pair(Net(), TASK, None, tmp_path)(iter(IMAGES))
    assert features.shape == (40, 0)


def test_a_prediction_that_is_not_finite_is_said(tmp_path):
    net = Net()
    net.head.bias.data[:] = float("nan")
    with pytest.raises(PersonError, match="40 of 40 predictions of the model are not finite"):
        Pair(net, TASK, None, tmp_path)(iter(IMAGES))
