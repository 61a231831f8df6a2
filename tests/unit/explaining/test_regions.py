"""The grid of regions, and what is left of an image."""

import numpy as np
import pytest
import torch

from pipeline.explaining.regions import averaged, blurred, grid, mean_of


@pytest.mark.parametrize(("height", "width", "count", "expected"), [(8, 8, 4, 16), (300, 300, 10, 100), (16, 96, 4, 96), (3, 3, 10, 9), (5, 7, 1, 1)])
def test_regions_cover_everything_are_whole_and_nearly_equal(height, width, count, expected):
    region = grid(height, width, count)
    sizes = np.bincount(region.ravel())
    assert region.shape == (height, width)
    assert len(sizes) == expected
    assert sizes.min() > 0
    for number in range(expected):
        rows, columns = np.nonzero(region == number)
        assert len(rows) == (np.ptp(rows) + 1) * (np.ptp(columns) + 1), "a region is a rectangle"


def test_no_region_is_refused():
    with pytest.raises(ValueError, match="received 0"):
        grid(4, 4, 0)


def test_what_is_left_keeps_the_coarsest_brightness_alone():
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    ramp = torch.linspace(0, 1, 32).expand(1, 1, 32, 32)
    assert blurred(x).std((2, 3)).max() < 0.3 * x.std((2, 3)).min()
    assert (blurred(ramp) - ramp).abs()[..., 4:-4].max() < 1e-4, "a slope stays"
    assert blurred(torch.full((1, 1, 2, 3), 0.25)).eq(0.25).all(), "smaller than the coarse grid"
    assert torch.equal(mean_of(x)[1, 2], x[1, 2].mean().expand(32, 32))


def test_a_map_is_averaged_over_a_window():
    spot = np.zeros((9, 9), np.float32)
    spot[4, 4] = 9
    assert averaged(spot, 3)[3:6, 3:6].tolist() == [[1.0] * 3] * 3
    assert np.array_equal(averaged(spot, 0), spot)
