"""A process that runs stages of trials: it imports once what they need, and forks a fresh child for each stage.

`python -m pipeline.search.worker STAGE...` reads one job a line (JSON) and answers one line. A child is a process as `python -m
pipeline STAGE` is one: it has the stage's environment from its start (threads, hash seed), runs nothing but that stage through
the same runner, and takes nothing from another child. So the bytes are those of `dvc repro` (a test holds that), but a trial does
not pay the seconds of imports again, and a child that crashes, or is ended because memory ran out, takes nobody along.

The parent imports and never computes, so that there is no pool of threads which a fork would lose.
"""

import importlib
import json
import os
import resource
import select
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

from pipeline.core import interrupt, launch
from pipeline.core.dag import read_stage
from pipeline.core.errors import PersonError
from pipeline.core.interrupt import CODE, Interrupted
from pipeline.core.runner import perform, stage_config

MEMORY = ("out of memory", "can't allocate memory", "cannot allocate memory", "not enough memory")
PAUSE = "PIPELINE_PAUSE_AT"  # the step after which train keeps a checkpoint and ends
Job = dict[str, Any]


def main(stages: list[str]) -> int:
    """Answer jobs until the input ends."""
    launch.die_with_parent()
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    for name in stages:
        importlib.import_module(f"pipeline.stages.{name}")
    for line in sys.stdin:
        answers.write(json.dumps(answer(json.loads(line))) + "\n")
        answers.flush()
    return 0


def answer(job: Job) -> dict[str, Any]:
    """Run one job in a child and say what became of it.

    Returns:
        `state`: done, paused, interrupted or failed, `reason` where it failed, and the child's `seconds` and `cpu` seconds.
    """
    began = time.monotonic()
    end, start = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(end)
        _child(job, start)
    os.close(start)
    said = b""
    limit = 60 * float(job.get("minutes") or 0)
    late = False
    while True:
        left = max(0.0, began + limit - time.monotonic()) if limit else None
        if not select.select([end], [], [], left)[0]:
            late = True
            os.kill(child, signal.SIGKILL)
            break
        block = os.read(end, 65536)
        if not block:
            break
        said += block
    os.close(end)
    _, status, usage = os.wait4(child, 0)
    told: dict[str, Any] = json.loads(said) if said else _ended(os.waitstatus_to_exitcode(status), Path(job["log"]))
    if late:
        told = {"state": "failed", "reason": f"{job['stage']} took longer than {job['minutes']:g} minutes (limits.minutes)"}
    return {**told, "seconds": round(time.monotonic() - began, 3), "cpu": round(usage.ru_utime + usage.ru_stime, 3)}


def _ended(code: int, log: Path) -> dict[str, Any]:
    """What a child that said nothing died of."""
    if code == CODE:
        return {"state": "interrupted"}
    if code == -signal.SIGKILL:
        return {"state": "failed", "reason": "was killed (signal 9): memory ran out, or somebody ended it"}
    if code < 0:
        return {"state": "failed", "reason": f"ended by signal {-code} ({signal.Signals(-code).name}); see {log.name}"}
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n") if log.is_file() else []
    last = next((line.strip() for line in reversed(lines) if line.strip()), f"exit code {code}")
    return {"state": "failed", "reason": f"a fault of the program: {last[:300]} (see {log.name})"}


def _child(job: Job, start: int) -> None:
    """Run the stage in this process and write what became of it; never returns."""
    code = 1
    try:
        log = os.open(job["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.write(start, json.dumps(_run(job)).encode())
        code = 0
    finally:  # whatever it was, a fork must never run on in its parent's program
        if code:
            traceback.print_exc()
        sys.stderr.flush()
        os._exit(code)


def _run(job: Job) -> dict[str, Any]:
    """Run the stage; a mistake of the configuration and a lack of memory are answers."""
    root, base, stage = Path(job["root"]), Path(job["base"]), read_stage(Path(job["root"]), job["stage"])
    temporary = (base / "tmp").resolve()
    temporary.mkdir(parents=True, exist_ok=True)
    asked = {PAUSE: str(job["pause_at"])} if job.get("pause_at") else {}
    os.environ.update({"TMPDIR": str(temporary), launch.MARK: stage.name, **asked})
    tempfile.tempdir = None
    launch.die_with_parent()
    interrupt.listen()
    if job.get("memory_mb"):
        bound = resource.getrlimit(resource.RLIMIT_DATA)[1]
        resource.setrlimit(resource.RLIMIT_DATA, (int(job["memory_mb"]) * 2**20, bound))
    inputs = {keyword: Path(path) for keyword, path in job["inputs"].items()}
    try:
        cfg = stage_config(Path(job["cell"]), stage)
        said = perform(root, stage, cfg=cfg, inputs=inputs, out=Path(job["out"]), base=base)
    except Interrupted:
        return {"state": "paused" if job.get("pause_at") else "interrupted"}
    except PersonError as error:
        return {"state": "failed", "reason": " ".join(str(error).split())}
    except MemoryError:
        return {"state": "failed", "reason": _short(job)}
    except (RuntimeError, OSError) as error:
        if any(words in str(error).lower() for words in MEMORY):
            return {"state": "failed", "reason": _short(job)}
        raise
    return {"state": "done", "said": said}


def _short(job: Job) -> str:
    limit = f" (limits.memory_mb is {job['memory_mb']})" if job.get("memory_mb") else ""
    return f"memory ran out in {job['stage']}{limit}: a smaller batch or network needs less"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
