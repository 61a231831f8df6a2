"""A training is asked to end in the step that was named, and in no other."""

from types import SimpleNamespace

import pytest

from pipeline.core import interrupt
from pipeline.training.pausing import NAME, VARIABLE, pauses


def asked_at(monkeypatch, at, steps):
    seen = []
    monkeypatch.setattr(interrupt, "agree", lambda name: seen.append((name, trainer.global_step)))
    trainer = SimpleNamespace(global_step=0)
    monkeypatch.setenv(VARIABLE, str(at))
    for callback in pauses(0, steps):
        for trainer.global_step in range(steps):
            callback.on_train_batch_start(trainer, None, None, 0)
    return seen


def test_it_asks_in_the_step_before_which_so_many_are_done(monkeypatch):
    assert asked_at(monkeypatch, 5, 20) == [(NAME, 4)]
    assert asked_at(monkeypatch, 1, 20) == [(NAME, 0)]
    assert asked_at(monkeypatch, 20, 20) == []


def test_without_the_variable_nothing_is_asked(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    assert pauses(0, 20) == []


def test_a_run_that_stands_there_already_ends_at_once(monkeypatch):
    monkeypatch.setenv(VARIABLE, "5")
    for start in (5, 9):
        with pytest.raises(interrupt.Interrupted, match=f"the checkpoint of step {start} is kept"):
            pauses(start, 20)
    assert len(pauses(4, 20)) == 1
