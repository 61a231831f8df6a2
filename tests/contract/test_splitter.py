"""Every option of conf/splitter is held to the laws of a splitter; a new option is tested with no new test file."""

from pathlib import Path

import numpy as np
import pytest
import yaml

from pipeline.core.parts import build, check_arguments, declared_arguments

CONF = Path(__file__).resolve().parents[2] / "conf/splitter"
OPTIONS = sorted(CONF.glob("*.yaml"))
COUNT = 200
ORDER = np.random.default_rng(1).permutation(COUNT) * 2
STRATA = np.random.default_rng(0).integers(0, 3, COUNT)
GROUPS = [f"g{position // 20}" for position in ORDER.tolist()]
IDS = [f"{position:020x}" for position in ORDER.tolist()]
GIVEN = [["test", "val", "train", "train", ""][position // 2 % 5] for position in ORDER.tolist()]


@pytest.fixture(params=OPTIONS, ids=lambda path: path.stem)
def part(request):
    return yaml.safe_load(request.param.read_text())


@pytest.fixture
def splitter(part):
    return build(part)


def assign(splitter, places=slice(None), seed=0):
    chosen = np.arange(COUNT)[places]
    names = {key: [column[place] for place in chosen] for key, column in (("groups", GROUPS), ("given", GIVEN), ("ids", IDS))}
    return splitter.assign(strata=STRATA[chosen], order=ORDER[chosen], seed=seed, **names)


def test_conf_names_every_argument(part):
    check_arguments("splitter", part)
    assert set(declared_arguments(part["_target_"])) == set(part) - {"_target_"}


def test_every_sample_has_one_split_and_no_split_is_empty(splitter):
    split = assign(splitter)
    assert len(split) == COUNT
    assert set(split) == {"train", "val", "test"}
    assert (split == "train").mean() >= 0.5


def test_the_same_seed_gives_the_same_splits_in_any_order_of_the_samples(splitter):
    split = assign(splitter)
    assert np.array_equal(split, assign(splitter))
    turned = np.random.default_rng(5).permutation(COUNT)
    assert np.array_equal(split[turned], assign(splitter, turned))


def test_what_is_handed_over_stays_as_it_is(splitter):
    strata, order, groups, ids, given = STRATA.copy(), ORDER.copy(), list(GROUPS), list(IDS), list(GIVEN)
    splitter.assign(strata=strata, groups=groups, order=order, given=given, ids=ids, seed=0)
    assert np.array_equal(strata, STRATA)
    assert np.array_equal(order, ORDER)
    assert (groups, ids, given) == (GROUPS, IDS, GIVEN)


def test_a_promise_to_keep_the_order_is_kept(splitter):
    split = assign(splitter)
    if getattr(splitter, "keeps_order", False):
        assert ORDER[split == "train"].max() < ORDER[split == "val"].min()
        assert ORDER[split == "val"].max() < ORDER[split == "test"].min()


def test_a_promise_to_keep_groups_is_kept(splitter):
    split = assign(splitter)
    parted = [
        group for group in set(GROUPS) if len({side for side, name in zip(split, GROUPS, strict=True) if name == group}) > 1
    ]
    assert isinstance(splitter.keeps_groups, bool)
    assert not (splitter.keeps_groups and parted)
