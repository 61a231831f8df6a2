"""Requests to batches: one thread decodes and asks the model, so that many small requests cost as little as a few large ones.

Clients take turns: however many images one of them has waiting, the next one of another client is in the next batch.
"""

import threading
import time
from collections import deque
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


class Turns:
    """A queue of one line for each client; they are served in turn."""

    def __init__(self) -> None:
        self.lines: dict[str, deque[_Work]] = {}
        self.count, self.closed = 0, False
        self.changed = threading.Condition()

    def put(self, client: str, work: _Work) -> None:
        """Behind the others of this client."""
        with self.changed:
            self.lines.setdefault(client, deque()).append(work)
            self.count += 1
            self.changed.notify()

    def close(self) -> None:
        """Nothing comes any more; what waits is still handed out."""
        with self.changed:
            self.closed = True
            self.changed.notify()

    def get(self, patience: float | None = None) -> _Work | None:
        """The next one; None when there is none in time, or will be none."""
        with self.changed:
            self.changed.wait_for(lambda: self.count or self.closed, patience)
            if not self.count:
                return None
            client = next(iter(self.lines))
            line = self.lines.pop(client)
            work = line.popleft()
            if line:
                self.lines[client] = line  # behind all other clients
            self.count -= 1
            return work


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
        self.turns = Turns()
        self._thread = threading.Thread(target=self._serve, name="model", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.turns.close()
        self._thread.join(timeout=30)

    @property
    def depth(self) -> int:
        """Files that wait now."""
        return self.turns.count

    @property
    def alive(self) -> bool:
        """Whether somebody answers."""
        return self._thread.is_alive()

    def submit(self, data: bytes, client: str = "") -> "Future[Any] | None":
        """A promise of the answer, or of `Refused`; None when too many wait."""
        if self.turns.count >= self.waiting:
            return None
        work = _Work(data)
        self.turns.put(client, work)
        return work.future

    def _serve(self) -> None:
        with self.pool:
            while (first := self.turns.get()) is not None:
                works = [work for work in self._gather(first) if work.future.set_running_or_notify_cancel()]
                try:
                    self._answer(works)
                except Exception as error:  # noqa: BLE001 - whoever asked is told, and the next batch is served
                    for work in works:
                        if not work.future.done():
                            work.future.set_exception(error)

    def _gather(self, first: _Work) -> list[_Work]:
        """What is there, and what comes within the wait."""
        works, until = [first], time.monotonic() + self.wait
        while len(works) < self.largest:
            work = self.turns.get(max(0.0, until - time.monotonic()))
            if work is None:
                break
            works.append(work)
        return works

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
