"""Cross-validation: every sample is tested in one of the folds, with the classes and the groups spread evenly.

Source: the idea of scikit-learn's StratifiedGroupKFold; what differs: groups are placed from the largest to the smallest by the
sum of squared shares, and the fold after the tested one is the validation split.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import PersonError
from pipeline.splitting.groups import units
from pipeline.splitting.ranges import check_folds


class Kfold:
    """Deals groups, and samples without one, to the folds where their classes are rarest.

    Args:
        folds: how many, at least 3: one to test, the next to validate, the others to train.
        test_fold: the fold that is tested, counted from 0; the folds are the same for each.
        keep_groups: never part a group; otherwise each sample is dealt by itself.

    Raises:
        ValueError: a fold that does not exist, or fewer than 3.
    """

    def __init__(self, *, folds: int, test_fold: int, keep_groups: bool) -> None:
        check_folds(folds, test_fold, least=3)
        self.folds, self.test_fold, self.keeps_groups = folds, test_fold, keep_groups

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
            seed: breaks ties.

        Raises:
            PersonError: there are fewer groups than folds.
        """
        tables = units(groups if self.keeps_groups else [""] * len(order), order)
        if len(tables) < self.folds:
            raise PersonError(
                f"splitter=kfold needs a group, or a sample without one, for each of {self.folds} folds: received {len(tables)}; "
                "set splitter.folds to less"
            )
        split = np.full(len(order), "train", dtype="<U5")
        for members, fold in zip(tables, self._deal(tables, strata, seed), strict=True):
            if fold == self.test_fold:
                split[members] = "test"
            elif fold == (self.test_fold + 1) % self.folds:
                split[members] = "val"
        return split

    def _deal(self, tables: Sequence[NDArray[np.int64]], strata: NDArray[np.int64], seed: int) -> list[int]:
        """The fold of each unit.

        Adding a unit with counts g to a fold with counts c raises the sum of squared shares by sum((2 c g + g^2) / n^2), n being
        the counts of the classes; the fold with the least sum(c g / n^2) therefore takes it, the emptiest one among equals.
        """
        kinds, codes = np.unique(strata, return_inverse=True)
        totals = np.bincount(codes, minlength=len(kinds)).astype(np.float64)
        held = np.zeros((self.folds, len(kinds)))
        sizes = np.zeros(self.folds, dtype=np.int64)
        shuffled = np.random.default_rng(seed).permutation(len(tables))
        lengths = np.asarray([len(tables[unit]) for unit in shuffled])
        folds = [0] * len(tables)
        for unit in shuffled[np.argsort(-lengths, kind="stable")]:
            present, counts = np.unique(codes[tables[unit]], return_counts=True)
            load = (held[:, present] * counts / totals[present] ** 2).sum(axis=1)
            fold = int(np.lexsort((sizes, load))[0])
            held[fold, present] += counts
            sizes[fold] += len(tables[unit])
            folds[unit] = fold
        return folds
