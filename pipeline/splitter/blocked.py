"""Contiguous blocks of the source's order: for data whose neighbours are alike, such as cells of one module or video frames.

One block is the test split. Of the rest, a few short runs spread evenly over the order are the validation split, so that it sees
every part of the source and training keeps most of it. Cross-validation takes each block in turn.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.splitting.ranges import check_folds, check_share


class Blocked:
    """Cuts the order into equal blocks, and takes the validation split in runs from what is not tested.

    Args:
        folds: number of blocks, at least 2.
        test_fold: the block that is tested on, counted from 0.
        val: share of the rest for validation, in (0, 1).
        val_runs: runs of neighbours that the validation split consists of.
        keep_groups: never part a group: it goes whole to the block of its middle sample, and a run is made of whole groups.

    Raises:
        ValueError: a block that does not exist, or a share or number out of range.
    """

    def __init__(self, *, folds: int, test_fold: int, val: float, val_runs: int, keep_groups: bool) -> None:
        check_folds(folds, test_fold, least=2)
        check_share(val)
        if val_runs < 1:
            raise ValueError(f"val_runs must be at least 1: received {val_runs}")
        self.folds, self.test_fold, self.val, self.val_runs, self.keeps_groups = folds, test_fold, val, val_runs, keep_groups

    def assign(
        self, *, strata: NDArray[np.int64], groups: Sequence[str], order: NDArray[np.int64], given: Sequence[str],
        ids: Sequence[str], seed: int,
    ) -> NDArray[np.str_]:  # fmt: skip
        """One of 'train', 'val', 'test' for each of N samples.

        Args:
            strata: not used.
            groups: N names; "" for none.
            order: (N,) positions in the source.
            given: not used.
            ids: not used.
            seed: not used; nothing is drawn.
        """
        total = len(order)
        rank = np.empty(total, dtype=np.int64)
        rank[np.argsort(order, kind="stable")] = np.arange(total)
        if self.keeps_groups:
            rank = _middles(rank, groups)
        split = np.full(total, "train", dtype="<U5")
        split[rank * self.folds // max(total, 1) == self.test_fold] = "test"
        rest = np.flatnonzero(split == "train")
        units, sizes = np.unique(rank[rest], return_counts=True)
        split[rest[np.isin(rank[rest], units[self._runs(sizes)])]] = "val"
        return split

    def _runs(self, sizes: NDArray[np.int64]) -> NDArray[np.int64]:
        """Positions of the units (groups, or samples) of the validation split, from the sizes of all units in order."""
        ends = np.cumsum(sizes)
        total = int(ends[-1]) if len(ends) else 0
        quota = self.val * total / self.val_runs
        taken: set[int] = set()
        for run in range(self.val_runs):
            start = (run + 0.5) * total / self.val_runs - quota / 2
            unit = int(np.searchsorted(ends, start, side="right"))
            held = 0
            while unit < len(sizes) and (held == 0 or held + sizes[unit] / 2 <= quota):
                held += int(sizes[unit])
                taken.add(unit)
                unit += 1
        return np.asarray(sorted(taken), dtype=np.int64)


def _middles(rank: NDArray[np.int64], groups: Sequence[str]) -> NDArray[np.int64]:
    """The rank of the middle sample of each sample's group."""
    members: dict[str, list[int]] = {}
    for place, name in enumerate(groups):
        if name:
            members.setdefault(name, []).append(place)
    moved = rank.copy()
    for places in members.values():
        ranks = np.sort(rank[places])
        moved[places] = ranks[len(ranks) // 2]
    return moved
