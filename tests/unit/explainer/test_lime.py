"""LIME against scores whose regions add up, where its weights are known."""

import numpy as np
import pytest
import torch

from pipeline.core.errors import PersonError
from pipeline.explainer.lime import Lime
from pipeline.explaining.regions import grid, mean_of

PLAIN = {"regions": 3, "samples": 80, "kernel_width": 0.25, "penalty": 1e-4, "seed": 0, "batch": 16}


@pytest.fixture
def x():
    return torch.rand(2, 2, 9, 9, generator=torch.Generator().manual_seed(1))


def test_regions_that_add_up_get_what_they_are_worth(x):
    weight = torch.randn(2, 9, 9, generator=torch.Generator().manual_seed(2))
    maps = Lime(**PLAIN)(lambda images: (images * weight).sum((1, 2, 3)), x)
    region = grid(9, 9, 3)
    worth = ((x - mean_of(x)) * weight).sum(1).numpy()
    for number in range(2):
        expected = np.bincount(region.ravel(), weights=worth[number].ravel())[region]
        assert np.allclose(maps[number].numpy(), expected, atol=1e-2)


def test_it_leaves_the_global_random_state_and_depends_on_its_own_seed(x):
    def score_of(images):
        return images.square().sum((1, 2, 3)).sqrt()

    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = Lime(**PLAIN)(score_of, x)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(3)
    assert torch.equal(Lime(**PLAIN)(score_of, x), first)
    assert not torch.equal(Lime(**{**PLAIN, "samples": 12, "seed": 1})(score_of, x), Lime(**{**PLAIN, "samples": 12})(score_of, x))


def test_samples_with_more_regions_on_weigh_more():
    weight = Lime(**PLAIN)._weight(None, None, torch.tensor([[1.0, 1.0, 1.0, 1.0]]))
    half = Lime(**PLAIN)._weight(None, None, torch.tensor([[1.0, 0.0, 0.0, 0.0]]))
    assert float(weight) == 1
    assert float(half) == pytest.approx(np.exp(-(0.5**2) / 0.25**2))


@pytest.mark.parametrize("wrong", [{"regions": 0}, {"samples": 0}, {"kernel_width": 0.0}, {"penalty": 0.0}, {"batch": 0}])
def test_numbers_out_of_range_are_said(wrong):
    with pytest.raises(PersonError, match=f"{next(iter(wrong))}=0"):
        Lime(**{**PLAIN, **wrong})
