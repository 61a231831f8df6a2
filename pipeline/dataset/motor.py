"""A virtual sensor: the load torque of a simulated DC motor from its voltage and current, which alone are measured.

Each record is a picture of one channel: a band of rows for each measured quantity, a column for each moment. The equations and
their closed forms stand in `pipeline/simulation/motor.py`. T number of times, M measured quantities.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.errors import PersonError, near_match
from pipeline.core.keyed import generator
from pipeline.core.record import Entry, Pixels
from pipeline.simulation.motor import Drive, Floats, Motor, integrate, voltage_at

UNITS = {"voltage": "V", "current": "A", "speed": "rad/s"}


class MotorLoad:
    """Records of several motors whose parameters differ a little; a group is one motor.

    Each record starts at rest under a first voltage and load; both step to new values, each at a moment of its own in the first
    half of the record. The target is the load after its step.

    Args:
        source: not used; the records are simulated.
        units: motors.
        records: of each motor.
        samples: columns of a record.
        period_ms: time between two columns, ms.
        rows: of the band of each quantity.
        measured: what the sensors see, in order from above: any of voltage, current, speed.
        voltage: least and greatest supply voltage, V.
        current: range of the current's sensor, A; what lies outside is cut off.
        speed: range of the speed's sensor, rad/s; what lies outside is cut off.
        torque: least and greatest load, N m.
        noise: standard deviation of each sensor's noise, share of its range.
        resistance: of the winding, ohm.
        inductance: of the winding, H.
        constant: of the motor, N m / A.
        inertia: kg m^2.
        friction: viscous, N m s / rad.
        spread: standard deviation of each parameter over the motors, share of its value.
        seed: number of the draw; another one gives other motors and records.

    Raises:
        PersonError: a number out of range, or an unknown quantity.
    """

    def __init__(
        self, *, source: Path, units: int, records: int, samples: int, period_ms: float, rows: int, measured: list[str],
        voltage: list[float], current: list[float], speed: list[float], torque: list[float], noise: float, resistance: float,
        inductance: float, constant: float, inertia: float, friction: float, spread: float, seed: int,
    ) -> None:  # fmt: skip
        counts = {"units": units, "records": records, "samples": samples, "rows": rows, "period_ms": period_ms}
        small = [name for name, value in counts.items() if value <= 0]
        if small or not 0 <= spread < 0.25 or not 0 <= noise < 1 or seed < 0:
            raise PersonError(
                f"dataset: units, records, samples, rows and period_ms must be above 0, spread in [0, 0.25), noise in [0, 1) and "
                f"seed not negative: received {counts}, spread {spread}, noise {noise}, seed {seed}"
            )
        for name, ends in (("voltage", voltage), ("current", current), ("speed", speed), ("torque", torque)):
            if len(ends) != 2 or not ends[0] < ends[1]:
                raise PersonError(f"dataset.{name} must be two ascending numbers: received {ends}")
        for name in measured:
            if name not in UNITS:
                raise PersonError(f"dataset.measured knows no {name!r}: {near_match(name, UNITS)}")
        if not measured or len(set(measured)) != len(measured):
            raise PersonError(f"dataset.measured must name each quantity once: received {measured}")
        self.typical = (resistance, inductance, constant, inertia, friction)
        if min(self.typical[:4]) <= 0 or friction < 0:
            raise PersonError(
                f"dataset: resistance, inductance, constant and inertia must be above 0, friction not negative: received "
                f"{self.typical}"
            )
        self.units, self.records, self.samples, self.period_ms = units, records, samples, period_ms
        self.rows, self.measured, self.noise, self.spread, self.seed = rows, list(measured), noise, spread, seed
        self.voltage, self.torque = voltage, torque
        self.ranges = {"voltage": voltage, "current": current, "speed": speed}

    def card(self) -> dict[str, Any]:
        """Names, units and axes of the record, and the load torque as the target."""
        bands = "; ".join(
            f"rows {number * self.rows} to {(number + 1) * self.rows - 1}: {name}, level 0 is {self.ranges[name][0]:g} and level "
            f"255 is {self.ranges[name][1]:g} {UNITS[name]}"
            for number, name in enumerate(self.measured)
        )
        return {
            "name": "DC motors under load (simulated)",
            "source": f"simulated by pipeline/simulation/motor.py; columns: time, {self.period_ms:g} ms each; {bands}",
            "license": "Apache-2.0",
            "citation": "R. Krishnan, Electric Motor Drives, Prentice Hall 2001, section 2.2 (the equations)",
            "classes": [],
            "target": {"name": "load torque", "unit": "N m", "low": float(self.torque[0]), "high": float(self.torque[1])},
        }

    def __len__(self) -> int:
        return self.units * self.records

    def entries(self) -> Iterator[Entry]:
        """Every record of every motor; a record is integrated when it is read."""
        for unit in range(self.units):
            for record in range(self.records):
                yield Entry(
                    f"motor-{unit:03d}-record-{record:04d}", partial(self.pixels, unit, record),
                    target=self.drive(unit, record).torques[-1], group=f"motor-{unit:03d}",
                )  # fmt: skip

    def motor(self, unit: int) -> Motor:
        """The parameters of one motor; within three standard deviations of the typical ones."""
        draws = np.clip(generator(self.seed, "motor", "unit", unit).standard_normal(5), -3, 3)
        return Motor(*(float(value * (1 + self.spread * draw)) for value, draw in zip(self.typical, draws, strict=True)))

    def drive(self, unit: int, record: int) -> Drive:
        """What is done to the motor in one record: a step of the voltage and one of the load."""
        rng = generator(self.seed, "motor", "drive", unit, record)
        before, after = (float(value) for value in rng.uniform(self.voltage[0], self.voltage[1], 2))
        light, heavy = (float(value) for value in rng.uniform(self.torque[0], self.torque[1], 2))
        steps = [float(value) for value in rng.uniform(0.1, 0.5, 2) * self.samples * self.period_ms / 1000]
        first, second = sorted(steps)
        middle = (after, light) if steps[0] <= steps[1] else (before, heavy)
        return Drive((0.0, first, second), (before, middle[0], after), (light, middle[1], heavy))

    def signals(self, unit: int, record: int) -> Floats:
        """The true measured quantities without noise, (M, T), in their units."""
        drive, times_T = self.drive(unit, record), np.arange(self.samples) * self.period_ms / 1000
        states_T2 = integrate(self.motor(unit), drive, times_T)
        known = {"voltage": voltage_at(drive, times_T), "current": states_T2[:, 0], "speed": states_T2[:, 1]}
        return np.stack([known[name] for name in self.measured])

    def pixels(self, unit: int, record: int) -> Pixels:
        """The record as its sensors give it: uint8 (rows x M, T, 1), 255 levels over each sensor's range."""
        noise_MT = generator(self.seed, "motor", "noise", unit, record).standard_normal((len(self.measured), self.samples))
        return self.sensed(self.signals(unit, record), noise_MT)

    def sensed(self, signals_MT: Floats, noise_MT: Floats) -> Pixels:
        """What the sensors give of signals (in their units), with standard normal noise: uint8 (rows x M, T, 1)."""
        low_M1, high_M1 = (np.array([[self.ranges[name][end]] for name in self.measured]) for end in (0, 1))
        share_MT = (signals_MT - low_M1) / (high_M1 - low_M1) + self.noise * noise_MT
        level_MT = np.clip(np.rint(255 * share_MT), 0, 255).astype(np.uint8)
        return np.ascontiguousarray(np.repeat(level_MT, self.rows, axis=0)[:, :, None])
