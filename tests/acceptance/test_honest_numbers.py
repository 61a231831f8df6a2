"""The acceptance list of trust, its statistics: coverage of intervals, and equal models that are called different."""

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from pipeline.evaluation import paired
from tests import simulations

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(7200)]
SIMULATIONS, TRIALS = 2000, 200


def say(text):
    print(f"\n  {text}", flush=True)


@pytest.mark.parametrize("what", ["accuracy", "auroc", "share"])
@pytest.mark.parametrize("grouped", [False, True], ids=["single", "grouped"])
@pytest.mark.parametrize("count", [100, 500])
def test_4_nominal_95_percent_cover_93_to_97(what, grouped, count):
    """`accuracy` and `auroc` by the bootstrap, `share` by formula; one standard error is .005."""
    found = simulations.covered(what, grouped=grouped, count=count, simulations=SIMULATIONS, resamples=400)
    say(f"4. {what}, {count} samples, {'in groups of five' if grouped else 'single'}: 95 % intervals cover {found:.2%} of {SIMULATIONS:,}")
    assert 0.93 <= found <= 0.97


def test_1_equal_models_are_called_different_in_at_most_five_percent_of_trials():
    by_sample = simulations.winners_by_sample(TRIALS, count=150, resamples=400)
    grouped = simulations.winners_by_sample(TRIALS, count=150, grouped=True, resamples=400)
    by_seed = simulations.winners_by_seed(TRIALS)
    models = of_models(TRIALS)
    say(f"1. A/A over {TRIALS} trials, a winner was named: over samples {by_sample:.1%}, over groups {grouped:.1%}, over seeds "
        f"{by_seed:.1%}, models of digits over 8 seeds {models:.1%}")  # fmt: skip
    say(f"   and of different ones: {simulations.winners_by_sample(40, count=150, gain=1.0, resamples=400):.0%} over samples, "
        f"{simulations.winners_by_seed(40, gain=0.02):.0%} over seeds")
    assert max(by_sample, grouped, by_seed, models) <= 0.05


def of_models(trials, *, seeds=8):
    """Share of trials in which one of two equal recipes is called better, paired by seed: logistic regressions of random digits."""
    x, y = load_digits(return_X_y=True)
    x, won = x / 16, 0
    for number in range(trials):
        rng = np.random.default_rng(number)
        order = rng.permutation(len(x))
        test, pool = order[:300], order[300:]
        values = [[accuracy(x, y, rng.choice(pool, 150, replace=False), test) for _ in range(seeds)] for _ in range(2)]
        won += bool(paired.by_seed(*values, metric="accuracy", coverage=0.95).winner(higher_is_better=True, coverage=0.95))
    return won / trials


def accuracy(x, y, train, test):
    return float(LogisticRegression(max_iter=60, tol=1e-2).fit(x[train], y[train]).score(x[test], y[test]))
