"""Samples that belong together: a person's groups and clusters of near duplicates, joined; and what a split parts of them.

N samples.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import PersonError

SPLITS = ("train", "val", "test")  # the later one is the more precious: its samples stay where two splits share something
CLUSTER = "near duplicates "  # what the name of a group starts with that no person named
AND = " + "  # between the names of groups that near duplicates join


@dataclass(frozen=True)
class Leak:
    """A sample that belongs together with one of a more precious split.

    Attributes:
        place: of the sample.
        side: the split that it was assigned to.
        other: place of the first sample of the more precious split.
        unit: what joins the two.
    """

    place: int
    side: str
    other: int
    unit: str


def join(groups: Sequence[str], ids: Sequence[str], clusters: Mapping[str, str]) -> list[str]:
    """Join groups that share a cluster, by union-find; without clusters the groups come back as they are.

    Args:
        groups: N names that a person gave, "" for none.
        ids: N sample ids.
        clusters: sample id -> name of its cluster of near duplicates.

    Returns:
        N names, "" for a sample that belongs to nothing. A joined group bears all names, such as "p1 + p7"; one that no person
        named bears that of its first cluster.

    Raises:
        PersonError: a cluster holds a sample that is not there.
    """
    strange = set(clusters) - set(ids)
    if strange:
        raise PersonError(
            f"quality names {len(strange)} near duplicates that ingest does not hold, for example {min(strange)}: "
            "run  dvc repro -f quality"
        )
    parents: dict[tuple[str, str], tuple[str, str]] = {}

    def root(name: tuple[str, str]) -> tuple[str, str]:
        while parents.setdefault(name, name) != name:
            parents[name] = parents[parents[name]]
            name = parents[name]
        return name

    named: list[tuple[str, str] | None] = []
    for identity, group in zip(ids, groups, strict=True):
        own = [("group", group)] * bool(group) + [("cluster", clusters.get(identity, ""))] * (identity in clusters)
        for one in own:
            parents[max(root(own[0]), root(one))] = min(root(own[0]), root(one))
        named.append(own[0] if own else None)
    names: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for one in sorted(parents):
        names.setdefault(root(one), []).append(one)
    return [_name(names[root(one)]) if one else "" for one in named]


def units(groups: Sequence[str], order: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Places of the samples of each group, the groups in the order in which the source first names them.

    A sample without a group is a unit of its own.
    """
    tables: dict[str, list[int]] = {}
    for place in np.argsort(order, kind="stable"):
        name = groups[place]
        tables.setdefault(f"g {name}" if name else f"s {order[place]}", []).append(int(place))
    return [np.asarray(members, dtype=np.int64) for members in tables.values()]


def parted(split: Iterable[str], names: Iterable[str]) -> list[str]:
    """Names with samples in more than one split, sorted; "" is no name and no split."""
    sides: dict[str, set[str]] = {}
    for name, side in zip(names, split, strict=True):
        if name and side:
            sides.setdefault(name, set()).add(side)
    return sorted(name for name, found in sides.items() if len(found) > 1)


def leaks(split: Sequence[str], names: Sequence[str]) -> list[Leak]:
    """Samples whose group also stands in a more precious split, in the order of their places."""
    found: list[Leak] = []
    chosen = set(parted(split, names))
    members: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        if name in chosen and split[place]:
            members.setdefault(name, []).append(place)
    for name, places in members.items():
        best = max((split[place] for place in places), key=SPLITS.index)
        first = next(place for place in places if split[place] == best)
        found += [Leak(place, str(split[place]), first, name) for place in places if split[place] != best]
    return sorted(found, key=lambda leak: leak.place)


def _name(members: Sequence[tuple[str, str]]) -> str:
    people = [name for kind, name in members if kind == "group"]
    return AND.join(people) if people else CLUSTER + members[0][1]
