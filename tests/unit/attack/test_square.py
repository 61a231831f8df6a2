"""The square attack: it asks for outputs alone and stays within its queries."""

import pytest
import torch

from pipeline.attack.square import Square
from pipeline.core.errors import PersonError
from tests.victims import COUNT, linear


def rng(number=0):
    return torch.Generator().manual_seed(number)


def test_it_asks_no_gradient_and_keeps_to_its_queries():
    victim, x = linear(4)
    asked = []
    model = victim.model

    def watched(x_BCHW):
        asked.append(torch.is_grad_enabled())
        return model(x_BCHW)

    victim.model = watched
    Square(eps=1e-4, queries=30)(victim, x, rng())
    assert not any(asked)
    assert victim.passes.backward == 0
    assert victim.passes.forward <= COUNT * (30 + 3)  # the clean images, the first stripes, and the images it ends with


def test_wrong_settings_are_refused():
    for wrong in ({"queries": 0}, {"share": 0.0}, {"share": 1.5}):
        with pytest.raises(PersonError, match=r"attack\.square"):
            Square(eps=0.1, **wrong)
