"""Occlusion against a loop over windows, on a network and on a plain callable."""

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.core.errors import PersonError
from pipeline.explainer.occlusion import Occlusion


def by_hand(score, image, side, step):
    """Mean fall of the score over the windows that cover each pixel."""
    height, width = image.shape[2:]
    fall, count = np.zeros((height, width)), np.zeros((height, width))
    starts = [[*range(0, length - side, step), length - side] if (length - side) % step == 0 else
              [*range(0, length - side + step, step)] for length in (height, width)]  # fmt: skip
    for row in starts[0]:
        for column in starts[1]:
            covered = image.clone()
            covered[:, :, row : row + side, column : column + side] = image.mean((2, 3), keepdim=True)
            fall[row : row + side, column : column + side] += float(score(image) - score(covered))
            count[row : row + side, column : column + side] += 1
    return fall / count


@pytest.fixture
def x():
    return torch.rand(2, 2, 9, 12, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("window", "stride", "side", "step"), [(0.34, 0.67, 3, 2), (0.34, 1.0, 3, 3), (0.22, 0.5, 2, 1)])
def test_it_is_the_mean_fall_of_the_windows_that_cover_a_pixel(x, window, stride, side, step):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(280, 1)).eval()
    maps = Occlusion(window=window, stride=stride, batch=5)(lambda images: model(images)[:, 0], x)
    for number in range(2):
        with torch.no_grad():
            expected = by_hand(lambda images: model(images)[:, 0], x[number : number + 1], side, step)
        assert np.allclose(maps[number].numpy(), expected, atol=1e-5)


def test_it_needs_neither_a_network_nor_a_gradient(x):
    """An exported model is a callable on numpy arrays."""
    weight = np.random.default_rng(0).normal(size=(2, 9, 12)).astype(np.float32)

    def exported(images):
        return torch.from_numpy((images.numpy() * weight).sum((1, 2, 3)))

    maps = Occlusion(window=0.34, stride=0.5, batch=8)(exported, x)
    assert maps.shape == (2, 9, 12)
    assert bool(torch.isfinite(maps).all())


def test_numbers_out_of_range_and_scores_that_are_not_finite_are_said(x):
    with pytest.raises(PersonError, match=r"window=1\.5"):
        Occlusion(window=1.5, stride=0.5, batch=1)
    with pytest.raises(PersonError, match="stride=0"):
        Occlusion(window=0.5, stride=0, batch=1)
    with pytest.raises(PersonError, match="batch=0"):
        Occlusion(window=0.5, stride=0.5, batch=0)
    with pytest.raises(PersonError, match="not finite"):
        Occlusion(window=0.5, stride=0.5, batch=1)(lambda images: images.sum((1, 2, 3)) / 0, x)
