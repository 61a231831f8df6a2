"""Decode files in processes that are limited, so that no file can take the parent down.

A worker may use so much address space (RLIMIT_AS) and, for each file, so many seconds of CPU (a timer whose signal ends the
process, also inside C code) and of wall time. Files travel in chunks; should a worker die or hang over a chunk, it is replaced
and the chunk's files go again one by one, so that the file that did it alone is refused. Files and pixels travel through a
mapped file and not through a pipe. Results keep the order of the work, and how many workers there are changes no byte of them.

Why not pebble or concurrent.futures: the second breaks whole when a worker dies; the first finds a dead worker by polling from
a thread, and gave up ("All workers expired") when the death came before the message that the task had begun. Here each worker
has a pipe of its own, so a death is read from that pipe and belongs to that chunk.
"""

import mmap
import os
import signal
import tempfile
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Any, Self, TypeVar

import numpy as np

from pipeline.core.errors import PersonError
from pipeline.core.launch import short_sockets
from pipeline.images.decode import Decoder
from pipeline.images.decoding import Packed, Refused, Taken, outcome, serve
from pipeline.images.geometry import Decoded, Request

C = TypeVar("C")
CHUNK = 32  # files that travel together, at most
CHUNK_BYTES = 4 << 20  # of their pixels, and of the files themselves
PATIENCE = 4  # wall seconds for each CPU second of the limit: what waits or sleeps is not caught by a timer of CPU time
BACKLOG = 4096  # items that may wait, in order, for one that is still in a worker
STARTING = 120.0  # seconds until a worker must have come up


@dataclass
class _Chunk:
    """Files that travel together."""

    requests: list[Request] = field(default_factory=list)
    size: int = 0
    sent: bool = False
    results: list[Taken | Refused] | None = None


@dataclass
class _Member:
    """A worker, as the parent sees it."""

    number: int
    process: BaseProcess
    pipe: Connection
    chunk: _Chunk | None = None
    deadline: float = 0.0


Waiting = deque[tuple[C, _Chunk | None, int]]


class DecodePool:
    """Decodes requests in limited processes, which start when files come and the others are busy, and end with the context.

    Args:
        settings: arguments of `pipeline.images.decode.Decoder`.
        seconds: CPU seconds that one file may take.
        memory_mb: MB of address space that decoding may add to a worker.
        workers: processes; by default the CPUs that this process may use.
    """

    def __init__(self, settings: Mapping[str, Any], *, seconds: float, memory_mb: int, workers: int | None = None) -> None:
        self.settings, self.seconds, self.memory_mb = dict(settings), seconds, memory_mb
        self.decoder = Decoder(**settings)
        self.workers = workers or len(os.sched_getaffinity(0))
        self._size = self.decoder.height * self.decoder.width * (self.decoder.channels + 1)  # pixels and mask
        self._most = max(1, min(CHUNK, CHUNK_BYTES // self._size))
        self._room = self._most * self._size + CHUNK_BYTES  # of one worker: its pixels, then its files
        self._crew: list[_Member] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for member in self._crew:
            if member.chunk is not None:
                member.process.kill()
            with suppress(OSError):  # it died meanwhile
                member.pipe.send(None)
            member.pipe.close()
        for member in self._crew:
            member.process.join()
        if self._crew:
            self._slots.close()
            self._file.close()
        self._crew = []

    def in_order(self, work: Iterable[tuple[C, Request | None]]) -> Iterator[tuple[C, Taken | Refused | None]]:
        """Yield each item of the work with what became of its request, in order; memory stays at a few chunks.

        Args:
            work: anything, with what is to be decoded for it or None. Pixels that are decoded already stay in this process.
        """
        waiting: Waiting[C] = deque()
        chunk = _Chunk()
        unfinished: deque[_Chunk] = deque()
        for context, request in work:
            if request is None and not waiting:
                yield context, None
                continue
            waiting.append((context, None if request is None else chunk, len(chunk.requests)))
            if request is not None:
                chunk.requests.append(request)
                chunk.size += len(request.data) + len(request.mask or b"")
            if len(chunk.requests) >= self._most or chunk.size > CHUNK_BYTES or len(waiting) > BACKLOG:
                self._send(chunk)
                unfinished.append(chunk)
                chunk = _Chunk()
                while len(unfinished) > 2 * self.workers:
                    self._finish(unfinished.popleft())
            first = waiting[0][1]
            if first is None or first.results is not None:
                yield from _done(waiting)
        self._send(chunk)
        unfinished.append(chunk)
        while unfinished:
            self._finish(unfinished.popleft())
            yield from _done(waiting)
        yield from _done(waiting)

    def _send(self, chunk: _Chunk) -> None:
        """Give a chunk to a worker that has nothing to do, and wait for one if need be."""
        if all(isinstance(request.data, np.ndarray) for request in chunk.requests):
            chunk.results = [outcome(self.decoder, request) for request in chunk.requests]
            return
        if chunk.requests:
            self._hand(self._idle(), chunk)

    def _idle(self) -> _Member:
        """A worker that has nothing to do; where there is none, one is started or waited for."""
        if not self._crew:
            self._file = _shared_file(self.workers * self._room)
            self._slots = mmap.mmap(self._file.fileno(), 0)
        patience = 0.0 if len(self._crew) < self.workers else None
        while (member := next((member for member in self._crew if member.chunk is None), None)) is None:
            if self._crew and self._listen(self._crew, patience=patience):
                continue
            if len(self._crew) < self.workers:
                self._crew.append(self._member(len(self._crew)))
                self._ready(self._crew[-1])
        return member

    def _finish(self, chunk: _Chunk) -> None:
        while chunk.results is None:
            self._listen([member for member in self._crew if member.chunk is not None])

    def _hand(self, member: _Member, chunk: _Chunk) -> None:
        member.chunk, member.deadline = chunk, time.monotonic() + PATIENCE * self.seconds
        start = member.number * self._room
        with suppress(OSError):  # it died meanwhile; the end of its pipe says so too
            member.pipe.send((start, self._packed(start + self._most * self._size, chunk.requests)))

    def _packed(self, place: int, requests: list[Request]) -> list[Packed]:
        """Requests for the pipe; their files are laid into the worker's room from `place` on, as far as that goes."""
        end, found = place + CHUNK_BYTES, []
        for request in requests:
            data: Any = request.data
            if isinstance(data, bytes) and place + len(data) <= end:
                self._slots[place : place + len(data)] = data
                data, place = (place, len(data)), place + len(data)
            found.append((data, request.crop, request.mask, request.boxes, request.keypoints))
        return found

    def _listen(self, members: list[_Member], *, patience: float | None = None) -> bool:
        """Wait until one of these busy workers has said something, died or run out of time; whether that is so."""
        if patience is None:
            patience = max(min(member.deadline for member in members) - time.monotonic(), 0)
        spoken = wait([member.pipe for member in members], timeout=patience)
        late = False
        for member in members:
            if member.pipe in spoken:
                try:
                    self._collect(member, member.pipe.recv())
                except (EOFError, OSError):
                    member.process.join()
                    self._lost(member, self._why(member.process.exitcode or 0))
            elif time.monotonic() > member.deadline:
                late = True
                member.process.kill()
                member.process.join()
                self._lost(member, self._why(-signal.SIGPROF))
        return bool(spoken) or late

    def _collect(self, member: _Member, said: list[Any]) -> None:
        assert member.chunk is not None
        start = member.number * self._room
        member.chunk.results = [self._taken(start + self._size * row, found) for row, found in enumerate(said)]
        member.chunk.requests = []
        member.chunk = None

    def _lost(self, member: _Member, why: Refused) -> None:
        """Replace a worker; a single file is what ended it, of several each goes again alone."""
        chunk, requests = member.chunk, member.chunk.requests if member.chunk is not None else []
        assert chunk is not None
        member.pipe.close()
        self._crew[member.number] = member = self._member(member.number)
        self._ready(member)
        if len(requests) == 1:
            chunk.results, chunk.requests = [why], []
            return
        results: list[Taken | Refused] = []
        for request in requests:
            alone = _Chunk([request])
            self._hand(self._crew[member.number], alone)
            while alone.results is None:
                self._listen([self._crew[member.number]])
            results += alone.results
        chunk.results, chunk.requests = results, []

    def _why(self, exitcode: int) -> Refused:
        if exitcode == -signal.SIGPROF:
            return Refused(f"decoding takes longer than ingest.decode_seconds = {self.seconds:g}", lasting=False)
        died = signal.Signals(-exitcode).name if -exitcode in set(signal.Signals) else f"exit code {exitcode}"
        return Refused(f"the decoder died of it ({died}): the file is damaged, or asks for too much memory", lasting=False)

    def _taken(self, start: int, said: Any) -> Taken | Refused:
        if isinstance(said, Refused):
            return said
        identity, masked, boxes, points, size = said
        shape = (self.decoder.height, self.decoder.width, self.decoder.channels)
        pixels = np.frombuffer(self._slots, np.uint8, shape[0] * shape[1] * shape[2], start).reshape(shape).copy()
        mask = np.frombuffer(self._slots, np.uint8, shape[0] * shape[1], start + pixels.size) if masked else None
        return Taken(identity, Decoded(pixels, None if mask is None else mask.reshape(shape[:2]).copy(), boxes, points, size))

    def _member(self, number: int) -> _Member:
        context = _context()
        ours, theirs = context.Pipe()
        process = context.Process(
            target=serve,
            args=(theirs, self.settings, _path(self._file)),
            kwargs={"seconds": self.seconds, "memory_mb": self.memory_mb},
            daemon=True,
        )
        process.start()
        theirs.close()
        return _Member(number, process, ours)

    def _ready(self, member: _Member) -> None:
        """Wait until a new worker says that it is there.

        Raises:
            PersonError: it is not.
        """
        try:
            if member.pipe.poll(STARTING) and member.pipe.recv() == "ready":
                return
        except EOFError:
            said = "what it said stands above. A script needs  if __name__ == '__main__':  around its calls; or free memory"
            raise PersonError(f"a process that decodes files ended while it started: {said}") from None
        raise PersonError(f"a process that decodes files did not start within {STARTING:g} s: free some memory and run again")


def _shared_file(size: int) -> Any:
    """A file to map: in memory where the system has such files, so that the disk is spared."""
    if hasattr(os, "memfd_create"):
        file: Any = os.fdopen(os.memfd_create("pixels"), "r+b", buffering=0)
    else:
        file = tempfile.NamedTemporaryFile(prefix="pixels-")  # noqa: SIM115 - it lives as long as the pool
    file.truncate(size)
    return file


def _path(file: Any) -> str:
    """Where another process finds it while this one has it open."""
    return file.name if isinstance(file.name, str) else f"/proc/{os.getpid()}/fd/{file.fileno()}"


def _context() -> Any:
    """Workers are forks of a clean process that has imported the decoder."""
    context = get_context("forkserver")
    context.set_forkserver_preload([serve.__module__])
    short_sockets()
    return context


def _done(waiting: Waiting[C]) -> Iterator[tuple[C, Taken | Refused | None]]:
    """Take away what stands first and is done."""
    while waiting:
        context, chunk, place = waiting[0]
        if chunk is not None and chunk.results is None:
            return
        waiting.popleft()
        yield context, None if chunk is None or chunk.results is None else chunk.results[place]
