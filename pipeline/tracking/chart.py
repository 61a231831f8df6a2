"""Geometry of line charts and of intervals, for the page of runs: numbers in, coordinates out; the page's template draws them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 460.0, 250.0  # of a chart, in its own units
LEFT, RIGHT, TOP, BOTTOM = 52.0, 12.0, 10.0, 30.0  # margins
MOST_POINTS = 400  # of one curve; a longer one is thinned, its extremes kept
FEW_POINTS = 25  # up to so many are marked with dots


@dataclass(frozen=True)
class Tick:
    """A mark of an axis: where it stands and what it says."""

    at: float
    text: str


@dataclass(frozen=True)
class Curve:
    """One run's line in a chart.

    Attributes:
        run: index of the run, for its colour.
        pieces: SVG points of unbroken stretches; a value that is not finite breaks the line.
        dots: coordinates to mark.
        last: the last value, for people.
    """

    run: int
    pieces: list[str]
    dots: list[tuple[float, float]]
    last: str


@dataclass(frozen=True)
class Chart:
    """A metric over the steps, one curve a run."""

    metric: str
    curves: list[Curve]
    x_ticks: list[Tick]
    y_ticks: list[Tick]


def chart(metric: str, series: Mapping[int, Mapping[int, float]]) -> Chart:
    """Lay out one metric.

    Args:
        metric: its name.
        series: index of a run -> step -> value.
    """
    finite = [value for points in series.values() for value in points.values() if math.isfinite(value)]
    steps = [step for points in series.values() for step in points]
    y_ticks = ticks(min(finite, default=0.0), max(finite, default=1.0))
    low, high = min(y_ticks[0], *finite) if finite else y_ticks[0], max(y_ticks[-1], *finite) if finite else y_ticks[-1]
    first, last = float(min(steps, default=0)), float(max(steps, default=1))

    def x(step: float) -> float:
        return round(LEFT + (step - first) / ((last - first) or 1.0) * (WIDTH - LEFT - RIGHT), 1)

    def y(value: float) -> float:
        return round(HEIGHT - BOTTOM - (value - low) / ((high - low) or 1.0) * (HEIGHT - TOP - BOTTOM), 1)

    curves = []
    for run, points in series.items():
        kept = thin(sorted(points.items()))
        placed = [[(x(step), y(value)) for step, value in piece] for piece in _stretches(kept)]
        few = len(kept) <= FEW_POINTS
        dots = [point for piece in placed if few or len(piece) == 1 for point in piece]
        pieces = [" ".join(f"{a},{b}" for a, b in piece) for piece in placed if len(piece) > 1]
        curves.append(Curve(run, pieces, dots, number(kept[-1][1] if kept else math.nan)))
    return Chart(metric, curves, [Tick(x(value), number(value)) for value in ticks(first, last) if first <= value <= last],
                 [Tick(y(value), number(value)) for value in y_ticks])  # fmt: skip


def ticks(low: float, high: float) -> list[float]:
    """Three to seven round numbers from just below `low` to just above `high`."""
    if not low < high:
        low, high = low - (abs(low) or 1.0) / 2, high + (abs(high) or 1.0) / 2
    rough = (high - low) / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = power * next(factor for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)
    return [round(index * step, 12) for index in range(math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9) + 1)]


def thin(points: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    """At most about `MOST_POINTS` points: of each stretch its lowest and its highest, and both ends."""
    if len(points) <= MOST_POINTS:
        return list(points)
    width = math.ceil(2 * len(points) / MOST_POINTS)
    kept = {points[0], points[-1]}
    for begin in range(0, len(points), width):
        part = points[begin : begin + width]
        kept |= {min(part, key=lambda point: point[1]), max(part, key=lambda point: point[1])}
    return sorted(kept)


def number(value: float) -> str:
    """A number for people: four digits, no noise.

    >>> [number(value) for value in (0.84917, 200.0, 1e-5, 1234567.0)]
    ['0.8492', '200', '1e-05', '1234567']
    """
    if not math.isfinite(value):
        return str(value)
    return f"{value:.0f}" if float(value).is_integer() and abs(value) < 1e9 else f"{value:.4g}"


def _stretches(points: Sequence[tuple[int, float]]) -> list[list[tuple[int, float]]]:
    pieces: list[list[tuple[int, float]]] = [[]]
    for point in points:
        if math.isfinite(point[1]):
            pieces[-1].append(point)
        elif pieces[-1]:
            pieces.append([])
    return [piece for piece in pieces if piece]
