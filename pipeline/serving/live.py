"""A camera or a stream: whoever answers gets the newest frame, and what came while it was busy is counted and left out.

Frames that wait would grow old: with a model slower than the camera, each answer would be about an older moment than the one
before. H height, W width, C channels.
"""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import numpy as np

from pipeline.core.errors import PersonError
from pipeline.core.record import Pixels

SCHEMES = ("http", "https", "rtsp", "rtsps")
ALLOWED = "http,https,tcp,tls,rtsp,rtp,rtsps,udp,crypto,httpproxy"  # what a stream may lead to: no files of this machine
OPTIONS = "OPENCV_FFMPEG_CAPTURE_OPTIONS"
OPENS, READS = 10_000, 10_000  # ms until a stream must open, and until its next frame must come


def is_stream(word: str) -> bool:
    """Whether a word of the command line is the address of a stream."""
    return "://" in word


def check_stream(word: str) -> None:
    """Hold an address to the kinds that are read.

    Raises:
        PersonError: another scheme, or no host.
    """
    parts = urlsplit(word)
    if parts.scheme.lower() not in SCHEMES or not parts.hostname:
        raise PersonError(f"a stream is named like rtsp://camera/stream or http://camera:8080/video.mjpg ({', '.join(SCHEMES)})")


def shown(word: str) -> str:
    """An address for people: without name, password and query, which may hold a key.

    >>> shown("rtsp://me:secret@camera:554/one?token=1")
    'rtsp://camera:554/one'
    """
    parts = urlsplit(word)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def capture(source: int | str) -> Any:
    """An open (or failed) `cv2.VideoCapture` of a camera's number, a file or a stream; streams have time limits."""
    import cv2

    if not isinstance(source, str) or not is_stream(source):
        return cv2.VideoCapture(source)
    before = os.environ.get(OPTIONS)
    os.environ[OPTIONS] = f"rtsp_transport;tcp|protocol_whitelist;{ALLOWED}"
    try:
        limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, OPENS, cv2.CAP_PROP_READ_TIMEOUT_MSEC, READS]
        return cv2.VideoCapture(source, cv2.CAP_FFMPEG, limits)
    finally:
        if before is None:
            os.environ.pop(OPTIONS, None)
        else:
            os.environ[OPTIONS] = before


@dataclass(frozen=True)
class Frame:
    """One picture of a camera.

    Attributes:
        number: of the frame, as the camera counts.
        pixels_HWC: red, green, blue.
        arrived: s, of `time.perf_counter`.
    """

    number: int
    pixels_HWC: Pixels
    arrived: float


class Newest:
    """Reads frames in a thread of its own and hands out the newest.

    Args:
        video: an open `cv2.VideoCapture`.
        every: take each so-many-th frame.
    """

    def __init__(self, video: Any, *, every: int = 1) -> None:
        self.video, self.every = video, every
        self.taken = self.missed = 0
        self._newest: Frame | None = None
        self._ended = self._closed = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._read, name="camera", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._closed = True
        self._thread.join(timeout=2 * READS / 1000)
        if not self._thread.is_alive():  # to release it while it reads would crash
            self.video.release()

    def __iter__(self) -> Iterator[Frame]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._newest is not None or self._ended)
                frame, self._newest = self._newest, None
            if frame is None:
                return
            self.taken += 1
            yield frame

    def _read(self) -> None:
        number = 0
        with suppress(self._errors()):
            while not self._closed:
                there, frame_HWC = self.video.read()
                if not there:
                    break
                if number % self.every == 0:
                    found = Frame(number, np.ascontiguousarray(frame_HWC[..., ::-1]), time.perf_counter())
                    with self._changed:
                        self.missed += self._newest is not None
                        self._newest = found
                        self._changed.notify()
                number += 1
        with self._changed:
            self._ended = True
            self._changed.notify()

    @staticmethod
    def _errors() -> type[Exception]:
        import cv2

        return cv2.error
