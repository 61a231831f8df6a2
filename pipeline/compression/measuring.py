"""What a compressed file takes: bytes, memory, time and work of the processor, each in a process that opened nothing else.

Energy has no meter here; the processor's own seconds a sample stand for it, which other work on the machine hardly changes.

N samples, H height, W width, C channels, K columns of a decoded prediction.
"""

import statistics
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from pipeline.core.artifact import write_json
from pipeline.core.errors import PersonError
from pipeline.shipping.attempt import JOB
from pipeline.shipping.trial import PATIENCE, Ended, Runner
from pipeline.training.subset import Subset

BATCHES = (1, 32)
ANSWERED = 32  # samples a call when all are answered
PATIENCE_TIMED = 20.0  # seconds for the calls of one batch size; fewer are made when they would take longer
SLACK = 10.0  # times as long as the timed calls foretell may the answers to all samples take, beyond PATIENCE
FEWEST = 5
TICK = 1e-9  # seconds; the processor's clock counts no finer
Call = tuple[float, float, float, float]  # seconds and processor seconds of a file, and of the original


@dataclass(frozen=True)
class At:
    """At one batch size.

    Attributes:
        ms: median of a call.
        ms_high: three of four calls took at most this.
        faster: median of how many times faster than the original, calls in turn; and its quartiles.
        memory: bytes that opening it and calls up to this size took, at their peak.
        cpu_ms: processor milliseconds a sample, all threads, median: the proxy of energy.
        work: median of the processor's time over that of the original, calls in turn.
    """

    ms: float
    ms_high: float
    faster: tuple[float, float, float]
    memory: int
    cpu_ms: float
    work: float


@dataclass(frozen=True)
class Measured:
    """A file: its bytes, and what it takes at each batch size."""

    size: int
    at: dict[int, At]


class Lost(Ended):
    """The process of the original ended, which says nothing of the file that is measured beside it."""


class Stand:
    """Where files are measured beside the original, each in a process that is ended where it takes too long.

    Args:
        original: the file that every other is compared with.
        samples: that are answered, and timed.
        target: configuration of the runtime, as conf/target has it.
        repeats: calls of each batch size.
    """

    def __init__(self, original: Path, samples: Subset, *, target: dict[str, Any], repeats: int) -> None:
        self.original, self.samples, self.target, self.repeats = original, samples, target, repeats

    def __enter__(self) -> Self:
        self._stack = ExitStack()
        self._folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="smallest-")))
        self._beside: Runner | None = None  # started when the first file is measured, and again where it ended
        self._stack.callback(self._leave)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def measure(self, file: Path) -> tuple[Measured, NDArray[np.float32]]:
        """What it takes, and its decoded predictions (N, K); once more where it was the original whose process ended.

        Raises:
            PersonError: the runtime does not open it.
            Ended: its process ended or took too long; or that of the original did so twice.
        """
        try:
            return self._measured(file)
        except Lost:
            return self._measured(file)

    def _measured(self, file: Path) -> tuple[Measured, NDArray[np.float32]]:
        found: dict[int, At] = {}
        self._original()
        with self._open(file, "candidate") as runner:
            for size in BATCHES:
                calls = self._calls(runner, size)
                memory = int(runner.ask({"do": "memory"})["bytes"])
                found[size] = summed(calls, size=size, memory=memory)
            runner.patience = PATIENCE + SLACK * len(self.samples) / ANSWERED * found[ANSWERED].ms / 1000
            runner.ask({"do": "answer", "batch": ANSWERED})
            with np.load(self._folder / "answers.npz") as answers:
                prediction_NK: NDArray[np.float32] = answers["prediction"]
        return Measured(file.stat().st_size, found), prediction_NK

    def _open(self, file: Path, name: str) -> Runner:
        folder = self._folder / name
        folder.mkdir(exist_ok=True)
        job = {"target": self.target, "out": str(file.parent), "made": {}, "samples": str(self._folder / "samples.npy")}
        write_json(folder / JOB, {**job, "file": file.name})
        return _Ready(folder, patience=PATIENCE)

    def _original(self) -> Runner:
        if self._beside is None:
            if not (self._folder / "samples.npy").is_file():
                _write(self.samples, self._folder / "samples.npy")
            self._beside = self._open(self.original, "original").__enter__()
        return self._beside

    def _leave(self) -> None:
        """End the original's process, if it has one."""
        beside, self._beside = self._beside, None
        if beside is not None:
            beside.__exit__()

    def _calls(self, runner: Runner, size: int) -> list[Call]:
        """Seconds and processor seconds, its own and the original's, in turn; the first pair warms up and does not count."""
        original = self._original()
        calls: list[Call] = []
        began = time.perf_counter()
        while len(calls) <= self.repeats and (len(calls) < FEWEST or time.perf_counter() - began < PATIENCE_TIMED):
            theirs = runner.ask({"do": "time", "batch": size})
            try:
                beside = original.ask({"do": "time", "batch": size})
            except Ended as error:
                self._leave()
                raise Lost(f"the original beside it: {error}") from error
            calls.append((theirs["seconds"], theirs["cpu"], beside["seconds"], beside["cpu"]))
        return calls[1:]


def _write(samples: Subset, path: Path) -> None:
    """All images as one .npy file, which never lies in memory as a whole."""
    first_HWC = next(samples.pixels())
    file = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(len(samples), *first_HWC.shape))
    for row, pixels_HWC in enumerate(samples.pixels()):
        file[row] = pixels_HWC
    file.flush()


class _Ready(Runner):
    """A process that has the file open, or an error."""

    def __enter__(self) -> Self:
        super().__enter__()
        if not self.ready:
            self.__exit__()
            told = (self.said.strip().splitlines() or ["its process ended"])[-1][:200]
            raise PersonError(f"the file of the {self.folder.name} does not open in its runtime: {told}")
        return self


def summed(calls: Sequence[Call], *, size: int, memory: int) -> At:
    """Medians and quartiles of calls."""
    seconds, cpu, beside, cpu_beside = (np.asarray(column, dtype=np.float64) for column in zip(*calls, strict=True))
    low, middle, high = (float(value) for value in np.quantile(beside / seconds, [0.25, 0.5, 0.75]))
    return At(
        ms=1000 * statistics.median(seconds), ms_high=1000 * float(np.quantile(seconds, 0.75)), faster=(low, middle, high),
        memory=memory, cpu_ms=1000 * statistics.median(cpu) / size, work=statistics.median(cpu / np.maximum(cpu_beside, TICK)),
    )  # fmt: skip
