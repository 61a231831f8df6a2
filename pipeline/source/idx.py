"""Files of the idx format, in which MNIST and its kin are published: a small header, then bytes; plain, or packed by gzip.

Source: Y. LeCun, C. Cortes and C. Burges, The MNIST database, file formats. The header is not trusted: sizes are capped before
anything is allocated, and the content must be exactly as long as they say.
"""

import gzip
import math
import struct
import zlib
from functools import cached_property
from pathlib import Path
from typing import IO, cast

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import PersonError

UBYTE = 8
KINDS = {8: "unsigned bytes", 9: "signed bytes", 11: "16-bit numbers", 12: "32-bit numbers", 13: "floats", 14: "doubles"}
DAMAGE = (EOFError, zlib.error, gzip.BadGzipFile)


class IdxFile:
    """An array of unsigned bytes in a file; nothing but the header is read before `values` is asked for.

    Args:
        path: the file; gzip is recognised by content.
        axes: accepted numbers of axes: 1 for labels, 3 (N, H, W) or 4 (N, H, W, C) for images.
        max_bytes: of the content, unpacked.
    """

    def __init__(self, path: Path, *, axes: tuple[int, ...], max_bytes: int) -> None:
        self.path, self.axes, self.max_bytes = path, axes, max_bytes

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the axes, from the header.

        Raises:
            PersonError: no such file, not idx, of another type, or too large.
        """
        if not self.path.is_file():
            raise PersonError(f"{self.path} does not exist")
        try:
            with self._open() as file:
                return self._header(file)
        except DAMAGE as error:
            raise self._damaged(error) from error

    @cached_property
    def values(self) -> NDArray[np.uint8]:
        """The whole array: mapped where the file is plain, in memory where it is packed.

        Raises:
            PersonError: the content is shorter or longer than the header says.
        """
        shape, start = self.shape, 4 + 4 * len(self.shape)
        size = math.prod(shape)
        if not self._packed:
            found = self.path.stat().st_size - start
            if found == size:
                return np.memmap(self.path, dtype=np.uint8, mode="r", offset=start, shape=shape)
        else:
            try:
                with self._open() as file:
                    data = file.read(start + size + 1)
            except DAMAGE as error:
                raise self._damaged(error) from error
            found = len(data) - start
            if found == size:
                return np.frombuffer(data, dtype=np.uint8, offset=start).reshape(shape)
        told = "more" if found > size else str(found)
        raise PersonError(f"{self.path.name} holds {told} bytes, and its header says {size} ({_told(shape)}): fetch it again")

    def row(self, number: int) -> NDArray[np.uint8]:
        """One image as (H, W, C)."""
        image = np.asarray(self.values[number])
        return image[..., None] if image.ndim == 2 else image

    @cached_property
    def _packed(self) -> bool:
        with self.path.open("rb") as file:
            return file.read(2) == b"\x1f\x8b"

    def _open(self) -> IO[bytes]:
        return cast("IO[bytes]", gzip.open(self.path, "rb") if self._packed else self.path.open("rb"))

    def _header(self, file: IO[bytes]) -> tuple[int, ...]:
        magic = file.read(4)
        if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in KINDS:
            raise PersonError(f"{self.path.name} is not an idx file: it begins with {magic.hex(' ') or 'nothing'}; give one")
        if magic[2] != UBYTE or magic[3] not in self.axes:
            wanted = " or ".join(map(str, self.axes))
            raise PersonError(
                f"{self.path.name} holds {KINDS[magic[2]]} along {magic[3]} axes: expected unsigned bytes along {wanted}"
            )
        data = file.read(4 * magic[3])
        if len(data) < 4 * magic[3]:
            raise EOFError("the header ends early")
        shape = struct.unpack(f">{magic[3]}I", data)
        if not math.prod(shape) or math.prod(shape) > self.max_bytes:
            raise PersonError(f"{self.path.name} says it holds {_told(shape)} bytes: expected 1 to {self.max_bytes:,} in all")
        if len(shape) == 4 and shape[3] not in (1, 3):
            raise PersonError(f"{self.path.name} holds images of {shape[3]} channels: expected 1 or 3")
        return shape

    def _damaged(self, error: Exception) -> PersonError:
        return PersonError(f"{self.path.name} is damaged or truncated ({' '.join(str(error).split())}): fetch it again")


def labelled(images: IdxFile, labels: IdxFile) -> NDArray[np.int64]:
    """The labels of images, (N,).

    Raises:
        PersonError: there are more or fewer labels than images.
    """
    if images.shape[0] != labels.shape[0]:
        raise PersonError(
            f"{images.path.name} holds {images.shape[0]} images and {labels.path.name} {labels.shape[0]} labels: "
            f"they do not belong together, fetch both again"
        )
    return labels.values.astype(np.int64)


def balanced(labels_N: NDArray[np.int64], limit: int) -> NDArray[np.int64]:
    """Positions of the first images of each class, `limit` in all where it divides and there are enough; 0 takes everything."""
    if not limit:
        return np.arange(len(labels_N))
    classes = np.unique(labels_N)
    if limit < len(classes):
        raise PersonError(f"a limit of {limit} images is too low for {len(classes)} classes: set 0 (all) or more")
    return np.sort(np.concatenate([np.flatnonzero(labels_N == number)[: limit // len(classes)] for number in classes]))


def held_out(labels_N: NDArray[np.int64], positions: NDArray[np.int64], share: float) -> set[int]:
    """The last of the positions of each class, about `share` of them."""
    found: list[int] = []
    for number in np.unique(labels_N[positions]):
        ours = positions[labels_N[positions] == number]
        found += ours[len(ours) - round(share * len(ours)) :].tolist()
    return set(found)


def _told(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
