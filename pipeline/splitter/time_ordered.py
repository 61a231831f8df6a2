"""The past trains, the present validates, the future tests: for data whose order is time.

Order is that of the source, so a table must be sorted by time. A gap between the splits keeps samples apart that overlap in
time, such as windows of one signal (purging: Lopez de Prado 2018, "Advances in financial machine learning", chapter 7).
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import PersonError
from pipeline.splitting.ranges import check_shares


class TimeOrdered:
    """Cuts the order twice and leaves out `gap` samples after each cut.

    Args:
        val: share of the samples, in (0, 1).
        test: share of the samples, in (0, 1); the last ones.
        gap: samples that are left out between two splits.

    Raises:
        ValueError: a share is outside its range, nothing is left for training, or the gap is negative.
    """

    keeps_groups = False
    keeps_order = True

    def __init__(self, *, val: float, test: float, gap: int) -> None:
        check_shares(val, test)
        if gap < 0:
            raise ValueError(f"gap must not be negative: received {gap}")
        self.val, self.test, self.gap = val, test, gap

    def assign(
        self, *, strata: NDArray[np.int64], groups: Sequence[str], order: NDArray[np.int64], given: Sequence[str],
        ids: Sequence[str], seed: int,
    ) -> NDArray[np.str_]:  # fmt: skip
        """One of 'train', 'val', 'test' for each of N samples, and "" for those of a gap.

        Args:
            strata: not used.
            groups: not used.
            order: (N,) distinct positions in the source, the earliest first.
            given: not used.
            ids: not used.
            seed: not used; nothing is drawn.

        Raises:
            PersonError: there are too few samples for the gaps.
        """
        total = len(order)
        left = total - 2 * self.gap
        test, val = round(self.test * left), round(self.val * left)
        train = left - test - val
        if min(train, val, test) < 1:
            raise PersonError(
                f"splitter=time_ordered: {total} samples are too few for three splits and two gaps of {self.gap}: "
                "set splitter.gap to less"
            )
        runs = [("train", train), ("", self.gap), ("val", val), ("", self.gap), ("test", test)]
        split = np.empty(total, dtype="<U5")
        split[np.argsort(order, kind="stable")] = np.repeat([name for name, _ in runs], [count for _, count in runs])
        return split
