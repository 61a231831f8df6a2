"""PGD: the corner of the ball on a linear model, more than FGSM on a curved one, and a random start that only rng moves."""

import pytest
import torch

from pipeline.attack.fgsm import Fgsm
from pipeline.attack.pgd import Pgd
from pipeline.core.errors import PersonError


@pytest.fixture
def x():
    return torch.rand(6, 1, 4, 4, generator=torch.Generator().manual_seed(1)) * 0.6 + 0.2


def rng(number=0):
    return torch.Generator().manual_seed(number)


def curved(images):
    return torch.sin(9 * images).sum((1, 2, 3)) + (images[:, :, 1:] * images[:, :, :-1]).sum((1, 2, 3))


@pytest.mark.parametrize("random_start", [True, False])
def test_a_linear_loss_reaches_the_corner(x, random_start):
    weights = torch.randn(1, 4, 4, generator=rng(2))
    found = Pgd(eps=0.1, random_start=random_start)(lambda images: (images * weights).sum((1, 2, 3)), x, rng())
    assert torch.allclose(found, x + 0.1 * weights.sign(), atol=1e-6)


def test_it_climbs_higher_than_one_step(x):
    top = x + torch.where(torch.rand(x.shape, generator=rng(3)) < 0.5, 0.1, -0.1)  # inside the ball: a full step overshoots

    def hill(images):
        return -((images - top) ** 2).sum((1, 2, 3))

    one, many = (hill(attack(hill, x, rng())) for attack in (Fgsm(eps=0.15), Pgd(eps=0.15, steps=40, rel_step=0.05)))
    assert (many > one).all()
    assert (one > hill(x)).all()
    assert many.min() > -16 * 0.0075**2 - 1e-6  # every pixel within one step of the top


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
