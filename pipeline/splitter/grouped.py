"""A random split of whole groups (patient, module, recording), with the classes spread as evenly as that allows.

Source: the greedy rule of scikit-learn's StratifiedGroupKFold; what differs: three splits of unequal shares.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import PersonError
from pipeline.splitting.groups import SPLITS, units
from pipeline.splitting.ranges import check_shares


class Grouped:
    """A group never stands on both sides. The largest groups are placed first, each where it is missed most.

    Args:
        val: share of the samples, in (0, 1).
        test: share of the samples, in (0, 1).

    Raises:
        ValueError: a share is outside its range, or nothing is left for training.
    """

    keeps_groups = True

    def __init__(self, *, val: float, test: float) -> None:
        check_shares(val, test)
        self.val, self.test = val, test

    def assign(
        self, *, strata: NDArray[np.int64], groups: Sequence[str], order: NDArray[np.int64], given: Sequence[str],
        ids: Sequence[str], seed: int,
    ) -> NDArray[np.str_]:  # fmt: skip
        """One of 'train', 'val', 'test' for each of N samples.

        Args:
            strata: (N,) class, or bin of the target.
            groups: N names; a sample with "" is a group of its own.
            order: (N,) distinct positions in the source; they make the draw independent of how the samples are sorted.
            given: not used.
            ids: not used.
            seed: breaks ties between groups.

        Raises:
            PersonError: no sample has a group, or there are fewer than three.
        """
        if not any(groups):
            raise PersonError(
                "splitter=grouped needs groups and the data names none: name their column (dataset.group), "
                "or use splitter=stratified"
            )
        tables = units(groups, order)
        if len(tables) < len(SPLITS):
            raise PersonError(f"splitter=grouped needs at least {len(SPLITS)} groups: received {len(tables)}")
        kinds, codes = np.unique(strata, return_inverse=True)
        counts = np.stack([np.bincount(codes[members], minlength=len(kinds)) for members in tables]).astype(float)
        places = self._place(counts, np.random.default_rng(seed))
        split = np.full(len(strata), "train", dtype="<U5")
        for members, place in zip(tables, places, strict=True):
            split[members] = SPLITS[place]
        return split

    def _place(self, counts_GK: NDArray[np.float64], rng: np.random.Generator) -> list[int]:
        """The split of each group: the one that brings the counts of the classes nearest to what is wanted."""
        totals = counts_GK.sum(axis=0)
        shares = np.asarray([1 - self.val - self.test, self.val, self.test])
        missing = shares[:, None] * totals
        shuffled = rng.permutation(len(counts_GK))
        waiting = shuffled[np.argsort(-counts_GK[shuffled].sum(axis=1), kind="stable")]
        places = [0] * len(counts_GK)
        empty = set(range(len(SPLITS)))
        for number, group in enumerate(waiting):
            allowed = sorted(empty) if len(empty) == len(waiting) - number else range(len(SPLITS))
            gains = {place: _gain(missing[place], counts_GK[group], totals, shares[place]) for place in allowed}
            chosen = max(gains, key=lambda place: gains[place])
            places[group] = chosen
            missing[chosen] -= counts_GK[group]
            empty.discard(chosen)
        return places


def _gain(missing_K: NDArray[np.float64], added_K: NDArray[np.float64], totals_K: NDArray[np.float64], share: float) -> float:
    """By how much the squared relative lack shrinks when a group is added to a split."""
    scale = totals_K * np.sqrt(share)
    before, after = missing_K / scale, (missing_K - added_K) / scale
    return float((before**2 - after**2).sum())
