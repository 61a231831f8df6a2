"""Counts over the samples of one shard that add up: those of a data set are the sum over its shards."""

import base64
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from pipeline.core.shards import BATCH_BYTES, pieces
from pipeline.core.store import Samples

STEP = 17  # pixels; a prime, so that no column or channel of a common width is left out
STORED = "<u4"  # of a count of one shard, in text of base 64: a thousand shards are a million numbers
FAR = 101  # pixels; an image whose pixels so far apart differ is not flat


@dataclass(frozen=True)
class Tally:
    """What was counted.

    Attributes:
        samples: how many.
        flat: how many are of one single colour.
        levels: (C, 256) how often each grey level occurs in each channel, over every 17th pixel.
    """

    samples: int = 0
    flat: int = 0
    levels: NDArray[np.int64] | None = None

    def __add__(self, other: "Tally") -> "Tally":
        both = [part for part in (self.levels, other.levels) if part is not None]
        return Tally(self.samples + other.samples, self.flat + other.flat, sum(both[1:], both[0]) if both else None)

    def plain(self) -> list[Any]:
        """As JSON."""
        levels = None if self.levels is None else base64.b64encode(self.levels.astype(STORED).tobytes()).decode()
        return [self.samples, self.flat, levels]

    @classmethod
    def of(cls, said: list[Any]) -> Self:
        """From JSON."""
        levels = None if said[2] is None else np.frombuffer(base64.b64decode(said[2]), STORED).astype(np.int64).reshape(-1, 256)
        return cls(said[0], said[1], levels)

    def moments(self) -> list[tuple[float, float]]:
        """Mean and standard deviation of each channel, in grey levels."""
        if self.levels is None:
            return []
        grey = np.arange(256)
        found = []
        for counts in self.levels:
            mean = float((counts * grey).sum() / counts.sum())
            found.append((mean, float(np.sqrt((counts * (grey - mean) ** 2).sum() / counts.sum()))))
        return found


def tally(samples: Samples) -> Tally:
    """Count over samples of one shape; memory stays at a few MB."""
    total = Tally()
    if not len(samples):
        return total
    size = samples.pixels(0).size
    step = max(1, BATCH_BYTES // max(size, 1))
    for start in range(0, len(samples), step):
        for some in pieces(min(step, len(samples) - start), size):
            total = total + count(samples.batch(np.arange(start + some.start, start + some.stop)))
    return total


def count(images_BHWC: NDArray[np.uint8]) -> Tally:
    """Count over a few images."""
    channels = images_BHWC.shape[-1]
    images_BPC = images_BHWC.reshape(len(images_BHWC), -1, channels)
    maybe = np.flatnonzero((images_BPC[:, ::FAR] == images_BPC[:, :1]).all((1, 2)))
    flat = sum(bool((images_BPC[row] == images_BPC[row, :1]).all()) for row in maybe)
    some_PC = images_BPC.reshape(-1, channels)[::STEP]
    levels = np.stack([np.bincount(some_PC[:, channel], minlength=256) for channel in range(channels)])
    return Tally(len(images_BHWC), flat, levels.astype(np.int64))


class Counted:
    """Counts what a `pipeline.core.shards.ShardWriter` writes, in the pieces in which `tally` would read it.

    Args:
        shards: receives name -> XXH3-64 of the file and its tally.
    """

    def __init__(self, shards: dict[str, tuple[int, Tally]]) -> None:
        self.shards = shards
        self._open = Tally()

    def pixels(self, images_BHWC: NDArray[np.uint8]) -> None:
        """A few images of the open shard."""
        self._open = self._open + count(images_BHWC)

    def shard(self, name: str, checksum: int) -> None:
        """The open shard is whole."""
        self.shards[name] = checksum, self._open
        self._open = Tally()
