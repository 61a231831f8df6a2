"""A progress bar for whatever takes more than five seconds; silent below, and a plain line now and then without a terminal."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

from pipeline.core import launch

if TYPE_CHECKING:
    from rich.progress import Progress

T = TypeVar("T")
PATIENCE = 5.0  # seconds before anything is shown
TICK = 0.1  # seconds between two looks of the bar
PERIOD = 20.0  # seconds between lines where there is no terminal


class Meter:
    """Progress of work whose end is known; a bar on a terminal, elsewhere a line now and then."""

    def __init__(self, what: str, *, total: int, done: int = 0) -> None:
        self.what, self.total, self.first = what, total, done
        self.shows = launch.rank() == 0
        self.terminal = sys.stderr.isatty()
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
            self.bar = self.bar or self._bar()
            self.bar.update(self.bar.task_ids[0], completed=done)
        elif now - self.shown > PERIOD and done > self.first:
            self.shown = now
            left = (now - self.began) / (done - self.first) * (self.total - done)
            sys.stderr.write(f"{self.what}: {done} of {self.total}, about {left:.0f} s left\n")

    def _bar(self) -> "Progress":
        """A bar on the terminal. Its library is imported here, since most work is done before one is shown."""
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        columns = (TextColumn(self.what), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
        bar = Progress(*columns, console=Console(file=sys.stderr), transient=True)
        bar.add_task(self.what, total=self.total)
        bar.start()
        return bar

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
