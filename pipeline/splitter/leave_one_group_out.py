"""Test on one whole group (patient, site, machine) that training never saw: how well a model carries over to a new one."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import PersonError, near_match
from pipeline.splitting.groups import AND, CLUSTER, units
from pipeline.splitting.ranges import check_share


class LeaveOneGroupOut:
    """One group is the test split; whole groups drawn from the rest are the validation split.

    Args:
        group: the tested group, by name or by number, counted from 0 in the order in which the source first names them.
        val: share of the rest for validation, in (0, 1); whole groups come as near to it as they can.

    Raises:
        ValueError: a negative number, an empty name, or a share out of range.
    """

    keeps_groups = True

    def __init__(self, *, group: str | int, val: float) -> None:
        check_share(val)
        if (isinstance(group, int) and group < 0) or group == "":
            raise ValueError(f"group must be a name or a number from 0: received {group!r}")
        self.group, self.val = group, val

    def assign(
        self, *, strata: NDArray[np.int64], groups: Sequence[str], order: NDArray[np.int64], given: Sequence[str],
        ids: Sequence[str], seed: int,
    ) -> NDArray[np.str_]:  # fmt: skip
        """One of 'train', 'val', 'test' for each of N samples.

        Args:
            strata: not used.
            groups: N names; a sample with "" is a group of its own and never tested.
            order: (N,) distinct positions in the source; they number the groups.
            given: not used.
            ids: not used.
            seed: of the draw of the validation groups.

        Raises:
            PersonError: no such group, or too few of them.
        """
        names = list(dict.fromkeys(groups[place] for place in np.argsort(order, kind="stable")))
        tested = self._named([name for name in names if name and not name.startswith(CLUSTER)])
        split = np.full(len(groups), "train", dtype="<U5")
        split[np.asarray(groups, dtype=object) == tested] = "test"
        rest = [members for members in units(groups, order) if split[members[0]] == "train"]
        if len(rest) < 2:
            raise PersonError(f"splitter=leave_one_group_out needs two groups beside the tested one: received {len(rest)}")
        quota, held = self.val * sum(map(len, rest)), 0
        for unit in np.random.default_rng(seed).permutation(len(rest))[:-1]:
            if not held or held + len(rest[unit]) / 2 <= quota:
                split[rest[unit]] = "val"
                held += len(rest[unit])
        return split

    def _named(self, names: Sequence[str]) -> str:
        """The group that `group` means; near duplicates may have joined it with others."""
        if not names:
            raise PersonError(
                "splitter=leave_one_group_out needs groups and the data names none: name their column (dataset.group)"
            )
        if isinstance(self.group, int):
            if self.group >= len(names):
                raise PersonError(
                    f"splitter.group {self.group} does not exist: the data has {len(names)} groups, numbered from 0"
                )
            return names[self.group]
        for name in names:
            if self.group == name or self.group in name.split(AND):
                return name
        raise PersonError(f"splitter.group names no group: received {self.group!r}; {near_match(self.group, names)}")
