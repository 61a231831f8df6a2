"""Where a process stands, by what each launcher sets; and what becomes of the others when one ends."""

import os
import signal
import subprocess
import sys
import time

import pytest

from pipeline.core.errors import PersonError
from pipeline.core.ranks import Place, Ranks, place

SLURM = {"SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "4", "SLURM_STEP_NUM_NODES": "2"}


@pytest.mark.parametrize(("variables", "expected"), [
    ({}, Place()),
    ({"PIPELINE_DEVICES": "3"}, Place(0, 0, 3, 3, 1)),
    ({"PIPELINE_DEVICES": "2", "PIPELINE_NODES": "2", "NODE_RANK": "1"}, Place(2, 0, 4, 2, 2)),
    ({"RANK": "3", "LOCAL_RANK": "1", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2"}, Place(3, 1, 4, 2, 2, "env")),
    ({"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2", "PIPELINE_DEVICES": "7"}, Place(1, 1, 2, 2, 1, "env")),
    ({**SLURM, "SLURM_PROCID": "3", "SLURM_LOCALID": "1"}, Place(3, 1, 4, 2, 2, "srun")),
    ({"SLURM_NTASKS": "4", "SLURM_PROCID": "0"}, Place()),  # the script of sbatch itself, outside srun
    ({"SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "1", "PIPELINE_DEVICES": "2"}, Place(0, 0, 2, 2, 1)),
    ({"RANK": "3"}, Place()),
    ({"PIPELINE_DEVICES": " "}, Place()),
])  # fmt: skip
def test_the_place_by_what_a_launcher_sets(variables, expected):
    assert place(variables) == expected


@pytest.mark.parametrize(("variables", "said"), [
    ({"PIPELINE_DEVICES": "two"}, "PIPELINE_DEVICES must be a whole number, 1 or more: received 'two'"),
    ({"PIPELINE_DEVICES": "0"}, "PIPELINE_DEVICES must be a whole number, 1 or more: received '0'"),
    ({"PIPELINE_NODES": "2", "NODE_RANK": "2"}, "NODE_RANK must be less than PIPELINE_NODES, 2: received 2"),
    ({"RANK": "2", "WORLD_SIZE": "2"}, "process 2 of 2 in all"),
    ({"RANK": "0", "WORLD_SIZE": "3", "LOCAL_WORLD_SIZE": "2"}, "the same number of processes on each machine"),
])  # fmt: skip
def test_numbers_that_make_no_sense_are_refused(variables, said):
    with pytest.raises(PersonError, match=said):
        place(variables)


def test_several_machines_need_an_address(monkeypatch):
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    with pytest.raises(PersonError, match="PIPELINE_NODES is 2: set MASTER_ADDR and MASTER_PORT"), Ranks(Place(0, 0, 4, 2, 2)):
        pass


STARTED = """
import os, sys, time
from pipeline.core import interrupt, ranks
interrupt.listen()
ranks.GRACE_SECONDS, ranks.PERIOD_SECONDS = 0.5, 0.05
here = ranks.place()
with ranks.Ranks(here) as others:
    if os.environ["RANK"] == "1":
        {other}
    print(os.environ["RANK"], os.environ["WORLD_SIZE"], bool(os.environ["MASTER_PORT"]), flush=True)
    {first}
print("RANK" in os.environ)
"""


def started(project, *, first="pass", other="pass"):
    environment = {name: value for name, value in os.environ.items() if name not in {"RANK", "WORLD_SIZE", "MASTER_PORT"}}
    code = STARTED.format(first=first, other=other)
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], cwd=project, env={**environment, "PIPELINE_DEVICES": "2"}, capture_output=True,
                          text=True, timeout=30)  # fmt: skip
    return done, time.monotonic() - began


def test_the_others_are_started_with_this_process_own_words(project):
    done, _ = started(project)
    assert done.stdout.split() == ["0", "2", "True", "False"], done.stderr


@pytest.mark.parametrize(("other", "code", "said"), [
    ("sys.exit(3)", 1, "process 1 of 2 ended with exit code 3: nothing was published; the same command continues"),
    ("os.kill(os.getpid(), 9)", 1, "process 1 of 2 was killed by SIGKILL"),
    ("sys.exit(75)", 1, "Interrupted: interrupted by SIGTERM"),  # asked to end, it asks this one
])  # fmt: skip
def test_one_that_ends_early_ends_this_one_too(project, other, code, said):
    done, seconds = started(project, first="time.sleep(20)", other=other)
    assert done.returncode == code
    assert said in done.stderr
    assert seconds < 10


def test_an_error_here_ends_the_others(project):
    done, seconds = started(project, first="raise OSError(str(others._children[0].pid))", other="time.sleep(60)")
    assert seconds < 10
    pid = int(done.stderr.strip().rsplit(" ", 1)[1])
    with pytest.raises(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)
