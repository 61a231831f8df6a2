"""Adversarial training does what it is for: digits that stand where a plain training's all fall."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from pipeline.adversarial.victim import Victim
from pipeline.attack.pgd import Pgd
from pipeline.core.parts import build
from pipeline.model.resnet import ResNet
from tests import toy
from tests.stepping import RECIPE, Stepping, batch_of

STEPS, BATCH, TRAIN = 150, 64, 1300
CARD = {"classes": [str(k) for k in range(10)], "target": None, "name": "digits"}
RECIPES = {
    "plain": {**RECIPE, "lr": 1e-2, "max_steps": STEPS},
    "adversarial": {**RECIPE, "lr": 1e-2, "max_steps": STEPS, "robust": "adversarial", "robust_eps": 0.1, "robust_ramp": 0.25,
                    "attack_steps": 3, "attack_rel_step": 0.5, "attack_share": 1.0},
}  # fmt: skip


@pytest.fixture(scope="module")
def accuracies():
    """Clean and attacked (PGD, eps 0.1, 20 steps) of both trainings, on digits that they did not see."""
    held = load_digits()
    x_NCHW, truth_N = torch.from_numpy(held.images[:, None].astype(np.float32) / 16), torch.from_numpy(held.target)
    task = build(toy.option("task", "classification"), card=CARD)
    found = {}
    for name, recipe in RECIPES.items():
        torch.manual_seed(0)
        model = ResNet(channels=1, height=8, width_pixels=8, outputs=10, mean=[0.3], std=[0.37], width=8, stages=2, dropout=0.0)
        learner = Stepping(model, task=task, recipe=recipe, seed=0)
        order = np.random.default_rng(0)
        for _ in range(STEPS):
            rows = torch.from_numpy(order.integers(0, TRAIN, BATCH))
            learner.training_step(batch_of(x_NCHW[rows], truth_N[rows]), 0)
        model.eval()
        victim = Victim(model, task, truth_N[TRAIN:][:200])
        images = Pgd(eps=0.1, steps=20, rel_step=0.125)(victim, x_NCHW[TRAIN:][:200], torch.Generator().manual_seed(0))
        with torch.no_grad():
            found[name] = [1 - float(victim.wrong(victim.outputs(x)).float().mean()) for x in (x_NCHW[TRAIN:][:200], images)]
    print(found)
    return found


def test_what_is_trained_against_the_adversary_withstands_it(accuracies):
    assert accuracies["adversarial"][1] > accuracies["plain"][1] + 0.2
    assert accuracies["adversarial"][0] > 0.8
