"""Bytes of the shards of a store, by file and offset, and the file that a shard is written to.

A small store is mapped: an image is a view into the file. A store above `MAPPED` bytes is read row by row at its offset, so
that resident memory and address space stay the same however large it is; the system's page cache keeps what is warm.
"""

import mmap
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

MAPPED = 64 << 20  # bytes of all shards up to which they are mapped
OPEN = 64  # files of a larger store that are open at a time
RACY = 2 * 10**9  # nanoseconds; the coarsest time stamp of a common file system
RACY_FINE = 10**8  # the coarsest of one that writes fractions of a second
PIECE_BYTES = 1 << 18  # that are worked on at a time while a shard is written, so that they stay in the processor's cache


class ShardFiles:
    """Bytes of shards: mapped where they are few, read at their offset where they are many."""

    def __init__(self, paths: Sequence[Path], *, mapped: bool) -> None:
        self.paths = list(paths)
        self.mapped = mapped and sum(path.stat().st_size for path in self.paths) <= MAPPED
        self._maps: dict[int, memoryview] = {}
        self._handles: dict[int, int] = {}

    def read(self, shard: int, start: int, size: int) -> bytes | memoryview:
        """Bytes of one shard."""
        if self.mapped:
            return self._map(shard)[start : start + size]
        return os.pread(self._handle(shard), size, start)

    def fill(self, shard: int, start: int, out_N: NDArray[np.uint8]) -> None:
        """Copy a run of bytes of one shard into an array."""
        if self.mapped:
            out_N[:] = np.frombuffer(self._map(shard), np.uint8, len(out_N), start)
        elif os.preadv(self._handle(shard), [out_N.data], start) != len(out_N):
            raise OSError(f"{self.paths[shard]} ends before its last sample")

    def gather(self, shards: NDArray[np.int64], starts: NDArray[np.int64], size: int) -> NDArray[np.uint8]:
        """Runs of `size` bytes from these shards and offsets, as rows of a new array."""
        places = list(zip(shards.tolist(), starts.tolist(), strict=True))
        if self.mapped:
            maps = {shard: self._map(shard) for shard in set(shards.tolist())}
            joined = bytearray().join([maps[shard][start : start + size] for shard, start in places])  # one copy, made in C
            return np.frombuffer(joined, dtype=np.uint8).reshape(len(places), size)
        images_BN = np.empty((len(places), size), dtype=np.uint8)
        for row, (shard, start) in enumerate(places):
            if os.preadv(self._handle(shard), [images_BN[row]], start) != size:
                raise OSError(f"{self.paths[shard]} ends before its last sample")
        return images_BN

    def _map(self, shard: int) -> memoryview:
        if shard not in self._maps:
            with self.paths[shard].open("rb") as file:
                self._maps[shard] = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        return self._maps[shard]

    def _handle(self, shard: int) -> int:
        if shard not in self._handles:
            if len(self._handles) >= OPEN:
                os.close(self._handles.pop(next(iter(self._handles))))
            self._handles[shard] = os.open(self.paths[shard], os.O_RDONLY)
        return self._handles[shard]

    def __del__(self) -> None:
        for handle in self._handles.values():
            os.close(handle)


class ShardSink:
    """A file to write to that knows its checksum."""

    def __init__(self, path: Path, *, checked: bool) -> None:
        self.file, self._total = path.open("wb"), xxhash.xxh3_64() if checked else None

    @property
    def checksum(self) -> int:
        """XXH3-64 of what was written, 0 where nobody asked for it."""
        return 0 if self._total is None else self._total.intdigest()

    @property
    def closed(self) -> bool:
        """As files have it."""
        return self.file.closed

    def write(self, data: Any) -> int:
        """Write a buffer piece by piece."""
        view = memoryview(data)
        for start in range(0, len(view), PIECE_BYTES):
            piece = view[start : start + PIECE_BYTES]
            if self._total is not None:
                self._total.update(piece)
            self.file.write(piece)
        return len(view)

    def flush(self) -> None:
        """As files have it."""
        self.file.flush()

    def close(self) -> None:
        """As files have it; a second time does nothing."""
        self.file.close()


def checksum(path: Path) -> int:
    """XXH3-64 of a file, read piece by piece: mapping it costs more than hashing it."""
    piece, total = bytearray(PIECE_BYTES), xxhash.xxh3_64()
    view = memoryview(piece)
    with path.open("rb", buffering=0) as file:
        while length := file.readinto(piece):
            total.update(view[:length])
    return total.intdigest()


def settled(path: Path | str) -> list[int]:
    """Size, time of the last change and inode of a file; empty while that time is too young to be believed.

    Its other time moves with every name that the file gets or loses, so that it says nothing here.
    """
    facts = os.stat(path)  # noqa: PTH116 - once a shard, and a Path takes longer than the look
    young = RACY_FINE if facts.st_mtime_ns % 10**9 else RACY
    return [facts.st_size, facts.st_mtime_ns, facts.st_ino] if facts.st_mtime_ns < time.time_ns() - young else []


def is_whole(path: Path | str, checked: int, stamp: Sequence[int]) -> bool:
    """Whether a file can be read and is as it was: by its facts where they were settled, else by its bytes.

    Args:
        path: of the file.
        checked: its `checksum` of then.
        stamp: what `settled` said then.
    """
    try:
        return (len(stamp) > 0 and settled(path) == list(stamp)) or checksum(Path(path)) == checked
    except OSError:
        return False
