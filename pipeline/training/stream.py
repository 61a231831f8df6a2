"""The order of samples as a function of (seed, step) alone, so that a resumed run draws what the uninterrupted one would.

Training is one stream of `max_steps` batches. Epoch e of the stream is a permutation keyed by (seed, e); position p of the
stream belongs to step p // batch. A sampler keyed by epoch alone survives one resume and fails under repeated ones.
"""

from collections.abc import Iterator
from itertools import repeat

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from pipeline.core.epoch import order
from pipeline.core.errors import PersonError

Key = tuple[int, int]
Keys = tuple[NDArray[np.int64], NDArray[np.int64]]  # epochs and indices of a batch, (B,) each


class StepStream(Sampler[Key]):
    """Yields (epoch, index) from the position of a step onwards.

    Args:
        count: samples in an epoch.
        batch_size: global batch, over all ranks.
        max_steps: length of the whole stream in steps.
        start_step: first step to yield; what came before was consumed by the run that is being resumed.
        seed: of the permutations.
        rank: this process; it takes positions rank, rank + world, ... of each batch.
        world: number of processes; must divide the batch.
    """

    def __init__(
        self, count: int, *, batch_size: int, max_steps: int, start_step: int = 0, seed: int, rank: int = 0, world: int = 1
    ) -> None:
        if batch_size % world:
            raise PersonError(
                f"train.batch_size {batch_size} must be a multiple of the number of processes, {world}: "
                f"set  train.batch_size={max(1, round(batch_size / world)) * world}  or start another number of processes"
            )
        self.count, self.batch_size, self.max_steps = count, batch_size, max_steps
        self.start_step, self.seed, self.rank, self.world = start_step, seed, rank, world

    def __len__(self) -> int:
        """Length of the whole stream, not of what is left: a resumed Lightning loop counts from the first batch."""
        return self.max_steps * self.batch_size // self.world

    def __iter__(self) -> Iterator[Key]:
        for epoch, index_N in self.runs():
            yield from zip(repeat(epoch), index_N.tolist(), strict=False)

    def runs(self) -> Iterator[tuple[int, NDArray[np.int64]]]:
        """The same as stretches that lie in one epoch each: its number, and the indices in their order."""
        last = self.max_steps * self.batch_size
        position = self.start_step * self.batch_size
        while position < last:
            epoch, offset = divmod(position, self.count)
            indices = order(self.count, seed=self.seed, epoch=epoch)[offset : offset + last - position]
            place_B = (position + np.arange(len(indices))) % self.batch_size
            yield epoch, indices[place_B % self.world == self.rank]
            position += len(indices)


class BatchStream(Sampler[Keys]):
    """The same stream a batch at a time, as arrays: a pair of Python numbers for each sample costs more than a small image."""

    def __init__(self, stream: StepStream) -> None:
        self.stream = stream

    def __len__(self) -> int:
        """Length of the whole stream in steps, not of what is left."""
        return self.stream.max_steps

    def __iter__(self) -> Iterator[Keys]:
        size = self.stream.batch_size // self.stream.world
        epoch_N = index_N = np.zeros(0, dtype=np.int64)
        for epoch, more_N in self.stream.runs():
            epoch_N = np.concatenate([epoch_N, np.full(len(more_N), epoch, dtype=np.int64)])
            index_N = np.concatenate([index_N, more_N])
            whole = len(index_N) // size * size
            for start in range(0, whole, size):
                yield epoch_N[start : start + size], index_N[start : start + size]
            epoch_N, index_N = epoch_N[whole:], index_N[whole:]
