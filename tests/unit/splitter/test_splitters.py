"""Laws of every splitter by hypothesis, and what each one promises of its own."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.errors import PersonError
from pipeline.splitter.blocked import Blocked
from pipeline.splitter.given import Given
from pipeline.splitter.grouped import Grouped
from pipeline.splitter.kfold import Kfold
from pipeline.splitter.leave_one_group_out import LeaveOneGroupOut
from pipeline.splitter.stable import Stable
from pipeline.splitter.stratified import Stratified
from pipeline.splitter.time_ordered import TimeOrdered

SPLITTERS = {
    "stratified": Stratified(val=0.15, test=0.2),
    "grouped": Grouped(val=0.15, test=0.2),
    "blocked": Blocked(folds=5, test_fold=4, val=0.1, val_runs=3, keep_groups=True),
    "blocked, groups cut": Blocked(folds=5, test_fold=1, val=0.2, val_runs=2, keep_groups=False),
    "stable": Stable(val=0.15, test=0.2),
    "kfold": Kfold(folds=3, test_fold=2, keep_groups=True),
    "kfold, groups cut": Kfold(folds=4, test_fold=1, keep_groups=False),
    "leave one group out": LeaveOneGroupOut(group="b", val=0.2),
    "time ordered": TimeOrdered(val=0.2, test=0.2, gap=0),
    "time ordered, gap": TimeOrdered(val=0.2, test=0.2, gap=2),
    "given": Given(rest="train", val=0.0),
    "given, validation drawn": Given(rest="train", val=0.3),
}


def split_of(splitter, *, groups=None, strata=None, order=None, given=None, ids=None, seed=0, count=None):
    count = next(len(column) for column in (groups, strata, order, given, ids) if column is not None) if count is None else count
    return splitter.assign(
        strata=np.zeros(count, dtype=int) if strata is None else strata, groups=[""] * count if groups is None else groups,
        order=np.arange(count) if order is None else order, given=[""] * count if given is None else given,
        ids=[f"{number:020x}" for number in range(count)] if ids is None else ids, seed=seed,
    )  # fmt: skip


@st.composite
def sources(draw):
    count = draw(st.integers(12, 80))
    strata = np.asarray(draw(st.lists(st.integers(0, 3), min_size=count, max_size=count)))
    names = draw(st.lists(st.sampled_from(["", *"abcdefgh"]), min_size=count, max_size=count))
    names[:3] = ["a", "b", "c"]
    given = draw(st.lists(st.sampled_from(["", "train", "test"]), min_size=count, max_size=count))
    given[0] = "test"
    order = np.asarray(draw(st.permutations(range(count)))) * 3
    return strata, names, order, given


@pytest.mark.parametrize("name", SPLITTERS)
@settings(max_examples=60, deadline=None)
@given(source=sources(), seed=st.integers(0, 1000), turn=st.randoms(use_true_random=False))
def test_laws(name, source, seed, turn):
    strata, groups, order, named = source
    ids = [f"{position:020x}" for position in order]
    splitter = SPLITTERS[name]
    split = split_of(splitter, strata=strata, groups=groups, order=order, given=named, ids=ids, seed=seed)
    assert len(split) == len(strata)
    assert set(split) <= {"train", "val", "test", *([""] if name == "time ordered, gap" else [])}
    again = split_of(splitter, strata=strata.copy(), groups=list(groups), order=order.copy(), given=named, ids=ids, seed=seed)
    assert np.array_equal(split, again)
    if splitter.keeps_groups:
        for group in set(groups) - {""}:
            assert len({side for side, member in zip(split, groups, strict=True) if member == group}) == 1
    places = list(range(len(strata)))
    turn.shuffle(places)
    moved = split_of(splitter, strata=strata[places], groups=[groups[place] for place in places], order=order[places],
                     given=[named[place] for place in places], ids=[ids[place] for place in places], seed=seed)  # fmt: skip
    assert np.array_equal(moved, split[places])


@settings(max_examples=60, deadline=None)
@given(source=sources(), seed=st.integers(0, 1000))
def test_stratified_spreads_every_class_of_three_or_more(source, seed):
    strata, groups, order, _ = source
    split = split_of(SPLITTERS["stratified"], strata=strata, groups=groups, order=order, seed=seed)
    for stratum in np.unique(strata):
        members = split[strata == stratum]
        sides = {side: int((members == side).sum()) for side in ("train", "val", "test")}
        if len(members) < 3:
            assert sides["train"] == len(members)
        else:
            assert min(sides.values()) >= 1
            assert abs(sides["test"] - 0.2 * len(members)) <= 1
            assert abs(sides["val"] - 0.15 * len(members)) <= 1


@pytest.mark.parametrize("name", ["stratified", "stable", "kfold", "kfold, groups cut"])
def test_another_seed_draws_anew(name):
    one, other = (split_of(SPLITTERS[name], count=100, seed=seed) for seed in (0, 1))
    assert not np.array_equal(one, other)


def test_grouped_comes_near_the_shares_and_spreads_the_classes():
    rng = np.random.default_rng(0)
    groups = [f"g{number}" for number in np.repeat(np.arange(60), rng.integers(5, 30, 60))]
    strata = np.asarray([int(name[1:]) % 3 == 0 for name in groups]).astype(int)
    split = split_of(Grouped(val=0.15, test=0.2), groups=groups, strata=strata)
    for side, share in (("train", 0.65), ("val", 0.15), ("test", 0.2)):
        assert abs((split == side).mean() - share) < 0.02
        assert abs(strata[split == side].mean() - strata.mean()) < 0.05


@settings(max_examples=40, deadline=None)
@given(source=sources(), seed=st.integers(0, 100))
def test_grouped_leaves_no_split_empty(source, seed):
    strata, groups, order, _ = source
    split = split_of(SPLITTERS["grouped"], strata=strata, groups=groups, order=order, seed=seed)
    assert set(split) == {"train", "val", "test"}


def test_grouped_says_what_is_missing():
    with pytest.raises(PersonError, match="needs groups and the data names none"):
        split_of(SPLITTERS["grouped"], groups=[""] * 4)
    with pytest.raises(PersonError, match="at least 3 groups: received 2"):
        split_of(SPLITTERS["grouped"], groups=["a", "a", "b", "b"])


def drawn(splitter, groups):
    return "".join({"test": "x", "val": "v", "train": ".", "": "_"}[side] for side in split_of(splitter, groups=groups))


def test_the_test_is_one_block_and_the_validation_runs_are_spread_over_the_rest():
    split = drawn(Blocked(folds=5, test_fold=0, val=0.1, val_runs=2, keep_groups=True), [""] * 100)
    assert split == "x" * 20 + "." * 18 + "v" * 4 + "." * 36 + "v" * 4 + "." * 18
    middle = drawn(Blocked(folds=4, test_fold=3, val=0.2, val_runs=1, keep_groups=False), [""] * 20)
    assert middle == "......vvv......xxxxx"


@pytest.mark.parametrize("make", [
    lambda fold: Blocked(folds=4, test_fold=fold, val=0.1, val_runs=2, keep_groups=True),
    lambda fold: Kfold(folds=4, test_fold=fold, keep_groups=True),
    lambda fold: Kfold(folds=4, test_fold=fold, keep_groups=False),
])  # fmt: skip
def test_every_sample_is_tested_once_over_the_folds(make):
    groups = [f"g{place // 7}" for place in range(50)]
    folds = [drawn(make(fold), groups) for fold in range(4)]
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


# --- stable


@settings(max_examples=60, deadline=None)
@given(old=st.integers(5, 120), new=st.integers(1, 60), seed=st.integers(0, 1000), named=st.booleans())
def test_stable_never_moves_an_old_sample_when_new_ones_come(old, new, seed, named):
    ids = [f"{number * 7919 % 104729:020x}" for number in range(old + new)]
    groups = [f"g{number % 11}" if named else "" for number in range(old + new)]
    turned = np.random.default_rng(seed).permutation(old + new)
    before = split_of(SPLITTERS["stable"], ids=ids[:old], groups=groups[:old], seed=seed)
    after = split_of(SPLITTERS["stable"], ids=[ids[place] for place in turned], groups=[groups[place] for place in turned], seed=seed)
    assert np.array_equal(before, after[np.argsort(turned)][:old])


def test_stable_keeps_a_persons_groups_and_comes_near_its_shares():
    groups = [f"g{number // 3}" for number in range(9000)]
    split = split_of(SPLITTERS["stable"], groups=groups)
    assert all(len(set(split[start : start + 3])) == 1 for start in range(0, 9000, 3))
    for side, share in (("test", 0.2), ("val", 0.15)):
        assert abs((split == side).mean() - share) < 4 * np.sqrt(share * (1 - share) / 3000)


def test_a_larger_test_share_takes_only_from_validation_and_train():
    small, large = (split_of(Stable(val=0.1, test=share), count=500) for share in (0.1, 0.3))
    assert set(np.flatnonzero(small == "test")) <= set(np.flatnonzero(large == "test"))


# --- kfold


@settings(max_examples=60, deadline=None)
@given(source=sources(), seed=st.integers(0, 100), folds=st.integers(3, 6))
def test_kfold_of_single_samples_spreads_every_class_to_within_one(source, seed, folds):
    strata, _, order, _ = source
    parts = [split_of(Kfold(folds=folds, test_fold=fold, keep_groups=True), strata=strata, order=order, seed=seed) for fold in range(folds)]
    for stratum in np.unique(strata):
        counts = [int((part[strata == stratum] == "test").sum()) for part in parts]
        assert max(counts) - min(counts) <= 1
    for fold, part in enumerate(parts):
        assert np.array_equal(part == "val", parts[(fold + 1) % folds] == "test")


def test_kfold_of_groups_is_about_as_even_as_that_of_scikit_learn():
    from sklearn.model_selection import StratifiedGroupKFold

    rng = np.random.default_rng(3)
    groups = [f"g{number}" for number in np.repeat(np.arange(80), rng.integers(2, 25, 80))]
    strata = rng.integers(0, 4, len(groups)) * (np.asarray([int(name[1:]) % 4 for name in groups]) > 0)

    def unevenness(tests):
        shares = np.asarray([[(test & (strata == kind)).sum() / (strata == kind).sum() for kind in np.unique(strata)] for test in tests])
        return float(np.abs(shares - 0.2).max())

    ours = [split_of(Kfold(folds=5, test_fold=fold, keep_groups=True), groups=groups, strata=strata) == "test" for fold in range(5)]
    theirs = [np.isin(np.arange(len(groups)), test) for _, test in StratifiedGroupKFold(5).split(strata, strata, groups)]
    assert unevenness(ours) <= max(0.04, 1.1 * unevenness(theirs))
    for test in ours:
        assert not {groups[place] for place in np.flatnonzero(test)} & {groups[place] for place in np.flatnonzero(~test)}


def test_kfold_says_that_groups_are_too_few():
    with pytest.raises(PersonError, match=r"for each of 3 folds: received 2; set splitter\.folds to less"):
        split_of(SPLITTERS["kfold"], groups=["a", "a", "b", "b"])


# --- leave one group out


def test_the_group_is_found_by_name_by_number_and_after_a_join():
    groups = ["p2"] * 4 + ["p1"] * 4 + [""] * 8 + ["p3"] * 4 + ["near duplicates c0"] * 2
    by_name = drawn(LeaveOneGroupOut(group="p1", val=0.2), groups)
    assert by_name[4:8] == "xxxx"
    assert by_name.count("x") == 4
    assert by_name == drawn(LeaveOneGroupOut(group=1, val=0.2), groups), "numbered in the order of the source"
    joined = ["p2"] * 4 + ["p1 + p9"] * 6 + ["p3"] * 6 + ["p4"] * 6
    assert drawn(LeaveOneGroupOut(group="p9", val=0.2), joined)[4:10] == "x" * 6


def test_over_all_numbers_every_named_group_is_tested_once():
    groups = [f"p{number % 7}" for number in range(70)]
    tested = [{groups[place] for place in np.flatnonzero(split_of(LeaveOneGroupOut(group=number, val=0.2), groups=groups) == "test")}
              for number in range(7)]  # fmt: skip
    assert tested == [{f"p{number}"} for number in range(7)]


@pytest.mark.parametrize(("group", "groups", "said"), [
    ("patient8", ["patient1", "p2", "p3", ""], "names no group: received 'patient8'; did you mean 'patient1'"),
    (3, ["p1", "p2", "p3", ""], "splitter.group 3 does not exist: the data has 3 groups"),
    (0, ["", "", "", ""], "needs groups and the data names none"),
    (0, ["near duplicates c1"] * 4, "needs groups and the data names none"),
    (0, ["p1", "p1", "p2", "p2"], "needs two groups beside the tested one: received 1"),
])  # fmt: skip
def test_leave_one_group_out_says_what_is_missing(group, groups, said):
    with pytest.raises(PersonError, match=said):
        split_of(LeaveOneGroupOut(group=group, val=0.2), groups=groups)


# --- time ordered


@settings(max_examples=80, deadline=None)
@given(order=st.integers(10, 200).flatmap(lambda count: st.permutations(range(count))), gap=st.integers(0, 3))
def test_time_goes_on_from_split_to_split_with_the_gap_between(order, gap):
    order = np.asarray(order)
    split = split_of(TimeOrdered(val=0.2, test=0.2, gap=gap), order=order)
    assert order[split == "val"].min() - order[split == "train"].max() == gap + 1
    assert order[split == "test"].min() - order[split == "val"].max() == gap + 1
    assert (split == "").sum() == 2 * gap
    assert abs((split == "test").sum() - 0.2 * (len(order) - 2 * gap)) <= 0.5


def test_a_gap_that_leaves_nothing_is_refused():
    with pytest.raises(PersonError, match="20 samples are too few for three splits and two gaps of 9"):
        split_of(TimeOrdered(val=0.2, test=0.2, gap=9), count=20)


# --- given


def test_a_given_split_is_followed_to_the_letter():
    named = ["train", "test", "val", "", "train", "test"]
    assert split_of(Given(rest="train", val=0.5), given=named).tolist() == ["train", "test", "val", "train", "train", "test"]


def test_validation_is_drawn_from_train_alone_where_none_is_named_and_takes_whole_groups():
    named = ["test" if number % 4 == 0 else "train" for number in range(4000)]
    groups = [f"g{number // 40}" if number >= 2000 and number % 4 else "" for number in range(4000)]
    split = split_of(Given(rest="error", val=0.2), given=named, groups=groups)
    assert [side == "test" for side in split] == [name == "test" for name in named]
    assert abs((split == "val").mean() / 0.75 - 0.2) < 0.05
    for group in set(groups) - {""}:
        assert len({side for side, member in zip(split, groups, strict=True) if member == group}) == 1
    assert not (split_of(Given(rest="error", val=0.0), given=named) == "val").any()


def test_a_training_sample_whose_group_is_tested_is_not_drawn_and_so_keeps_its_name_in_the_error():
    named, groups = ["test", "train", "train", "train"], ["p1", "p1", "p2", ""]
    split = split_of(Given(rest="train", val=0.999), given=named, groups=groups)
    assert split.tolist() == ["test", "train", "val", "val"]


def test_a_drawn_validation_does_not_move_when_data_grows():
    named = ["test" if number % 5 == 0 else "train" for number in range(600)]
    before, after = (split_of(Given(rest="train", val=0.2), given=named[:count]) for count in (500, 600))
    assert np.array_equal(before, after[:500])


@pytest.mark.parametrize(("named", "rest", "said"), [
    (["", ""], "train", "the data names none: name their column"),
    (["train", "tset"], "train", "received 'tset'; did you mean 'test'"),
    (["train", "", ""], "error", "2 of 3 samples have no split, for example 0{19}1, 0{19}2: name it, or set splitter.rest=train"),
])  # fmt: skip
def test_given_says_what_is_wrong(named, rest, said):
    with pytest.raises(PersonError, match=said):
        split_of(Given(rest=rest, val=0.1), given=named)


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
        lambda: Stable(val=0.0, test=0.1),
        lambda: Stable(val=0.5, test=0.6),
        lambda: Kfold(folds=2, test_fold=0, keep_groups=True),
        lambda: Kfold(folds=4, test_fold=4, keep_groups=True),
        lambda: LeaveOneGroupOut(group=-1, val=0.1),
        lambda: LeaveOneGroupOut(group="", val=0.1),
        lambda: LeaveOneGroupOut(group=0, val=1.0),
        lambda: TimeOrdered(val=0.1, test=0.1, gap=-1),
        lambda: TimeOrdered(val=0.1, test=0.9, gap=0),
        lambda: Given(rest="test", val=0.1),
        lambda: Given(rest="train", val=1.0),
    ],
)
def test_ranges(make):
    with pytest.raises(ValueError, match="received"):
        make()
