"""Label smoothing as part of the recipe: its definition, and where it has none."""

import pytest
import torch

from pipeline.core.errors import PersonError
from pipeline.core.parts import build
from pipeline.training.smoothing import trained_task
from tests import toy

CARD = {"classes": ["a", "b", "c"], "target": {"name": "level", "unit": "", "low": 0.0, "high": 2.0}, "name": "toy"}


def made(name, **changed):
    node = {**toy.option("task", name), **changed}
    return build(node, card=CARD), node


def test_the_trained_loss_is_that_of_the_spread_target_and_the_task_stays():
    task, node = made("classification")
    logits, truth = torch.randn(5, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 1, 0])
    spread = 0.8 * torch.eye(3)[truth] + 0.2 / 3  # Szegedy et al. 2016, section 7
    found = trained_task(task, node, {"label_smoothing": 0.2}).losses(logits, truth)
    assert torch.allclose(found, -(spread * logits.log_softmax(1)).sum(1), atol=1e-6)
    assert task.label_smoothing == 0.0
    assert trained_task(task, node, {"label_smoothing": 0.0}) is task
    assert trained_task(task, node, {}) is task


def test_a_regression_is_refused():
    task, node = made("regression")
    with pytest.raises(PersonError, match=r"label_smoothing=0.1 .* task=regression has none: set {2}train.label_smoothing=0"):
        trained_task(task, node, {"label_smoothing": 0.1})


def test_two_smoothings_are_refused():
    task, node = made("classification", label_smoothing=0.1)
    with pytest.raises(PersonError, match=r"both task.label_smoothing=0.1 and train.label_smoothing=0.2"):
        trained_task(task, node, {"label_smoothing": 0.2})
