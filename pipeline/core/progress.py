"""A progress bar for whatever takes more than five seconds; silent below, and a plain line now and then without a terminal."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from pipeline.core import launch

T = TypeVar("T")
PATIENCE = 5.0  # seconds before anything is shown
TICK = 0.1  # seconds between two looks of the bar
PERIOD = 20.0  # seconds between lines where there is no terminal


class Meter:
    """Progress of work whose end is known; a bar on a terminal, elsewhere a line now and then."""

    def __init__(self, what: str, *, total: int, done: int = 0) -> None:
        self.what, self.total, self.first = what, total, done
        self.shows = launch.rank() == 0
        self.console = Console(file=sys.stderr)
        self.terminal = self.console.is_terminal  # asked once: it looks into the environment
        self.began = self.shown = time.monotonic()
        self.bar: Progress | None = None

    def update(self, done: int) -> None:
        """Say that `done` of the total are finished."""
        if not self.shows:
            return
        now = time.monotonic()
        if self.terminal and now - self.began > PATIENCE:
            if self.bar is not None and now - self.shown < TICK:
                return
            self.shown = now
            if self.bar is None:
                columns = (TextColumn(self.what), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
                self.bar = Progress(*columns, console=self.console, transient=True)
                self.bar.add_task(self.what, total=self.total)
                self.bar.start()
            self.bar.update(self.bar.task_ids[0], completed=done)
        elif now - self.shown > PERIOD and done > self.first:
            self.shown = now
            left = (now - self.began) / (done - self.first) * (self.total - done)
            self.console.print(f"{self.what}: {done} of {self.total}, about {left:.0f} s left", highlight=False)

    def close(self) -> None:
        """Take the bar away."""
        if self.bar is not None:
            self.bar.stop()


def track(items: Iterable[T], *, what: str, total: int) -> Iterator[T]:
    """Yield the items; show how far it is once that has taken more than `PATIENCE` seconds."""
    meter = Meter(what, total=total)
    try:
        for done, item in enumerate(items, start=1):
            yield item
            meter.update(done)
    finally:
        meter.close()
