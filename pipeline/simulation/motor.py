"""A direct-current motor with a load: two linear ordinary differential equations, integrated with scipy.

    L di/dt = u - R i - K w          (electrical side: voltage u, current i)
    J dw/dt = K i - b w - T          (mechanical side: speed w, load torque T)

Source: the textbook model, for example Krishnan 2001, "Electric Motor Drives", section 2.2. Units are SI throughout.
T number of times.
"""

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Motor:
    """One motor.

    Attributes:
        resistance: R of the winding, ohm.
        inductance: L of the winding, H.
        constant: K, N m / A, which is also V s / rad.
        inertia: J of the rotor and what turns with it, kg m^2.
        friction: b, viscous, N m s / rad.
    """

    resistance: float
    inductance: float
    constant: float
    inertia: float
    friction: float

    def slope(self, state: Floats, voltage: float, torque: float) -> list[float]:
        """Time derivatives (A / s, rad / s^2) of current and speed."""
        current, speed = state
        return [
            (voltage - self.resistance * current - self.constant * speed) / self.inductance,
            (self.constant * current - self.friction * speed - torque) / self.inertia,
        ]

    def rest(self, voltage: float, torque: float) -> tuple[float, float]:
        """Current (A) and speed (rad / s) that it settles at: both derivatives are zero."""
        below = self.constant**2 + self.resistance * self.friction
        speed = (self.constant * voltage - self.resistance * torque) / below
        return (self.friction * speed + torque) / self.constant, speed

    def time_constants(self) -> tuple[float, float]:
        """The slow and the fast one, s: -1 / the eigenvalues of the system (both real where it is overdamped).

        Raises:
            ValueError: the motor swings, so that it has no two time constants.
        """
        trace = -self.resistance / self.inductance - self.friction / self.inertia
        determinant = (self.resistance * self.friction + self.constant**2) / (self.inductance * self.inertia)
        swing = trace**2 / 4 - determinant
        if swing < 0:
            raise ValueError("the motor is underdamped: it swings and has no two real time constants")
        slow, fast = trace / 2 + math.sqrt(swing), trace / 2 - math.sqrt(swing)
        return -1 / slow, -1 / fast


@dataclass(frozen=True)
class Drive:
    """What is done to a motor: voltage and load are constant between steps.

    Attributes:
        starts: of each stretch, s, ascending, the first 0.
        voltages: in each stretch, V.
        torques: of the load in each stretch, N m.
    """

    starts: tuple[float, ...]
    voltages: tuple[float, ...]
    torques: tuple[float, ...]


def integrate(motor: Motor, drive: Drive, times_T: Floats) -> Floats:
    """Current (A) and speed (rad / s) at each time, (T, 2); at time 0 the motor rests under the first stretch.

    Each stretch is integrated by itself, because a step inside one would cost the solver its order.

    Args:
        motor: the system.
        drive: its inputs.
        times_T: ascending, from 0 on, s.
    """
    from scipy.integrate import solve_ivp

    states_T2 = np.zeros((len(times_T), 2))
    state = np.array(motor.rest(drive.voltages[0], drive.torques[0]))
    ends = [*drive.starts[1:], max(float(times_T[-1]), drive.starts[-1]) + 1e-9]
    for (start, end), voltage, torque in zip(pairwise([drive.starts[0], *ends]), drive.voltages, drive.torques, strict=True):
        inside = (times_T >= start) & (times_T < end)
        solved = solve_ivp(
            lambda _, now, u=voltage, load=torque: motor.slope(now, u, load), (start, end), state, method="LSODA",
            t_eval=np.append(times_T[inside], end), rtol=1e-8, atol=1e-8,
        )  # fmt: skip
        states_T2[inside] = solved.y[:, :-1].T
        state = solved.y[:, -1]
    return states_T2


def voltage_at(drive: Drive, times_T: Floats) -> Floats:
    """Voltage at each time, (T,), V."""
    return np.asarray(drive.voltages)[np.searchsorted(drive.starts, times_T, side="right") - 1]
