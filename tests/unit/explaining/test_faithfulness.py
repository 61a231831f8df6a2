"""Deletion and insertion against a loop, and what the area between them says of orders that know much, nothing, and the reverse."""

import numpy as np
import pytest
import torch

from pipeline.explaining.faithfulness import curves, gain, rank
from pipeline.explaining.regions import blurred, grid

REGION = grid(8, 8, 4)


@pytest.fixture
def x():
    return torch.rand(1, 2, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def weight():
    return torch.randn(2, 8, 8, generator=torch.Generator().manual_seed(1))


def worth(x, weight):
    """What each pixel adds to a linear score."""
    return ((x - blurred(x)) * weight).sum(1)[0].numpy()


def test_the_curves_are_those_of_a_loop(x, weight):
    place = np.random.default_rng(0).permutation(16)
    found = curves(lambda images: (images * weight).sum((1, 2, 3)), x, place, REGION, steps=5)
    for point in range(6):
        first = place[REGION] < round(point / 5 * 16)
        for row, keep in ((0, ~first), (1, first)):
            image = torch.where(torch.from_numpy(keep), x, blurred(x))
            assert found[row, point] == pytest.approx(float((image * weight).sum()), abs=1e-4)


def test_regions_are_ordered_by_their_mean_and_ties_are_broken_at_random():
    map_HW = np.zeros((8, 8), np.float32)
    map_HW[REGION == 5], map_HW[REGION == 2], map_HW[REGION == 9] = 3, 2, -1
    place = rank(map_HW, REGION, np.random.default_rng(0))
    assert (place[5], place[2], place[9]) == (0, 1, 15)
    assert sorted(place) == list(range(16))
    flat = [rank(np.zeros((8, 8), np.float32), REGION, np.random.default_rng(number)).tolist() for number in range(3)]
    assert flat[0] != flat[1] != flat[2], "a flat map must not profit from the place of a region"


def test_knowledge_gains_its_reverse_loses_and_chance_does_neither(x, weight):
    def score_of(images):
        return (images * weight).sum((1, 2, 3))

    rng = np.random.default_rng(0)
    known = rank(worth(x, weight).astype(np.float32), REGION, rng)
    best = gain(curves(score_of, x, known, REGION, steps=8))
    worst = gain(curves(score_of, x, 15 - known, REGION, steps=8))
    chance = [gain(curves(score_of, x, rng.permutation(16), REGION, steps=8)) for _ in range(100)]
    assert best > max(chance)
    assert worst < min(chance)
    assert worst == pytest.approx(-best, abs=1e-4)
    assert abs(np.mean(chance)) < 4 * np.std(chance) / np.sqrt(100), "zero in expectation"


def test_chance_is_zero_for_a_score_that_does_not_add_up_either(x, weight):
    def score_of(images):
        return (images * weight).sum((2, 3)).square().sum(1)

    rng = np.random.default_rng(1)
    chance = [gain(curves(score_of, x, rng.permutation(16), REGION, steps=8)) for _ in range(100)]
    assert abs(np.mean(chance)) < 4 * np.std(chance) / np.sqrt(100)


def test_the_area_is_that_of_trapezoids():
    assert gain(np.asarray([[2.0, 1.0, 0.0], [0.0, 1.0, 2.0]])) == 0
    assert gain(np.asarray([[1.0, 0.0, 0.0], [0.0, 1.0, 1.0]])) == pytest.approx(np.trapezoid([-1, 1, 1], dx=0.5))
