"""The adversary of a training step: inside its ball, keyed by the step, and leaving the network as it was."""

import pytest
import torch

from pipeline.core.errors import PersonError
from pipeline.core.parts import build
from pipeline.model.resnet import ResNet
from pipeline.training.hardening import Adversarial, Plain, Ramp, hardener_of, predicting
from pipeline.training.health import _Session
from tests import toy
from tests.stepping import RECIPE, Stepping, batch_of

CARD = {"classes": ["a", "b", "c"], "target": None, "name": "toy"}
ROBUST = {**RECIPE, "robust": "adversarial", "robust_eps": 0.1, "attack_steps": 3, "attack_rel_step": 0.5, "attack_share": 1.0}
KEY = (5, 0, 0)


@pytest.fixture(scope="module")
def task():
    return build(toy.option("task", "classification"), card=CARD)


def network():
    torch.manual_seed(0)
    return ResNet(channels=1, height=8, width_pixels=8, outputs=3, mean=[0.5], std=[0.3], width=4, stages=2, dropout=0.3)


def batch():
    rng = torch.Generator().manual_seed(1)
    return batch_of(torch.rand(9, 1, 8, 8, generator=rng), torch.arange(9) % 3, torch.rand(9, generator=rng) + 0.1)


def weigh_of(found):
    return lambda losses: losses(found["truth"]) * found["weight"]


def test_the_radius_rises_in_a_straight_line():
    assert [Ramp(0.2, 4)(step) for step in range(6)] == pytest.approx([0.05, 0.1, 0.15, 0.2, 0.2, 0.2])
    assert Ramp(0.2, 0)(0) == 0.2


def test_the_adversary_stays_in_its_ball_and_raises_the_loss(task):
    model, found = network().train(), batch()
    hardener = hardener_of(ROBUST, task, seed=0, images=True)
    worst = hardener.attack(model, found["x"], weigh_of(found), KEY)
    assert 0.09 < float((worst - found["x"]).abs().max()) <= 0.1 + 1e-6
    assert 0 <= float(worst.min()) <= float(worst.max()) <= 1
    with predicting(model), torch.no_grad():
        plain = Plain(task)
        assert float(plain(model, worst, weigh_of(found), KEY).sum()) > 1.05 * float(plain(model, found["x"], weigh_of(found), KEY).sum())


def test_the_network_is_left_as_it_was(task):
    model, found = network().train(), batch()
    next(model.children()).eval()  # as frozen layers are
    modes = [module.training for module in model.modules()]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.random.get_rng_state()
    hardener_of(ROBUST, task, seed=0, images=True).attack(model, found["x"], weigh_of(found), KEY)
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(torch.random.get_rng_state(), state)


def test_what_it_draws_is_a_function_of_seed_step_rank_and_part(task):
    model, found = network().eval(), batch()

    def drawn(seed=0, key=KEY):
        return hardener_of({**ROBUST, "attack_steps": 1, "attack_rel_step": 0.1}, task, seed=seed, images=True).attack(
            model, found["x"], weigh_of(found), key)  # fmt: skip

    torch.manual_seed(7)
    first = drawn()
    torch.manual_seed(8)
    assert torch.equal(drawn(), first)
    assert not any(torch.equal(other, first) for other in (drawn(1), drawn(key=(6, 0, 0)), drawn(key=(5, 1, 0)), drawn(key=(5, 0, 4))))


def test_a_share_below_one_mixes_in_the_images_themselves(task):
    model, found = network().eval(), batch()
    weigh = weigh_of(found)
    with torch.no_grad():
        plain, whole, half = (
            hardener_of({**ROBUST, **changed}, task, seed=0, images=True)(model, found["x"], weigh, KEY)
            for changed in ({"robust": "none"}, {}, {"attack_share": 0.5})
        )
    assert torch.allclose(half, (plain + whole) / 2)
    assert float(whole.sum()) > float(plain.sum())


def test_a_learner_without_it_takes_the_same_steps_as_before(task):
    """Bit for bit; and with it, others."""
    found, weights = batch(), []
    for recipe in (RECIPE, {**RECIPE, "robust": "none", "robust_eps": 0.1}, ROBUST):
        learner = Stepping(network(), task=task, recipe=recipe, seed=0)
        for _ in range(2):
            learner.training_step(found, 0)
        weights.append(torch.cat([one.detach().flatten() for one in learner.model.parameters()]))
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_parts_of_a_batch_have_an_adversary_each(task):
    seen = []
    learner = Stepping(network(), task=task, recipe={**ROBUST, "accumulate": 3}, seed=0)
    attack = Adversarial.attack
    learner._rest["hardener"] = lambda model, x, weigh, key: (
        seen.append((len(x), key)), attack(hardener_of(ROBUST, task, seed=0, images=True), model, x, weigh, key),
    ) and Plain(task)(model, x, weigh, key)  # fmt: skip
    learner.training_step(batch(), 0)
    assert seen == [(3, (0, 0, 0)), (3, (0, 0, 3)), (3, (0, 0, 6))]


def test_the_health_of_a_step_is_that_of_its_own_images(task):
    model, found = network().train(), batch()
    session = _Session(model)
    with predicting(model):
        Plain(task)(model, found["x"], weigh_of(found), KEY).sum().backward()
    assert session.found == {}
    Plain(task)(model, found["x"], weigh_of(found), KEY).sum().backward()
    session.close()
    assert len(session.found) > 3


@pytest.mark.parametrize(("changed", "images", "said"), [
    ({"robust": "adversarail"}, True, "did you mean 'adversarial'"), ({}, False, "features that embed cached"),
    ({"robust_eps": 8.0}, True, "robust_eps"), ({"robust_ramp": 2.0}, True, "robust_ramp"), ({"attack_steps": 0}, True, "attack_steps"),
    ({"attack_share": 0.0}, True, "attack_share"), ({"attack_rel_step": 3.0}, True, "attack_rel_step"),
])  # fmt: skip
def test_what_cannot_be_is_refused(task, changed, images, said):
    with pytest.raises(PersonError, match=said):
        hardener_of({**ROBUST, **changed}, task, seed=0, images=images)


def test_cached_features_are_refused_by_the_learner(task):
    trunk = torch.nn.ModuleDict({"trunk": torch.nn.Linear(2, 2), "head": torch.nn.Linear(2, 3)})
    with pytest.raises(PersonError, match=r"train\.robust=adversarial disturbs images"):
        Stepping(trunk["head"], task=task, recipe=ROBUST, seed=0, owner=trunk)
