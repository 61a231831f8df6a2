"""SIGTERM, SIGUSR1 and SIGUSR2 ask a stage to end soon: it keeps what it has and publishes nothing; the same command continues.

A cluster sends one of them before it takes the machine away (Slurm: `--signal=USR1@90`, and SIGTERM at the time limit). Where
nothing is held, `Interrupted` is raised at once. Inside `held()` the request is only noted, and whoever holds it looks at
`asked()` and ends at a place of its choosing: a training after the step that it is in. Ctrl+C does the same, once; a second one
ends at once.

Python drops what a handler raises while the collector or a weak reference calls back ("Exception ignored in"): the signal
is then sent again, or the stage would go on until it is killed.
"""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
CODE = 75  # EX_TEMPFAIL of sysexits.h: try again later
BY_HAND = 130  # what a shell calls the end by Ctrl+C
SOON = 0.05  # seconds until a signal whose exception was dropped is sent again


class Interrupted(BaseException):
    """A stage was asked to end; no `except Exception` swallows it.

    Args:
        name: of the signal.
        kept: what the next run continues from, for a person.

    Attributes:
        code: exit code of the process.
    """

    def __init__(self, name: str, kept: str = "") -> None:
        super().__init__(f"interrupted by {name}: {kept + ', ' if kept else ''}nothing was published; the same command continues")
        self.code = BY_HAND if name == signal.SIGINT.name else CODE


class _Request:
    """What was asked of this process."""

    def __init__(self) -> None:
        self.name, self.holders, self.owner = "", 0, 0


_REQUEST = _Request()


def listen() -> None:
    """Handle the signals from now on, in the main thread of this process; its forked children die of them as before."""
    _REQUEST.name, _REQUEST.owner = "", os.getpid()
    for number in (*SIGNALS, signal.SIGINT):
        signal.signal(number, _note)
    sys.unraisablehook = _dropped


def asked() -> str:
    """Name of the signal that came; "" for none."""
    return _REQUEST.name


def agree(name: str) -> None:
    """Note a request that reached another process of this training."""
    _REQUEST.name = _REQUEST.name or name


def check(kept: str = "") -> None:
    """Raise what was noted.

    Raises:
        Interrupted: a signal came.
    """
    if _REQUEST.name:
        raise Interrupted(_REQUEST.name, kept)


@contextmanager
def held() -> Iterator[None]:
    """Inside, a signal is only noted."""
    _REQUEST.holders += 1
    try:
        yield
    finally:
        _REQUEST.holders -= 1


def _note(number: int, _: FrameType | None) -> None:
    if os.getpid() != _REQUEST.owner:
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        return
    repeated = bool(_REQUEST.name)
    _REQUEST.name = _REQUEST.name or signal.Signals(number).name
    if number == signal.SIGINT and (repeated or not _REQUEST.holders):
        raise KeyboardInterrupt
    if not repeated and not _REQUEST.holders:
        check()


def _dropped(found: "UnraisableHookArgs") -> None:
    """Have a request whose exception Python dropped come again."""
    if not isinstance(found.exc_value, (Interrupted, KeyboardInterrupt)) or os.getpid() != _REQUEST.owner:
        sys.__unraisablehook__(found)
        return
    number = signal.Signals[_REQUEST.name] if isinstance(found.exc_value, Interrupted) else signal.SIGINT
    _REQUEST.name = ""
    again = threading.Timer(SOON, os.kill, (os.getpid(), number))
    again.daemon = True
    again.start()
