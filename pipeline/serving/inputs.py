"""Images to be answered: files, folders, archives, videos and cameras, one after the other, none of them read before its turn.

H height, W width, C channels.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from pipeline.core.errors import PersonError
from pipeline.images.geometry import Request
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
    """

    name: str
    request: Request | None
    why: str = ""


class Inputs:
    """What a person named on the command line.

    Args:
        words: files, folders, archives, videos, or `camera:0`.
        scratch: an empty folder for what archives hold.
        every: of the frames of a video or camera, take each so-many-th.
        most: images in all; 0 for no limit.

    Raises:
        PersonError: something that is not there, or an archive that is refused.
    """

    def __init__(self, words: list[str], scratch: Path, *, every: int = 1, most: int = 0) -> None:
        self.every, self.most = every, most
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

    def __iter__(self) -> Iterator[Input]:
        given = 0
        for kind, where in self._sources:
            for one in self._frames(*where) if kind == "video" else [self._file(*where)]:
                yield one
                given += 1
                if given == self.most:
                    return

    def _add(self, word: str, scratch: Path) -> None:
        if word.startswith(CAMERA):
            number = word.removeprefix(CAMERA)
            if not number.isdigit():
                raise PersonError(f"{word}: a camera is named by its number, camera:0 for the first")
            self._sources.append(("video", (int(number), word)))
            return
        path = Path(word).expanduser()
        if path.is_dir():
            found = [name for name in files_below(path) if is_image(name)]
            if not found:
                raise PersonError(f"{path} holds no image")
            self._sources += [("file", (path / name, str(path / name))) for name in found]
        elif not path.is_file():
            raise PersonError(f"{path} is not there: name a file, a folder, an archive, a video or camera:0")
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

    def _file(self, path: Path, name: str) -> Input:
        try:
            if path.stat().st_size > FILE_MEGABYTES << 20:
                return Input(name, None, f"more than {FILE_MEGABYTES} MB")
            return Input(name, Request(path.read_bytes()))
        except OSError as error:
            return Input(name, None, error.strerror or "cannot be read")

    def _frames(self, source: int | str, name: str) -> Iterator[Input]:
        import cv2

        video = cv2.VideoCapture(source)
        self._stack.callback(video.release)
        if not video.isOpened():
            yield Input(name, None, "no video that OpenCV can read, or no such camera")
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
