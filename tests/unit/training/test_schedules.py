"""Learning rates against torch's own schedulers."""

import math

import pytest
import torch

from pipeline.core.errors import PersonError
from pipeline.training.schedules import KINDS, Schedule, schedule_of


def followed(kind, count, **named):
    """What a scheduler of torch gives at each step."""
    optimiser = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    scheduler = getattr(torch.optim.lr_scheduler, kind)(optimiser, **named)
    found = []
    for _ in range(count):
        found.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        scheduler.step()
    return found


@pytest.mark.parametrize("warmup", [0.2, 0.35, 1 / 3])
def test_one_cycle_is_torchs(warmup):
    reference = followed("OneCycleLR", 90, max_lr=1.0, total_steps=90, pct_start=warmup, cycle_momentum=False)
    ours = Schedule("one_cycle", 90, warmup)
    assert [ours(step) for step in range(90)] == pytest.approx(reference, abs=1e-9)


def test_steps_are_torchs():
    reference = followed("MultiStepLR", 80, milestones=[40, 60], gamma=0.2)
    ours = Schedule("step", 80, 0.0, milestones=(0.5, 0.75), gamma=0.2)
    assert [ours(step) for step in range(80)] == pytest.approx(reference)


def test_linear_is_torchs_and_constant_stays():
    reference = followed("LinearLR", 50, start_factor=1.0, end_factor=0.0, total_iters=50)
    assert [Schedule("linear", 50, 0.0)(step) for step in range(50)] == pytest.approx(reference, abs=1e-9)
    assert {Schedule("constant", 50, 0.0)(step) for step in range(60)} == {1.0}


def test_the_cosine_of_before_to_the_last_bit():
    def before(step, max_steps, warmup):
        rising = max(1, round(warmup * max_steps))
        if step < rising:
            return (step + 1) / rising
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - rising) / max(1, max_steps - rising))))

    for steps, warmup in ((60, 0.1), (200, 0.1), (7, 0.0), (1, 0.5)):
        ours = schedule_of({"max_steps": steps, "warmup": warmup})
        assert [ours(step) for step in range(steps + 1)] == [before(step, steps, warmup) for step in range(steps + 1)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("steps", [1, 2, 60])
@pytest.mark.parametrize("warmup", [0.0, 0.1, 1.0])
def test_every_kind_stays_between_zero_and_the_peak_and_rises_first(kind, steps, warmup):
    factors = [Schedule(kind, steps, warmup)(step) for step in range(steps + 1)]
    assert all(0 <= factor <= 1 for factor in factors)
    rising = factors[: int(warmup * steps)]
    assert rising == sorted(rising)


def test_what_is_out_of_range_is_refused():
    with pytest.raises(PersonError, match=r"train.schedule 'cosin' is not known: did you mean 'cosine'"):
        Schedule("cosin", 10, 0.0)
    for milestones, gamma in (((0.7, 0.5), 0.1), ((0.0, 0.5), 0.1), ((0.5, 0.5), 0.1), ((0.5,), 0.0), ((1.0,), 0.1)):
        with pytest.raises(PersonError, match=r"train.milestones must be rising shares .* received"):
            Schedule("step", 10, 0.0, milestones=milestones, gamma=gamma)
