"""A sorting line: a belt with a driven roller, a camera, whoever decides, and a gate that pushes parts off.

The roller is a DC motor under a PI controller; what lies on the belt loads it. Each part passes the camera, waits for its answer
behind those before it, and then for the gate, a second-order actuator that needs time to open and to close again. Where answers
pile up the belt slows down: so the time that a decision takes changes the plant, and with it the images.

All systems are stepped exactly between two cycles of the controller (`pipeline.simulation.held`). P parts, T recorded moments.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pipeline.simulation.held import Floats, Held, actuator, motor
from pipeline.simulation.motor import Motor

GRAVITY = 9.81  # m / s^2
OPEN = 0.5  # share of its way from which the gate takes a part off
RECORDED = 0.01  # s between two recorded moments
BEHIND = 3  # parts behind the gate that may still hold it open
PATIENCE = 20.0  # times as long as the belt needs at its slow speed, then the run ends


@dataclass(frozen=True)
class Belt:
    """The belt and its drive.

    Attributes:
        motor: of the roller.
        travel: of the belt, m per rad.
        supply: V, greatest voltage.
        proportional: gain of the controller, V s / rad.
        integral: gain of the controller, V / rad.
        drag: friction of what lies on it, share of its weight.
        fast: wanted speed, m/s.
        slow: wanted speed while answers pile up, m/s.
        backlog: answers that are waited for, from which it slows down.
    """

    motor: Motor
    travel: float
    supply: float
    proportional: float
    integral: float
    drag: float
    fast: float
    slow: float
    backlog: int


@dataclass(frozen=True)
class Gate:
    """The gate and where it stands.

    Attributes:
        way: from the camera, m.
        ahead: it is told to open when a part is this far before it, m.
        behind: and to close when the part is this far behind it, m.
        frequency: natural, Hz.
        damping: ratio.
    """

    way: float
    ahead: float
    behind: float
    frequency: float
    damping: float


@dataclass(frozen=True)
class Parts:
    """What comes.

    Attributes:
        place_P: of each before the camera at the beginning, m, ascending.
        mass_P: kg.
        slip_P: by how much the encoder is wrong at the gate, m.
    """

    place_P: Floats
    mass_P: Floats
    slip_P: Floats


@dataclass
class Trace:
    """What happened.

    Attributes:
        seen_P: s, when it passed the camera.
        answered_P: s, when the answer was there.
        passed_P: s, when it passed the gate.
        speed_P: of the belt while it was seen, m/s.
        told_P: whether it was to be rejected.
        late_P: whether it had to be decided without an answer.
        off_P: whether the gate took it off.
        moments: T rows of time (s), speed (m/s), answers waited for, place of the gate, voltage (V).
    """

    seen_P: Floats
    answered_P: Floats
    passed_P: Floats
    speed_P: Floats
    told_P: NDArray[np.bool_]
    late_P: NDArray[np.bool_]
    off_P: NDArray[np.bool_]
    moments: list[tuple[float, float, int, float, float]] = field(default_factory=list)


def empty(count: int) -> Trace:
    """Nothing has happened to any part."""
    seen, answered, passed, speed = (np.full(count, np.nan) for _ in range(4))
    told, late, off = (np.zeros(count, dtype=bool) for _ in range(3))
    return Trace(seen, answered, passed, speed, told_P=told, late_P=late, off_P=off)


class Line:
    """One run.

    Args:
        belt: and its drive.
        gate: and its place.
        parts: that come.
        decide: part and speed (m/s) -> whether to reject it, and the seconds that this takes.
        late: whether a part without an answer is rejected.
        cycle: of the controller, s.
    """

    def __init__(
        self, *, belt: Belt, gate: Gate, parts: Parts, decide: Callable[[int, float], tuple[bool, float]], late: bool,
        cycle: float,
    ) -> None:  # fmt: skip
        self.belt, self.gate, self.parts, self.decide, self.late, self.cycle = belt, gate, parts, decide, late, cycle
        self.drive: Held = motor(belt.motor, cycle, travel=belt.travel)
        self.flap: Held = actuator(gate.frequency, gate.damping, cycle)
        self.place, self.slip = parts.place_P, parts.slip_P
        self.weighed = np.concatenate([[0.0], np.cumsum(parts.mass_P)])  # mass of the parts before each
        self.state_3, self.flap_2 = np.zeros(3), np.zeros(2)
        self.wanted, self.sum, self.free = belt.fast, 0.0, 0.0
        self.seen = self.answered = self.due = self.passed = 0  # the next part of each kind

    def run(self) -> Trace:
        """Until the last part has passed the gate."""
        parts, count = self.parts, len(self.parts.place_P)
        trace = empty(count)
        limit = PATIENCE * (float(parts.place_P[-1]) + self.gate.way) / self.belt.slow
        every = max(1, round(RECORDED / self.cycle))
        turn = 0
        while self.passed < count and turn * self.cycle < limit:
            now = turn * self.cycle
            volts = self._move()
            self._look(now, trace)
            self._push(now, trace)
            if turn % every == 0:
                speed = float(self.state_3[1]) * self.belt.travel
                trace.moments.append((now, speed, self.seen - self.answered, float(self.flap_2[0]), volts))
            turn += 1
        return trace

    def _move(self) -> float:
        """One cycle of the belt; its voltage."""
        belt, waits = self.belt, self.seen - self.answered
        if waits >= belt.backlog:
            self.wanted = belt.slow
        elif waits <= belt.backlog // 2:
            self.wanted = belt.fast
        wrong = self.wanted / belt.travel - float(self.state_3[1])
        asked = belt.proportional * wrong + belt.integral * self.sum + belt.motor.constant * self.wanted / belt.travel
        volts = min(max(asked, 0.0), belt.supply)
        if volts == asked:  # no wind-up
            self.sum += wrong * self.cycle
        moving = self.state_3[1] > 0 or volts > 0
        mass = float(self.weighed[self.seen] - self.weighed[self.passed])
        torque = belt.drag * mass * GRAVITY * belt.travel if moving else 0.0
        self.state_3 = self.drive.next(self.state_3, np.array([volts, torque]))
        return volts

    def _look(self, now: float, trace: Trace) -> None:
        """Parts that pass the camera are decided on, one after the other; answers that are ready arrive."""
        way = float(self.state_3[2])
        while self.seen < len(self.place) and way >= self.place[self.seen]:
            part, speed = self.seen, float(self.state_3[1]) * self.belt.travel
            rejects, seconds = self.decide(part, speed)
            self.free = max(now, self.free) + seconds
            trace.seen_P[part], trace.speed_P[part], trace.answered_P[part] = now, speed, self.free
            trace.told_P[part] = rejects
            self.seen += 1
        while self.answered < self.seen and trace.answered_P[self.answered] <= now:
            self.answered += 1

    def _push(self, now: float, trace: Trace) -> None:
        """The gate follows what is to be rejected; parts pass it."""
        way, gate = float(self.state_3[2]), self.gate
        first = max(0, self.passed - BEHIND)
        believed = (way - gate.way - self.place[first : self.seen] + self.slip[first : self.seen]).tolist()
        while self.due < self.seen and believed[self.due - first] >= -gate.ahead:
            if self.due >= self.answered:
                trace.late_P[self.due], trace.told_P[self.due] = True, self.late
            self.due += 1
        inside = any(trace.told_P[part] and believed[part - first] <= gate.behind for part in range(first, self.due))
        self.flap_2 = self.flap.next(self.flap_2, np.array([float(inside)]))
        while self.passed < self.seen and way >= self.place[self.passed] + gate.way:
            trace.off_P[self.passed], trace.passed_P[self.passed] = self.flap_2[0] >= OPEN, now
            self.passed += 1
