"""How strong attacks are, against the exact distance of a linear model's images to the nearest other class."""

import pytest
import torch

from pipeline.adversarial.victim import Victim
from pipeline.attack.ensemble import Ensemble
from pipeline.attack.square import Square
from tests.victims import linear, reach


def rng(number=0):
    return torch.Generator().manual_seed(number)


@pytest.mark.parametrize(("classes", "norm", "dual"), [(2, "linf", 1), (3, "linf", 1), (5, "l2", 2)])
def test_the_ensemble_finds_exactly_what_can_be_fooled(classes, norm, dual):
    victim, x = linear(classes)
    away_B = reach(victim, x, dual)
    eps = float(away_B.median())
    attack = Ensemble(eps=eps, norm=norm, steps=15, targets=4, fab_steps=4, queries=0)
    with torch.no_grad():
        wrong_B = victim.wrong(victim.outputs(attack(victim, x, rng())))
    sure_B = (away_B - eps).abs() > 0.02 * eps
    assert torch.equal(wrong_B[sure_B], (away_B < eps)[sure_B])
    assert 0.3 < float(wrong_B.float().mean()) < 0.7

def test_a_gradient_that_vanishes_is_answered_by_square():
    """Logits that are rounded have a gradient of zero nearly everywhere, and classes all the same."""
    victim, x = linear(2)
    exact = victim.model

    class Stairs(torch.nn.Module):
        def forward(self, x_BCHW):
            output_BK = 40 * exact(x_BCHW)
            return output_BK.round() + 0 * output_BK

    blunt = Victim(Stairs(), victim.task, victim.truth_B)
    with torch.no_grad():
        blunt.truth_B = blunt.outputs(x).argmax(1)
    found = {}
    for queries in (0, 150):
        attack = Ensemble(eps=float(reach(victim, x, 1).quantile(0.9)), steps=5, fab_steps=0, queries=queries)
        with torch.no_grad():
            found[queries] = int(blunt.wrong(blunt.outputs(attack(blunt, x, rng()))).sum())
    assert found[150] > found[0] + 5

@pytest.mark.parametrize(("norm", "dual", "found"), [("linf", 1, 0.6), ("l2", 2, 0.1)])
def test_square_fools_most_of_what_can_be_fooled_and_nothing_else(norm, dual, found):
    victim, x = linear(3)
    away_B = reach(victim, x, dual)
    eps = float(away_B.quantile(0.8))
    with torch.no_grad():
        wrong_B = victim.wrong(victim.outputs(Square(eps=eps, norm=norm, queries=80)(victim, x, rng())))
    assert not bool((wrong_B & (away_B > 1.001 * eps)).any())
    assert int(wrong_B.sum()) >= found * int((away_B < eps).sum())
