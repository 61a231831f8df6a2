"""Joining groups with near duplicates, against a graph library's connected components, and finding what a split parts."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.errors import PersonError
from pipeline.splitting.groups import SPLITS, join, leaks, parted, units

NAMES = st.sampled_from(["", "", *"abcdef"])
CLUSTERS = st.sampled_from(["", "", "", "c1", "c2", "c3", "c4"])


@settings(max_examples=200, deadline=None)
@given(rows=st.lists(st.tuples(NAMES, CLUSTERS), min_size=1, max_size=40))
def test_joined_groups_are_the_connected_components(rows):
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    ids = [f"i{number}" for number in range(len(rows))]
    joined = join([group for group, _ in rows], ids, {identity: name for identity, (_, name) in zip(ids, rows, strict=True) if name})
    first, second = np.nonzero([[i == j or bool(a and a == c) or bool(b and b == d) for j, (c, d) in enumerate(rows)]
                                for i, (a, b) in enumerate(rows)])  # fmt: skip
    _, component = connected_components(coo_array((np.ones(len(first)), (first, second)), shape=(len(rows), len(rows))), directed=False)
    for i, (group, cluster) in enumerate(rows):
        assert bool(joined[i]) == bool(group or cluster)
        for j in range(len(rows)):
            if joined[i] and joined[j]:
                assert (joined[i] == joined[j]) == (component[i] == component[j])


@settings(max_examples=50, deadline=None)
@given(groups=st.lists(NAMES, max_size=30))
def test_without_clusters_nothing_changes(groups):
    assert join(groups, [str(number) for number in range(len(groups))], {}) == groups


def test_a_joined_group_bears_every_name():
    joined = join(["p7", "p1", "", "", ""], ["a", "b", "c", "d", "e"], {"a": "c1", "b": "c1", "c": "c2", "d": "c2"})
    assert joined == ["p1 + p7", "p1 + p7", "near duplicates c2", "near duplicates c2", ""]


def test_a_cluster_of_strangers_is_an_error():
    with pytest.raises(PersonError, match="2 near duplicates that ingest does not hold, for example x: run dvc repro -f quality".replace("run dvc", "run  dvc")):
        join([""], ["a"], {"x": "c1", "y": "c1", "a": "c1"})


@settings(max_examples=200, deadline=None)
@given(rows=st.lists(st.tuples(st.sampled_from(["", "a", "b", "c"]), st.sampled_from([*SPLITS, ""])), max_size=30))
def test_without_the_leaks_no_group_is_parted_and_the_precious_side_stays(rows):
    names, split = [name for name, _ in rows], [side for _, side in rows]
    found = leaks(split, names)
    mended = list(split)
    for leak in found:
        assert leak.side == split[leak.place]
        assert SPLITS.index(leak.side) < SPLITS.index(split[leak.other])
        assert names[leak.place] == names[leak.other] == leak.unit
        mended[leak.place] = ""
    assert parted(mended, names) == []
    assert [place for place, side in enumerate(mended) if side == "test"] == [place for place, side in enumerate(split) if side == "test"]
    assert {leak.unit for leak in found} == set(parted(split, names))
    assert len({leak.place for leak in found}) == len(found)


def test_units_stand_in_the_order_of_the_source():
    found = units(["b", "", "a", "b", ""], np.asarray([5, 1, 3, 2, 4]))
    assert [members.tolist() for members in found] == [[1], [3, 0], [2], [4]]
