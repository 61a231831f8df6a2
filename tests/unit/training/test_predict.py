"""Prediction in batches: pixels arrive in order, channels first, in [0, 1]; the batch size does not matter; NaN stops."""

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.core.errors import PersonError
from pipeline.core.parts import build
from pipeline.training.predict import BATCH, predict
from tests import toy

TASK = build(toy.option("task", "classification"), card={"name": "toy", "classes": ["a", "b"]})
IMAGES = np.random.default_rng(0).integers(0, 256, (BATCH + 5, 6, 4, 3), dtype=np.uint8)


class Spy(nn.Module):
    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, x_BCHW):
        self.seen.append(x_BCHW)
        return x_BCHW.flatten(1)[:, :2]


def test_images_arrive_in_order_as_floats_with_channels_first():
    spy = Spy()
    prediction = predict(spy, TASK, iter(IMAGES), total=len(IMAGES))
    assert [len(x_BCHW) for x_BCHW in spy.seen] == [BATCH, 5]
    x_BCHW = torch.cat(spy.seen)
    np.testing.assert_allclose(x_BCHW.permute(0, 2, 3, 1).numpy(), IMAGES / 255, rtol=1e-6)
    np.testing.assert_allclose(prediction, x_BCHW.flatten(1)[:, :2].softmax(1).numpy(), rtol=1e-6)


def test_no_images_give_an_empty_table_and_not_an_error():
    assert predict(Spy(), TASK, iter(()), total=0).shape == (0, 2)


def test_a_prediction_that_is_not_finite_is_said():
    class Broken(nn.Module):
        def forward(self, x_BCHW):
            return torch.full((len(x_BCHW), 2), float("inf"))

    with pytest.raises(PersonError, match=f"{len(IMAGES)} of {len(IMAGES)} predictions of the model are not finite"):
        predict(Broken(), TASK, iter(IMAGES), total=len(IMAGES), what="predicting")
