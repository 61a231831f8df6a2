"""A split that growing data never disturbs: the hash of a group, or of a sample's id, says where it stands, for good.

So a new sample never moves an old one, and no file has to remember the old splits. The price: shares are approximate (their
standard deviation is sqrt(share x (1 - share) / groups)), and classes are not balanced on purpose.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.splitting.ranges import check_shares, level


class Stable:
    """Compares the hash of (seed, group) or, without a group, of (seed, id) with two thresholds.

    A person's groups stay whole. Clusters of near duplicates do not, because a new sample could join two of them and move what
    is old: the stage leaves out the training side of what they part.

    Args:
        val: share of the samples, in (0, 1); approximate.
        test: share of the samples, in (0, 1); approximate.

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
        """One of 'train', 'val', 'test' for each of N samples; each depends on its own group or id and the seed alone.

        Args:
            strata: not used.
            groups: N names; "" for none.
            order: not used.
            given: not used.
            ids: N sample ids.
            seed: another one gives another split.
        """
        split = np.full(len(ids), "train", dtype="<U5")
        for place, (group, identity) in enumerate(zip(groups, ids, strict=True)):
            stand = level(seed, "split", "group" if group else "sample", group or identity)
            if stand < self.test:
                split[place] = "test"
            elif stand < self.test + self.val:
                split[place] = "val"
        return split
