"""CROWN and alpha-CROWN against the exact bounds of small networks, by mixed-integer programming."""

from dataclasses import replace

import pytest
import torch

from pipeline.core.errors import PersonError
from pipeline.verifier.alpha_crown import AlphaCrown
from pipeline.verifier.crown import Crown
from pipeline.verifier.interval import Interval
from tests import bounding

WEIGHTS = torch.tensor([[[1.0, -1.0]], [[0.5, 1.0]]], dtype=torch.float64)


@pytest.fixture(scope="module")
def problem():
    model = bounding.dense(4, 8, 8, 2, seed=1)
    x_BCHW = torch.rand((2, 1, 2, 2), generator=torch.Generator().manual_seed(0))
    box = bounding.around(x_BCHW, 0.6)
    exact = [
        bounding.exact_lower(model, type(box)(box.low[row : row + 1], box.high[row : row + 1]), WEIGHTS[row, 0].tolist())
        for row in range(2)
    ]
    return bounding.graph_of(model), box, torch.tensor(exact).unsqueeze(1)


def test_bounds_hold_the_exact_ones_and_come_nearer_with_more_work(problem):
    graph, box, exact_BS = problem
    gaps = [
        exact_BS - verifier.lower(graph, box, WEIGHTS)
        for verifier in (Interval(), Crown(), AlphaCrown(steps=30))
    ]  # fmt: skip
    assert all(bool((gap >= -1e-6).all()) for gap in gaps), "a bound lies above the exact one"
    assert float(gaps[0].mean()) > 1.2 * float(gaps[1].mean()) > 1.2 * float(gaps[2].mean())


def test_a_bound_raised_by_one_hundredth_is_caught_by_the_exact_one(problem):
    graph, box, _ = problem
    tiny = type(box)(box.centre - 1e-3, box.centre + 1e-3)
    low_BS, high_BS = Crown().lower(graph, tiny, WEIGHTS), -Crown().lower(graph, tiny, -WEIGHTS)
    model_low = low_BS + 0.01 * (high_BS - low_BS)
    corners = torch.cartesian_prod(*([torch.tensor([-1e-3, 1e-3], dtype=torch.float64)] * 4)).reshape(-1, 1, 2, 2)
    seen = torch.stack([(graph.to(torch.float64).run(box.centre[row] + corners) @ WEIGHTS[row].T).amin(0) for row in range(2)])
    assert bool((low_BS <= seen).all())
    assert bool((model_low > seen).any())


def test_without_inner_bounds_it_is_crown_ibp_and_lies_between(problem):
    graph, box, _ = problem
    loose, between, tight = (verifier.lower(graph, box, WEIGHTS) for verifier in (Interval(), Crown(neurons=0), Crown()))
    assert bool((loose <= between).all())
    assert bool((between <= tight + 1e-12).all())
    assert float((tight - between).max()) > 1e-3


def test_little_memory_changes_nothing(problem):
    graph, box, _ = problem
    tight = Crown()
    narrow = Crown()
    narrow.effort = replace(narrow.effort, numbers=100)
    assert torch.allclose(narrow.lower(graph, box, WEIGHTS), tight.lower(graph, box, WEIGHTS), atol=1e-12)


def test_a_layer_that_takes_too_long_keeps_its_interval_bounds(problem):
    graph, box, _ = problem
    hasty = Crown()
    hasty.effort = replace(hasty.effort, numbers=4, passes=1)
    assert torch.equal(hasty.lower(graph, box, WEIGHTS), Crown(neurons=0).lower(graph, box, WEIGHTS))


def test_no_steps_are_crowns_own_slopes(problem):
    graph, box, _ = problem
    assert torch.equal(AlphaCrown(steps=0).lower(graph, box, WEIGHTS), Crown().lower(graph, box, WEIGHTS))


@pytest.mark.parametrize("make", [
    lambda: Crown(neurons=-1), lambda: Crown(memory_mb=0), lambda: AlphaCrown(rate=0.0), lambda: AlphaCrown(decay=1.5),
    lambda: Interval(rounding="float16"), lambda: AlphaCrown(steps=-1), lambda: Crown(passes=0),
])  # fmt: skip
def test_numbers_out_of_range_are_refused(make):
    with pytest.raises(PersonError):
        make()
