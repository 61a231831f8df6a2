"""Back into the queue: a job that was told to end goes there itself when it has something to continue from.

Slurm requeues a job whose node died, and one that it preempted and killed. It does not requeue one that ended by itself in the
time that it was given, which is what a training does after its checkpoint; `scontrol requeue` does.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

CHECKPOINTS = "*/step=*.ckpt"


def newest_steps(root: Path, stage: str) -> dict[str, int]:
    """Folder of a stage's scratch -> step of its newest checkpoint. Each configuration that was begun has a folder of its own."""
    found: dict[str, int] = {}
    for path in (root / ".run" / stage).glob(CHECKPOINTS):
        if match := re.match(r"step=(\d+)", path.name):
            found[path.parent.name] = max(int(match[1]), found.get(path.parent.name, -1))
    return found


def facts(job: str) -> dict[str, str]:
    """What the controller says of a job; nothing where it does not answer."""
    code, said = _scontrol("-o", "show", "job", job)
    return dict(re.findall(r"(\w+)=(\S*)", said)) if code == 0 else {}


def _scontrol(*words: str) -> tuple[int, str]:
    try:
        program = shutil.which("scontrol") or "scontrol"
        done = subprocess.run([program, *words], capture_output=True, text=True, check=False, timeout=60)
    except (FileNotFoundError, subprocess.TimeoutExpired) as error:
        return 1, str(error)
    return done.returncode, " ".join((done.stdout if done.returncode == 0 else done.stderr).split())


def go_back(root: Path, stage: str, *, before: Mapping[str, int]) -> str:
    """Put this job back into the queue where that helps.

    Args:
        root: the repository.
        stage: that was interrupted.
        before: `newest_steps` when the job began.

    Returns:
        What was done, or why nothing was, for a person.
    """
    job = os.environ.get("SLURM_JOB_ID", "")
    known = facts(job) if job else {}
    if not known:
        return "this is no job of Slurm, or its controller does not answer: the same command continues"
    if known.get("JobState") != "RUNNING":
        return f"job {job} is {known.get('JobState', '').lower()} already: Slurm, or whoever ended it, decides what follows"
    now, preempted = newest_steps(root, stage), known.get("PreemptTime", "None") not in {"None", "", "Unknown"}
    grown = [step for folder, step in now.items() if step > before.get(folder, -1)]  # this job's: what others left stays as it is
    if not grown and not preempted:
        limit = known.get("TimeLimit", "its time limit")
        return (
            f"job {job} reached {limit} and {stage} has nothing new to continue from: it needs more time; "
            f"raise runtime of {stage} under meta in dvc.yaml (minutes), or let Snakemake try again with more (--retries)"
        )
    code, said = _scontrol("requeue", job)
    if code:
        return f"job {job} cannot be requeued ({said}): submit it again, it continues"
    why = "preempted" if preempted else "told to end"
    return f"job {job} was {why}: it is back in the queue and continues {_where(grown, now)}"


def _where(grown: Sequence[int], now: Mapping[str, int]) -> str:
    """From where a stage continues; which folder is its own is not known before it adds to it."""
    steps = grown or list(now.values())
    if len(steps) > 1:
        return "from its newest checkpoint, if it has one"
    return f"from the checkpoint of step {steps[0]}" if steps else "from the start"
