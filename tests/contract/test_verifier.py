"""Every option of conf/verifier is held to the laws of a verifier; a new option is tested with no new test file."""

from itertools import pairwise
from pathlib import Path

import pytest
import torch
import yaml
from torch import nn

from pipeline.core.errors import PersonError
from pipeline.core.parts import build, is_off
from pipeline.verification.graph import Unboundable
from pipeline.verification.intervals import Box
from pipeline.verification.margins import margin_bounds, output_bounds
from pipeline.verification.tracing import from_module
from tests import bounding

CONF = Path(__file__).resolve().parents[2] / "conf/verifier"
OPTIONS = sorted(path for path in CONF.glob("*.yaml") if not is_off(yaml.safe_load(path.read_text(encoding="utf-8"))))
SAMPLES = 100_000
NETWORKS = {  # name -> network, shape of an image, radius, share of the samples
    "straight": (bounding.dense(4, 3), (1, 2, 2), 0.05, 0.2),
    "dense": (bounding.dense(9, 12, 12, 3, seed=1), (1, 3, 3), 0.1, 0.3),
    "sigmoid": (bounding.dense(9, 8, 8, 2, activation=nn.Sigmoid), (1, 3, 3), 0.3, 0.2),
    "residual": (bounding.Residual().eval(), (2, 6, 6), 0.02, 0.2),
    "swish": (bounding.Residual(nn.functional.hardswish).eval(), (2, 6, 6), 0.05, 0.1),
}


@pytest.fixture(params=OPTIONS, ids=lambda path: path.stem)
def node(request):
    text = request.param.read_text(encoding="utf-8")
    assert text.startswith(f"# @package verifier.{request.param.stem}\n"), "a listed room needs its package line"
    return yaml.safe_load(text)


@pytest.fixture(scope="module")
def problems():
    found = {}
    for name, (model, shape, eps, share) in NETWORKS.items():
        x_BCHW = torch.rand((2, *shape), generator=torch.Generator().manual_seed(4)) * 0.8 + 0.1
        found[name] = (model, from_module(model, x_BCHW), x_BCHW, eps, int(share * SAMPLES))
    return found


def excess(verifier, problem):
    """By how much sampled outputs of the module itself, in float32, leave the bounds: below 0 where they hold."""
    model, graph, x_BCHW, eps, count = problem
    bounds = output_bounds(verifier, graph, x_BCHW, eps=eps)
    worst = -torch.inf
    for row in range(len(x_BCHW)):
        box = bounding.around(x_BCHW[row : row + 1], eps)
        with torch.no_grad():
            seen_NK = model(bounding.samples(box, count // len(x_BCHW), seed=row).float()).double()
        worst = max(worst, float((bounds.low[row] - seen_NK).max()), float((seen_NK - bounds.high[row]).max()))
    return worst


@pytest.mark.parametrize("name", NETWORKS)
def test_bounds_hold_every_sampled_output(node, problems, name):
    assert excess(build(node), problems[name]) <= 0


class Shrunk:
    """A verifier whose bounds are 1 % too narrow."""

    def __init__(self, inner):
        self.inner, self.tightness = inner, inner.tightness

    def lower(self, graph, box, weights_BSK):
        low_BS = self.inner.lower(graph, box, weights_BSK)
        high_BS = -self.inner.lower(graph, box, -weights_BSK)
        return low_BS + 0.005 * (high_BS - low_BS)


def test_bounds_that_are_too_narrow_by_one_hundredth_are_caught(node, problems):
    assert excess(Shrunk(build(node)), problems["straight"]) > 0


@pytest.mark.parametrize("name", NETWORKS)
def test_a_tighter_method_is_never_looser(problems, name):
    _, graph, x_BCHW, eps, _ = problems[name]
    verifiers = sorted((build(yaml.safe_load(path.read_text(encoding="utf-8"))) for path in OPTIONS), key=lambda one: one.tightness)
    found = [output_bounds(verifier, graph, x_BCHW, eps=eps) for verifier in verifiers]
    for looser, tighter in pairwise(found):
        assert bool((tighter.low >= looser.low - 1e-9).all())
        assert bool((tighter.high <= looser.high + 1e-9).all())
    widths = [float((box.high - box.low).mean()) for box in found]
    if name in {"dense", "residual"}:
        assert widths[0] > 1.02 * widths[1], "CROWN should gain something over intervals"
        assert widths[1] > widths[2], "climbed slopes should gain something over CROWN's"


def test_a_larger_ball_is_never_bounded_more_tightly_by_more_than_slopes_may_do(node, problems):
    _, graph, x_BCHW, eps, _ = problems["dense"]
    small, large = (output_bounds(build(node), graph, x_BCHW, eps=radius) for radius in (eps / 4, eps))
    assert bool(((large.high - large.low) > (small.high - small.low)).all())


def test_the_network_is_untouched(node, problems):
    model, graph, x_BCHW, eps, _ = problems["residual"]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    output_bounds(build(node), graph, x_BCHW, eps=eps)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_margins_are_bounds_of_differences(node, problems):
    model, graph, x_BCHW, eps, _ = problems["residual"]
    truth_B = torch.tensor([2, 0])
    margin_BS = margin_bounds(build(node), graph, x_BCHW, eps=eps, truth_B=truth_B)
    assert margin_BS.shape == (2, 2)
    for row, (truth, others) in enumerate(((2, [0, 1]), (0, [1, 2]))):
        with torch.no_grad():
            seen_NK = model(bounding.samples(bounding.around(x_BCHW[row : row + 1], eps), 3000).float()).double()
        gaps_NS = seen_NK[:, [truth]] - seen_NK[:, others]
        assert bool((gaps_NS.amin(0) >= margin_BS[row]).all())


@pytest.mark.parametrize("eps", [-0.1, 1.5, float("nan")])
def test_a_radius_outside_the_range_of_pixels_is_refused(node, problems, eps):
    _, graph, x_BCHW, _, _ = problems["dense"]
    with pytest.raises(PersonError, match="within 0 to 1"):
        output_bounds(build(node), graph, x_BCHW, eps=eps)


def test_a_layer_without_a_bound_is_named():
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 4), nn.LayerNorm(4), nn.Linear(4, 2))
    with pytest.raises(Unboundable, match=r"layer '2.*layer_norm"):
        from_module(model, torch.rand(2, 1, 2, 2))


def test_a_box_of_one_image_gives_its_output(node, problems):
    model, graph, x_BCHW, _, _ = problems["residual"]
    box = build(node).lower(graph, Box(x_BCHW, x_BCHW), torch.eye(3).expand(2, -1, -1))
    with torch.no_grad():
        assert torch.allclose(box.float(), model(x_BCHW), atol=1e-4)
