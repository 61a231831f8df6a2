"""Every option of conf/attack is held to the laws of an attack, on both tasks; a new option is tested with no new test file."""

from pathlib import Path

import pytest
import torch
import yaml

from pipeline.core.parts import build, is_off
from tests import toy

CONF = Path(__file__).resolve().parents[2] / "conf/attack"
OPTIONS = sorted(path for path in CONF.glob("*.yaml") if not is_off(yaml.safe_load(path.read_text(encoding="utf-8"))))
CARD = {"classes": ["a", "b", "c"], "target": {"name": "t", "unit": "", "low": 0.0, "high": 1.0}, "name": "toy"}


@pytest.fixture(params=OPTIONS, ids=lambda path: path.stem)
def node(request):
    text = request.param.read_text(encoding="utf-8")
    assert text.startswith(f"# @package attack.{request.param.stem}\n"), "a listed room needs its package line"
    return yaml.safe_load(text)


@pytest.fixture(params=["classification", "regression"])
def loss_of(request):
    task = build(toy.option("task", request.param), card=CARD)
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Conv2d(2, 6, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(6 * 36, task.outputs())
    ).eval()
    truth_B = torch.arange(7) % 3 if request.param == "classification" else torch.linspace(0, 1, 7)
    return lambda images: task.losses(model(images), truth_B)


@pytest.fixture
def x():
    return torch.rand(7, 2, 8, 8, generator=torch.Generator().manual_seed(3))


def laws(attack, loss_of, x):
    """What every attack promises; an attack that breaks one turns a contract test red."""
    before = x.clone()
    found = attack(loss_of, x, torch.Generator().manual_seed(0))
    assert torch.equal(x, before), "the input was changed"
    assert found.shape == x.shape
    assert not found.requires_grad
    assert float((found - x).abs().max()) <= attack.eps + 1e-6, "outside its radius"
    assert float(found.min()) >= 0, "below the range of pixels"
    assert float(found.max()) <= 1, "above the range of pixels"
    with torch.no_grad():
        assert bool((loss_of(found) >= loss_of(x)).all()), "a loss fell"
    assert torch.equal(attack(loss_of, x, torch.Generator().manual_seed(0)), found), "not seeded"
    return found


@pytest.mark.parametrize("eps", [0.01, 0.3])
def test_the_laws_hold(node, loss_of, x, eps):
    found = laws(build({**node, "eps": eps}), loss_of, x)
    with torch.no_grad():
        assert float(loss_of(found).mean()) > float(loss_of(x).mean()), "the attack does nothing"


def test_a_radius_of_zero_changes_nothing(node, loss_of, x):
    assert torch.equal(build({**node, "eps": 0.0})(loss_of, x, torch.Generator().manual_seed(0)), x)


def test_it_offers_radii_for_a_curve(node):
    attack = build(node)
    assert attack.eps == node["eps"]
    assert 1 in attack.radii, "the curve must hold the radius eps itself"


class Planted:
    """An attack with a fault."""

    eps = 0.05

    def __init__(self, fault):
        self.fault = fault

    def __call__(self, loss_of, x, rng):
        images = x.clone().requires_grad_()
        step = torch.autograd.grad(loss_of(images).sum(), images)[0].sign()
        if self.fault == "too far":
            return (x + 2 * self.eps * step).clamp(0, 1)
        if self.fault == "out of range":
            return x + self.eps * step
        if self.fault == "downhill":
            return (x - self.eps * step).clamp(0, 1)
        if self.fault == "in place":
            return x.add_(self.eps * step).clamp_(0, 1)
        return (x + self.eps * step * torch.rand(())).clamp(0, 1)


@pytest.mark.parametrize(("fault", "said"), [
    ("too far", "radius"), ("out of range", "range"), ("downhill", "fell"), ("in place", "changed"), ("unseeded", "seeded"),
])  # fmt: skip
def test_a_planted_fault_turns_the_laws_red(loss_of, x, fault, said):
    with pytest.raises(AssertionError, match=said):
        laws(Planted(fault), loss_of, x)
