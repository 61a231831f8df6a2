"""The ensemble's parts by number of classes, and what it spends; its strength: tests/stages/test_attack_strength.py."""

import pytest
import torch

from pipeline.adversarial.hunt import ensemble
from pipeline.adversarial.victim import Passes, Victim
from pipeline.attack.ensemble import Ensemble
from pipeline.core.errors import PersonError
from tests.victims import COUNT, linear


def rng(number=0):
    return torch.Generator().manual_seed(number)

def test_its_parts_fit_the_number_of_classes():
    sizes = {classes: len(ensemble(classes, steps=[5], targets=9, fab_steps=5, fab_targets=2, queries=5)) for classes in (0, 2, 3, 4, 20)}
    assert sizes == {0: 2, 2: 1 + 1 + 1, 3: 1 + 1 + 2 + 1, 4: 1 + 3 + 2 + 1, 20: 1 + 9 + 2 + 1}
    assert len(ensemble(10, steps=[3, 5], targets=0, fab_steps=0, fab_targets=2, queries=0)) == 2

def test_a_sample_leaves_once_it_is_fooled():
    victim, x = linear(5)
    easy, hard = Passes(), Passes()
    for eps, passes in ((0.5, easy), (1e-4, hard)):
        Ensemble(eps=eps, steps=10, first=3, targets=4, fab_steps=5, queries=20)(Victim(victim.model, victim.task, victim.truth_B, passes), x, rng())
    assert easy.total / COUNT < 2 * 4 + 5
    assert hard.backward / COUNT == pytest.approx(4 + 5 * 11 + 5, abs=0.5)  # APGD looks once at its start and once a step
    assert hard.total > 5 * easy.total

def test_wrong_settings_are_refused():
    for wrong in ({"steps": 0}, {"queries": -1}, {"targets": -1}, {"first": -1}):
        with pytest.raises(PersonError, match=r"attack\.ensemble"):
            Ensemble(eps=0.1, **wrong)
