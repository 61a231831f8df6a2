"""Every option of conf/attack is held to the laws of an attack, on every kind of task; a new option is tested with no new test file."""

from pathlib import Path

import pytest
import torch
import yaml

from pipeline.adversarial.ball import distance
from pipeline.adversarial.victim import Victim, judge
from pipeline.core.errors import PersonError
from pipeline.core.parts import build, is_off
from tests import toy

CONF = Path(__file__).resolve().parents[2] / "conf/attack"
OPTIONS = sorted(path for path in CONF.glob("*.yaml") if not is_off(yaml.safe_load(path.read_text(encoding="utf-8"))))
CARD = {"target": {"name": "t", "unit": "", "low": 0.0, "high": 1.0}, "name": "toy"}
KINDS = {"two": ("classification", 2), "three": ("classification", 3), "five": ("classification", 5), "value": ("regression", 0)}
COUNT = 7


@pytest.fixture(params=OPTIONS, ids=lambda path: path.stem)
def node(request):
    text = request.param.read_text(encoding="utf-8")
    assert text.startswith(f"# @package attack.{request.param.stem}\n"), "a listed room needs its package line"
    return yaml.safe_load(text)


def network(outputs):
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Conv2d(2, 6, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(6 * 36, outputs)).eval()


def victim_of(kind, model=network):
    name, classes = KINDS[kind]
    task = build(toy.option("task", name), card={**CARD, "classes": [str(k) for k in range(classes)]})
    truth_B = torch.arange(COUNT) % classes if classes else torch.linspace(0, 1, COUNT)
    made = model(task.outputs())
    if classes:  # most samples right, some wrong: both kinds are under the laws
        with torch.no_grad():
            truth_B = torch.where(torch.arange(COUNT) < 5, made(images()).argmax(1), truth_B)
    else:  # the middle of the range, so that the goal of a targeted attack lies beyond what it says
        made[3].bias.data += 0.5 - made(images()).detach().mean()
    return Victim(made, task, truth_B)


def images():
    return torch.rand(COUNT, 2, 8, 8, generator=torch.Generator().manual_seed(3))


@pytest.fixture(params=KINDS)
def victim(request):
    return victim_of(request.param)


@pytest.fixture
def x():
    return images()


def laws(attack, loss_of, x):
    """What every attack promises; an attack that breaks one turns a contract test red."""
    before = x.clone()
    found = attack(loss_of, x, torch.Generator().manual_seed(0))
    assert torch.equal(x, before), "the input was changed"
    assert found.shape == x.shape
    assert not found.requires_grad
    assert float(distance(found, x, attack.norm).max()) <= attack.eps + 1e-6, "outside its radius"
    assert float(found.min()) >= 0, "below the range of pixels"
    assert float(found.max()) <= 1, "above the range of pixels"
    (loss_B, wrong_B), (clean_B, was_B) = judge(loss_of, found), judge(loss_of, x)
    assert bool(((loss_B >= clean_B) | (wrong_B & ~was_B)).all()), "a loss fell"
    assert not bool((was_B & ~wrong_B).any()), "a mistake was set right"
    assert torch.equal(attack(loss_of, x, torch.Generator().manual_seed(0)), found), "not seeded"
    return found


@pytest.mark.parametrize(("kind", "eps"), [("two", 0.3), ("three", 0.1), ("five", 0.01), ("value", 0.1)])
def test_the_laws_hold(node, x, kind, eps):
    victim = victim_of(kind)
    found = laws(build({**node, "eps": eps}), victim, x)
    with torch.no_grad():
        assert float(victim(found).mean()) > float(victim(x).mean()), "the attack does nothing"


def test_any_closure_of_a_loss_is_enough_but_for_a_goal(node, x):
    victim, attack = victim_of("five"), build({**node, "eps": 0.1})

    def plain(images):
        return victim(images)

    if getattr(attack, "targeted", False):
        with pytest.raises(PersonError, match="Victim"):
            attack(plain, x, torch.Generator().manual_seed(0))
        return
    with torch.no_grad():
        assert float(victim(laws(attack, plain, x)).mean()) > float(victim(x).mean())


def test_a_radius_of_zero_changes_nothing(node, victim, x):
    assert torch.equal(build({**node, "eps": 0.0})(victim, x, torch.Generator().manual_seed(0)), x)


def test_no_sample_is_no_error(node, x):
    assert build(node)(victim_of("five").rows(torch.arange(0)), x[:0], torch.Generator().manual_seed(0)).shape == (0, 2, 8, 8)


def test_the_gradients_of_the_parameters_are_untouched(node, x):
    victim = victim_of("five")
    victim.model[3].weight.grad = torch.full_like(victim.model[3].weight, 7.0)
    build({**node, "eps": 0.1})(victim, x, torch.Generator().manual_seed(0))
    assert bool((victim.model[3].weight.grad == 7).all())
    assert victim.model[0].weight.grad is None


class Blunt(torch.nn.Module):
    """A model whose gradient ends before the pixels, as in a runtime of its own."""

    def __init__(self, outputs):
        super().__init__()
        self.inner = network(outputs)

    def forward(self, x_BCHW):
        return self.inner(x_BCHW.detach())


@pytest.mark.parametrize("frozen", [True, False])
def test_a_model_that_cannot_be_differentiated_is_said_so_or_attacked_without_gradients(node, x, frozen):
    victim, attack = victim_of("five", Blunt), build({**node, "eps": 0.1})
    victim.model.requires_grad_(not frozen)
    if not getattr(attack, "gradients", True):
        assert not torch.equal(laws(attack, victim, x), x)
        return
    with pytest.raises(PersonError, match=r"differentiated .* attack=\[square\]"):
        attack(victim, x, torch.Generator().manual_seed(0))


def test_it_offers_radii_for_a_curve(node):
    attack = build(node)
    assert attack.eps == node["eps"]
    assert attack.norm in ("linf", "l2")
    assert 1 in attack.radii, "the curve must hold the radius eps itself"


def test_a_ball_that_is_none_is_refused(node):
    for wrong, said in (({"eps": 8.0, "norm": "linf"}, "2/255"), ({"eps": -0.1}, "within 0 to 1|zero or positive"),
                        ({"radii": [0.0, 1.0]}, "positive multiples"), ({"norm": "linfty"}, "did you mean 'linf'")):  # fmt: skip
        with pytest.raises(PersonError, match=said):
            build({**node, **wrong})
    attack = build({**node, "norm": "l2", "eps": 12.0})
    with pytest.raises(PersonError, match=r"at most 11\.31"):
        attack(victim_of("five"), images(), torch.Generator().manual_seed(0))


class Planted:
    """An attack with a fault."""

    eps, norm = 0.05, "linf"

    def __init__(self, fault):
        self.fault = fault
        self.norm = "l2" if fault == "too far in l2" else "linf"

    def __call__(self, loss_of, x, rng):
        pixels = x.clone().requires_grad_()
        step = torch.autograd.grad(loss_of(pixels).sum(), pixels)[0].sign()
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
    ("too far", "radius"), ("too far in l2", "radius"), ("out of range", "range"), ("downhill", "fell"), ("in place", "changed"),
    ("unseeded", "seeded"),
])  # fmt: skip
def test_a_planted_fault_turns_the_laws_red(x, fault, said):
    with pytest.raises(AssertionError, match=said):
        laws(Planted(fault), victim_of("five"), x)


def test_a_mistake_set_right_turns_the_laws_red():
    """Of three classes with logits 2, 1.9 and x, the truth the second: where x hides the first, its loss may rise all the same."""

    class Odd(torch.nn.Module):
        def forward(self, x_BCHW):
            level_B = x_BCHW.mean((1, 2, 3))
            return torch.stack([2 - 0.2 * level_B, 1.9 + 0 * level_B, 1.85 * level_B], 1)

    task = build(toy.option("task", "classification"), card={**CARD, "classes": ["a", "b", "c"]})
    victim = Victim(Odd(), task, torch.ones(2, dtype=torch.int64))

    class Righting:
        eps, norm = 1.0, "linf"

        def __call__(self, loss_of, x, rng):
            return torch.ones_like(x)

    with pytest.raises(AssertionError, match="set right"):
        laws(Righting(), victim, torch.zeros(2, 1, 4, 4))
