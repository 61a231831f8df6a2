"""Laws of every splitter by hypothesis, and what each one promises of its own."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.errors import PersonError
from pipeline.splitter.blocked import Blocked
from pipeline.splitter.grouped import Grouped
from pipeline.splitter.stratified import Stratified

SPLITTERS = {
    "stratified": Stratified(val=0.15, test=0.2),
    "grouped": Grouped(val=0.15, test=0.2),
    "blocked": Blocked(folds=5, test_fold=4, val=0.1, val_runs=3, keep_groups=True),
    "blocked, groups cut": Blocked(folds=5, test_fold=1, val=0.2, val_runs=2, keep_groups=False),
}


@st.composite
def sources(draw):
    count = draw(st.integers(12, 80))
    strata = np.asarray(draw(st.lists(st.integers(0, 3), min_size=count, max_size=count)))
    names = draw(st.lists(st.sampled_from(["", *"abcdefgh"]), min_size=count, max_size=count))
    names[:3] = ["a", "b", "c"]
    order = np.asarray(draw(st.permutations(range(count)))) * 3
    return strata, names, order


@pytest.mark.parametrize("name", SPLITTERS)
@settings(max_examples=60, deadline=None)
@given(source=sources(), seed=st.integers(0, 1000), turn=st.randoms(use_true_random=False))
def test_laws(name, source, seed, turn):
    strata, groups, order = source
    splitter = SPLITTERS[name]
    split = splitter.assign(strata=strata, groups=groups, order=order, seed=seed)
    assert len(split) == len(strata)
    assert set(split) <= {"train", "val", "test"}
    again = splitter.assign(strata=strata.copy(), groups=list(groups), order=order.copy(), seed=seed)
    assert np.array_equal(split, again)
    if splitter.keeps_groups:
        for group in set(groups) - {""}:
            assert len({side for side, member in zip(split, groups, strict=True) if member == group}) == 1
    places = list(range(len(strata)))
    turn.shuffle(places)
    moved = splitter.assign(strata=strata[places], groups=[groups[place] for place in places], order=order[places], seed=seed)
    assert np.array_equal(moved, split[places])


@settings(max_examples=60, deadline=None)
@given(source=sources(), seed=st.integers(0, 1000))
def test_stratified_spreads_every_class_of_three_or_more(source, seed):
    strata, groups, order = source
    split = SPLITTERS["stratified"].assign(strata=strata, groups=groups, order=order, seed=seed)
    for stratum in np.unique(strata):
        members = split[strata == stratum]
        sides = {side: int((members == side).sum()) for side in ("train", "val", "test")}
        if len(members) < 3:
            assert sides["train"] == len(members)
        else:
            assert min(sides.values()) >= 1
            assert abs(sides["test"] - 0.2 * len(members)) <= 1
            assert abs(sides["val"] - 0.15 * len(members)) <= 1


def test_stratified_draws_anew_with_another_seed():
    strata, order = np.zeros(100, int), np.arange(100)
    one, other = (SPLITTERS["stratified"].assign(strata=strata, groups=[""] * 100, order=order, seed=seed) for seed in (0, 1))
    assert not np.array_equal(one, other)


def test_grouped_comes_near_the_shares_and_spreads_the_classes():
    rng = np.random.default_rng(0)
    groups = [f"g{number}" for number in np.repeat(np.arange(60), rng.integers(5, 30, 60))]
    strata = np.asarray([int(name[1:]) % 3 == 0 for name in groups]).astype(int)
    split = Grouped(val=0.15, test=0.2).assign(strata=strata, groups=groups, order=np.arange(len(groups)), seed=0)
    for side, share in (("train", 0.65), ("val", 0.15), ("test", 0.2)):
        assert abs((split == side).mean() - share) < 0.02
        assert abs(strata[split == side].mean() - strata.mean()) < 0.05


@settings(max_examples=40, deadline=None)
@given(source=sources(), seed=st.integers(0, 100))
def test_grouped_leaves_no_split_empty(source, seed):
    strata, groups, order = source
    split = SPLITTERS["grouped"].assign(strata=strata, groups=groups, order=order, seed=seed)
    assert set(split) == {"train", "val", "test"}


def test_grouped_says_what_is_missing():
    arguments = {"strata": np.zeros(4, int), "order": np.arange(4), "seed": 0}
    with pytest.raises(PersonError, match="needs groups and the data names none"):
        SPLITTERS["grouped"].assign(groups=[""] * 4, **arguments)
    with pytest.raises(PersonError, match="at least 3 groups: received 2"):
        SPLITTERS["grouped"].assign(groups=["a", "a", "b", "b"], **arguments)


def drawn(splitter, groups):
    count = len(groups)
    split = splitter.assign(strata=np.zeros(count, int), groups=groups, order=np.arange(count), seed=0)
    return "".join({"test": "x", "val": "v", "train": "."}[side] for side in split)


def test_the_test_is_one_block_and_the_validation_runs_are_spread_over_the_rest():
    split = drawn(Blocked(folds=5, test_fold=0, val=0.1, val_runs=2, keep_groups=True), [""] * 100)
    assert split == "x" * 20 + "." * 18 + "v" * 4 + "." * 36 + "v" * 4 + "." * 18
    middle = drawn(Blocked(folds=4, test_fold=3, val=0.2, val_runs=1, keep_groups=False), [""] * 20)
    assert middle == "......vvv......xxxxx"


def test_every_sample_is_tested_once_over_the_folds():
    groups = [f"g{place // 7}" for place in range(50)]
    folds = [drawn(Blocked(folds=4, test_fold=fold, val=0.1, val_runs=2, keep_groups=True), groups) for fold in range(4)]
    assert [sum(split[place] == "x" for split in folds) for place in range(50)] == [1] * 50


def test_a_group_on_a_cut_goes_to_the_block_of_its_middle_and_a_run_takes_whole_groups():
    groups = ["a"] * 8 + ["b"] * 6 + ["c"] * 4 + ["d"] * 12
    split = drawn(Blocked(folds=3, test_fold=0, val=0.2, val_runs=1, keep_groups=True), groups)
    assert split == "x" * 8 + "." * 6 + "v" * 4 + "." * 12


@settings(max_examples=60, deadline=None)
@given(sizes=st.lists(st.integers(1, 12), min_size=10, max_size=40), runs=st.integers(1, 4))
def test_the_validation_comes_near_its_share(sizes, runs):
    groups = [f"g{number}" for number, size in enumerate(sizes) for _ in range(size)]
    split = drawn(Blocked(folds=5, test_fold=2, val=0.2, val_runs=runs, keep_groups=True), groups)
    rest = len(groups) - split.count("x")
    assert 1 <= split.count("v") <= 0.2 * rest + runs * max(sizes)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Stratified(val=0, test=0.1),
        lambda: Stratified(val=0.5, test=0.5),
        lambda: Grouped(val=-0.1, test=0.1),
        lambda: Blocked(folds=1, test_fold=0, val=0.1, val_runs=1, keep_groups=True),
        lambda: Blocked(folds=5, test_fold=5, val=0.1, val_runs=1, keep_groups=True),
        lambda: Blocked(folds=5, test_fold=1, val=1.0, val_runs=1, keep_groups=True),
        lambda: Blocked(folds=5, test_fold=1, val=0.1, val_runs=0, keep_groups=True),
    ],
)
def test_ranges(make):
    with pytest.raises(ValueError, match="received"):
        make()
