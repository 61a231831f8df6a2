"""A motor whose speed nobody measures is held at a speed under a changing load; the model is the sensor of the load.

A drive without a speed sensor droops under load. What makes up for it is u = K w + R (b w + T) / K, the voltage at which the
motor rests at speed w under the load T (`pipeline.simulation.motor`), with the model's T. The answer changes the voltage, that
changes the current, and the current is what the model sees next: a loop. Each motor differs from the typical one that the
controller knows, and none was in the training data.

T number of times, M measured quantities, V visited windows.
"""

import math
from collections import deque
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import PersonError
from pipeline.core.keyed import generator
from pipeline.loop import judge, pictures
from pipeline.loop.contract import Chart, Material, Outcome, Requirement
from pipeline.simulation.held import Floats, motor
from pipeline.simulation.motor import Motor

COLUMNS = ("motor", "window", "load", "said", "answer_ms", "late", "voltage", "mean_error", "outside")
LEVEL = 99.0


@dataclass(frozen=True)
class Loads:
    """What a motor has to bear, and its sensors' noise.

    Attributes:
        torque_VT: N m, at each moment of each window.
        noise_VMT: standard normal.
    """

    torque_VT: Floats
    noise_VMT: Floats


@dataclass(frozen=True)
class Ran:
    """One motor under one controller: N m, seconds, V, rad/s."""

    said_V: Floats
    seconds_V: Floats
    volts_VT: Floats
    speed_VT: Floats


class Drive:
    """A drive with a virtual sensor; conf/plant/drive.yaml describes each argument.

    Raises:
        PersonError: a number out of range.
    """

    def __init__(
        self, *, motors: int, records: int, speed: float, change: float, gain: float, actuate: float, transport_ms: float,
        latency_ms: float | None, extra_ms: float, band: float, max_outside: float | None, max_ratio: float | None,
        max_late: float | None,
    ) -> None:  # fmt: skip
        given = dict(locals())
        low = [name for name in ("motors", "records", "speed", "band") if given[name] <= 0]
        low += [name for name in ("change", "actuate", "band", "gain") if not 0 <= given[name] <= 1]
        low += [name for name in ("transport_ms", "extra_ms") if given[name] < 0]
        low += [name for name in ("max_outside", "max_ratio", "max_late", "latency_ms") if (given[name] or 0) < 0]
        if low:
            raise PersonError(f"plant.{low[0]} is out of range (conf/plant/drive.yaml has the units): received {given[low[0]]}")
        self.motors, self.records, self.speed, self.change = motors, records, speed, change
        self.gain, self.actuate, self.band = gain, actuate, band
        self.latency, self.added = latency_ms, (transport_ms + extra_ms) / 1000
        self.max_outside, self.max_ratio, self.max_late = max_outside, max_ratio, max_late

    def run(self, material: Material) -> Outcome:
        """Simulate; see `pipeline.loop.contract.Plant`.

        Raises:
            PersonError: the model was not made for a motor, or the wanted speed is out of its reach.
        """
        rig = material.dataset
        if material.classes or not hasattr(rig, "sensed"):
            raise PersonError(
                "plant=drive needs the virtual sensor of  experiment=motor ; for a classifier try  simulate conveyor"
            )
        typical = Motor(*rig.typical)
        most = voltage(typical, self.speed, rig.torque[1])
        if not rig.voltage[0] <= voltage(typical, self.speed, rig.torque[0]) <= most <= rig.voltage[1]:
            raise PersonError(
                f"plant.speed {self.speed:g} rad/s cannot be held: it takes up to {most:.1f} V, and the supply gives "
                f"{rig.voltage[0]:g} to {rig.voltage[1]:g}"
            )
        runs: list[tuple[Loads, dict[str, Ran]]] = []
        for number in range(self.motors):
            loads = self._loads(rig, material.seed, number)
            machine = rig.motor(rig.units + number)  # of the same make, and never in the data
            arms = {
                "model": self._steer(rig, machine, loads, self._asker(material)),
                "without": self._steer(rig, machine, loads, None),
                "true load": self._steer(rig, machine, loads, lambda _, truth: (truth, 0.0)),
            }
            runs.append((loads, arms))
            material.progress((number + 1) / self.motors)
        return self._outcome(material, rig, runs)

    def _asker(self, material: Material) -> Any:
        def ask(pixels_HWC: Any, _: float) -> tuple[float, float]:
            said = material.ask(pixels_HWC)
            return float(said.prediction_K[0]), (said.seconds if self.latency is None else self.latency / 1000) + self.added

        return ask

    def _loads(self, rig: Any, seed: int, number: int) -> Loads:
        """Steps of the load at any moment; the first window has none."""
        rng = generator(seed, "plant", "drive", number)
        torque_VT = np.zeros((self.records, rig.samples))
        now = float(rng.uniform(*rig.torque))
        for window in range(self.records):
            steps = window > 0 and rng.random() < self.change
            at, later = int(rng.integers(rig.samples)), float(rng.uniform(*rig.torque))
            torque_VT[window, :at], torque_VT[window, at:] = now, later if steps else now
            now = float(torque_VT[window, -1])
        return Loads(torque_VT, rng.standard_normal((self.records, len(rig.measured), rig.samples)))

    def _steer(self, rig: Any, machine: Motor, loads: Loads, ask: Any) -> Ran:
        """One motor; without `ask` the controller takes the load for the middle of its range."""
        typical, middle = Motor(*rig.typical), float(np.mean(rig.torque))
        count, samples = loads.torque_VT.shape
        step = rig.period_ms / 1000
        held = motor(machine, step)
        believed, due = middle, deque[tuple[int, float]]()  # turn from which a voltage holds, and that voltage, oldest first
        volts = voltage(typical, self.speed, believed)
        state_3 = np.array([*machine.rest(volts, loads.torque_VT[0, 0]), 0.0])
        said_V, seconds_V, volts_VT, states_VT2 = np.full(count, middle), np.zeros(count), *_blank(count, samples)
        for window in range(count):
            for turn in range(samples):
                while due and due[0][0] <= window * samples + turn:
                    _, volts = due.popleft()
                states_VT2[window, turn], volts_VT[window, turn] = state_3[:2], volts
                state_3 = held.next(state_3, np.array([volts, loads.torque_VT[window, turn]]))
            if ask is None:
                continue
            known = {"voltage": volts_VT[window], "current": states_VT2[window, :, 0], "speed": states_VT2[window, :, 1]}
            pixels_HWC = rig.sensed(np.stack([known[name] for name in rig.measured]), loads.noise_VMT[window])
            said_V[window], seconds_V[window] = ask(pixels_HWC, float(loads.torque_VT[window, -1]))
            believed += self.gain * (float(np.clip(said_V[window], *rig.torque)) - believed)
            later = _turns(max(self.actuate * samples, seconds_V[window] / step))  # an answer never overtakes the one before it
            change = max((window + 1) * samples + later, due[-1][0] if due else 0)
            due.append((change, float(np.clip(voltage(typical, self.speed, believed), *rig.voltage))))
        return Ran(said_V, seconds_V, volts_VT, states_VT2[..., 1])

    def _outcome(self, material: Material, rig: Any, runs: list[tuple[Loads, dict[str, Ran]]]) -> Outcome:
        asked = self._requirements(material, rig, runs)
        table = []
        for name in ("without", "model", "true load"):
            wrong_RVT = np.stack([arms[name].speed_VT for _, arms in runs]) - self.speed
            size_RVT = np.abs(wrong_RVT)
            outside = float(self._outside(wrong_RVT).mean())
            table.append([name, round(float(size_RVT.mean()), 3), round(outside, 4), round(float(size_RVT.max()), 2)])
        said = np.concatenate([arms["model"].said_V - loads.torque_VT[:, -1] for loads, arms in runs])
        waits = np.concatenate([1000 * arms["model"].seconds_V for _, arms in runs])
        alone = "; of one motor nothing is known of the spread between them" if self.motors == 1 else ""
        facts = {
            "motors": f"{self.motors} outside the data, {self.records} windows of {rig.samples * rig.period_ms:g} ms each{alone}",
            "error of the model inside the loop": f"{np.abs(said).mean():.4f} N m on average",
            "time for an answer": f"{1000 * self._room(rig):.1f} ms, until the moment of actuation",
            "answers that count as independent": judge.evidence(waits, LEVEL, material.coverage),
        }
        columns = ("the controller knows the load from", "mean error (rad/s)", "time outside the band", "largest error (rad/s)")
        ratio = next(one for one in asked if one.name == "max_ratio")
        limit = 1000 * self._room(rig)
        return Outcome(
            title="A motor without a speed sensor, with the model inside",
            summary=f"the model leaves {ratio.value:.2f} [{ratio.low:.2f}, {ratio.high:.2f}] of the speed error without it",
            requirements=asked, facts=facts, tables={"What the model is worth": (columns, table)}, columns=COLUMNS,
            events=self._rows(rig, runs),
            charts=[
                Chart("drive", "The first motor: the load and what the model said, the voltage, the speed with and without the "
                      "model, and the band.", partial(pictures.drive, runs[0], self.speed, self.band)),
                Chart("answers", "How long an answer took, transport included.", partial(pictures.answers, waits, limit)),
            ], text=TEXT,
        )  # fmt: skip

    def _rows(self, rig: Any, runs: list[tuple[Loads, dict[str, Ran]]]) -> list[list[Any]]:
        """One of each window, for the table of events."""
        rows = []
        for number, (loads, arms) in enumerate(runs):
            ran, late_V = arms["model"], self._late(rig, arms["model"])
            for window, wrong_T in enumerate(ran.speed_VT - self.speed):
                seen = (loads.torque_VT[window, -1], ran.said_V[window], 1000 * ran.seconds_V[window], ran.volts_VT[window, -1])
                load, said, spent, volts = (round(float(value), 5) for value in seen)
                error, outside = round(float(np.abs(wrong_T).mean()), 3), round(float(self._outside(wrong_T).mean()), 4)
                rows.append([number, window, load, said, spent, int(late_V[window]), volts, error, outside])
        return rows

    def _requirements(self, material: Material, rig: Any, runs: list[tuple[Loads, dict[str, Ran]]]) -> list[Requirement]:
        cover, units = material.coverage, [str(number) for number in range(self.motors)]
        wrong, alone = (
            np.array([np.abs(arms[name].speed_VT - self.speed).mean() for _, arms in runs]) for name in ("model", "without")
        )
        room = 1000 * self._room(rig)
        outside = np.array([self._outside(arms["model"].speed_VT - self.speed).mean() for _, arms in runs])
        late_N = np.concatenate([self._late(rig, arms["model"]) for _, arms in runs])
        waits = np.concatenate([1000 * arms["model"].seconds_V for _, arms in runs])
        clock = self.latency is None
        slow, late = judge.percentile(waits, LEVEL, cover), judge.in_time(late_N, cover, waits)
        return [
            Requirement("max_outside", "time with the speed outside the band", judge.mean(outside, units, cover),
                        limit=self.max_outside),
            Requirement("max_ratio", "speed error, over that without the model", judge.ratio(wrong, alone, material),
                        limit=self.max_ratio, unit="ratio"),
            Requirement("max_late", "answers after the moment of actuation", late, limit=self.max_late, measured=clock),
            Requirement("actuate", "time of an answer, 99th percentile", slow, limit=room, unit="ms", measured=clock),
        ]  # fmt: skip

    def _room(self, rig: Any) -> float:
        """Seconds from the end of a window to the moment of actuation."""
        return float(self.actuate * rig.samples * rig.period_ms / 1000)

    def _late(self, rig: Any, ran: Ran) -> NDArray[np.bool_]:
        return np.asarray(ran.seconds_V > self._room(rig))

    def _outside(self, wrong: NDArray[np.float64]) -> NDArray[np.bool_]:
        return np.asarray(np.abs(wrong) > self.band * self.speed)


def voltage(it: Motor, speed: float, torque: float) -> float:
    """At which a motor rests at a speed (rad/s) under a load (N m), V: the inverse of `Motor.rest`."""
    return it.constant * speed + it.resistance * (it.friction * speed + torque) / it.constant


def _turns(count: float) -> int:
    """Whole turns that are over after so many; what rounding adds to a whole number is no turn."""
    return math.ceil(round(count, 6))


def _blank(count: int, samples: int) -> tuple[Floats, Floats]:
    return np.zeros((count, samples)), np.zeros((count, samples, 2))


TEXT = (
    "No sensor of speed: the controller sets the voltage at which a typical motor rests at the wanted speed under the load.",
    "The model says that load. Its window of voltage and current holds the effect of its own last answer.",
    "The load steps at any moment; motors differ from the typical one, and none of them was in the data.",
    "Beside it stands a drive that takes the load for the middle of its range, and one that is told the true load.",
    "An answer that is not there at the moment of actuation is applied when it comes, windows later if need be, in order.",
    "Intervals are over motors; those of late answers and of the time of an answer are over answers in succession.",
)
