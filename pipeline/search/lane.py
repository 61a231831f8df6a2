"""One lane of a study: runs a cell's stages one after the other, each once for all cells that share its digest.

Artifacts lie in `.run/studies/artifacts/<stage>/<digest>`, shared by all studies of the workspace. A stage that is there is not
run again; two lanes that need the same one wait for each other at its lock, which falls with the process that holds it. A
stage's scratch lies beside its artifact, so a training that was paused or killed goes on where it stood.
"""

import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from pipeline.core import launch
from pipeline.core.artifact import MANIFEST
from pipeline.core.dag import Stage
from pipeline.core.errors import PersonError
from pipeline.search.planning import Cell
from pipeline.search.study import Limits

ARTIFACTS = Path(".run") / "studies" / "artifacts"
# What a launcher says of other processes: a trial is one.
PLACES = re.compile(r"RANK|WORLD_SIZE|LOCAL_.*|NODE_RANK|SLURM_.*|PIPELINE_(DEVICES|NODES|STRATEGY|LAUNCH.*|PAUSE_AT)")


@dataclass(frozen=True)
class Outcome:
    """What became of a cell.

    Attributes:
        state: done, paused (at the step asked for), interrupted or failed.
        reason: where it failed.
        ran: names of the stages that ran now; the others were there.
        cpu: seconds of the processor in their processes.
    """

    state: str
    reason: str = ""
    ran: tuple[str, ...] = ()
    cpu: float = 0.0


class Lane:
    """Processes that run stages, one for each number of threads that stages have.

    Args:
        root: the repository.
        stages: all that cells need, in order.
        limits: of one stage.
        devices: which accelerators this lane sees, as CUDA_VISIBLE_DEVICES; None for all.
    """

    def __init__(self, root: Path, stages: dict[str, Stage], *, limits: Limits, devices: str | None = None) -> None:
        self.root, self.stages, self.limits, self.devices = root, stages, limits, devices
        self.workers: dict[int, subprocess.Popen[str]] = {}
        self.closed = False

    def run(self, cell: Cell, folder: Path, *, pause_at: int | None = None) -> Outcome:
        """Bring a cell to its target, or to a step of its training.

        Args:
            cell: what to run.
            folder: with its configuration, for its log.
            pause_at: step at which train stops; None runs it to its end.
        """
        ran: list[str] = []
        cpu = 0.0
        for name, digest in cell.digests.items():
            out = self.artifact(name, digest)
            if (out / MANIFEST).is_file():
                continue
            out.parent.mkdir(parents=True, exist_ok=True)
            with _locked(out.with_name(f"{digest}.lock")):
                if (out / MANIFEST).is_file():
                    continue
                told = self._stage(cell, name, folder, pause_at=pause_at if name == "train" else None)
                ran.append(name)
                cpu += float(told.get("cpu", 0.0))
                if told["state"] != "done":
                    return Outcome(str(told["state"]), str(told.get("reason", "")), tuple(ran), cpu)
                shutil.rmtree(self.base(name, digest), ignore_errors=True)
        return Outcome("done", ran=tuple(ran), cpu=cpu)

    def artifact(self, name: str, digest: str) -> Path:
        """Where a stage's artifact lies."""
        return self.root / ARTIFACTS / name / digest

    def base(self, name: str, digest: str) -> Path:
        """Where a stage's lock and scratch lie."""
        return self.root / ARTIFACTS / name / f"{digest}.scratch"

    def close(self) -> None:
        """End the processes, and with them what they run."""
        self.closed = True
        for worker in list(self.workers.values()):
            worker.kill()
            worker.wait()

    def _stage(self, cell: Cell, name: str, folder: Path, *, pause_at: int | None) -> dict[str, Any]:
        stage, digest = self.stages[name], cell.digests[name]
        threads = int(cell.config["threads"]) if "threads" in stage.keys else 1
        made = {self.stages[above].out: str(self.artifact(above, of)) for above, of in cell.digests.items()}
        inputs = {keyword: made.get(path, str(self.root / path)) for keyword, path in stage.inputs.items()}
        job = {
            "root": str(self.root), "cell": str(folder), "stage": name, "inputs": inputs,
            "out": str(self.artifact(name, digest)), "base": str(self.base(name, digest)), "log": str(folder / "log.txt"),
            "memory_mb": self.limits.memory_mb, "minutes": self.limits.minutes, "pause_at": pause_at,
        }  # fmt: skip
        reason = f"the process that runs stages ended twice; see {ARTIFACTS}/worker.log"
        told: dict[str, Any] = {"state": "failed", "reason": reason}
        for _ in range(2):
            if self.closed:
                return {"state": "interrupted"}
            line = _exchange(self._worker(threads), json.dumps(job))
            if line:
                told = json.loads(line)
                break
        return told

    def _worker(self, threads: int) -> "subprocess.Popen[str]":
        """The process for stages of so many threads, started where there is none."""
        worker = self.workers.get(threads)
        if worker is not None and worker.poll() is None:
            return worker
        names = [name for name, stage in self.stages.items() if ("threads" in stage.keys) or threads == 1]
        kept = {name: value for name, value in os.environ.items() if not PLACES.fullmatch(name)}
        temporary = self.root / ARTIFACTS / "tmp"
        temporary.mkdir(exist_ok=True)
        environment = {**kept, **launch.environment(threads=threads, scratch=temporary)}
        if self.devices is not None:
            environment["CUDA_VISIBLE_DEVICES"] = self.devices
        environment["PYTHONPATH"] = os.pathsep.join([str(self.root), *filter(None, [environment.get("PYTHONPATH")])])
        log = (self.root / ARTIFACTS / "worker.log").open("a", encoding="utf-8")
        with log:
            self.workers[threads] = subprocess.Popen(
                [sys.executable, "-m", "pipeline.search.worker", *names], cwd=self.root, env=environment, text=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
            )  # fmt: skip
        return self.workers[threads]


class Lanes:
    """Several lanes, each with a thread that waits for it; several accelerators are dealt out among them.

    A worker dies with the thread that started it (so that no kill leaves one behind), hence the threads live as long as the
    lanes.

    Args:
        root: the repository.
        stages: all that cells need, in order.
        count: how many.
        limits: of one stage.

    Raises:
        PersonError: fewer than one.
    """

    def __init__(self, root: Path, stages: dict[str, Stage], *, count: int, limits: Limits) -> None:
        if count < 1:
            raise PersonError(f"--workers must be at least 1: received {count}")
        (root / ARTIFACTS).mkdir(parents=True, exist_ok=True)
        seen = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
        shares = [seen[number % len(seen)] if seen else None for number in range(count)]
        self.lanes = [Lane(root, stages, limits=limits, devices=share) for share in shares]
        self.pool = ThreadPoolExecutor(count, thread_name_prefix="lane")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for lane in self.lanes:
            lane.close()
        self.pool.shutdown()

    def each(self, work: Callable[[Lane], None]) -> None:
        """Call `work` with every lane at once, and raise what one of them raised."""
        for future in [self.pool.submit(work, lane) for lane in self.lanes]:
            future.result()


def published(history: Path) -> list[dict[str, float]]:
    """Rows of train's `history.csv`, without empty cells."""
    lines = history.read_text(encoding="utf-8").splitlines()
    names = lines[0].split(",")
    return [{name: float(cell) for name, cell in zip(names, line.split(","), strict=True) if cell} for line in lines[1:]]


def under_way(base: Path, step: int) -> list[dict[str, float]]:
    """Rows up to a step of the history of a training that is not finished."""
    lines = [line for path in base.glob("*/history.jsonl") for line in path.read_text(encoding="utf-8").splitlines()]
    return [row for row in map(json.loads, lines) if row["step"] <= step]


def _exchange(worker: "subprocess.Popen[str]", line: str) -> str:
    """Hand a worker a job and wait for its answer; "" where it ended."""
    assert worker.stdin is not None
    assert worker.stdout is not None
    try:
        worker.stdin.write(line + "\n")
        worker.stdin.flush()
        return worker.stdout.readline()
    except BrokenPipeError:
        return ""


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("a", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
