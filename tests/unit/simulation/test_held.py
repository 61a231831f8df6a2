"""Exact steps against scipy's integrator, and closed forms."""

import numpy as np
from scipy.integrate import solve_ivp

from pipeline.simulation import held
from pipeline.simulation.motor import Motor

MOTOR = Motor(0.5, 1e-3, 0.1, 5e-4, 1e-4)


def test_a_motor_is_stepped_as_scipy_integrates_it():
    system = held.motor(MOTOR, 2e-3, travel=0.005)
    state, now = np.zeros(3), np.zeros(3)
    for step in range(40):
        volts, torque = 12.0 if step < 20 else 5.0, 0.02 * (step % 3)
        state = system.next(state, np.array([volts, torque]))
        solved = solve_ivp(
            lambda _, x, u=volts, load=torque: [*MOTOR.slope(x[:2], u, load), 0.005 * x[1]], (0, 2e-3), now, rtol=1e-10, atol=1e-12
        )
        now = solved.y[:, -1]
    np.testing.assert_allclose(state, now, rtol=1e-7)


def test_it_comes_to_rest_where_the_closed_form_says():
    system, state = held.motor(MOTOR, 2e-3), np.zeros(3)
    for _ in range(2000):
        state = system.next(state, np.array([10.0, 0.05]))
    np.testing.assert_allclose(state[:2], MOTOR.rest(10.0, 0.05), rtol=1e-9)


def test_an_actuator_overshoots_as_its_damping_says():
    system, state, most = held.actuator(12.0, 0.5, 1e-4), np.zeros(2), 0.0
    for _ in range(5000):
        state = system.next(state, np.array([1.0]))
        most = max(most, state[0])
    assert abs(state[0] - 1) < 1e-6
    assert abs(most - (1 + np.exp(-np.pi * 0.5 / np.sqrt(1 - 0.25)))) < 1e-3
