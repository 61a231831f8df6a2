"""Run one stage by DVC as a job of a cluster, on one node or several; what is told to end goes back into the queue, and says why.

The machine must see the cache of the machine that submitted, and be able to write to it. A signal (`#SBATCH --signal=USR1@90`,
or a preemption) reaches the stage alone; a training keeps a checkpoint, and the job goes back into the queue.
"""

import argparse
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from pathlib import Path
from types import FrameType

from pipeline.cluster import place, requeue
from pipeline.core.dag import read_stage
from pipeline.core.errors import PersonError
from pipeline.core.interrupt import CODE, SIGNALS
from pipeline.core.launch import die_with_parent

EXAMPLES = """examples:
  python -m pipeline job train                                one stage, here; what Snakemake's Slurm jobs call
  sbatch --signal=USR1@90 --requeue --wrap "srun python -m pipeline job train"
  sbatch --nodes=2 --ntasks-per-node=1 --signal=USR1@90 --requeue --wrap "python -m pipeline job train --nodes 2"
"""
PERIOD_SECONDS = 0.2  # between two looks
CELLS = ".run/study"  # <study>/<cell> is a workspace
REPEAT_SECONDS = 5.0  # between two tellings: a stage that is still importing does not listen yet
KILLED = re.compile(r"exited with (?:-9|137)\b")
AGAIN = re.compile(rf"exited with (?:{CODE}|-10|-12|-15)\b")  # or it died of the signal before it could listen


def main(argv: list[str]) -> int:
    """Run `python -m pipeline job`; 0 when the stage is up to date, 75 when it is to be continued, 1 otherwise."""
    options = _parse(argv)
    root = Path.cwd()
    if not (root / "dvc.yaml").is_file():
        raise PersonError(f"there is no dvc.yaml in {root}: run this in the folder of the project")
    stage = read_stage(root, options.stage)
    if warning := place.check(root):
        print(warning, file=sys.stderr)
    environment = dict(os.environ)
    if options.nodes * options.tasks_per_node > 1 and stage.resources.get("processes") != "many":
        raise PersonError(f"{stage.name} runs on one process: leave out --nodes and --tasks-per-node")
    if options.nodes * options.tasks_per_node > 1:
        environment.setdefault("PIPELINE_LAUNCH", _launcher(options))
    workspace = root / CELLS / options.study / options.cell if options.study else root
    before = requeue.newest_steps(workspace, stage.name)
    code, said = _run(_words(options), environment)
    if code == 0:
        return 0
    if code == CODE or AGAIN.search(said):
        print(f"{stage.name}: {requeue.go_back(workspace, stage.name, before=before)}", file=sys.stderr)
        return CODE
    if KILLED.search(said):
        asked = f" (the job asked for {size} MB)" if (size := os.environ.get("SLURM_MEM_PER_NODE")) else ""
        print(
            f"{stage.name} was killed (SIGKILL), most often for want of memory{asked}; "
            f"raise mem_mb of {stage.name} under meta in dvc.yaml, or let Snakemake try again with more (--retries)",
            file=sys.stderr,
        )
    return 1


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m pipeline job", description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stage", help="of dvc.yaml")
    parser.add_argument("--nodes", type=int, default=1, help="machines that a training runs on, by srun inside this job (1)")
    parser.add_argument("--tasks-per-node", type=int, default=1, help="processes on each of them (1)")
    parser.add_argument("--threads", type=int, default=1, help="CPU cores of each process (1)")
    parser.add_argument("--study", default="", help="of conf/study, whose cell this stage is part of; with --cell")
    parser.add_argument("--cell", default="", help="of that study")
    options = parser.parse_args(argv)
    if bool(options.study) != bool(options.cell):
        parser.error("--study and --cell belong together")
    return options


def _words(options: argparse.Namespace) -> list[str]:
    if options.study:
        return [sys.executable, "-m", "pipeline", "study", "job", options.study, options.cell, options.stage]
    return [sys.executable, "-m", "dvc", "--wait-for-lock", "repro", "--single-item", options.stage]


def _launcher(options: argparse.Namespace) -> str:
    return (
        f"srun --nodes={options.nodes} --ntasks-per-node={options.tasks_per_node} --cpus-per-task={options.threads} "
        "--kill-on-bad-exit=1 --job-name=train"
    )


def _run(words: list[str], environment: dict[str, str]) -> tuple[int, str]:
    """Run DVC; signals reach the stage below it and leave DVC alone. Returns the exit code and the last errors."""
    told: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        told.append(number)

    for number in SIGNALS:
        signal.signal(number, note)
    process = subprocess.Popen(
        words, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True, preexec_fn=_deaf  # noqa: PLW1509 - one thread
    )
    kept: deque[str] = deque(maxlen=20)
    reader = threading.Thread(target=_pass_on, args=(process, kept), daemon=True)
    reader.start()
    due = 0.0
    while process.poll() is None:
        time.sleep(PERIOD_SECONDS)
        if told and time.monotonic() >= due and process.poll() is None:
            os.killpg(process.pid, told[0])
            due = time.monotonic() + REPEAT_SECONDS
    reader.join(timeout=REPEAT_SECONDS)
    return process.returncode, "".join(kept)


def _deaf() -> None:
    """In DVC's process: the signals pass it by, and a stage has handlers of its own; it does not outlive this process."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    die_with_parent()


def _pass_on(process: "subprocess.Popen[str]", kept: "deque[str]") -> None:
    assert process.stderr is not None
    for line in process.stderr:
        sys.stderr.write(line)
        sys.stderr.flush()
        kept.append(line)
