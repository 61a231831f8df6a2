"""A random split with the same share of each class everywhere. For samples that do not depend on each other."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.splitting.ranges import check_shares


class Stratified:
    """Draws each stratum by itself; a stratum of three or more samples stands in every split.

    Groups are not kept: the stage warns where samples of one group stand on both sides.

    Args:
        val: share of the samples, in (0, 1).
        test: share of the samples, in (0, 1).

    Raises:
        ValueError: a share is outside its range, or nothing is left for training.
    """

    keeps_groups = False

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
            groups: not used.
            order: (N,) distinct positions in the source; they make the draw independent of how the samples are sorted.
            given: not used.
            ids: not used.
            seed: of the draw.
        """
        rng = np.random.default_rng(seed)
        split = np.full(len(strata), "train", dtype="<U5")
        for stratum in np.unique(strata):
            members = np.flatnonzero(strata == stratum)
            members = members[np.argsort(order[members], kind="stable")]
            rng.shuffle(members)
            test, val = self._counts(len(members))
            split[members[:test]] = "test"
            split[members[test : test + val]] = "val"
        return split

    def _counts(self, total: int) -> tuple[int, int]:
        if total < 3:
            return 0, 0
        test = min(max(1, round(self.test * total)), total - 2)
        return test, min(max(1, round(self.val * total)), total - test - 1)
