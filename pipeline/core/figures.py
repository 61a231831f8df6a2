"""Numbers in words and PNG files as data URIs: what the report's templates show. Imports no torch."""

import base64
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SHRINK = (1.0, 0.75, 0.55, 0.4)  # of the widest picture allowed; the first at which all pictures together fit
WIDE = 780  # pixels; a picture of this width or more takes the whole width of the page
HEAVY = 200_000  # bytes of a PNG above which JPEG is tried


def number(value: object) -> str:
    """A cell of a table for people: thousands separators, three decimals, a dash for nothing.

    >>> [number(value) for value in (1234567, 0.81249, 0.00001234, 1234.5, None, "text", 3.0)]
    ['1,234,567', '0.812', '1.23e-05', '1,234.5', '–', 'text', '3.000']
    """
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "–"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    if value != 0 and abs(value) < 0.001:
        return f"{value:.2e}"
    return f"{value:,.1f}" if abs(value) >= 1000 else f"{value:.3f}"


def numeric_columns(rows: Sequence[Sequence[object]], count: int) -> list[bool]:
    """Which of the columns hold only numbers, dashes and values with intervals, and so stand flush right."""
    return [bool(rows) and all(_is_number(row[column]) for row in rows) for column in range(count)]


def _is_number(value: object) -> bool:
    if isinstance(value, str):
        return bool(value) and all(character in "0123456789.,+-–[]% e" for character in value)
    return not isinstance(value, bool)


@dataclass(frozen=True)
class Shown:
    """A picture inside the page; width and height in pixels, `wide` where it deserves the whole width of the page."""

    uri: str
    width: int
    height: int
    wide: bool


def encode(paths: Sequence[Path], *, budget: int, width: int) -> dict[Path, Shown]:
    """PNG files as data URIs; wide pictures shrink, heavy ones become JPEG.

    Args:
        paths: the files.
        budget: characters of all data URIs together, kept to by shrinking wide pictures to two fifths at most.
        width: pixels of the widest picture allowed.
    """
    encoded: dict[Path, Shown] = {}
    for share in SHRINK:
        encoded = {path: _shown(path, round(share * width)) for path in paths}
        if sum(len(shown.uri) for shown in encoded.values()) <= budget:
            break
    return encoded


def _shown(path: Path, limit: int) -> Shown:
    from PIL import Image

    data = path.read_bytes()
    with Image.open(io.BytesIO(data)) as opened:
        image = opened.convert("RGB")
    kind, wide = "png", image.width >= WIDE
    if image.width > limit:
        image = image.resize((limit, max(1, round(image.height * limit / image.width))), Image.Resampling.LANCZOS)
        data = _bytes(image, "PNG", optimize=True)
    if len(data) > HEAVY:
        smaller = _bytes(image, "JPEG", quality=86, optimize=True)
        kind, data = ("jpeg", smaller) if len(smaller) < len(data) else (kind, data)
    return Shown(f"data:image/{kind};base64,{base64.b64encode(data).decode()}", image.width, image.height, wide)


def _bytes(image: Any, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@dataclass(frozen=True)
class Interval:
    """One row of the chart of intervals; positions in percent of the axis."""

    name: str
    text: str
    low: float
    value: float
    high: float


@dataclass(frozen=True)
class IntervalChart:
    """Values with their intervals on one axis between round ticks (position in percent, text)."""

    rows: list[Interval]
    ticks: list[tuple[float, str]]


def interval_chart(entries: Sequence[tuple[str, Mapping[str, float]]]) -> IntervalChart:
    """Lay out (name, {value, low, high}) rows between round tick values."""
    low = min(min(entry["low"], entry["value"]) for _, entry in entries)
    high = max(max(entry["high"], entry["value"]) for _, entry in entries)
    step = _round_step((high - low or abs(high) or 1.0) / 4)
    start, stop = math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step
    stop = stop if stop > start else start + step

    def place(value: float) -> float:
        return round(100 * (value - start) / (stop - start), 2)

    rows = []
    for name, entry in entries:
        text = f"{number(float(entry['value']))} [{number(float(entry['low']))}, {number(float(entry['high']))}]"
        rows.append(Interval(name, text, place(entry["low"]), place(entry["value"]), place(entry["high"])))
    marks = [start + index * step for index in range(round((stop - start) / step) + 1)]
    return IntervalChart(rows, [(place(mark), f"{mark:.10g}") for mark in marks])


def _round_step(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
