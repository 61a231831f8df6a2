"""Requests to batches: one thread decodes and asks the model, so that many small requests cost as little as a few large ones."""

import queue
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

import numpy as np

from pipeline.core.record import Pixels
from pipeline.images.decoding import Refused
from pipeline.images.geometry import Request
from pipeline.images.pool import DecodePool


class Model(Protocol):
    """What answers."""

    @property
    def decoder(self) -> dict[str, Any]:
        """Arguments of `pipeline.images.decode.Decoder`."""

    def answer(self, pixels_BHWC: Pixels) -> Sequence[Any]:
        """One answer an image."""


@dataclass
class Counts:
    """What has been done, for the metrics."""

    batches: int = 0
    images: int = 0
    refused: int = 0
    decode_seconds: float = 0.0
    model_seconds: float = 0.0


@dataclass
class _Work:
    data: bytes
    future: "Future[Any]" = field(default_factory=Future)


class Batcher:
    """Answers image files; files are decoded in limited processes, as ingest does, so that none of them can end the server.

    Args:
        model: open and ready.
        largest: images in one call of the model.
        wait: seconds that the first of a batch waits for others.
        waiting: files that may wait; one more is refused.
        pool: `seconds`, `memory_mb` and `workers` of `pipeline.images.pool.DecodePool`.
    """

    def __init__(
        self, model: Model, *, largest: int = 16, wait: float = 0.002, waiting: int = 128, pool: Mapping[str, Any] | None = None
    ) -> None:  # fmt: skip
        self.model, self.largest, self.wait, self.waiting = model, largest, wait, waiting
        self.pool = DecodePool(model.decoder, **{"seconds": 2.0, "memory_mb": 512, "workers": 1, **(pool or {})})
        self.counts = Counts()
        self.queue: queue.Queue[_Work | None] = queue.Queue()
        self._thread = threading.Thread(target=self._serve, name="model", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.queue.put(None)
        self._thread.join(timeout=30)

    @property
    def depth(self) -> int:
        """Files that wait now."""
        return self.queue.qsize()

    @property
    def alive(self) -> bool:
        """Whether somebody answers."""
        return self._thread.is_alive()

    def submit(self, data: bytes) -> "Future[Any] | None":
        """A promise of the answer, or of `Refused`; None when too many wait."""
        if self.queue.qsize() >= self.waiting:
            return None
        work = _Work(data)
        self.queue.put(work)
        return work.future

    def _serve(self) -> None:
        with self.pool:
            while (first := self.queue.get()) is not None:
                works, ended = self._gather(first)
                works = [work for work in works if work.future.set_running_or_notify_cancel()]
                try:
                    self._answer(works)
                except Exception as error:  # noqa: BLE001 - whoever asked is told, and the next batch is served
                    for work in works:
                        if not work.future.done():
                            work.future.set_exception(error)
                if ended:
                    return

    def _gather(self, first: _Work) -> tuple[list[_Work], bool]:
        """What is there, and what comes within the wait; whether the end came with it."""
        works, until = [first], time.monotonic() + self.wait
        while len(works) < self.largest:
            try:
                work = self.queue.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                break
            if work is None:
                return works, True
            works.append(work)
        return works, False

    def _answer(self, works: list[_Work]) -> None:
        began = time.perf_counter()
        ready: list[tuple[_Work, Any]] = []
        for work, found in self.pool.in_order((work, Request(work.data)) for work in works):
            if found is None or isinstance(found, Refused):
                self.counts.refused += 1
                work.future.set_result(found)
            else:
                ready.append((work, found.decoded.pixels_HWC))
        decoded = time.perf_counter()
        self.counts.decode_seconds += decoded - began
        if ready:
            answers = self.model.answer(np.stack([pixels_HWC for _, pixels_HWC in ready]))
            for (work, _), answer in zip(ready, answers, strict=True):
                work.future.set_result(answer)
            self.counts.batches += 1
            self.counts.images += len(ready)
            self.counts.model_seconds += time.perf_counter() - decoded
