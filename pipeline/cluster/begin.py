"""What a run of Snakemake begins with: the folder for itself, nothing left of an older run, the tools of this environment."""

import fcntl
import os
import re
import shutil
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from pipeline.cache.locks import mend
from pipeline.cluster import place
from pipeline.core.errors import PersonError

ASKED = ".snakemake/asked"  # one marker a stage, valid for one invocation only
KEPT = ".snakemake/markers"  # where a profile without a shared working folder keeps them
HELD: list[TextIO] = []


def is_dry() -> bool:
    """Whether a person asked Snakemake for a dry run; while it reads the Snakefile it does not know that yet."""
    return any(re.fullmatch(r"--dry-?run|-[a-zA-Z]*n[a-zA-Z]*", word) for word in sys.argv)


def begin(config: Mapping[str, Any], *, main: bool) -> Path:
    """Make ready; a study (`config["study"]`) has a lock and markers of its own.

    Args:
        config: of Snakemake.
        main: whether this is the process that a person started, and not the one of a job.

    Returns:
        The root of the repository. A pod begins in a folder of its own: `workspace` of the profile says where it is mounted.

    Raises:
        PersonError: another run has the folder, the machine cannot submit, or its jobs would not see a study's cells.
    """
    # `python` in dvc.yaml and `dvc` are those of the environment that Snakemake runs in, whether or not it is activated.
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    if not main:  # what a cluster sends before it takes the machine away is the stage's affair; what starts here inherits this
        for number in (signal.SIGUSR1, signal.SIGUSR2):
            signal.signal(number, signal.SIG_IGN)
        return Path(config.get("workspace", Path.cwd()))
    root = Path.cwd()
    if config.get("study") and config.get("workspace"):
        raise PersonError(
            "a study runs on this machine or on Slurm: its cells lie in .run/study, which a pod does not see; "
            "leave out this profile"
        )
    if not config.get("study"):
        HELD.append(_alone(root))
        mend(root)
        for markers in (ASKED, KEPT):
            shutil.rmtree(root / markers, ignore_errors=True)
    if config.get("cluster") == "slurm" and not is_dry():
        place.offer(root)
    return root


def _alone(root: Path) -> TextIO:
    """The lock of the folder. Snakemake's own outlives a kill -9 and wants `--unlock` (profiles/default turns it off)."""
    folder = root / ".snakemake"
    folder.mkdir(exist_ok=True)
    file = (folder / "alone").open("w", encoding="utf-8")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise PersonError(
            "another snakemake runs in this folder: wait for it, or work in a second clone with the same cache"
        ) from None
    return file
