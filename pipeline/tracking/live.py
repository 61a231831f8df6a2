"""Which runs are being written to at this moment: a lock that dies with its process.

A second process of the same run waits for the first to end (a killed training's tracker needs a moment to close its run), and
`sync` leaves such runs alone, because wandb marks what it has uploaded as done.
"""

import fcntl
import time
from pathlib import Path
from typing import IO


def hold(directory: Path, run_id: str, *, patience: float) -> IO[str]:
    """Take the run's lock; keep the result as long as the run is written to.

    Args:
        directory: where runs lie.
        run_id: of the run.
        patience: seconds to wait for another process; after them the run goes on beside it.
    """
    path = _path(directory, run_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("a", encoding="utf-8")
    deadline = time.monotonic() + patience
    while not _taken(file) and time.monotonic() < deadline:
        time.sleep(0.1)
    return file


def is_live(directory: Path, run_id: str) -> bool:
    """Whether a process is writing to the run."""
    path = _path(directory, run_id)
    if not path.is_file():
        return False
    with path.open("a", encoding="utf-8") as file:
        return not _taken(file)


def _path(directory: Path, run_id: str) -> Path:
    return directory / "state" / "live" / run_id


def _taken(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
