"""Intervals by formula: Wilson's own figures, groups, agreement of all samples; coverage at small size."""

import numpy as np
import pytest

from pipeline.evaluation import shares
from tests import simulations


def test_single_samples_have_nearly_wilsons_interval():
    """90 of 100: Wilson gives .826 to .945 (Student's quantile for 100 samples makes it a little wider)."""
    found = shares.share(np.repeat([1.0, 0.0], [90, 10]), [""] * 100, coverage=0.95)
    assert (found["value"], found["low"], found["high"]) == pytest.approx((0.9, 0.826, 0.945), abs=0.002)


def test_a_share_of_one_is_not_certain():
    found = shares.share(np.ones(10), [""] * 10, coverage=0.95)
    assert found["high"] == 1
    assert 0.6 < found["low"] < 0.75
    of_copies = shares.share(np.ones(40), [f"g{n // 10}" for n in range(40)], coverage=0.95)
    assert of_copies["low"] < found["low"], "forty samples of four groups say less than ten of ten"


def test_copies_in_groups_widen_and_single_samples_do_not():
    rng = np.random.default_rng(0)
    hit_N = (rng.random(60) < 0.7).astype(np.float64)
    alone = shares.share(hit_N, [f"g{n}" for n in range(60)], coverage=0.95)
    copied = shares.share(np.repeat(hit_N, 5), [f"g{n}" for n in np.repeat(np.arange(60), 5)], coverage=0.95)
    assert copied["high"] - copied["low"] == pytest.approx(alone["high"] - alone["low"], rel=0.03)
    ignored = shares.share(np.repeat(hit_N, 5), [""] * 300, coverage=0.95)
    assert ignored["high"] - ignored["low"] < 0.6 * (alone["high"] - alone["low"])


def test_the_mean_has_students_interval_and_one_sample_has_none():
    value_N = np.random.default_rng(0).normal(size=50)
    found = shares.mean(value_N, [""] * 50, coverage=0.95)
    reach = 2.0096 * value_N.std(ddof=1) / np.sqrt(50)
    assert (found["low"], found["high"]) == pytest.approx((value_N.mean() - reach, value_N.mean() + reach), rel=1e-3)
    assert shares.mean(np.ones(1), [""], coverage=0.95) == {"value": 1.0}
    assert shares.share(np.ones(1), [""], coverage=0.95) == {"value": 1.0, "low": 0.0, "high": 1.0}


def test_no_samples_are_refused():
    with pytest.raises(ValueError, match="0 samples"):
        shares.share(np.zeros(0), [], coverage=0.95)


@pytest.mark.parametrize("grouped", [False, True])
def test_it_covers_as_it_says(grouped):
    """600 simulations have a standard error of .009; the acceptance list runs 2,000."""
    assert 0.925 <= simulations.covered("share", grouped=grouped, count=100, simulations=600, resamples=0) <= 0.975


def test_planted_fault_ignoring_the_groups_covers_too_seldom():
    assert simulations.covered("share", grouped=True, count=100, simulations=200, resamples=0, ignore_groups=True) < 0.91
