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


@pytest.fixture(params=OPTIONS, ids=lambda path: path.stem)
def part(request):
    return yaml.safe_load(request.param.read_text())


@pytest.fixture
def splitter(part):
    return build(part)


def assign(splitter, places=slice(None), seed=0):
    chosen = np.arange(COUNT)[places]
    return splitter.assign(strata=STRATA[chosen], groups=[GROUPS[place] for place in chosen], order=ORDER[chosen], seed=seed)


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


def test_a_promise_to_keep_groups_is_kept(splitter):
    split = assign(splitter)
    parted = [
        group for group in set(GROUPS) if len({side for side, name in zip(split, GROUPS, strict=True) if name == group}) > 1
    ]
    assert isinstance(splitter.keeps_groups, bool)
    assert not (splitter.keeps_groups and parted)
