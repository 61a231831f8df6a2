"""SIGTERM, SIGUSR1 and SIGUSR2 ask a stage to end soon: it keeps what it has and publishes nothing; the same command continues.

A cluster sends one of them before it takes the machine away (Slurm: `--signal=USR1@90`, and SIGTERM at the time limit). Where
nothing is held, `Interrupted` is raised at once. Inside `held()` the request is only noted, and whoever holds it looks at
`asked()` and ends at a place of its choosing: a training after the step that it is in. Ctrl+C does the same, once; a second one
ends at once.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
CODE = 75  # EX_TEMPFAIL of sysexits.h: try again later
BY_HAND = 130  # what a shell calls the end by Ctrl+C


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
