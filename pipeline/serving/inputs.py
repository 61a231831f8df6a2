"""Images to be answered: files, folders, archives, videos, cameras and streams, one after the other, none read before its turn.

H height, W width, C channels.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import numpy as np

from pipeline.core.errors import PersonError
from pipeline.images.geometry import Request
from pipeline.serving.live import Newest, capture, check_stream, is_stream, shown
from pipeline.source.archive import kind_of, unpack
from pipeline.source.folder import files_below, is_image

VIDEOS = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg")
CAMERA = "camera:"
MEMBERS, MEGABYTES, FILE_MEGABYTES, RATIO = 100_000, 20_000, 500, 200.0


@dataclass(frozen=True)
class Input:
    """One image, not yet decoded.

    Attributes:
        name: for people: a path, or a video and the number of a frame.
        request: for `pipeline.images.pool.DecodePool`; None where it could not even be read.
        why: then.
        arrived: s, of `time.perf_counter`, when a camera or stream gave it; None for what lay there before.
    """

    name: str
    request: Request | None
    why: str = ""
    arrived: float | None = None


class Inputs:
    """What a person named on the command line.

    Args:
        words: files, folders, archives, videos, `camera:0`, or the address of a stream.
        scratch: an empty folder for what archives hold.
        every: of the frames of a video or camera, take each so-many-th.
        most: images in all; 0 for no limit.

    Raises:
        PersonError: something that is not there, or an archive that is refused.
    """

    def __init__(self, words: list[str], scratch: Path, *, every: int = 1, most: int = 0) -> None:
        self.every, self.most = every, most
        self._cameras: list[Newest] = []
        self._sources: list[tuple[str, Any]] = []
        self._stack = ExitStack()
        for word in words:
            self._add(word, scratch)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()

    def total(self) -> int:
        """How many there will be; 0 where nobody knows."""
        counts = [1 if kind == "file" else 0 for kind, _ in self._sources]
        known = len(counts) if all(counts) else 0
        return min(known, self.most) if self.most and known else known

    @property
    def missed(self) -> int:
        """Frames of cameras and streams that came while the model was busy."""
        return sum(camera.missed for camera in self._cameras)

    def __iter__(self) -> Iterator[Input]:
        given = 0
        for kind, where in self._sources:
            for one in self._file(*where) if kind == "file" else self._frames(*where) if kind == "video" else self._live(*where):
                yield one
                given += 1
                if given == self.most:
                    return

    def _add(self, word: str, scratch: Path) -> None:
        if word.startswith(CAMERA):
            number = word.removeprefix(CAMERA)
            if not number.isdigit():
                raise PersonError(f"{word}: a camera is named by its number, camera:0 for the first")
            self._sources.append(("live", (int(number), word)))
            return
        if is_stream(word):
            check_stream(word)
            whole = urlsplit(word).path.lower().endswith(VIDEOS)
            self._sources.append(("video" if whole else "live", (word, shown(word))))
            return
        path = Path(word).expanduser()
        if path.is_dir():
            found = [name for name in files_below(path) if is_image(name)]
            if not found:
                raise PersonError(f"{path} holds no image")
            self._sources += [("file", (path / name, str(path / name))) for name in found]
        elif not path.is_file():
            raise PersonError(f"{path} is not there: name a file, a folder, an archive, a video, camera:0 or a stream")
        elif path.suffix.lower() in VIDEOS:
            self._sources.append(("video", (str(path), str(path))))
        elif kind_of(path) is not None:
            target = scratch / str(len(self._sources))
            caps = {"max_members": MEMBERS, "max_bytes": MEGABYTES << 20, "max_file_bytes": FILE_MEGABYTES << 20}
            unpack(path, target, **caps, max_ratio=RATIO)
            names = [name for name in files_below(target) if is_image(name)]
            if not names:
                raise PersonError(f"{path} holds no image")
            self._sources += [("file", (target / name, f"{path}/{name}")) for name in names]
        else:
            self._sources.append(("file", (path, str(path))))

    def _file(self, path: Path, name: str) -> Iterator[Input]:
        try:
            large = path.stat().st_size > FILE_MEGABYTES << 20
            yield Input(name, None, f"more than {FILE_MEGABYTES} MB") if large else Input(name, Request(path.read_bytes()))
        except OSError as error:
            yield Input(name, None, error.strerror or "cannot be read")

    def _live(self, source: int | str, name: str) -> Iterator[Input]:
        """The newest frame whenever one is asked for."""
        video = capture(source)
        if not video.isOpened():
            yield Input(name, None, "no such camera or stream, or none that OpenCV can read")
            return
        camera = self._stack.enter_context(Newest(video, every=self.every))
        self._cameras.append(camera)
        for frame in camera:
            yield Input(f"{name}#{frame.number}", Request(frame.pixels_HWC), arrived=frame.arrived)
        if not camera.taken:
            yield Input(name, None, "a stream without a frame")

    def _frames(self, source: str, name: str) -> Iterator[Input]:
        video = capture(source)
        self._stack.callback(video.release)
        if not video.isOpened():
            yield Input(name, None, "no video that OpenCV can read")
            return
        number = -1
        while True:
            there, frame_HWC = video.read()
            number += 1
            if not there:
                if number == 0:
                    yield Input(name, None, "a video without a frame")
                return
            if number % self.every == 0:
                yield Input(f"{name}#{number}", Request(np.ascontiguousarray(frame_HWC[..., ::-1])))
