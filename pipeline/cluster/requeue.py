"""Back into the queue: a job that was told to end goes there itself when it has something to continue from.

Slurm requeues a job whose node died, and one that it preempted and killed. It does not requeue one that ended by itself in the
time that it was given, which is what a training does after its checkpoint; `scontrol requeue` does.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

CHECKPOINTS = "*/step=*.ckpt"


def newest_step(root: Path, stage: str) -> int:
    """Step of the newest checkpoint of a stage that is under way; -1 where there is none."""
    found = (re.match(r"step=(\d+)", path.name) for path in (root / ".run" / stage).glob(CHECKPOINTS))
    return max((int(match.group(1)) for match in found if match), default=-1)


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


def go_back(root: Path, stage: str, *, before: int) -> str:
    """Put this job back into the queue where that helps.

    Args:
        root: the repository.
        stage: that was interrupted.
        before: step of the newest checkpoint when the job began.

    Returns:
        What was done, or why nothing was, for a person.
    """
    job = os.environ.get("SLURM_JOB_ID", "")
    known = facts(job) if job else {}
    if not known:
        return "this is no job of Slurm, or its controller does not answer: the same command continues"
    if known.get("JobState") != "RUNNING":
        return f"job {job} is {known.get('JobState', '').lower()} already: Slurm, or whoever ended it, decides what follows"
    step, preempted = newest_step(root, stage), known.get("PreemptTime", "None") not in {"None", "", "Unknown"}
    if step <= before and not preempted:
        limit = known.get("TimeLimit", "its time limit")
        return (
            f"job {job} reached {limit} and {stage} has nothing new to continue from: it needs more time; "
            f"raise runtime of {stage} under meta in dvc.yaml (minutes), or let Snakemake try again with more (--retries)"
        )
    code, said = _scontrol("requeue", job)
    if code:
        return f"job {job} cannot be requeued ({said}): submit it again, it continues"
    where = f"from the checkpoint of step {step}" if step >= 0 else "from the start"
    return f"job {job} was {'preempted' if preempted else 'told to end'}: it is back in the queue and continues {where}"
