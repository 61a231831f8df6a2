"""The loss of the worst outputs: equal to the plain one in a ball of no size, above that of every image in a larger one."""

import pytest
import torch
from torch import nn

from pipeline.core.errors import PersonError
from pipeline.core.parts import build
from pipeline.model.resnet import ResNet
from pipeline.training.certified import Certified
from pipeline.training.hardening import Plain, Ramp, hardener_of
from tests import toy

CARD = {"classes": ["a", "b", "c"], "target": {"name": "t", "unit": "", "low": 0.0, "high": 1.0}, "name": "toy"}
RECIPE = {"robust": "ibp", "robust_eps": 0.1, "robust_ramp": 0.5, "bound_share": 0.5, "max_steps": 10}
TRUTH = torch.arange(6) % 3


def network(outputs=3):
    torch.manual_seed(0)
    return ResNet(channels=1, height=8, width_pixels=8, outputs=outputs, mean=[0.5], std=[0.3], width=4, stages=2, dropout=0.0)


def made(task, eps, *, crown=False, share=1.0):
    return Certified(task, lambda step: eps, final=max(eps, 0.02) if crown else eps, share=share, crown=crown)


@pytest.fixture(scope="module")
def task():
    return build(toy.option("task", "classification"), card=CARD)


@pytest.fixture(scope="module")
def x():
    return torch.rand((6, 1, 8, 8), generator=torch.Generator().manual_seed(1))


def test_in_a_ball_of_no_size_it_is_the_plain_loss(task, x):
    """Batch norm included, which uses the statistics of the batch here as there."""
    model = network().train()
    found = made(task, 0.0)(model, x, lambda f: f(TRUTH), (0, 0, 0))
    assert torch.allclose(found, Plain(task)(network().train(), x, lambda f: f(TRUTH), (0, 0, 0)), atol=1e-4)
    assert model.training
    assert int(model.state_dict()["trunk_layers.1.norm1.num_batches_tracked"]) == 1, "the running statistics move once a step"


@pytest.mark.parametrize("crown", [False, True])
def test_no_image_of_the_ball_has_a_larger_loss_and_every_parameter_learns(task, x, crown):
    model = network().eval()
    worst_B = made(task, 0.01, crown=crown)._worst(  # the share aside
        bounds_of(model, x, 0.01, crown), TRUTH
    )  # fmt: skip
    rng = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for _ in range(20):
            near = (x + 0.01 * torch.randn(x.shape, generator=rng).sign()).clamp(0, 1)
            assert bool((task.losses(model(near), TRUTH) <= worst_B + 1e-5).all())
    worst_B.mean().backward()
    assert all(parameter.grad is not None and torch.isfinite(parameter.grad).all() for parameter in model.parameters())
    assert all(float(parameter.grad.abs().sum()) > 0 for name, parameter in model.named_parameters() if name != "head.bias")


def bounds_of(model, x, eps, crown):
    from pipeline.training.certified import Bounds
    from pipeline.verification.intervals import ball
    from pipeline.verification.tracing import from_module

    return Bounds(from_module(model, x[:2], live=True), ball(x, eps), crown=0.5 if crown else 0.0)


def test_crown_at_the_start_is_nearer_than_intervals(task, x):
    model = network().eval()
    with torch.no_grad():
        loose, tight = (made(task, 0.01, crown=crown)._worst(bounds_of(model, x, 0.01, crown), TRUTH) for crown in (False, True))
    assert float(tight.mean()) < float(loose.mean())


def test_a_real_value_has_the_worse_of_its_ends(x):
    goal = build(toy.option("task", "regression"), card=CARD)
    model, truth_B = network(outputs=1).eval(), torch.linspace(0, 1, 6)
    with torch.no_grad():
        worst_B = made(goal, 0.02)._worst(bounds_of(model, x, 0.02, False), truth_B)
        assert bool((worst_B >= goal.losses(model((x + 0.02).clamp(0, 1)), truth_B)).all())
        assert bool((worst_B >= goal.losses(model((x - 0.02).clamp(0, 1)), truth_B)).all())


def test_the_recipe_names_it_and_its_share_rises_with_the_radius(task, x):
    hardener = hardener_of(RECIPE, task, seed=0, images=True)
    assert isinstance(hardener, Certified)
    model = network().eval()
    plain = Plain(task)(model, x, lambda f: f(TRUTH), (0, 0, 0)).mean().detach()
    with torch.no_grad():
        early, late = (hardener(model, x, lambda f: f(TRUTH), (step, 0, 0)).mean() for step in (0, 9))
    assert float(plain) < float(early) < float(late)
    assert hardener_of({**RECIPE, "robust": "crown_ibp"}, task, seed=0, images=True).crown


def test_a_share_of_nothing_is_refused(task):
    with pytest.raises(PersonError, match="bound_share"):
        Certified(task, Ramp(0.1, 0), final=0.1, share=0.0, crown=False)


def test_a_layer_that_cannot_be_bounded_stops_the_training_by_name(task, x):
    model = nn.Sequential(nn.Flatten(), nn.LayerNorm(64), nn.Linear(64, 3))
    with pytest.raises(PersonError, match="layer_norm"):
        made(task, 0.1)(model, x, lambda f: f(TRUTH), (0, 0, 0))


def certified(make, *, steps=200):
    """Clean and certified accuracy on digits at a radius of 0.05, after a short training of a perceptron."""
    import numpy as np
    from sklearn.datasets import load_digits

    from pipeline.model.mlp import Mlp
    from pipeline.verification.margins import margin_bounds
    from pipeline.verification.tracing import from_module
    from pipeline.verifier.interval import Interval

    found, order = load_digits(), np.random.default_rng(0).permutation(1797)
    x_NCHW, truth_N = torch.from_numpy(found.images[order]).float().unsqueeze(1) / 16, torch.from_numpy(found.target[order])
    torch.manual_seed(0)
    model = Mlp(channels=1, height=8, width_pixels=8, outputs=10, mean=[0.3], std=[0.38], hidden=(48, 48, 48), dropout=0.0)
    card = {**CARD, "classes": [str(number) for number in range(10)]}
    hardener = make(build(toy.option("task", "classification"), card=card), steps)
    optimiser, rng = torch.optim.Adam(model.parameters(), lr=1e-2), torch.Generator().manual_seed(0)
    for step in range(steps):
        rows = torch.randint(0, 1400, (64,), generator=rng)
        optimiser.zero_grad()
        hardener(model, x_NCHW[rows], lambda losses, rows=rows: losses(truth_N[rows]), (step, 0, 0)).mean().backward()
        optimiser.step()
    x_NCHW, truth_N = x_NCHW[1400:], truth_N[1400:]
    margin_NS = margin_bounds(Interval(), from_module(model, x_NCHW[:2]), x_NCHW, eps=0.05, truth_B=truth_N)
    with torch.no_grad():
        return float((model(x_NCHW).argmax(1) == truth_N).float().mean()), float((margin_NS.amin(1) > 0).float().mean())


def test_what_is_trained_for_proofs_has_them_and_what_is_not_has_not():
    plain = certified(lambda task, steps: Plain(task))
    proven = certified(lambda task, steps: Certified(task, Ramp(0.06, steps / 2), final=0.06, share=0.5, crown=False))
    assert min(plain[0], proven[0]) > 0.85
    assert plain[1] < 0.3
    assert proven[1] > 0.55
