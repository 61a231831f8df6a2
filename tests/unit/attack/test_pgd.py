"""PGD: the corner of the ball on a linear model, more than FGSM on a curved one, and foolbox's own images at the same budget."""

import warnings

import pytest
import torch

from pipeline.adversarial.ball import distance
from pipeline.adversarial.victim import Victim
from pipeline.attack.fgsm import Fgsm
from pipeline.attack.pgd import Pgd
from pipeline.core.errors import PersonError
from pipeline.core.parts import build
from tests import toy


@pytest.fixture
def x():
    return torch.rand(6, 1, 4, 4, generator=torch.Generator().manual_seed(1)) * 0.6 + 0.2


def rng(number=0):
    return torch.Generator().manual_seed(number)


def curved(images):
    return torch.sin(9 * images).sum((1, 2, 3)) + (images[:, :, 1:] * images[:, :, :-1]).sum((1, 2, 3))


def victim(x, *, classes=4):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 24), torch.nn.Tanh(), torch.nn.Linear(24, classes)).eval()
    task = build(toy.option("task", "classification"), card={"classes": [str(k) for k in range(classes)], "name": "toy"})
    with torch.no_grad():
        return Victim(model, task, model(x).argmax(1))


@pytest.mark.parametrize("random_start", [True, False])
def test_a_linear_loss_reaches_the_corner(x, random_start):
    weights = torch.randn(1, 4, 4, generator=rng(2))
    found = Pgd(eps=0.1, random_start=random_start)(lambda images: (images * weights).sum((1, 2, 3)), x, rng())
    assert torch.allclose(found, x + 0.1 * weights.sign(), atol=1e-6)


@pytest.mark.parametrize("random_start", [True, False])
def test_a_linear_loss_reaches_the_farthest_point_of_the_sphere(x, random_start):
    weights = torch.randn(1, 4, 4, generator=rng(2))
    found = Pgd(eps=0.1, norm="l2", steps=60, random_start=random_start)(lambda images: (images * weights).sum((1, 2, 3)), x, rng())
    assert torch.allclose(found, x + 0.1 * weights / weights.norm(), atol=2e-4)


def test_it_climbs_higher_than_one_step(x):
    top = x + torch.where(torch.rand(x.shape, generator=rng(3)) < 0.5, 0.1, -0.1)  # inside the ball: a full step overshoots

    def hill(images):
        return -((images - top) ** 2).sum((1, 2, 3))

    one, many = (hill(attack(hill, x, rng())) for attack in (Fgsm(eps=0.15), Pgd(eps=0.15, steps=40, rel_step=0.05)))
    assert (many > one).all()
    assert (one > hill(x)).all()
    assert many.min() > -16 * 0.0075**2 - 1e-6  # every pixel within one step of the top


@pytest.mark.parametrize(("norm", "name", "eps"), [
    ("linf", "LinfProjectedGradientDescentAttack", 0.1), ("l2", "L2ProjectedGradientDescentAttack", 0.5),
])  # fmt: skip
def test_without_a_random_start_its_images_are_those_of_foolbox_itself(x, norm, name, eps):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        import foolbox
    prey = victim(x)
    judge = getattr(foolbox.attacks, name)(rel_stepsize=0.25, steps=12, random_start=False)
    _, theirs, _ = judge(foolbox.PyTorchModel(prey.model, bounds=(0, 1), device="cpu"), x, prey.truth_B, epsilons=eps)
    ours = Pgd(eps=eps, norm=norm, steps=12, rel_step=0.25, random_start=False)(prey, x, rng())
    assert torch.allclose(ours, theirs, atol=1e-6)
    assert float(distance(ours, x, norm).min()) > 0.9 * eps


def test_a_targeted_attack_ends_nearer_to_its_goal_than_one_away_from_the_truth(x):
    prey = victim(x)
    goal_B = prey.far_goal(x)
    with torch.no_grad():
        assert torch.equal(goal_B, prey.model(x).argmin(1))
        aimed, fled = (
            prey.toward(goal_B)(Pgd(eps=0.3, steps=40, rel_step=0.0625, targeted=targeted)(prey, x, rng())) for targeted in (True, False)
        )
        assert bool((aimed >= prey.toward(goal_B)(x)).all())  # one that would be better off keeps its pixels
        assert float(aimed.mean()) > float(fled.mean())


def test_a_value_is_driven_to_the_far_end_of_its_range(x):
    card = {"target": {"name": "t", "unit": "", "low": 2.0, "high": 4.0}, "classes": [], "name": "toy"}
    task = build(toy.option("task", "regression"), card=card)
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 1)).eval()
    model[1].bias.data += 0.5 - model(x).detach().mean()  # it says the middle of the range, so the goal lies beyond
    prey = Victim(model, task, torch.tensor([2.1, 3.9, 2.5, 3.5, 2.0, 4.0]))
    assert prey.far_goal(x).tolist() == [4.0, 2.0, 4.0, 2.0, 4.0, 2.0]
    with torch.no_grad():
        moved = model(Pgd(eps=0.2, targeted=True)(prey, x, rng()))[:, 0] - model(x)[:, 0]
    up = prey.far_goal(x) == 4
    assert bool((moved[up] >= 0).all())
    assert bool((moved[~up] <= 0).all())
    assert float(moved.abs().max()) > 0


def test_the_random_start_depends_on_rng_alone(x):
    attack = Pgd(eps=0.15, steps=1, rel_step=0.1)
    torch.manual_seed(5)
    first = attack(curved, x, rng(1))
    torch.manual_seed(6)
    assert torch.equal(attack(curved, x, rng(1)), first)
    assert not torch.equal(attack(curved, x, rng(2)), first)


def test_the_global_generator_is_left_as_it_was(x):
    state = torch.random.get_rng_state()
    Pgd(eps=0.1)(curved, x, rng())
    assert torch.equal(torch.random.get_rng_state(), state)


def test_wrong_settings_are_refused():
    for wrong in ({"steps": 0}, {"rel_step": 0.0}, {"rel_step": 3.0}):
        with pytest.raises(PersonError, match=r"attack\.pgd"):
            Pgd(eps=0.1, **wrong)
