"""Pictures of a run; each writes one PNG in the house style. P parts, T moments, V windows."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.pictures import BLUE, GREEN, GREY, ORANGE, RED, figure, grid, save, sheet
from pipeline.core.record import Pixels
from pipeline.loop.contract import Requirement

DPI = 130
SECONDS = 15.0  # of a line that are drawn
MOST = 4  # times its limit
SHORT = 16  # windows of a drive that are drawn
STATES = {"met": GREEN, "missed": RED, "not shown": ORANGE, "not asked": GREY}
ARMS = (("without", GREY), ("true load", GREEN), ("model", BLUE))


def requirements(asked: Sequence[Requirement], path: Path) -> Path:
    """Each value with its interval, as a share of its limit; left of 1 is good, right of it where more is."""
    shown = [one for one in asked if one.limit and np.isfinite(one.value)]
    fig = figure(7.2, 0.8 + 0.42 * max(1, len(shown)))
    axes = fig.add_subplot()
    axes.axvline(1, color=GREY, linestyle=":", linewidth=1)
    for row, one in enumerate(reversed(shown)):
        limit = float(one.limit or 1)
        ends = np.clip([one.low / limit, one.high / limit], 0, MOST)
        axes.plot(ends, [row, row], color=STATES[one.state], linewidth=2.2, solid_capstyle="butt")
        axes.plot(min(one.value / limit, MOST), row, "o", color=STATES[one.state], markersize=6)
    names = [f"{one.meaning} ({'at least' if one.at_least else 'at most'} {one.limit:g})" for one in reversed(shown)]
    axes.set_yticks(range(len(shown)), names)
    axes.set_ylim(-0.6, max(0.6, len(shown) - 0.4))
    axes.set_xlim(left=0)
    axes.set_xlabel(f"value over its limit (more than {MOST} is drawn at {MOST})")
    grid(axes, "x")
    return save(fig, path, DPI)


def line(trace: Any, path: Path) -> Path:
    """The first seconds of a sorting line; `trace` is a `pipeline.simulation.line.Trace`."""
    moments = np.array([row for row in trace.moments if row[0] <= SECONDS])
    fig = figure(9.0, 5.0)
    speed, waits, gate = fig.subplots(3, 1, sharex=True, height_ratios=[2, 1, 2])
    speed.plot(moments[:, 0], moments[:, 1], color=BLUE)
    speed.set_ylabel("belt (m/s)")
    waits.plot(moments[:, 0], moments[:, 2], color=ORANGE, drawstyle="steps-post")
    waits.set_ylabel("waiting")
    gate.plot(moments[:, 0], moments[:, 3], color=GREY, linewidth=1.2)
    gate.set_ylabel("gate (share open)")
    gate.set_xlabel("time (s)")
    inside = trace.passed_P <= SECONDS
    for off, colour, name in ((False, GREEN, "let through"), (True, RED, "taken off")):
        times = trace.passed_P[inside & (trace.off_P == off)]
        gate.plot(times, np.full(len(times), 0.5), "|", color=colour, markersize=16, markeredgewidth=2, label=name)
    if len(gate.get_legend_handles_labels()[0]):
        gate.legend(loc="lower right", bbox_to_anchor=(1, 0.98), ncols=2)
    for axes in (speed, waits, gate):
        grid(axes, "y")
    return save(fig, path, DPI)


def answers(wait_N: NDArray[np.float64], budget: float, path: Path) -> Path:
    """Histogram of the times of answers and their budget, ms."""
    fig = figure(6.2, 2.8)
    axes = fig.add_subplot()
    there_N = wait_N[np.isfinite(wait_N)]
    axes.axvline(budget, color=RED, linestyle="--", label=f"budget {budget:.4g} ms")
    if len(there_N):
        least, most = max(1e-3, float(there_N.min())), max(float(there_N.max()), budget)
        slow = float(np.percentile(there_N, 99))
        axes.hist(there_N, bins=np.geomspace(least * 0.95, most * 1.05, 60).tolist(), color=BLUE)
        axes.axvline(slow, color=ORANGE, label=f"99th percentile {slow:.4g} ms")
    axes.set_xscale("log")
    axes.set_xlabel("time of an answer (ms)")
    axes.set_ylabel("answers")
    axes.legend()
    grid(axes, "y")
    return save(fig, path, DPI)


def sheet_of(images_HWC: Sequence[Pixels], titles: Sequence[str], path: Path) -> Path:
    """Images with titles."""
    return sheet(images_HWC, titles, path)


def drive(run: Any, wanted: float, band: float, path: Path) -> Path:
    """The first windows of one motor; `run` is its loads and what came of each arm (`pipeline.plant.drive`)."""
    loads, arms = run
    shown = min(SHORT, len(loads.torque_VT))
    samples = loads.torque_VT.shape[1]
    windows_T = np.arange(shown * samples) / samples
    fig = figure(9.0, 5.4)
    load, volts, speed = fig.subplots(3, 1, sharex=True, height_ratios=[2, 1.4, 2.4])
    load.plot(windows_T, loads.torque_VT[:shown].ravel(), color=GREY, label="true")
    load.plot(np.arange(1, shown + 1), arms["model"].said_V[:shown], "o", color=BLUE, markersize=4, label="the model")
    load.set_ylabel("load (N m)")
    volts.plot(windows_T, arms["model"].volts_VT[:shown].ravel(), color=BLUE, linewidth=1.2)
    volts.set_ylabel("voltage (V)")
    speed.axhspan(wanted * (1 - band), wanted * (1 + band), color="#e7f1e9", zorder=0)
    for name, colour in ARMS:
        speed.plot(windows_T, arms[name].speed_VT[:shown].ravel(), color=colour, linewidth=1.2, label=name)
    speed.set_ylabel("speed (rad/s)")
    speed.set_xlabel("windows of the sensor")
    for axes in (load, speed):
        axes.legend(loc="lower right", bbox_to_anchor=(1, 0.98), ncols=3)
    for axes in (load, volts, speed):
        grid(axes, "y")
    return save(fig, path, DPI)
