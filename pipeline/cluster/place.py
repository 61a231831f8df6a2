"""Whether the machine that submits is fit for it, and whether a job's machine sees the same cache and can write to it."""

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

from pipeline.core.errors import PersonError

COMMANDS = ("sbatch", "squeue", "scontrol")
SHARED = "shared-with"  # in a clone: its token; the cache holds a file of that name and token for each clone that submits
SKEW_SECONDS = 5.0


def cache_folder(root: Path) -> Path:
    """Where DVC keeps the cache of the repository at `root`.

    Raises:
        PersonError: DVC does not know.
    """
    done = subprocess.run([sys.executable, "-m", "dvc", "cache", "dir"], cwd=root, capture_output=True, text=True, check=False)
    if done.returncode:
        raise PersonError(f"the place of DVC's cache is not known: {' '.join(done.stderr.split())[:300]}")
    return Path(done.stdout.strip())


def offer(root: Path) -> None:
    """On the machine that submits: look for Slurm's commands, and leave the token of this clone in workspace and cache.

    Raises:
        PersonError: a command of Slurm is missing, or the cache cannot be written.
    """
    absent = [name for name in COMMANDS if shutil.which(name) is None]
    if absent:
        raise PersonError(
            f"Slurm's {', '.join(absent)} is not found on this machine: run this where jobs are submitted (a login node), "
            "or without the profile:  snakemake -c2"
        )
    cache, known = cache_folder(root), _token(root)
    token = known or uuid.uuid4().hex
    own = root / ".snakemake"
    own.mkdir(exist_ok=True)
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=cache, prefix=".writable-"):
            pass
        if not (cache / f"{SHARED}-{token}").is_file():
            (cache / f"{SHARED}-{token}").touch()
        if not known:  # once in the life of a clone: jobs that wait in the queue go by it
            (own / SHARED).write_text(token, encoding="utf-8")
    except OSError as error:
        folder = own if error.filename == str(own / SHARED) else cache
        raise PersonError(f"{_not_writable(folder)} ({error.strerror})") from error


def check(root: Path) -> str:
    """On a job's machine: is the cache that of the machine that submitted, and can it be written?

    Returns:
        A warning about the clock, or "".

    Raises:
        PersonError: it is not shared, or not writable.
    """
    cache = cache_folder(root)
    if (root / ".snakemake" / SHARED).is_file() and not (cache / f"{SHARED}-{_token(root)}").is_file():
        raise PersonError(
            f"the cache {cache} of {_node()} is not the one of the machine that submitted: put it where all machines see it, "
            "dvc cache dir --local /shared/cache , or use a remote (docs/cluster.md)"
        )
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=cache, prefix=".writable-") as file:
            skew = Path(file.name).stat().st_mtime - time.time()
    except OSError as error:
        raise PersonError(f"{_not_writable(cache)} ({error.strerror})") from error
    if abs(skew) <= SKEW_SECONDS:
        return ""
    return f"warning: the clock of {_node()} is {abs(skew):.0f} s off that of the file system; no result depends on it"


def _token(root: Path) -> str:
    """Of the clone at `root`; "" where it has none yet, or none that can be read."""
    path = root / ".snakemake" / SHARED
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    return text if re.fullmatch(r"[0-9a-f]{32}", text) else ""


def _not_writable(folder: Path) -> str:
    return f"{folder} cannot be written on {_node()} by this user: free space or mend its rights, then start again"


def _node() -> str:
    return os.environ.get("SLURMD_NODENAME") or socket.gethostname()
