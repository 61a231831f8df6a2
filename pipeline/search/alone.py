"""One process has a study at a time: the lock is the kernel's, and falls with the process however it ends."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.core.errors import PersonError


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Have the study for this process alone.

    Raises:
        PersonError: another process has it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("a", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise PersonError(f"another process runs the study {folder.name}: wait for it, or end it") from error
        yield
