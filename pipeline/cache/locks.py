"""What a kill leaves in `.dvc/tmp/rwlock`, DVC's list of who reads and writes which output.

- DVC truncates the file and writes it anew. Killed between the two, it is empty, and every later `dvc repro` ends with "JSON
  structure is corrupted" until somebody removes it (measured: at the 15th kill under Snakemake). What it held was about processes
  that are gone.
- It names the process that was killed. DVC drops a name that is no process, but takes for alive one that is still ending, or that
  has ended and was not waited for, and ends with "is busy" (measured: 4 of 50 kills; for ever where the first process of a
  container waits for nobody). Names that are no process here are left to DVC: they may live on another node.
"""

import fcntl
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil

ENDING = 5.0  # seconds that a process named there is given to end, as one that was just killed does
ENDED = {psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD}


def mend(root: Path, *, patience: float = ENDING) -> bool:
    """Remove what a kill left in DVC's `rwlock`, unless a DVC is writing it; return whether there was something.

    Args:
        root: of the workspace.
        patience: seconds to wait for the living processes it names. Who lives on is left there, and DVC says its name.
    """
    path = root / ".dvc" / "tmp" / "rwlock"
    until = time.monotonic() + patience
    while time.monotonic() < until and any(_status(one["pid"]) not in {None, *ENDED} for one in _holders(_read(path) or {})):
        time.sleep(0.05)
    if _sound(_read(path)):
        return False
    with _guard(path.with_name("rwlock.lock"), links=_links(root)) as held:
        found = _read(path)
        if not held or _sound(found):
            return False
        if found is None:
            path.unlink(missing_ok=True)
        else:
            path.write_text(json.dumps(_without_the_ended(found)), encoding="utf-8")
        return True


def _links(root: Path) -> bool:
    """Whether DVC locks by hard links here. It is asked itself, because the setting may stand in any of four files."""
    done = subprocess.run([sys.executable, "-m", "dvc", "config", "core.hardlink_lock"], cwd=root, capture_output=True, text=True,
                          env={**os.environ, "DVC_NO_ANALYTICS": "1"}, check=False)  # fmt: skip
    return done.stdout.strip().lower() == "true"


@contextmanager
def _guard(path: Path, *, links: bool) -> Iterator[bool]:
    """Hold what DVC holds while it writes the list, in DVC's own way; False where another holds it.

    Without links DVC keeps the file for good and locks it (zc.lockfile). With links the file itself is the lock (flufl.lock):
    left behind, it would keep every DVC out. Should this process be killed, its words let DVC remove it after ten seconds.
    """
    with ExitStack() as stack:
        try:
            file = stack.enter_context(path.open("x" if links else "a"))
            if links:
                stack.callback(path.unlink, missing_ok=True)
                file.write(f"{path.name}|{socket.gethostname()}|{os.getpid()}|0")
                file.flush()
            else:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            held = True
        except (FileExistsError, BlockingIOError):
            held = False
        yield held


def _read(path: Path) -> dict[str, Any] | None:
    """What the file holds; nothing where there is none, None where it is not what DVC writes."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        _holders(found)
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
    return dict(found)


def _sound(found: dict[str, Any] | None) -> bool:
    return found is not None and not any(_status(one["pid"]) in ENDED for one in _holders(found))


def _holders(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Everybody it names: of a path there is one writer, or a list of readers."""
    return [{"pid": int(one["pid"])} for mode in found.values() for held in mode.values()
            for one in (held if isinstance(held, list) else [held])]  # fmt: skip


def _without_the_ended(found: dict[str, Any]) -> dict[str, Any]:
    def living(held: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [one for one in held if _status(one["pid"]) not in ENDED]

    writers = {path: one for path, one in found.get("write", {}).items() if living([one])}
    readers = {path: left for path, held in found.get("read", {}).items() if (left := living(held))}
    return {"write": writers, "read": readers}


def _status(pid: int) -> str | None:
    """Of a process of this machine, by psutil; None where there is none."""
    try:
        return str(psutil.Process(pid).status())
    except psutil.NoSuchProcess:
        return None
