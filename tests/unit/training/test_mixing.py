"""Mixup and CutMix against their definitions, and what they refuse."""

import numpy as np
import pytest
import torch

from pipeline.core.errors import PersonError
from pipeline.core.parts import build
from pipeline.training.learner import Learner
from pipeline.training.mixing import Mixer
from tests import toy
from tests.stepping import RECIPE, Stepping

CARD = {"classes": ["a", "b", "c"], "target": {"name": "level", "unit": "", "low": 0.0, "high": 2.0}, "name": "toy"}


@pytest.fixture
def x_BCHW():
    return torch.rand(6, 2, 12, 10, generator=torch.Generator().manual_seed(0))


def mixer(kind, alpha=1.0, seed=0):
    return Mixer(kind=kind, alpha=alpha, seed=seed)


def test_none_hands_on_the_batch_itself(x_BCHW):
    mixed = mixer("none")(x_BCHW, 0, 0)
    assert mixed.x_BCHW is x_BCHW
    weight = torch.arange(6.0)
    assert torch.equal(mixed.weigh(lambda truth: truth * 2.0, torch.ones(6), weight), 2 * weight)


def test_mixup_is_the_convex_combination_of_both_images(x_BCHW):
    before = x_BCHW.clone()
    mixed = mixer("mixup")(x_BCHW, 3, 0)
    assert 0 < mixed.share < 1
    assert torch.allclose(mixed.x_BCHW, mixed.share * before + (1 - mixed.share) * before[mixed.partner_B])
    assert torch.equal(x_BCHW, before)
    assert sorted(mixed.partner_B.tolist()) == list(range(6))


def test_cutmix_takes_a_box_of_the_partner_and_its_share_is_the_area_that_is_left(x_BCHW):
    before, shares, touched = x_BCHW.clone(), [], 0
    for step in range(60):
        mixed = mixer("cutmix")(x_BCHW, step, 0)
        own = (mixed.x_BCHW == before).all(1)
        other = (mixed.x_BCHW == before[mixed.partner_B]).all(1)
        assert (own | other).all()
        moved = mixed.partner_B != torch.arange(6)
        if not moved.any() or mixed.share == 1:
            continue
        cut = ~own[moved][0]
        rows, columns = torch.nonzero(cut, as_tuple=True)
        area = (rows.max() - rows.min() + 1) * (columns.max() - columns.min() + 1)
        assert cut.sum() == area  # one filled box
        assert mixed.share == pytest.approx(1 - int(area) / 120)
        assert all(torch.equal(~one, cut) for one in own[moved])
        shares.append(mixed.share)
        touched += 1
    assert touched > 40
    assert np.ptp(shares) > 0.5
    assert torch.equal(x_BCHW, before)


def test_the_box_has_the_area_of_equation_two_where_the_frame_does_not_cut_it():
    """Sides are sqrt(1 - share) of the image's, so a box in the middle has the area 1 - share, and one at the edge less."""
    image = torch.zeros(2, 1, 200, 200)
    drawn, cut = [], []
    for step in range(200):
        drawn.append(float(mixer("cutmix", 0.5, seed=1)(image, step, 0).share))
        cut.append(float(mixer("mixup", 0.5, seed=1)(image, step, 0).share))  # the same first draw
    assert all(left >= asked - 0.02 for left, asked in zip(drawn, cut, strict=True))
    inside = [left == pytest.approx(asked, abs=0.02) for left, asked in zip(drawn, cut, strict=True)]
    assert sum(inside) > 40


def test_shares_are_beta_distributed():
    from scipy.stats import beta, kstest

    x = torch.zeros(2, 1, 2, 2)
    shares = [mixer("mixup", 0.4)(x, step, 0).share for step in range(2000)]
    assert kstest(shares, beta(0.4, 0.4).cdf).pvalue > 1e-3


def test_draws_follow_from_seed_step_and_rank_alone(x_BCHW):
    first = mixer("mixup")(x_BCHW, 5, 0)
    np.random.seed(1)
    torch.manual_seed(1)
    again = mixer("mixup")(x_BCHW, 5, 0)
    assert torch.equal(first.x_BCHW, again.x_BCHW)
    others = [mixer("mixup")(x_BCHW, 6, 0), mixer("mixup")(x_BCHW, 5, 1), mixer("mixup", seed=1)(x_BCHW, 5, 0)]
    assert len({first.share, *(other.share for other in others)}) == 4
    state = torch.get_rng_state()
    mixer("cutmix")(x_BCHW, 5, 0)
    assert torch.equal(state, torch.get_rng_state())


def test_for_cross_entropy_the_loss_is_that_of_the_mixed_label(x_BCHW):
    """Equation 2 of mixup: cross-entropy is linear in the label."""
    task = build(toy.option("task", "classification"), card=CARD)
    truth, output = torch.tensor([0, 1, 2, 0, 1, 2]), torch.randn(6, 3)
    mixed = mixer("mixup")(x_BCHW, 1, 0)
    one_hot = torch.eye(3)[truth]
    label = mixed.share * one_hot + (1 - mixed.share) * one_hot[mixed.partner_B]
    expected = torch.nn.functional.cross_entropy(output, label, reduction="none", label_smoothing=task.label_smoothing)
    found = mixed.weigh(lambda truth_B: task.losses(output, truth_B), truth, torch.ones(6))
    assert torch.allclose(found, expected, atol=1e-6)


def test_each_truth_counts_with_the_weight_of_its_own_sample(x_BCHW):
    mixed = mixer("mixup")(x_BCHW, 1, 0)
    truth, weight = torch.arange(6.0), torch.tensor([1.0, 0, 0, 0, 0, 0])
    found = mixed.weigh(lambda truth_B: truth_B + 1, truth, weight)
    assert found.sum() == pytest.approx(1.0)  # of sample 0 alone, in its own place and in its partner's


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
@pytest.mark.parametrize("name", ["classification", "regression"])
def test_a_training_step_mixes_for_any_task(x_BCHW, kind, name):
    task = build(toy.option("task", name), card=CARD)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(240, task.outputs()))
    truth = torch.tensor([0, 1, 2, 0, 1, 2]) if name == "classification" else torch.rand(6)
    batch = {"x": x_BCHW, "truth": truth, "weight": torch.rand(6), "index": torch.arange(6)}
    recipe = {**RECIPE, "lr": 1e-9}  # both start from the same weights
    plain = Stepping(model, task=task, recipe=recipe, seed=0).training_step(batch, 0)
    mixing = Stepping(model, task=task, recipe={**recipe, "mix": kind, "mix_alpha": 1.0}, seed=0)
    mixing.taken = 2
    mixed = mixer(kind)(x_BCHW, 2, 0)
    output = model(mixed.x_BCHW)
    own, other = task.losses(output, truth), task.losses(output, truth[mixed.partner_B])
    weight = batch["weight"]
    expected = (mixed.share * own * weight + (1 - mixed.share) * other * weight[mixed.partner_B]).sum() / weight.sum()
    loss = mixing.training_step(batch, 0)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert loss.item() != pytest.approx(plain.item(), rel=1e-4)
    assert not loss.requires_grad


def test_cached_features_and_unknown_kinds_are_refused():
    task = build(toy.option("task", "classification"), card=CARD)
    network = torch.nn.ModuleDict({"head": torch.nn.Linear(4, 3)})
    with pytest.raises(PersonError, match=r"train.mix=mixup mixes images, but .* features .* set {2}train.mix=none"):
        Learner(network["head"], task=task, recipe={**RECIPE, "mix": "mixup", "mix_alpha": 1.0}, seed=0, owner=network)
    Learner(network, task=task, recipe={**RECIPE, "mix": "mixup", "mix_alpha": 1.0}, seed=0, owner=network)
    with pytest.raises(PersonError, match=r"'mixpu' is not known.*mixup"):
        mixer("mixpu")
    with pytest.raises(PersonError, match="positive: received 0"):
        mixer("mixup", 0.0)
