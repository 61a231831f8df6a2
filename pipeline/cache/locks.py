"""The one file of DVC that a kill can leave unreadable: `.dvc/tmp/rwlock`, which it truncates and writes anew.

Killed between the two, it is empty, and every later `dvc repro` ends with "JSON structure is corrupted" until somebody removes it
(measured: at the 15th kill under Snakemake). What it held was about processes that are gone.
"""

import fcntl
import json
from pathlib import Path


def mend(root: Path) -> bool:
    """Remove DVC's `rwlock` where it cannot be read and no DVC is writing it; return whether it was."""
    path = root / ".dvc" / "tmp" / "rwlock"
    if _readable(path):
        return False
    with path.with_name("rwlock.lock").open("a") as guard:  # DVC holds this one while it writes
        try:
            fcntl.flock(guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        if _readable(path):
            return False
        path.unlink(missing_ok=True)
        return True


def _readable(path: Path) -> bool:
    try:
        return isinstance(json.loads(path.read_text(encoding="utf-8")), dict)
    except FileNotFoundError:
        return True
    except ValueError:
        return False
