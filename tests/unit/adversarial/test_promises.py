"""Planted faults break the promises of an attack; and what counts as better off."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from pipeline.adversarial.promises import Seen, check_promises
from pipeline.adversarial.victim import Victim, better


def seen(x, loss, wrong):
    return Seen(x, np.zeros((2, 1), np.float32), torch.tensor(loss), torch.tensor(wrong))


@pytest.mark.parametrize(("change", "loss", "wrong", "said"), [
    (0.2, [1.0, 1.0], [False, False], "moved an image"), (math.nan, [1.0, 1.0], [False, False], "moved an image"),
    (0.05, [1.0, 0.5], [False, False], "lowered the loss of 1 of 2"), (0.05, [1.0, math.nan], [False, False], "not finite"),
    (0.6, [1.0, 1.0], [False, False], "moved an image"),
])  # fmt: skip
def test_a_broken_promise_is_found(change, loss, wrong, said):
    x = torch.full((2, 1, 3, 3), 0.5)
    clean = seen(x, [1.0, 1.0], [False, False])
    check_promises(clean, seen(x + 0.1, [1.0, 2.0], [False, True]), eps=0.1, norm="linf")
    check_promises(clean, seen(x + 0.1, [1.0, 0.5], [False, True]), eps=0.1, norm="linf")  # lower, and a new mistake
    with pytest.raises(RuntimeError, match=said):
        check_promises(clean, seen(x + change, loss, wrong), eps=0.1, norm="linf")


def test_one_that_leaves_the_range_or_a_sphere_or_sets_right_is_found():
    x = torch.full((2, 1, 3, 3), 0.95)
    clean = seen(x, [1.0, 1.0], [True, False])
    with pytest.raises(RuntimeError, match="range"):
        check_promises(clean, seen(x + 0.1, [1.0, 1.0], [True, False]), eps=0.1, norm="linf")
    with pytest.raises(RuntimeError, match=r"moved an image by 0\.12"):
        check_promises(clean, seen(x - 0.04, [1.0, 1.0], [True, False]), eps=0.1, norm="l2")
    with pytest.raises(RuntimeError, match="set 1 wrong predictions right"):
        check_promises(clean, seen(x, [1.0, 1.0], [False, False]), eps=0.1, norm="linf")


def test_worse_is_a_new_mistake_or_a_higher_loss_that_sets_none_right():
    before = torch.tensor([1.0] * 6), torch.tensor([False, False, False, True, True, True])
    after = torch.tensor([2.0, 0.5, 0.5, 2.0, 2.0, 0.5]), torch.tensor([False, True, False, True, False, True])
    assert better(after, before).tolist() == [True, True, False, True, False, False]


def test_a_task_of_values_has_nothing_wrong():
    victim = Victim(lambda x: x, SimpleNamespace(categories=0), torch.zeros(3))
    assert not bool(victim.wrong(torch.zeros(3, 1)).any())
