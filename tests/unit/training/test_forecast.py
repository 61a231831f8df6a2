"""Clock, forecast and memory: against sums by hand, and against what a training then takes."""

import json
import resource

import pytest
import torch
from torch import nn

from pipeline.training import forecast, resources
from pipeline.training.forecast import TIMED, WARM, Clock, Costs, Outlook, save_seconds, state_bytes, whole
from pipeline.training.memory import HEAP, Memory, foresee
from pipeline.training.resources import free_bytes, peak_bytes, resident_bytes

RECIPE = {"max_steps": 100, "validate_every": 30, "checkpoint_every": 20, "batch_size": 8}
ONE = Costs(0.0, 0.5, 3.0, 2.0, 16.0, None, None)


def test_the_whole_is_the_sum_of_its_parts():
    assert whole(RECIPE, ONE).seconds == pytest.approx(100 * 0.5 + 4 * 3 + 5 * 2)  # validations at 30, 60, 90 and 100
    # After 40 steps: validation 30 is over, checkpoint 40 comes still.
    assert whole(RECIPE, ONE, passed=25.0, done=40).seconds == pytest.approx(25 + 60 * 0.5 + 3 * 3 + 4 * 2)
    assert whole({**RECIPE, "max_steps": 90}, ONE).seconds == pytest.approx(90 * 0.5 + 3 * 3 + 4 * 2)
    assert whole(RECIPE, Costs(0.0, 0.5, None, None, 16.0, None, None)).seconds == pytest.approx(50)


class Hands:
    """A clock that goes as told."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr(forecast.time, "perf_counter", lambda: self.now)


def test_laps_with_validation_or_checkpoint_are_told_apart(tmp_path, monkeypatch):
    hands = Hands(monkeypatch)
    clock = Clock(tmp_path, RECIPE)
    for step in range(1, 41):
        hands.now += 0.5
        clock.lap()
        if step % 10 == 0:
            began = hands.now
            hands.now += 3.0
            clock.aside(began, validation=True)
        if step % 20 == 0:
            clock.saved()
            hands.now += 2.0
    hands.now += 0.5
    clock.lap()
    costs = clock.costs()
    assert costs.step_seconds == pytest.approx(0.5)
    assert costs.validate_seconds == pytest.approx(3.0)
    assert costs.checkpoint_seconds == pytest.approx(2.0)
    assert costs.samples_per_second == pytest.approx(16.0)
    assert costs.seconds == pytest.approx(41 * 0.5 + 4 * 3 + 2 * 2)
    hands.now += 100.0  # killed; the time since the last checkpoint is lost, what was before it is not
    assert Clock(tmp_path, RECIPE).seconds() == pytest.approx(40 * 0.5 + 4 * 3 + 1 * 2)


def test_a_forecast_comes_after_warm_up_and_is_written_beside_the_truth(tmp_path, monkeypatch, capsys):
    hands = Hands(monkeypatch)
    scratch = tmp_path / "0123456789abcdef"
    scratch.mkdir()
    monkeypatch.setenv("PIPELINE_PRICE_PER_HOUR", "36 EUR")
    monkeypatch.setattr(forecast, "save_seconds", lambda state, folder: 2.0)
    outlook = Outlook(RECIPE, Clock(scratch, RECIPE), memory=Memory(10**9, 10**6, 0, None), validate_seconds=lambda net: 3.0, state_bytes=1)
    for step in range(1, 101):
        hands.now += 9.0 if step < WARM + 2 else 0.5
        outlook.clock.lap()
        outlook.look(nn.Identity(), step)
        assert (outlook.forecast is None) == (step < WARM + TIMED + 1)
    passed = (WARM + 1) * 9 + 8 * 0.5
    expected = passed + (100 - WARM - TIMED - 1) * 0.5 + 4 * 3 + 5 * 2
    assert outlook.forecast.seconds == pytest.approx(expected)
    assert outlook.forecast.peak_bytes == 10**9 + 8 * 10**6
    assert "train: about 1 min 54 s, 1.01 GB of memory, 1.15 EUR" in capsys.readouterr().err
    outlook.write(scratch)
    written = json.loads((scratch / "timings.json").read_text())
    assert written["run_id"] == scratch.name
    assert written["forecast"]["seconds"] == pytest.approx(expected)
    assert written["measured"]["step_seconds"] == pytest.approx(0.5)
    Outlook(RECIPE, Clock(scratch, RECIPE), memory=None, validate_seconds=None, state_bytes=1).write(scratch)
    assert json.loads((scratch / "timings.json").read_text()) == written  # a process that trained nothing changes nothing


def test_memory_that_does_not_suffice_is_said_with_a_batch_that_fits(tmp_path, capsys):
    def warned(**memory):
        found = Memory(**{"fixed": 2 * 10**9, "each": 10**8, "held": 10**9, "free": None, **memory})
        Outlook({**RECIPE, "batch_size": 64}, Clock(tmp_path, RECIPE), memory=found, validate_seconds=None, state_bytes=1).warn()
        return capsys.readouterr().err

    assert warned() == ""
    assert warned(free=8 * 10**9) == ""
    assert "needs about 7.4 GB more memory and 3 GB are free" in (said := warned(free=3 * 10**9))
    assert "set train.batch_size=16," in said
    assert "choose a smaller network" in warned(free=10**8)


def test_a_sample_costs_what_autograd_keeps_of_it():
    net = nn.Sequential(nn.Linear(1000, 2000), nn.ReLU(), nn.Linear(2000, 10))
    before = [parameter.clone() for parameter in net.parameters()]
    state = torch.get_rng_state()
    found = foresee(net, lambda count: {"x": torch.zeros(count, 1000), "truth": torch.zeros(count, dtype=torch.int64)},
                    lambda output, truth: nn.functional.cross_entropy(output, truth, reduction="none"))  # fmt: skip
    kept = 4 * (1000 + 2000 + 10)  # input, output of the ReLU, log-probabilities
    passing = 2 * 4 * 2000 + 2 * (4 * 1000 + 8)
    assert found.each == pytest.approx(HEAP * (kept + passing), rel=0.01)
    weights = sum(parameter.nbytes for parameter in net.parameters())
    assert found.fixed - found.held == 3 * weights + 2 * 3 * weights
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(*pair) for pair in zip(before, net.parameters(), strict=True))
    assert state_bytes(net) == 3 * weights


def test_memory_of_this_process_agrees_with_the_kernel():
    block = torch.ones(10**7)
    assert peak_bytes() >= resident_bytes() > block.nbytes
    assert peak_bytes() <= 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1.02
    assert free_bytes() > 0


def test_a_container_and_the_processes_own_limit_count(tmp_path, monkeypatch):
    (tmp_path / "memory.max").write_text("5000000\n")
    (tmp_path / "memory.current").write_text("1000000\n")
    monkeypatch.setattr(resources, "CGROUP", tmp_path)
    assert free_bytes() == 4_000_000
    (tmp_path / "memory.max").write_text("max\n")
    assert free_bytes() > 4_000_000
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (3_000_000_000_000, -1))
    assert free_bytes() < 3_000_000_000_000


def test_a_checkpoint_is_timed_in_part_and_leaves_nothing(tmp_path, monkeypatch):
    assert save_seconds(2**10, tmp_path) > 0
    ticks = iter([0.0, 0.5, 0.0, 0.5])
    monkeypatch.setattr(forecast.time, "perf_counter", lambda: next(ticks))
    assert save_seconds(2**20, tmp_path) == pytest.approx(0.5)
    assert save_seconds(2**25, tmp_path) == pytest.approx(0.5 * 2**25 / forecast.PROBE)
    assert list(tmp_path.iterdir()) == []
