"""The planted cue: where it is, whether the probe tells it, and which maps find it."""

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.explaining import cue
from pipeline.explaining.features import Features


@pytest.fixture(scope="module")
def features():
    """Random filters and pooling: what an untrained trunk knows is enough to tell a checker from noise."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 12, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 2)).eval()
    return Features(model.requires_grad_(False), torch.zeros(1, 1, 16, 16))


def images(count, seed):
    return torch.from_numpy(np.random.default_rng(seed).normal(0.5, 0.05, (count, 1, 16, 16)).astype(np.float32)).clamp(0, 1)


@pytest.fixture(scope="module")
def probe(features):
    return cue.fit_probe(features, cue.plant(images(24, 0), np.random.default_rng(0)), batch=10)


@pytest.fixture(scope="module")
def held():
    return cue.plant(images(12, 1), np.random.default_rng(1))


@pytest.mark.parametrize("shape", [(3, 1, 16, 16), (2, 3, 16, 96), (2, 1, 5, 4)])
def test_the_cue_is_where_it_is_said_to_be(shape):
    x = torch.full(shape, 0.4)
    planted = cue.plant(x, np.random.default_rng(0))
    changed = (planted.with_NCHW != x).any(1).numpy()
    assert np.array_equal(changed, planted.inside_NHW)
    side = max(2, round(min(shape[2:]) * 0.3))
    assert (planted.inside_NHW.sum((1, 2)) == side**2).all()
    assert torch.equal(planted.without_NCHW, x)
    assert x.eq(0.4).all(), "the images themselves stay"


def test_places_differ(held):
    assert len({tuple(np.argwhere(inside)[0]) for inside in held.inside_NHW}) > 6


def test_the_probe_is_a_ridge_regression_and_tells_new_images(features, probe, held):
    share, turned = cue.told(probe, held, batch=5)
    assert share > 0.95
    assert turned.sum() >= 2 * share * 12 - 12
    with torch.no_grad():
        assert turned.tolist() == ((probe(held.with_NCHW) > 0) & (probe(held.without_NCHW) <= 0)).tolist()
    some = held.take(np.asarray([3, 1]))
    assert torch.equal(some.with_NCHW[1], held.with_NCHW[1])
    assert np.array_equal(some.inside_NHW[0], held.inside_NHW[3])
    known = cue.plant(images(24, 0), np.random.default_rng(0))
    with torch.no_grad():
        found = torch.cat([features(known.with_NCHW), features(known.without_NCHW)]).double().numpy()
        scores = torch.cat([probe(known.with_NCHW), probe(known.without_NCHW)]).numpy()
    spread = found.std(0, ddof=1)  # 0 for a filter that never answers
    standard = (found - found.mean(0)) / np.where(spread > 0, spread, np.inf)
    side = np.repeat([1.0, -1.0], 24)
    count = standard.shape[1]
    weight = np.linalg.solve(standard.T @ standard + cue.RIDGE * count * np.eye(count), standard.T @ side)
    assert np.allclose(scores, standard @ weight, atol=1e-4)


def oracle(score_of, x):
    """The gradient of the probe times how far the place differs from grey: knows the cue."""
    x = x.clone().requires_grad_()
    slope = torch.autograd.grad(score_of(x).sum(), x)[0]
    return nn.functional.avg_pool2d((slope * (x - 0.5)).abs().detach(), 3, 1, 1).mean(1)


def test_a_map_that_knows_finds_the_cue_and_one_that_does_not_misses_it(probe, held):
    found, maps = cue.localise(oracle, probe, held, share=1.0)
    assert maps.shape == (12, 16, 16)
    assert found.hits.mean() >= 0.9
    assert found.mass.mean() > 3 * found.area
    generator = torch.Generator().manual_seed(0)
    noise, _ = cue.localise(lambda _, x: torch.rand(len(x), 16, 16, generator=generator), probe, held, share=1.0)
    assert noise.hits.mean() <= 0.4
    assert noise.mass.mean() == pytest.approx(noise.area, abs=0.03)
    middle = torch.zeros(1, 16, 16)
    middle[0, 7:9, 7:9] = 1
    centred, _ = cue.localise(lambda _, x: middle, probe, held, share=1.0)
    assert centred.hits.mean() < 0.5


def test_pointing_has_a_slack_and_a_flat_map_points_nowhere():
    inside = np.zeros((10, 10), np.bool_)
    inside[4:6, 4:6] = True
    spot = np.zeros((10, 10), np.float32)
    assert not cue.hit(spot, inside, 1)
    spot[3, 6] = 1
    assert cue.hit(spot, inside, 1)
    assert not cue.hit(spot, inside, 0)


@pytest.mark.parametrize("shape", [(40, 1, 16, 16), (40, 1, 60, 90), (40, 1, 8, 8)])
def test_a_map_that_is_the_same_for_every_image_finds_few(shape):
    planted = cue.plant(torch.zeros(shape), np.random.default_rng(0))
    height, width = shape[2:]
    slack = round(cue.SLACK * min(height, width))
    for row in range(0, height, height // 8):
        for column in range(0, width, width // 8):
            spot = np.zeros((height, width), np.float32)
            spot[row, column] = 1
            assert np.mean([cue.hit(spot, inside, slack) for inside in planted.inside_NHW]) < 0.5
