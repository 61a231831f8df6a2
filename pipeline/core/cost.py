"""Time, memory and money in words, and the truth beside the forecast. Imports no torch.

A price belongs to the machine and changes no result: it stands in `report.price_per_hour`, or in the environment variable
`PIPELINE_PRICE_PER_HOUR` (a number, and a currency behind it: `2.50 EUR`), which wins.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline.core.artifact import MEASURED, read_json
from pipeline.core.errors import PersonError
from pipeline.core.section import Cell, Section, Table

TIMINGS = MEASURED
VARIABLE = "PIPELINE_PRICE_PER_HOUR"


@dataclass(frozen=True)
class Price:
    """What an hour of the machine costs.

    Attributes:
        per_hour: in the currency; 0 where it is not known.
        currency: a name or sign.
    """

    per_hour: float = 0.0
    currency: str = ""

    def of(self, seconds: float) -> str:
        """What so many seconds cost; "" where the price is not known."""
        if self.per_hour <= 0:
            return ""
        paid = self.per_hour * seconds / 3600
        return f"{paid:.2f} {self.currency}".strip() if paid >= 0.01 else f"below 0.01 {self.currency}".strip()


def price(node: Mapping[str, Any] | None = None) -> Price:
    """The price in the environment, or in a configuration with `price_per_hour` and `currency`, or none.

    Raises:
        PersonError: the environment variable holds no number.
    """
    told = os.environ.get(VARIABLE, "").split(maxsplit=1)
    if not told:
        return Price(float(node.get("price_per_hour", 0.0)), str(node.get("currency", ""))) if node else Price()
    try:
        per_hour = float(told[0])
    except ValueError as error:
        raise PersonError(f"{VARIABLE} must be a number and may name a currency, as in 2.50 EUR: received {told[0]!r}") from error
    if not 0 <= per_hour < 1e9:
        raise PersonError(f"{VARIABLE} must be a price of at least 0: received {told[0]!r}")
    return Price(per_hour, told[1] if len(told) > 1 else "")


def duration(seconds: float) -> str:
    """Seconds for people.

    >>> [duration(value) for value in (0.0123, 4.21, 75, 4000, 200000)]
    ['12 ms', '4.2 s', '1 min 15 s', '1 h 06 min', '2 d 7 h']
    """
    if seconds < 1:
        return f"{1000 * seconds:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 2 * 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


def size(count: float) -> str:
    """Bytes for people.

    >>> [size(value) for value in (4096, 3.5e6, 612e6, 1.25e9)]
    ['4.1 KB', '3.5 MB', '612 MB', '1.25 GB']
    """
    for unit, scale in (("GB", 1e9), ("MB", 1e6)):
        if count >= scale:
            return f"{count / scale:.3g} {unit}"
    return f"{count / 1e3:.2g} KB" if count < 1e4 else f"{count / 1e3:.0f} KB"


def told(section: Section, directory: Path, paid: Price) -> Section:
    """A section with a table of what its training took beside the forecast.

    The times stand in `timings.json`, which is no part of the artifact's identity: where it is absent (restored from a cache) or
    of another run, the section stays as it is.

    Args:
        section: of the stage.
        directory: its artifact, with `run.json`.
        paid: price of an hour.
    """
    path = directory / TIMINGS
    if not path.is_file():
        return section
    timings = read_json(path)
    if timings.get("run_id") != read_json(directory / "run.json")["run_id"]:
        return section
    return replace(section, tables=[*section.tables, table(timings, paid)])


def table(timings: Mapping[str, Any], paid: Price) -> Table:
    """Forecast and truth of `timings.json`."""
    forecast, measured = timings.get("forecast") or {}, timings["measured"]
    rows: list[list[Cell]] = []

    def row(name: str, key: str, words: Any) -> None:
        before, after = forecast.get(key), measured.get(key)
        if before is not None or after is not None:
            off = f"{100 * (after / before - 1):+.0f} %" if before and after else None
            rows.append([name, None if before is None else words(before), None if after is None else words(after), off])

    row("time of the training loop", "seconds", duration)
    row("one step", "step_seconds", duration)
    row("one validation", "validate_seconds", duration)
    row("one checkpoint", "checkpoint_seconds", duration)
    row("samples a second", "samples_per_second", lambda value: f"{value:,.0f}")
    row("memory of the process, at its peak", "peak_bytes", size)
    row("memory of the GPU, at its peak", "device_peak_bytes", size)
    if paid.per_hour > 0:
        row(f"money, at {paid.per_hour:g} {paid.currency} an hour".strip(), "seconds", paid.of)
    caption = "Cost on the machine that trained it: forecast after the first steps, and truth"
    return Table(caption, ["", "forecast", "truth", "off by"], rows)
