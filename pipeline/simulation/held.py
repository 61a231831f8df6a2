"""Linear systems under a digital controller: the input is held constant between two steps, and the step is exact.

    dx/dt = A x + B u,   u constant over h   =>   x[k+1] = Ad x[k] + Bd u[k]

Source: Astrom and Wittenmark 1997, "Computer-Controlled Systems", section 2.3 (zero-order hold); by scipy.signal.cont2discrete.
X number of states, U number of inputs.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.simulation.motor import Motor

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Held:
    """A system that is stepped.

    Attributes:
        step_XX: of the state.
        input_XU: of the input.
    """

    step_XX: Floats
    input_XU: Floats

    def next(self, state_X: Floats, input_U: Floats) -> Floats:
        """The state one step later."""
        return self.step_XX @ state_X + self.input_XU @ input_U


def hold(a_XX: Floats, b_XU: Floats, step: float) -> Held:
    """The exact step of a continuous system.

    Args:
        a_XX: of the state.
        b_XU: of the input.
        step: s.
    """
    from scipy.signal import cont2discrete

    states, inputs = b_XU.shape
    found = cont2discrete((a_XX, b_XU, np.eye(states), np.zeros((states, inputs))), step, method="zoh")
    return Held(np.asarray(found[0]), np.asarray(found[1]))


def motor(it: Motor, step: float, *, travel: float = 1.0) -> Held:
    """States: current (A), speed (rad/s), way (travel x angle). Inputs: voltage (V), load torque (N m).

    Args:
        it: the motor, of `pipeline.simulation.motor`.
        step: s.
        travel: of what it drives, m per rad.
    """
    a_XX = np.array([
        [-it.resistance / it.inductance, -it.constant / it.inductance, 0],
        [it.constant / it.inertia, -it.friction / it.inertia, 0],
        [0, travel, 0],
    ])  # fmt: skip
    return hold(a_XX, np.array([[1 / it.inductance, 0], [0, -1 / it.inertia], [0, 0]]), step)


def actuator(frequency: float, damping: float, step: float) -> Held:
    """A second-order actuator that follows a command: states: place (share of its way) and speed (1/s); input: the command.

    Args:
        frequency: natural, Hz.
        damping: ratio, 1 without overshoot.
        step: s.
    """
    turn = 2 * math.pi * frequency
    return hold(np.array([[0.0, 1.0], [-(turn**2), -2 * damping * turn]]), np.array([[0.0], [turn**2]]), step)
