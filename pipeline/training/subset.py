"""Samples of one or more splits with what is known of them.

N samples.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.artifact import read_json
from pipeline.core.draw import spread
from pipeline.core.errors import PersonError
from pipeline.core.record import Pixels
from pipeline.core.store import Samples, open_samples


@dataclass(frozen=True)
class Subset:
    """Some samples of ingest.

    Attributes:
        samples: all samples of ingest.
        positions: of the N samples of this subset.
        truth: the task's truth of each, (N,).
    """

    samples: Samples
    positions: NDArray[np.int64]
    truth: NDArray[Any]

    def __len__(self) -> int:
        return len(self.positions)

    @property
    def ids(self) -> list[str]:
        """Ids of the samples."""
        return [str(identity) for identity in self.samples.columns["id"][self.positions]]

    @property
    def weight(self) -> NDArray[np.float64]:
        """Confidence of each label."""
        return np.asarray(self.samples.columns["weight"][self.positions], dtype=np.float64)

    @property
    def groups(self) -> list[str]:
        """Group of each sample; "" for none."""
        return [str(group) for group in self.samples.columns["group"][self.positions]]

    def pixels(self) -> Iterator[Pixels]:
        """Images (H, W, C), in order, read as they are needed."""
        return (self.samples.pixels(int(position)) for position in self.positions)

    def batches(self, size: int) -> Iterator[Pixels]:
        """Images in batches (B, H, W, C); the last one may be smaller."""
        for start in range(0, len(self), size):
            yield np.stack([self.samples.pixels(int(position)) for position in self.positions[start : start + size]])

    def take(self, rows: NDArray[np.int64]) -> "Subset":
        """These rows, in this order."""
        return Subset(self.samples, self.positions[rows], self.truth[rows])

    def spread(self, count: int, *key: int | str) -> "Subset":
        """At most `count` samples that keep the proportions of the truth; see `pipeline.core.draw.spread`."""
        return self.take(spread(self.truth, self.ids, count, *key))


def read_subset(task: Any, ingest: Path, split: Path, names: Sequence[str]) -> Subset:
    """The samples of these splits (train, val, test), in that order."""
    samples, assigned = open_samples(ingest), read_json(split / "split.json")
    positions = np.concatenate([samples.positions(assigned[name]) for name in names])
    return Subset(samples, positions, task.truth({name: values[positions] for name, values in samples.columns.items()}))


def parity_samples(task: Any, ingest: Path, split: Path, count: int) -> Subset:
    """What a file is compared with the trained model on: samples of the test split, and of the validation split when too few.

    Raises:
        PersonError: neither split has a sample.
    """
    test = read_subset(task, ingest, split, ["test"])
    chosen = test if len(test) >= count else read_subset(task, ingest, split, ["test", "val"])
    if not len(chosen):
        raise PersonError("there is no test or validation sample to compare on: set larger shares for them")
    return chosen.spread(count, "parity")
