"""The split that a person names, in a column or by folders, checked: an overlap stops the run."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import PersonError, near_match
from pipeline.splitting.groups import SPLITS
from pipeline.splitting.ranges import check_share, level

SHOWN = 5


class Given:
    """Follows the names. Where none is named for validation, a share of the training groups is drawn by their hash.

    Args:
        rest: what becomes of a sample without a name: train, or error.
        val: share of the train samples for validation, in [0, 1), used only where no sample is named val; 0 draws none.

    Raises:
        ValueError: an argument is outside its range.
    """

    keeps_groups = False
    from_person = True

    def __init__(self, *, rest: str, val: float) -> None:
        check_share(val, zero=True)
        if rest not in {"train", "error"}:
            raise ValueError(f"rest must be train or error: received {rest!r}")
        self.rest, self.val = rest, val

    def assign(
        self, *, strata: NDArray[np.int64], groups: Sequence[str], order: NDArray[np.int64], given: Sequence[str],
        ids: Sequence[str], seed: int,
    ) -> NDArray[np.str_]:  # fmt: skip
        """One of 'train', 'val', 'test' for each of N samples.

        Args:
            strata: not used.
            groups: N names; "" for none. A drawn validation split takes whole groups.
            order: not used.
            given: N splits that the person named, "" for none.
            ids: N sample ids.
            seed: of a drawn validation split.

        Raises:
            PersonError: no sample has a name, a name is unknown, or a sample has none where each must have one.
        """
        counts = Counter(given)
        for name in counts:
            if name and name not in SPLITS:
                raise PersonError(
                    f"the split named for {counts[name]} samples must be train, val or test: received {name!r}; "
                    f"{near_match(name, SPLITS)}"
                )
        if counts[""] == len(given):
            raise PersonError(
                "splitter=given needs the split of each sample and the data names none: name their column (dataset.split), "
                "or use splitter=stratified"
            )
        nameless = [identity for identity, name in zip(ids, given, strict=True) if not name]
        if nameless and self.rest == "error":
            listed = ", ".join(nameless[:SHOWN])
            raise PersonError(
                f"{len(nameless)} of {len(given)} samples have no split, for example {listed}: name it, or set "
                "splitter.rest=train"
            )
        split = np.asarray([name or "train" for name in given], dtype="<U5")
        if not counts["val"] and self.val:
            stands = [level(seed, "given", group or identity) for group, identity in zip(groups, ids, strict=True)]
            held = {group for group, name in zip(groups, given, strict=True) if group and name == "test"}
            free = np.asarray([name not in held for name in groups], dtype=bool)  # a group that leaks stays where it is seen
            split[(split == "train") & free & (np.asarray(stands) < self.val)] = "val"
        return split
