"""The moving average against its closed form."""

import pytest
import torch
from torch import nn

from pipeline.training.averaging import Moving, average_of, decay_at


def test_a_constant_decay_gives_the_geometric_sum():
    model = nn.Linear(1, 1, bias=False)
    model.weight.data.fill_(0.0)
    average = average_of(model)
    moving = Moving(average, model)
    for step in range(20):
        model.weight.data.fill_(float(step))
        moving(0.8)
    assert average.weight.item() == pytest.approx(sum(0.2 * 0.8 ** (19 - step) * step for step in range(20)), rel=1e-5)
    assert not average.weight.requires_grad


def test_the_first_weights_do_not_linger():
    decays = [decay_at(step, 0.99) for step in range(2000)]
    assert decays[0] == pytest.approx(0.1)
    assert decays == sorted(decays)
    assert decays[-1] == 0.99
    left = 1.0
    for decay in decays[:100]:
        left *= decay
    assert left < 1e-8  # 0.99 ** 100 is a third
    assert decay_at(10**6, 0.5) == 0.5


def test_statistics_move_and_counters_are_copied():
    model = nn.BatchNorm1d(2)
    average = average_of(model)
    moving = Moving(average, model)
    model.running_mean += 1
    model.num_batches_tracked += 7
    moving(0.75)
    assert torch.equal(average.running_mean, torch.full((2,), 0.25))
    assert average.num_batches_tracked == 7
