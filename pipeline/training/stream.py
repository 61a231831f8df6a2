"""The order of samples as a function of (seed, step) alone, so that a resumed run draws what the uninterrupted one would.

Training is one stream of `max_steps` batches. Epoch e of the stream is a permutation keyed by (seed, e); position p of the
stream belongs to step p // batch. A sampler keyed by epoch alone survives one resume and fails under repeated ones.
"""

from collections.abc import Iterator
from itertools import repeat

import numpy as np
from torch.utils.data import Sampler

from pipeline.core.epoch import order

Key = tuple[int, int]


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
            raise ValueError(f"train.batch_size {batch_size} must be a multiple of the number of processes, {world}")
        self.count, self.batch_size, self.max_steps = count, batch_size, max_steps
        self.start_step, self.seed, self.rank, self.world = start_step, seed, rank, world

    def __len__(self) -> int:
        """Length of the whole stream, not of what is left: a resumed Lightning loop counts from the first batch."""
        return self.max_steps * self.batch_size // self.world

    def __iter__(self) -> Iterator[Key]:
        last = self.max_steps * self.batch_size
        position = self.start_step * self.batch_size
        while position < last:
            epoch, offset = divmod(position, self.count)
            indices = order(self.count, seed=self.seed, epoch=epoch)[offset : offset + last - position]
            place_B = (position + np.arange(len(indices))) % self.batch_size
            mine = indices[place_B % self.world == self.rank]
            yield from zip(repeat(epoch), mine.tolist(), strict=False)
            position += len(indices)
