"""Bounds hold what float32 makes of a network, in whatever order it adds up; without the allowance they do not."""

import pytest
import torch

from pipeline.core.errors import PersonError
from pipeline.verification.intervals import Box
from pipeline.verification.rounding import unit_of
from pipeline.verifier.crown import Crown
from pipeline.verifier.interval import Interval
from tests import bounding


@pytest.mark.parametrize("make", [Interval, Crown])
def test_float32_outputs_lie_within_bounds_of_a_single_image(make):
    model = bounding.dense(64, 40, 40, 3, seed=5)
    x_BCHW = torch.rand((50, 1, 8, 8), generator=torch.Generator().manual_seed(0))
    graph = bounding.graph_of(model)
    unit = torch.eye(3, dtype=torch.float64).expand(50, -1, -1)
    order = torch.randperm(64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        hidden = (x_BCHW.flatten(1)[:, order].unsqueeze(1) * model[1].weight[:, order]).cumsum(2)[:, :, -1] + model[1].bias
        seen = [model(x_BCHW), model[2:](hidden)]  # the library's order, and one number after the other in another order
    found = {}
    for rounding in ("float32", "none"):
        verifier = make(rounding=rounding)
        low, high = (sign * verifier.lower(graph, Box(x_BCHW, x_BCHW), sign * unit) for sign in (1, -1))
        found[rounding] = max(float(torch.maximum(low - one, one - high).max()) for one in seen)
        if rounding == "float32":
            assert float((high - low).max()) < 1e-3, "the allowance is small"
    assert found["float32"] <= 0
    assert found["none"] > 0, "float32 differs from exact arithmetic, or this test sees nothing"


def test_another_arithmetic_is_refused():
    with pytest.raises(PersonError, match="did you mean 'float32'"):
        unit_of("float23")
