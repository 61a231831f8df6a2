"""Whether the machine that submits is fit for it, and whether a job's machine sees the same cache and can write to it."""

import os
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
SHARED = "shared-with"  # the same content in the workspace and in the cache says that both are those of the machine that submits
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
    """On the machine that submits: look for Slurm's commands, and leave the token in workspace and cache.

    Raises:
        PersonError: a command of Slurm is missing, or the cache cannot be written.
    """
    absent = [name for name in COMMANDS if shutil.which(name) is None]
    if absent:
        raise PersonError(
            f"Slurm's {', '.join(absent)} is not found on this machine: run this where jobs are submitted (a login node), "
            "or without the profile:  snakemake -c2"
        )
    cache, token = cache_folder(root), uuid.uuid4().hex
    (root / ".snakemake").mkdir(exist_ok=True)
    try:
        cache.mkdir(parents=True, exist_ok=True)
        (cache / SHARED).write_text(token, encoding="utf-8")
        (root / ".snakemake" / SHARED).write_text(token, encoding="utf-8")
    except OSError as error:
        raise PersonError(f"{_not_writable(Path(error.filename or cache))} ({error.strerror})") from error


def check(root: Path) -> str:
    """On a job's machine: is the cache that of the machine that submitted, and can it be written?

    Returns:
        A warning about the clock, or "".

    Raises:
        PersonError: it is not shared, or not writable.
    """
    cache, mine = cache_folder(root), root / ".snakemake" / SHARED
    if mine.is_file():
        theirs = cache / SHARED
        if not theirs.is_file() or theirs.read_text(encoding="utf-8") != mine.read_text(encoding="utf-8"):
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


def _not_writable(folder: Path) -> str:
    return f"{folder} cannot be written on {_node()} by this user: free space or mend its rights, then start again"


def _node() -> str:
    return os.environ.get("SLURMD_NODENAME") or socket.gethostname()
