"""What a worker of `pipeline.images.pool` does: limit itself, then decode what comes and write the pixels where it is told."""

import faulthandler
import mmap
import resource
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import BadSampleError
from pipeline.images.decode import Decoder, sample_id
from pipeline.images.geometry import Box, Crop, Decoded, Point, Request
from pipeline.images.pillow import FAULTS, OUT_OF_MEMORY


@dataclass(frozen=True, slots=True)
class Taken:
    """A file that was decoded, and the id of its pixels."""

    id: str
    decoded: Decoded


@dataclass(frozen=True, slots=True)
class Refused:
    """A file that was not.

    Attributes:
        reason: one line.
        lasting: whether the bytes alone decide it; a limit on time or memory does not.
    """

    reason: str
    lasting: bool = True


# A request on its way: its data, or where they lie in the mapped file and how many bytes they are, and the rest.
Packed = tuple[Any, Crop | None, bytes | None, tuple[Box, ...], tuple[Point, ...]]


@dataclass
class Worker:
    """What a worker process holds."""

    decoder: Decoder
    seconds: float
    slots: mmap.mmap


def serve(pipe: Connection, settings: Mapping[str, Any], slots: str, *, seconds: float, memory_mb: int) -> None:
    """A worker: limit this process for good, then decode what comes until the pipe ends."""
    faulthandler.disable()  # the parent says what happened
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is interrupted, and closes the pipe
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with Path(slots).open("r+b") as file:
        worker = Worker(Decoder(**settings), seconds, mmap.mmap(file.fileno(), 0))
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    most = pages * resource.getpagesize() + memory_mb * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    pipe.send("ready")
    while True:
        try:
            said = pipe.recv()
        except (EOFError, OSError):  # the parent is gone
            return
        if said is None:
            return
        pipe.send(_decode(worker, *said))


def _decode(worker: Worker, start: int, requests: list[Packed]) -> list[Any]:
    """Decode into the slots, one after the other; tell the id and the rest of each, or why not."""
    area, channels = worker.decoder.height * worker.decoder.width, worker.decoder.channels
    said: list[Any] = []
    for row, (data, *rest) in enumerate(requests):
        asked: tuple[Any, ...] = (worker.slots[data[0] : sum(data)] if isinstance(data, tuple) else data, *rest)
        request = Request(*asked)
        signal.setitimer(signal.ITIMER_PROF, worker.seconds)
        place = start + row * area * (channels + 1)
        pixels = np.frombuffer(worker.slots, np.uint8, area * channels, place)
        found = outcome(worker.decoder, request, pixels)
        signal.setitimer(signal.ITIMER_PROF, 0)
        if isinstance(found, Refused):
            said.append(found)
            continue
        decoded = found.decoded
        if not np.may_share_memory(pixels, decoded.pixels_HWC):
            pixels[:] = decoded.pixels_HWC.reshape(-1)
        if decoded.mask_HW is not None:
            np.frombuffer(worker.slots, np.uint8, decoded.mask_HW.size, place + pixels.size)[:] = decoded.mask_HW.reshape(-1)
        said.append((found.id, decoded.mask_HW is not None, decoded.boxes, decoded.keypoints, decoded.size))
    return said


def outcome(decoder: Decoder, request: Request, room_N: NDArray[np.uint8] | None = None) -> Taken | Refused:
    """Decode one request, or say why not; its pixels may lie in the room that is lent."""
    try:
        decoded = decoder.decode_all(request, room_N)
    except BadSampleError as error:
        return Refused(str(error), lasting=str(error) != OUT_OF_MEMORY)
    except MemoryError:
        return Refused(OUT_OF_MEMORY, lasting=False)
    except FAULTS as error:
        return Refused(f"damaged: {' '.join(str(error).split())[:120] or type(error).__name__}")
    return Taken(sample_id(decoded.pixels_HWC), decoded)
