"""Simulated results whose truth is known: how often intervals cover it, and how often equal models are called different.

Used at small size by the unit tests and at full size by the acceptance list.
"""

import math

import numpy as np
from scipy.stats import norm

from pipeline.core import scores
from pipeline.core.intervals import bootstrap
from pipeline.evaluation import paired, shares

SHARED = 0.7  # standard deviations of a group's difficulty, beside 1 of each sample's


def labels(rng, count, grouped, *, size=5):
    """Groups of `size` samples (or none), and a shared part of each group's difficulty, standard normal, (N,)."""
    if not grouped:
        return [""] * count, np.zeros(count)
    groups = [f"g{number // size}" for number in range(count)]
    return groups, np.repeat(rng.normal(size=-(-count // size)), size)[:count]


def accuracy_of(hit_N, *_):
    return {"accuracy": float(hit_N.mean())}


def area_of(score_N, truth_N, _):
    return {"auroc": scores.auroc(score_N, truth_N == 1)}


def covered(what, *, grouped, count, simulations, resamples, coverage=0.95, ignore_groups=False):
    """Share of simulations whose interval holds the true value.

    `what`: `accuracy` (bootstrap), `share` (by formula) or `auroc` (bootstrap); a part of the difficulty is shared within groups.
    """
    draw = _scored if what == "auroc" else _answered
    true = true_value(what, grouped)
    hits = 0
    for number in range(simulations):
        rng = np.random.default_rng([number, count, grouped])
        groups, first, truth = draw(rng, count, grouped)
        units = [""] * count if ignore_groups else groups
        if what == "share":
            entry = shares.share(first, units, coverage=coverage)
        else:
            metrics = area_of if what == "auroc" else accuracy_of
            found = bootstrap(metrics, first, truth, np.ones(count), units, resamples=resamples, coverage=coverage, seed=number)
            entry = next(iter(found.values()))
        hits += entry["low"] <= true <= entry["high"]
    return hits / simulations


def _answered(rng, count, grouped):
    """Right or wrong answers; 0.85 of them right in the long run without groups."""
    groups, shared_N = labels(rng, count, grouped)
    right_N = (1.0364 + SHARED * shared_N + rng.normal(size=count) > 0).astype(np.float64)
    return groups, right_N, np.zeros(count)


def _scored(rng, count, grouped):
    """Scores of two classes, one and a half standard deviations apart."""
    groups, shared_N = labels(rng, count, grouped)
    truth_N = rng.integers(0, 2, count)
    return groups, 1.5 * truth_N + SHARED * shared_N + rng.normal(size=count), truth_N


def true_value(what, grouped):
    """In closed form: groups add variance, and two samples of different classes are nearly always of different groups."""
    spread = math.sqrt(1 + SHARED**2 * grouped)
    return float(norm.cdf(1.5 / (math.sqrt(2) * spread) if what == "auroc" else 1.0364 / spread))


def winners_by_sample(trials, *, count=60, grouped=False, gain=0.0, resamples=100):
    """Share of trials in which one of two models is called better; both are equal where `gain` is 0."""
    won = 0
    for number in range(trials):
        rng = np.random.default_rng([number, count])
        groups, shared_N = labels(rng, count, grouped)
        hard_N = rng.normal(size=count) + SHARED * shared_N  # what is hard for one is hard for the other
        a, b = ((1.0 + shift + hard_N + rng.normal(size=count) > 0).astype(np.float64)[:, None] for shift in (0.0, gain))
        samples = paired.Samples(np.zeros(count), np.ones(count), groups)
        measure = {"resamples": resamples, "coverage": 0.95, "seed": number}
        found = paired.by_sample(accuracy_of, a, b, samples, tested="accuracy", measure=measure)
        won += bool(found and found[0].winner(higher_is_better=True, coverage=0.95))
    return won / trials


def winners_by_seed(trials, *, seeds=8, gain=0.0, overlap=0.0):
    """Share of trials in which one of two configurations is called better; both are equal where `gain` is 0."""
    won = 0
    for number in range(trials):
        rng = np.random.default_rng([number, seeds])
        common_S = rng.normal(0, 0.05, size=seeds)  # what a seed does to both
        a_S, b_S = (0.85 + shift + common_S + rng.normal(0, 0.01, size=seeds) for shift in (0.0, gain))
        found = paired.by_seed(a_S.tolist(), b_S.tolist(), metric="accuracy", coverage=0.95, overlap=overlap)
        won += bool(found.winner(higher_is_better=True, coverage=0.95))
    return won / trials
