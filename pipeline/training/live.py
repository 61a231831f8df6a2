"""One line that a person watches while a network trains: how far, how well, how fast, how much memory, how long still.

On a terminal it is redrawn twice a second; elsewhere a plain line comes after every tenth of the steps. Work that is done within
`PATIENCE` seconds stays silent. It looks on and touches nothing.
"""

import sys
import time
from collections.abc import Mapping

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Column

from pipeline.core.cost import duration, size
from pipeline.core.progress import PATIENCE
from pipeline.training.resources import device_peak_bytes, peak_bytes

REDRAW = 0.5  # seconds
PARTS = 10  # lines without a terminal
SMOOTH = 20.0  # seconds of which the speed is an average


class Live:
    """The line of one training.

    Args:
        what: its name.
        total: steps in all.
        done: steps that an earlier process took.
        batch_size: samples a step.
        console: where to write; None is standard error.
    """

    def __init__(self, what: str, *, total: int, done: int = 0, batch_size: int = 0, console: Console | None = None) -> None:
        self.what, self.total, self.batch_size = what, total, batch_size
        self.console = console or Console(file=sys.stderr)
        self.values: dict[str, float] = {}
        self.began = self.drawn = time.monotonic()
        self.tenth = done * PARTS // max(1, total)
        self.marks = [(self.began, done)]
        self.bar: Progress | None = None

    def update(self, done: int, values: Mapping[str, float] | None = None) -> None:
        """Say that `done` steps are taken, and what is new of the values to show."""
        if values:
            self.values.update(values)
        now = time.monotonic()
        tenth = done * PARTS // max(1, self.total)
        if now - self.drawn < REDRAW and tenth == self.tenth:
            return
        if now - self.marks[-1][0] >= REDRAW:
            self.marks.append((now, done))
            self.marks = [mark for mark in self.marks if now - mark[0] <= SMOOTH or mark is self.marks[-1]]
        if now - self.began > PATIENCE:
            self._show(done, plain=tenth > self.tenth)
        self.tenth, self.drawn = tenth, now

    def speed(self) -> float | None:
        """Steps a second over the last `SMOOTH` seconds; None before there are any."""
        (before, first), (now, last) = self.marks[0], self.marks[-1]
        return (last - first) / (now - before) if now > before and last > first else None

    def close(self) -> None:
        """Take the line away."""
        if self.bar is not None:
            self.bar.stop()
            self.bar = None

    def _show(self, done: int, *, plain: bool) -> None:
        if not self.console.is_terminal:
            if plain:
                said = [f"{self.what}: step {done:,} of {self.total:,}", *self._said(done)]
                self.console.print(", ".join(said), highlight=False, markup=False, soft_wrap=True)
            return
        if self.bar is None:
            one_line = Column(no_wrap=True, overflow="ellipsis")
            words = TextColumn("{task.fields[said]}", markup=False, table_column=one_line)
            columns = (TextColumn("{task.description}"), BarColumn(bar_width=12), words)
            self.bar = Progress(*columns, console=self.console, transient=True, auto_refresh=False)
            self.bar.add_task(self.what, total=self.total, said="")
            self.bar.start()
        line = "  ".join([f"{done:,}/{self.total:,}", *self._said(done)])
        self.bar.update(self.bar.task_ids[0], completed=done, said=line, refresh=True)

    def _said(self, done: int) -> list[str]:
        words = [f"{name} {value:.4g}" for name, value in self.values.items()]
        speed = self.speed()
        if speed is not None and self.batch_size:
            words.append(f"{speed * self.batch_size:,.0f}/s")
        words.append(size(device_peak_bytes() or peak_bytes()))
        if speed is not None and done < self.total:
            words.append(f"{duration((self.total - done) / speed)} left")
        return words
