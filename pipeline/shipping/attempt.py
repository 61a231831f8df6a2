"""One target in a process of its own: `python -m pipeline.shipping.attempt build|run JOB`.

`build` opens the trained model and writes the target's file. `run` knows the file alone: it opens it, says so, and then answers
what it is asked on its standard input, one line of JSON each, until that ends:

    {"do": "answer", "batch": 7}      outputs of every sample, in batches of 7, into `answers.npz`
    {"do": "time", "batch": 32}       seconds of one call, and what the processor spent on it in all threads
    {"do": "memory"}                  bytes that opening the file and what was asked so far took, at their peak

Nothing of one target can disturb another: no import, no thread pool, no crash.
"""

import importlib.util
import io
import json
import os
import sys
import time
import warnings
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from pipeline.core.artifact import read_json, write_json
from pipeline.core.errors import PersonError
from pipeline.core.parts import build

JOB = "job.json"


@dataclass(frozen=True)
class Job:
    """What the process works on.

    Attributes:
        target: the part's configuration.
        out: where its file goes.
        made: what `build` needs: directories of stages, and the two exported files.
        samples: an .npy file of uint8 images (N, H, W, C) for `run`.
    """

    target: dict[str, Any]
    out: Path
    made: dict[str, Any]
    samples: Path
    file: str = ""


def main(words: list[str]) -> int:
    """0 done; 1 with one line on standard error; 3 a package is missing."""
    verb, folder = words[0], Path(words[1])
    raw = read_json(folder / JOB)
    job = Job(raw["target"], Path(raw["out"]), raw["made"], Path(raw["samples"]), raw.get("file", ""))
    target = build(job.target)
    missing = absent(target.needs)
    if missing:
        sys.stderr.write(missing + "\n")
        return 3
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _build(target, job, folder) if verb == "build" else _run(target, job)
    except PersonError as error:
        sys.stderr.write(" ".join(str(error).split()) + "\n")
    except Exception as error:
        if "PIPELINE_DEBUG" in os.environ:
            raise
        told = [line.strip() for line in str(error).splitlines() if line.strip()]
        sys.stderr.write(f"{type(error).__name__}: {told[0] if told else 'no word'}"[:400] + "\n")
    return 1


def absent(needs: Sequence[tuple[str, str]]) -> str:
    """Which package to install; "" when all are there."""
    missing = [name for name, module in needs if importlib.util.find_spec(module) is None]
    return f"not installed: pip install {' '.join(missing)}" if missing else ""


def _build(target: Any, job: Job, folder: Path) -> int:
    from pipeline.shipping.made import made_of

    with redirect_stdout(io.StringIO()):  # converters talk
        path = target.build(made_of(job.made), job.out)
    write_json(folder / "built.json", {"file": str(path.relative_to(job.out))})
    return 0


def _run(target: Any, job: Job) -> int:
    said = sys.stdout
    sys.stdout = sys.stderr  # what a runtime prints is no answer
    samples_NHWC = np.load(job.samples, mmap_mode="r")
    before = _memory("VmRSS")
    opened = target.load(job.out / job.file)
    limit = target.largest_batch or len(samples_NHWC)
    _say(said, {"ready": True})
    try:
        for line in sys.stdin:
            _say(said, _done(json.loads(line), opened, samples_NHWC, job, before=before, limit=limit))
    finally:
        if hasattr(opened, "close"):
            opened.close()
    return 0


def _done(asked: dict[str, Any], opened: Any, samples_NHWC: Any, job: Job, *, before: int, limit: int) -> dict[str, Any]:
    if asked["do"] == "time":
        seconds, cpu = _timed(opened, samples_NHWC, asked["batch"], limit)
        return {"seconds": seconds, "cpu": cpu}
    if asked["do"] == "memory":
        return {"bytes": max(0, _memory("VmHWM") - before)}
    found: dict[str, list[Any]] = {}
    size = min(asked["batch"], limit)
    for start in range(0, len(samples_NHWC), size):
        for name, values in opened.answers(np.array(samples_NHWC[start : start + size])).items():
            found.setdefault(name, []).append(values)
    arrays = {name: np.concatenate(parts) for name, parts in found.items()}
    np.savez(job.samples.with_name("answers.npz"), **arrays)  # type: ignore[arg-type]
    return {"names": sorted(found)}


def _say(said: TextIO, answer: dict[str, Any]) -> None:
    said.write(json.dumps(answer) + "\n")
    said.flush()


def _timed(opened: Any, samples_NHWC: Any, batch: int, limit: int) -> tuple[float, float]:
    """Seconds of one call, or of as many calls as this batch takes where a call has a limit; and the processor's."""
    images = np.array(samples_NHWC[np.arange(batch) % len(samples_NHWC)])
    began, spent = time.perf_counter(), time.process_time()
    for start in range(0, batch, limit):
        opened(images[start : start + limit])
    return time.perf_counter() - began, time.process_time() - spent


def _memory(name: str) -> int:
    """Resident memory of this process, bytes: VmRSS now, VmHWM at its peak; what getrusage says begins with the parent's."""
    path = Path("/proc/self/status")
    lines = path.read_text(encoding="ascii").splitlines() if path.exists() else []
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:")), 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
