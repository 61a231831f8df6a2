"""A sorting line whose answers are known: who is taken off, who is late, what waiting does to the belt."""

import numpy as np
import pytest

from pipeline.simulation.line import Belt, Gate, Line, Parts
from pipeline.simulation.motor import Motor

BELT = Belt(Motor(0.5, 1e-3, 0.1, 5e-4, 1e-4), 0.005, 24.0, 0.3, 3.0, 0.3, fast=0.5, slow=0.15, backlog=2)
GATE = Gate(way=0.5, ahead=0.06, behind=0.05, frequency=12.0, damping=0.8)
BAD = np.array([0, 1, 0, 0, 1, 1, 0, 0, 0, 1], dtype=bool)


def run(*, seconds=0.01, pitch=0.3, late=True, gate=GATE, bad=BAD, belt=BELT, slip=0.0, cycle=4e-3):
    count = len(bad)
    parts = Parts(pitch * (1 + np.arange(count)), np.full(count, 0.2), np.full(count, slip))
    line = Line(belt=belt, gate=gate, parts=parts, decide=lambda part, speed: (bool(bad[part]), seconds), late=late, cycle=cycle)
    return line.run()


def test_a_quick_answer_sorts_every_part():
    trace = run()
    assert (trace.off_P == BAD).all()
    assert not trace.late_P.any()
    np.testing.assert_allclose(np.diff(trace.passed_P)[2:], 0.3 / 0.5, atol=0.005)
    np.testing.assert_allclose(trace.passed_P - trace.seen_P, 0.5 / 0.5, atol=0.02)
    np.testing.assert_allclose(trace.speed_P[2:], 0.5, rtol=0.01)


@pytest.mark.parametrize("late", [True, False])
def test_an_answer_after_the_gate_counts_for_nothing(late):
    trace = run(seconds=3.0, late=late, belt=Belt(**{**vars(BELT), "slow": 0.5}))
    assert trace.late_P.all()
    assert (trace.off_P == late).all()


def test_answers_that_pile_up_slow_the_belt_down_and_each_waits_for_those_before():
    trace = run(seconds=1.0)
    assert min(row[1] for row in trace.moments[200:]) < 0.2
    assert max(row[2] for row in trace.moments) == 2
    quick = run()
    assert trace.passed_P[-1] > 1.3 * quick.passed_P[-1]
    waited = trace.answered_P - trace.seen_P
    assert waited.min() >= 1.0
    assert waited.max() > 1.2


def test_parts_too_close_to_each_other_are_pushed_off_together():
    trace = run(pitch=0.04)
    assert (trace.off_P & ~BAD).any()


def test_a_slow_gate_misses():
    trace = run(gate=Gate(0.5, 0.06, 0.05, frequency=0.8, damping=0.8))
    assert (~trace.off_P & BAD).any()


def test_a_slipping_belt_misses():
    assert (~run(slip=0.15).off_P & BAD).any() or (~run(slip=-0.15).off_P & BAD).any()


def test_a_belt_that_cannot_pull_its_load_ends_all_the_same():
    trace = run(belt=Belt(**{**vars(BELT), "drag": 1.0, "supply": 1e-6}), bad=BAD[:2], cycle=2e-2)
    assert np.isnan(trace.passed_P).any()
