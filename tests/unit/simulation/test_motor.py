"""The integrated motor against closed forms: the resting state, the time constant and the matrix exponential."""

import numpy as np
import pytest
from scipy.linalg import expm

from pipeline.simulation.motor import Drive, Motor, integrate, voltage_at

MOTOR = Motor(resistance=1.0, inductance=5e-4, constant=0.05, inertia=5e-5, friction=2e-5)
STEP = Drive((0.0, 0.05), (10.0, 20.0), (0.05, 0.15))


def exact(motor, voltage, torque, start, times):
    """State at each time by the matrix exponential about the resting state."""
    system = np.array(
        [
            [-motor.resistance / motor.inductance, -motor.constant / motor.inductance],
            [motor.constant / motor.inertia, -motor.friction / motor.inertia],
        ]
    )
    source = np.array([voltage / motor.inductance, -torque / motor.inertia])
    rest = -np.linalg.solve(system, source)
    return np.stack([rest + expm(system * time) @ (start - rest) for time in times])


def test_it_rests_where_the_balance_of_voltage_and_torque_says():
    current, speed = MOTOR.rest(12.0, 0.1)
    assert pytest.approx(MOTOR.resistance * current + MOTOR.constant * speed) == 12.0
    assert MOTOR.constant * current == pytest.approx(MOTOR.friction * speed + 0.1)
    times = np.linspace(0, 0.3, 40)
    np.testing.assert_allclose(
        integrate(MOTOR, Drive((0.0,), (12.0,), (0.1,)), times), np.tile([current, speed], (40, 1)), rtol=1e-6
    )


def test_after_a_step_it_comes_to_rest_again():
    final = integrate(MOTOR, STEP, np.array([0.0, 0.5]))[-1]
    np.testing.assert_allclose(final, MOTOR.rest(20.0, 0.15), rtol=1e-5)


def test_every_sample_equals_the_matrix_exponential():
    times = np.arange(0, 0.2, 0.002)
    found = integrate(MOTOR, STEP, times)
    after = times >= 0.05
    wanted = exact(MOTOR, 20.0, 0.15, np.array(MOTOR.rest(10.0, 0.05)), times[after] - 0.05)
    np.testing.assert_allclose(found[after], wanted, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found[~after], np.tile(MOTOR.rest(10.0, 0.05), (int((~after).sum()), 1)), rtol=1e-6)


def test_three_stretches_are_joined_without_a_jump_of_speed():
    drive = Drive((0.0, 0.02, 0.021), (8.0, 24.0, 24.0), (0.0, 0.0, 0.2))
    times = np.arange(0, 0.1, 1e-4)
    speed = integrate(MOTOR, drive, times)[:, 1]
    assert np.abs(np.diff(speed)).max() < 2.5  # rad/s in 0.1 ms; the whole change is more than 200
    assert np.ptp(speed) > 150
    middle = exact(MOTOR, 24.0, 0.0, np.array(MOTOR.rest(8.0, 0.0)), [0.001])[0]
    np.testing.assert_allclose(
        integrate(MOTOR, drive, np.array([0.0, 0.05]))[-1], exact(MOTOR, 24.0, 0.2, middle, [0.029])[0], rtol=1e-5
    )


def test_the_speed_approaches_rest_with_the_slow_time_constant():
    slow, fast = MOTOR.time_constants()
    assert slow > 10 * fast
    assert slow == pytest.approx(
        MOTOR.resistance * MOTOR.inertia / (MOTOR.constant**2 + MOTOR.resistance * MOTOR.friction), rel=0.05
    )
    times = 0.05 + np.array([0.0, 10 * fast, 10 * fast + slow])
    left = integrate(MOTOR, STEP, np.concatenate([[0.0], times]))[1:, 1] - MOTOR.rest(20.0, 0.15)[1]
    assert left[2] / left[1] == pytest.approx(np.exp(-1), rel=1e-3)


def test_a_motor_that_swings_has_no_two_time_constants():
    with pytest.raises(ValueError, match="swings"):
        Motor(resistance=0.1, inductance=5e-3, constant=0.5, inertia=1e-5, friction=0.0).time_constants()


def test_energy_is_conserved_at_rest():
    """Electrical power in = heat in the winding + friction + power of the load."""
    current, speed = MOTOR.rest(18.0, 0.12)
    assert 18.0 * current == pytest.approx(MOTOR.resistance * current**2 + MOTOR.friction * speed**2 + 0.12 * speed)


def test_the_voltage_steps_at_its_moment():
    np.testing.assert_array_equal(voltage_at(STEP, np.array([0.0, 0.049, 0.05, 1.0])), [10.0, 10.0, 20.0, 20.0])
