"""Build a target and run it, each in a process of its own, and say what came of it.

B batch, K columns of a decoded prediction, N samples.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from pipeline.core.artifact import read_json, write_json
from pipeline.core.errors import PersonError
from pipeline.core.record import Pixels
from pipeline.runtime.stored import stored_precision
from pipeline.shipping.attempt import JOB

PATIENCE = 900.0  # seconds for a build, for opening the file, and for each answer
PATIENCE_TIMED = 10.0  # seconds for the times of one batch size; fewer calls are made when they would take longer
RAN, RECIPE, MISSING, FAILED = "ran here", "recipe only", "not installed", "cannot"
Eager = Callable[[Pixels], object]


class Ended(RuntimeError):  # noqa: N818 - what a person reads is what became of the process
    """The process of a target ended, or was ended because it took too long, instead of answering."""


@dataclass
class Trial:
    """What came of one target.

    Attributes:
        name: of the option.
        state: RAN, RECIPE, MISSING or FAILED.
        precision: fp32, fp16, bf16 or int8.
        why: one line, where it did not run.
        file: its main file, relative to its folder.
        size: of all its files, bytes.
        answers: batch size -> outputs by name, of all samples.
        seconds: batch size -> its seconds beside the eager model's, call by call in turn.
        memory: batch size -> bytes that opening it and calls up to that size took, at their peak.
        footprint: what it takes on the target, bytes, where that can be said without running it.
        runs_code: whether to open its file is to run code; such a one is taken by name alone.
    """

    name: str
    state: str
    precision: str
    why: str = ""
    file: str = ""
    size: int = 0
    answers: dict[int, dict[str, NDArray[Any]]] = field(default_factory=dict)
    seconds: dict[int, list[tuple[float, float]]] = field(default_factory=dict)
    memory: dict[int, int] = field(default_factory=dict)
    footprint: dict[str, int] = field(default_factory=dict)
    runs_code: bool = False


@dataclass(frozen=True)
class Bench:
    """What every target is tried with.

    Attributes:
        made: see `pipeline.shipping.made.made_of`.
        samples_NHWC: that it is to answer.
        batches: sizes in which it does.
        timed: batch sizes whose time is taken.
        repeats: calls of each.
        eager: the trained model on uint8 images, timed beside it.
    """

    made: dict[str, Any]
    samples_NHWC: Pixels
    batches: list[int]
    timed: list[int]
    repeats: int
    eager: Eager


def attempt(name: str, part: dict[str, Any], out: Path, bench: Bench) -> Trial:
    """Build the target into `out` and run it.

    Args:
        name: of the option.
        part: its configuration.
        out: a folder that does not exist; it is not left behind by a target that failed.
        bench: what it is tried with.
    """
    from pipeline.core.parts import build

    target = build(part)
    trial = Trial(name, RECIPE if not target.runs else RAN, target.precision, runs_code=target.runs_code)
    out.mkdir(parents=True)
    with tempfile.TemporaryDirectory(prefix=f"ship-{name}-") as scratch:
        folder = Path(scratch)
        np.save(folder / "samples.npy", bench.samples_NHWC)
        job = {"target": part, "out": str(out), "made": bench.made, "samples": str(folder / "samples.npy")}
        write_json(folder / JOB, job)
        try:
            trial.precision = _precision(target, bench.made)
            done = _process("build", folder)
            if done.returncode:
                return _gone(trial, out, done.returncode, done.stderr)
            return _tried(target, trial, folder, out=out, bench=bench)
        except (Ended, PersonError, OSError, subprocess.SubprocessError) as error:
            trial.answers, trial.seconds, trial.memory = {}, {}, {}
            return _gone(trial, out, 1, " ".join(str(error).split()))


def _precision(target: Any, made: Mapping[str, Any]) -> str:
    """What the target says; of the compressed file, what the file says, unless it is fp32 and so was made smaller otherwise."""
    declared: str = target.precision
    if getattr(target, "source", "") != "compress" or not made["int8"]:
        return declared
    stored = stored_precision(Path(made["int8"]))
    return declared if stored == "fp32" else stored


def _tried(target: Any, trial: Trial, folder: Path, *, out: Path, bench: Bench) -> Trial:
    """What was built, opened and asked.

    Raises:
        Ended: the process did not answer.
        PersonError, OSError, subprocess.SubprocessError: what it answered, or what it takes, cannot be had.
    """
    trial.file = read_json(folder / "built.json")["file"]
    trial.size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    if not target.runs:
        return trial
    write_json(folder / JOB, {**read_json(folder / JOB), "file": trial.file})
    with Runner(folder, patience=PATIENCE) as runner:
        if not runner.ready:
            return _gone(trial, out, runner.code, runner.said)
        for size in sorted(bench.timed):
            trial.seconds[size] = _timed(runner, bench, size)
            trial.memory[size] = int(runner.ask({"do": "memory"})["bytes"])
        for size in bench.batches:
            runner.ask({"do": "answer", "batch": size})
            with np.load(folder / "answers.npz") as found:
                trial.answers[size] = dict(found)
    if hasattr(target, "footprint"):
        trial.footprint = target.footprint(out / trial.file)
    return trial


def _gone(trial: Trial, out: Path, code: int, said: str) -> Trial:
    shutil.rmtree(out, ignore_errors=True)
    lines = [line for line in said.splitlines() if line.strip()]
    trial.state = MISSING if code == 3 else FAILED
    trial.why = lines[-1].strip()[:300] if lines else f"its process ended with {code}"
    return trial


def _timed(runner: "Runner", bench: Bench, size: int) -> list[tuple[float, float]]:
    """Seconds of the target and of the eager model, in turn; the first pair warms up and does not count."""
    images = np.ascontiguousarray(bench.samples_NHWC[np.arange(size) % len(bench.samples_NHWC)])
    pairs: list[tuple[float, float]] = []
    began = time.perf_counter()
    while len(pairs) <= bench.repeats and (len(pairs) < 4 or time.perf_counter() - began < PATIENCE_TIMED):
        theirs = float(runner.ask({"do": "time", "batch": size})["seconds"])
        started = time.perf_counter()
        bench.eager(images)
        pairs.append((theirs, time.perf_counter() - started))
    return pairs[1:]


def _words(verb: str, folder: Path) -> list[str]:
    return [sys.executable, "-W", "ignore", "-m", "pipeline.shipping.attempt", verb, str(folder)]


def _environment() -> dict[str, str]:
    root = str(Path(__file__).resolve().parents[2])
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH", "")]))}


def _process(verb: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    try:
        return subprocess.run(_words(verb, folder), capture_output=True, text=True, timeout=PATIENCE, check=False,
                              env=_environment(), stdin=subprocess.DEVNULL)  # fmt: skip
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess([], 1, "", f"it took longer than {PATIENCE:g} s")


class Runner:
    """The process that has the target open.

    Args:
        folder: that holds its job.
        patience: seconds for opening the file and for each answer, after which the process is ended; None for any time.
    """

    def __init__(self, folder: Path, *, patience: float | None = None) -> None:
        self.folder, self.patience = folder, patience
        self.ready, self.late, self.code, self.said = False, False, 0, ""

    def __enter__(self) -> Self:
        self._errors = (self.folder / "errors").open("w+", encoding="utf-8")
        try:
            self._process = subprocess.Popen(_words("run", self.folder), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                             stderr=self._errors, text=True, env=_environment())  # fmt: skip
        except OSError:
            self._errors.close()
            raise
        self.ready = bool(self._line())
        if not self.ready:
            self.code, self.said = self._left(), self._told()
        return self

    def ask(self, question: dict[str, Any]) -> dict[str, Any]:
        """One answer.

        Raises:
            Ended: the process ended instead, took too long, or said something else.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(question) + "\n")
            self._process.stdin.flush()
            line = self._line()
        except BrokenPipeError:
            line = ""
        if not line:
            self.code = self._left()
            told = self._told().strip().splitlines()
            why = told[-1][:200] if told else "no word"
            raise Ended(why if self.late else f"its process ended with {self.code}: {why}")
        try:
            answer: dict[str, Any] = json.loads(line)
        except ValueError as error:
            raise Ended(f"its process said {line.strip()[:100]!r}, which is no answer") from error
        return answer

    def _line(self) -> str:
        """What it says next; "" where it ended, or was ended after `patience`."""
        assert self._process.stdout is not None
        if self.patience is None:
            return self._process.stdout.readline()
        timer = threading.Timer(self.patience, self._end)
        timer.start()
        try:
            return self._process.stdout.readline()
        finally:
            timer.cancel()
            timer.join()

    def _end(self) -> None:
        self.late = True
        self._process.kill()

    def _left(self) -> int:
        """Its exit code, once it has ended; it is ended where it does not end by itself."""
        try:
            return self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def _told(self) -> str:
        """What it wrote on standard error, or that it took too long."""
        if self.late:
            return f"it took longer than {self.patience:g} s"
        return (self.folder / "errors").read_text(encoding="utf-8", errors="replace")

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):  # a question that it never read
            self._process.stdin.close()
        self._left()
        self._process.stdout.close()
        self._errors.close()


def speedup(pairs: list[tuple[float, float]]) -> float:
    """How many times faster than the eager model: median of the pair ratios."""
    return statistics.median(eager / theirs for theirs, eager in pairs)


def milliseconds(pairs: list[tuple[float, float]]) -> float:
    """Median of its own calls."""
    return 1000 * statistics.median(theirs for theirs, _ in pairs)
