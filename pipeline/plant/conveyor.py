"""A sorting line: parts pass a camera, the model says which to reject, a gate pushes these off the belt.

The belt's speed blurs what the model sees; the time that the model takes slows the belt and may come too late for the gate; a
gate that is still open takes the next part too. The equations stand in `pipeline/simulation/line.py`.

H height, W width, C channels, N test samples, P parts.
"""

from functools import partial

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import PersonError, near_match
from pipeline.core.keyed import generator
from pipeline.core.record import Pixels
from pipeline.loop import judge, pictures
from pipeline.loop.contract import Chart, Material, Outcome, Requirement
from pipeline.simulation.line import Belt, Gate, Line, Parts, Trace
from pipeline.simulation.motor import Motor

SHARES = ("threshold", "faulty", "drag")
ABOVE = ("parts", "pitch", "mass", "fast", "slow", "backlog", "way", "field", "cycle_ms", "behind", "gate_hz", "gate_damping",
         "resistance", "inductance", "constant", "inertia", "travel", "supply", "proportional")  # fmt: skip
NOT_BELOW = ("jitter", "exposure_ms", "transport_ms", "extra_ms", "encoder", "ahead", "friction", "integral")
LEVEL = 99.0  # percentile of the answers that the budget is held against
COLUMNS = ("part", "sample", "faulty", "p_reject", "unknown", "told", "late", "off", "why", "speed", "answer_ms", "passed_s")


class Conveyor:
    """A belt, a camera and a gate around a classifier; conf/plant/conveyor.yaml describes each argument.

    Raises:
        PersonError: a number out of range.
    """

    def __init__(
        self, *, reject: list[str], threshold: float, reject_unknown: bool, late: bool, parts: int, faulty: float, pitch: float,
        jitter: float, mass: float, fast: float, slow: float, backlog: int, way: float, field: float, exposure_ms: float,
        transport_ms: float, latency_ms: float | None, extra_ms: float, budget_ms: float | None, max_escape: float | None,
        max_false_reject: float | None, max_late: float | None, min_rate: float | None, cycle_ms: float, encoder: float,
        ahead: float, behind: float, gate_hz: float, gate_damping: float, resistance: float, inductance: float, constant: float,
        inertia: float, friction: float, travel: float, supply: float, proportional: float, integral: float, drag: float,
    ) -> None:  # fmt: skip
        given = dict(locals())
        low = [name for name in ABOVE if given[name] <= 0] + [name for name in NOT_BELOW if given[name] < 0]
        low += [name for name in SHARES if not 0 <= given[name] <= 1]
        low += [name for name in ("latency_ms", "budget_ms", "min_rate") if given[name] is not None and given[name] < 0]
        low += [name for name in ("max_escape", "max_false_reject", "max_late") if not 0 <= (given[name] or 0) <= 1]
        if low:
            raise PersonError(
                f"plant.{low[0]} is out of range (conf/plant/conveyor.yaml has the units): received {given[low[0]]}"
            )
        if slow > fast or ahead >= way or jitter >= 0.3:
            raise PersonError(
                f"plant: slow must not be above fast, ahead must be below way, and jitter below 0.3: received slow {slow}, fast "
                f"{fast}, ahead {ahead}, way {way}, jitter {jitter}"
            )
        self.reject, self.threshold, self.reject_unknown, self.late = (
            [str(name) for name in reject],
            threshold,
            reject_unknown,
            late,
        )
        self.parts, self.faulty, self.pitch, self.jitter, self.mass = parts, faulty, pitch, jitter, mass
        self.field, self.exposure, self.encoder, self.cycle = field, exposure_ms / 1000, encoder, cycle_ms / 1000
        self.latency, self.added = latency_ms, (transport_ms + extra_ms) / 1000
        self.limits = {"max_escape": max_escape, "max_false_reject": max_false_reject, "max_late": max_late, "min_rate": min_rate}
        self.budget = budget_ms if budget_ms is not None else 1000 * (way - ahead) / fast
        machine = Motor(resistance, inductance, constant, inertia, friction)
        self.belt = Belt(machine, travel, supply, proportional, integral, drag, fast, slow, backlog)
        self.gate = Gate(way, ahead, behind, gate_hz, gate_damping)

    def run(self, material: Material) -> Outcome:
        """Simulate; see `pipeline.loop.contract.Plant`.

        Raises:
            PersonError: no class to reject is named, or one that the data does not have, or the test split lacks a kind.
        """
        bad_K = self._classes(material)
        rng = generator(material.seed, "plant", "conveyor")
        sample_P = self._draw(bad_K[material.truth_N.astype(np.int64)], rng)
        order = _Asked(self, material, bad_K, sample_P)
        gap_P = self.pitch * np.clip(rng.normal(1, self.jitter, self.parts), 0.5, 1.5)
        slip_P = rng.normal(0, self.encoder, self.parts) * self.gate.way
        parts = Parts(np.cumsum(gap_P), np.full(self.parts, self.mass), slip_P)
        line = Line(belt=self.belt, gate=self.gate, parts=parts, decide=order.decide, late=self.late, cycle=self.cycle)
        trace = line.run()
        faulty_P = bad_K[material.truth_N[sample_P].astype(np.int64)]
        return self._outcome(material, order, trace, faulty_P)

    def _classes(self, material: Material) -> NDArray[np.bool_]:
        """Whether each class is to be rejected, (K,)."""
        known = list(material.classes)
        if not known:
            raise PersonError(
                "plant=conveyor sorts what a classifier recognises, but this model predicts a value: try  simulate drive"
            )
        if not self.reject:
            raise PersonError(f"name the classes that the gate takes off:  reject=[{known[-1]}]  (classes: {', '.join(known)})")
        for name in self.reject:
            if name not in known:
                raise PersonError(f"plant.reject: the data has no class {name!r}: {near_match(name, known)}")
        if len(set(self.reject)) == len(known):
            raise PersonError("plant.reject names every class: leave one that is good")
        return np.array([name in self.reject for name in known])

    def _draw(self, faulty_N: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.int64]:
        """Test sample of each part; none again before all of its kind came."""
        kinds = [np.flatnonzero(faulty_N == bad) for bad in (False, True)]
        if not len(kinds[0]) or not len(kinds[1]):
            raise PersonError("the test split has no faulty or no good sample: set a larger share for it")
        number = round(self.faulty * self.parts)
        drawn = []
        for kind, count in zip(kinds, (self.parts - number, number), strict=True):
            rounds = [rng.permutation(kind) for _ in range(-(-count // len(kind)))]
            drawn.append(np.concatenate([*rounds, kind[:0]])[:count])
        return np.asarray(rng.permutation(np.concatenate(drawn)), dtype=np.int64)

    def _outcome(self, material: Material, order: "_Asked", trace: Trace, faulty_P: NDArray[np.bool_]) -> Outcome:
        there_P = np.isfinite(trace.passed_P)
        units = [material.groups[n] or material.ids[n] for n in order.sample_P]
        wait_P = 1000 * (trace.answered_P - trace.seen_P)
        bad_P, good_P = faulty_P & there_P, ~faulty_P & there_P
        model_P = order.model_P
        why = [_why(*row) for row in zip(faulty_P, trace.off_P, trace.late_P, model_P, trace.told_P, there_P, strict=True)]
        asked = self._requirements(material, trace, wait_P, masks=(bad_P, good_P, there_P), units=units)
        rows = [
            [part, material.ids[order.sample_P[part]], int(faulty_P[part]), round(float(order.score_P[part]), 6),
             int(order.unknown_P[part]), int(trace.told_P[part]), int(trace.late_P[part]), int(trace.off_P[part]), why[part],
             round(float(trace.speed_P[part]), 4), round(float(wait_P[part]), 3), round(float(trace.passed_P[part]), 3)]
            for part in range(self.parts)
        ]  # fmt: skip
        causes = sorted(set(why) - {""})
        table = (("what went wrong", "parts"), [[cause, why.count(cause)] for cause in causes])
        escaped = [part for part, cause in enumerate(why) if cause.startswith("faulty")][:12]
        speeds = [moment[1] for moment in trace.moments]
        facts = {
            "parts": f"{self.parts}, {int(faulty_P.sum())} of them faulty, of {len(set(order.sample_P.tolist()))} test images "
                     f"in {len(set(units))} groups",
            "speed of the belt": f"{np.mean(speeds):.3f} m/s on average, wanted {self.belt.fast:g}",
            "answers waited for, at most": str(max(moment[2] for moment in trace.moments)),
            "answers that count as independent": judge.evidence(wait_P[np.isfinite(wait_P)], LEVEL, material.coverage),
            "the model alone, on these images": _right((model_P == faulty_P)[np.isfinite(order.score_P)]),
            "the line as a whole": _right((trace.off_P == faulty_P)[there_P]),
        }  # fmt: skip
        return Outcome(
            title="A sorting line with the model inside", summary=_summary(asked), requirements=asked, facts=facts,
            tables={"Parts that were sorted wrongly, by cause": table}, columns=COLUMNS, events=rows, text=TEXT,
            charts=self._charts(material, order, trace, wait_P=wait_P, escaped=escaped),
        )  # fmt: skip

    def _requirements(
        self, material: Material, trace: Trace, wait_P: NDArray[np.float64], *, masks: tuple[NDArray[np.bool_], ...],
        units: list[str],
    ) -> list[Requirement]:  # fmt: skip
        bad_P, good_P, there_P = masks
        cover, limits = material.coverage, self.limits
        clock = self.latency is None

        def of(mask_P: NDArray[np.bool_], hit_P: NDArray[np.bool_]) -> judge.Ends:
            return judge.share(hit_P[mask_P], [unit for unit, there in zip(units, mask_P, strict=True) if there], cover)

        waits = judge.percentile(wait_P[np.isfinite(wait_P)], LEVEL, cover)
        passed = judge.rate(trace.passed_P[there_P], cover)
        found = [
            Requirement("max_escape", "faulty parts that pass", of(bad_P, ~trace.off_P), limit=limits["max_escape"]),
            Requirement(
                "max_false_reject", "good parts that are rejected", of(good_P, trace.off_P), limit=limits["max_false_reject"]
            ),
            Requirement(
                "max_late",
                "parts without an answer in time",
                judge.in_time(trace.late_P[there_P], cover, wait_P[there_P]),
                limit=limits["max_late"],
                measured=clock,
            ),
            Requirement("budget_ms", "time of an answer, 99th percentile", waits, limit=self.budget, unit="ms", measured=clock),
            Requirement(
                "min_rate", "parts a second", passed, limit=limits["min_rate"], at_least=True, unit="1/s", measured=clock
            ),
        ]
        if not there_P.all():
            found.append(Requirement("stuck", "parts that never came to the gate", judge.in_time(~there_P, cover), limit=0.0))
        return found

    def _charts(
        self, material: Material, order: "_Asked", trace: Trace, *, wait_P: NDArray[np.float64], escaped: list[int]
    ) -> list[Chart]:
        charts = [
            Chart("line", "The first seconds: speed of the belt, answers that are waited for, the gate; below, each part as it "
                  "passes the gate.", partial(pictures.line, trace)),
            Chart("answers", "How long an answer took from the camera on, waiting and transport included.",
                  partial(pictures.answers, wait_P, self.budget)),
        ]  # fmt: skip
        if escaped:
            shown = [order.seen(part, float(trace.speed_P[part])) for part in escaped]
            titles = [f"part {part}\np {order.score_P[part]:.2f}" for part in escaped]
            charts.append(
                Chart("escaped", "Faulty parts that passed, as the camera saw them.", partial(pictures.sheet_of, shown, titles))
            )
        return charts


class _Asked:
    """Asks the model of each part, as the camera sees it."""

    def __init__(self, plant: Conveyor, material: Material, bad_K: NDArray[np.bool_], sample_P: NDArray[np.int64]) -> None:
        self.plant, self.material, self.bad_K, self.sample_P = plant, material, bad_K, sample_P
        self.score_P = np.full(len(sample_P), np.nan)
        self.unknown_P, self.model_P = (np.zeros(len(sample_P), dtype=bool) for _ in range(2))

    def seen(self, part: int, speed: float) -> Pixels:
        """The image, blurred by what the belt moves while the shutter is open."""
        pixels_HWC = self.material.pixels(int(self.sample_P[part]))
        return blurred(pixels_HWC, speed * self.plant.exposure / self.plant.field * pixels_HWC.shape[1])

    def decide(self, part: int, speed: float) -> tuple[bool, float]:
        """Whether to reject it, and how long that took."""
        said = self.material.ask(self.seen(part, speed))
        self.material.progress((part + 1) / len(self.sample_P))
        self.score_P[part] = float(said.prediction_K[self.bad_K].sum())
        self.unknown_P[part] = said.unknown
        self.model_P[part] = self.score_P[part] >= self.plant.threshold or (self.plant.reject_unknown and said.unknown)
        spent = said.seconds if self.plant.latency is None else self.plant.latency / 1000
        return bool(self.model_P[part]), spent + self.plant.added


def blurred(pixels_HWC: Pixels, length: float) -> Pixels:
    """Motion blur along the width: the mean over `length` pixels, parts of pixels included."""
    if length <= 0:
        return pixels_HWC
    from scipy.ndimage import convolve1d

    reach = max(0, int(np.ceil((length - 1) / 2)))
    places = np.arange(-reach, reach + 1)
    weights = np.clip(np.minimum(places + 0.5, length / 2) - np.maximum(places - 0.5, -length / 2), 0, 1)
    moved_HWC = convolve1d(pixels_HWC.astype(np.float32), weights / weights.sum(), axis=1, mode="nearest")
    return np.asarray(np.rint(np.clip(moved_HWC, 0, 255)), dtype=np.uint8)


def _right(hit_N: NDArray[np.bool_]) -> str:
    return f"{hit_N.mean():.4f} right" if len(hit_N) else "nothing came"


def _why(faulty: bool, off: bool, late: bool, model: bool, told: bool, there: bool) -> str:  # noqa: PLR0917
    """What went wrong with a part; "" for nothing."""
    if not there:
        return "never came to the gate"
    if faulty == off:
        return ""
    kind = "faulty, passed" if faulty else "good, rejected"
    if told == faulty:
        return f"{kind}: the gate opened too late" if faulty else f"{kind}: pushed off with a neighbour"
    if late:
        return f"{kind}: no answer in time"
    return f"{kind}: the model was wrong" if model != faulty else f"{kind}: other"


def _summary(asked: list[Requirement]) -> str:
    escape, good, *_ = asked
    return (
        f"{100 * escape.value:.1f} % of the faulty parts passed [{100 * escape.low:.1f}, {100 * escape.high:.1f}], "
        f"{100 * good.value:.1f} % of the good ones were rejected [{100 * good.low:.1f}, {100 * good.high:.1f}]"
    )


TEXT = (
    "Test images come over a belt. A DC motor under a PI controller drives it and is loaded by the parts.",
    "Each image is blurred by what the belt moves during the exposure.",
    "Answers come one after the other; where they pile up the belt slows down. A part without one is rejected or let through.",
    "The gate is a second-order actuator: it needs time to open, and takes a neighbour while it is open.",
    "Intervals treat images of one group as one piece of evidence, however often they came over the belt.",
    "Those of late answers, of the time of an answer and of the rate treat successive parts that are alike as one piece.",
)
