"""Rows that lie in several arrays, as one array."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Rows:
    """Rows of several arrays on disk, read when they are asked for, as an array (N, ...).

    Attributes:
        parts: the arrays; their rows have one shape.
        part_N: which of them a row lies in.
        place_N: where in it.
    """

    parts: Sequence[Any]
    part_N: NDArray[np.int64]
    place_N: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.part_N)

    @property
    def shape(self) -> tuple[int, ...]:
        """As of an array."""
        return (len(self), *self.parts[0].shape[1:])

    def __getitem__(self, which: int | slice | NDArray[np.int64]) -> NDArray[Any]:
        """One row, or rows as an array of their own."""
        part, place = self.part_N[which], self.place_N[which]
        if part.ndim == 0:
            return np.asarray(self.parts[int(part)][int(place)])
        found = np.empty((len(part), *self.shape[1:]), self.parts[0].dtype)
        for number in np.unique(part):
            chosen = part == number
            found[chosen] = self.parts[number][place[chosen]]
        return found


RowsLike = Rows | NDArray[np.uint8]
