"""Audit of augmentation: are the draws different where they should be, the same where they should be, and unrelated?

One probe image is augmented again and again, as a loader with workers would do it, and every result is hashed. Plain stacks fail
here without a word: albumentations 2.0.8 in the workers of a DataLoader draws the same in every worker and every epoch, and its
seeding ties the steps of a policy together (`tests/unit/core/test_audit.py` keeps that as a fault).

A policy with few outcomes (a flip has two) repeats images by right. So repeats are judged against chance: pairs of draws that a
fault would make equal - the same place in two workers' streams, the same sample in two epochs - must not agree more often than
any two draws do.

N draws, S numbers that describe a draw.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

LEVEL = 1e-4  # of each test: a sound policy is called faulty once in ten thousand audits


@dataclass(frozen=True)
class Epoch:
    """One pass over the samples.

    Attributes:
        workers: of the loader, 0 for none; batches go round to them in turn.
        epoch: its number.
        ids: N samples in the order they came.
        draws: hash of each augmented probe image, (N,).
        batch: samples in a batch.
        labels: class of each sample, or empty.
        steps: for each draw and each step of the policy, what it drew (name -> number), or empty.
        kind: what tells two loaders of equal workers apart, such as persistent ones.
    """

    workers: int
    epoch: int
    ids: Sequence[str]
    draws: Sequence[str]
    batch: int
    labels: Sequence[int] = ()
    steps: Sequence[Sequence[Mapping[str, float]]] = field(default=(), repr=False)
    kind: str = ""


@dataclass(frozen=True)
class Finding:
    """One question of the audit: what was found, what would be right, and whether it is."""

    name: str
    found: str
    right: str
    passed: bool


def audit(epochs: Sequence[Epoch]) -> list[Finding]:
    """Every question that these passes can answer."""
    findings = [_distinct(epochs), _same(epochs), _workers(epochs), _epochs(epochs)]
    if any(epoch.steps for epoch in epochs):
        findings.append(_steps(epochs))
    passes = _of_one_loader(epochs)
    again = len(passes) > 1 and all(list(epoch.ids) == list(passes[0].ids) for epoch in passes[1:])
    labels = order_of_labels([epoch.labels for epoch in passes], again=again)
    return findings if labels is None else [*findings, labels]


def _distinct(epochs: Sequence[Epoch]) -> Finding:
    first = _of_one_loader(epochs)
    draws = [draw for epoch in first for draw in epoch.draws]
    return Finding("distinct images", f"{len(set(draws)):,} of {len(draws):,} draws", "more than one", len(set(draws)) > 1)


def _same(epochs: Sequence[Epoch]) -> Finding:
    loaders = sorted({(epoch.workers, epoch.kind) for epoch in epochs})
    different = total = 0
    for number in {epoch.epoch for epoch in epochs}:
        passes = [list(zip(epoch.ids, epoch.draws, strict=True)) for epoch in epochs if epoch.epoch == number]
        for other in passes[1:]:
            total += len(other)
            different += sum(a != b for a, b in zip(passes[0], other, strict=True))
    counts = ", ".join(f"{workers}{' ' + kind if kind else ''}" for workers, kind in loaders)
    return Finding(f"draws that change with the number of workers ({counts})", f"{different:,} of {total:,}", "0", different == 0)


def _workers(epochs: Sequence[Epoch]) -> Finding:
    """Draws at the same place of two workers' streams."""
    equal = pairs = 0
    for epoch in epochs:
        streams: list[list[str]] = [[] for _ in range(epoch.workers)]
        for position, draw in enumerate(epoch.draws):
            if epoch.workers:
                streams[position // epoch.batch % epoch.workers].append(draw)
        for one, other in combinations(streams, 2):
            common = min(len(one), len(other))
            pairs += common
            equal += sum(one[place] == other[place] for place in range(common))
    return _against_chance("repeats from worker to worker", equal, pairs, epochs)


def _epochs(epochs: Sequence[Epoch]) -> Finding:
    """Draws of the same sample, or at the same place, in two epochs of one loader."""
    equal = pairs = 0
    for loader in {(epoch.workers, epoch.kind) for epoch in epochs}:
        passes = [epoch for epoch in epochs if (epoch.workers, epoch.kind) == loader]
        for one, other in combinations(passes, 2):
            drawn = dict(zip(other.ids, other.draws, strict=True))
            by_sample = [draw == drawn[identity] for identity, draw in zip(one.ids, one.draws, strict=True) if identity in drawn]
            by_place = [a == b for a, b in zip(one.draws, other.draws, strict=False)]
            equal += max(sum(by_sample), sum(by_place))
            pairs += max(len(by_sample), len(by_place))
    return _against_chance("repeats from epoch to epoch", equal, pairs, epochs)


def _against_chance(name: str, equal: int, pairs: int, epochs: Sequence[Epoch]) -> Finding:
    from scipy.special import bdtrc  # here: a second run remembers the finding, and this is a fifth of its start

    rate = _chance(epochs)
    likely = 1.0 if equal == 0 else float(bdtrc(equal - 1, pairs, min(1.0, rate)))
    return Finding(name, f"{equal:,} of {pairs:,} pairs", f"about {rate * pairs:.1f} by chance", likely > LEVEL)


def _chance(epochs: Sequence[Epoch]) -> float:
    """Share of equal pairs among all pairs of one loader's draws."""
    counts = np.unique([draw for epoch in _of_one_loader(epochs) for draw in epoch.draws], return_counts=True)[1]
    total = int(counts.sum())
    return float((counts * (counts - 1)).sum() / (total * (total - 1))) if total > 1 else 0.0


def _of_one_loader(epochs: Sequence[Epoch]) -> list[Epoch]:
    return [epoch for epoch in epochs if (epoch.workers, epoch.kind) == (epochs[0].workers, epochs[0].kind)]


def _steps(epochs: Sequence[Epoch]) -> Finding:
    """Largest correlation between what two steps of the policy draw, with a Bonferroni bound."""
    rows = [steps for epoch in _of_one_loader(epochs) for steps in epoch.steps]
    series: list[tuple[int, str, NDArray[np.float64]]] = []
    for step in range(max(len(row) for row in rows)):
        for name in sorted({name for row in rows for name in (row[step] if step < len(row) else {})}):
            values = np.asarray([row[step].get(name, 0.0) if step < len(row) else 0.0 for row in rows])
            if values.std() > 0:
                series.append((step, name, (values - values.mean()) / values.std()))
    pairs = [(abs(float(np.mean(x * y))), f"{i + 1} and {j + 1}") for (i, _, x), (j, _, y) in combinations(series, 2) if i != j]
    if not pairs:
        return Finding("correlation between steps of the policy", "one step draws", "nothing to compare", passed=True)
    worst, where = max(pairs)
    bound = -NormalDist().inv_cdf(LEVEL / 2 / len(pairs)) / math.sqrt(len(rows))
    found = f"{worst:.3f} (steps {where})"
    return Finding("correlation between steps of the policy", found, f"below {bound:.3f} at {len(rows)} draws", worst < bound)


def order_of_labels(passes: Sequence[Sequence[int] | NDArray[Any]], *, again: bool) -> Finding | None:
    """Neighbours of equal label against what chance gives; None where there is one label only.

    Args:
        passes: the labels of one loader's epochs, each in the order they came.
        again: whether two epochs came in the same order.
    """
    if not any(len(set(np.asarray(labels).tolist())) > 1 for labels in passes):
        return None
    worst = expected = share = 0.0
    for labels in map(np.asarray, passes):
        equal = float((labels[1:] == labels[:-1]).mean())
        mean, spread = equal_neighbours(np.unique(labels, return_counts=True)[1])
        score = (equal - mean) / max(spread, 1e-9)
        if abs(score) >= abs(worst):
            worst, expected, share = score, mean, equal
    found = f"{share:.1%} of neighbours have the same label" + (", every epoch in the same order" if again else "")
    passed = worst < -NormalDist().inv_cdf(LEVEL) and not again
    return Finding("order of the labels", found, f"about {expected:.1%}, each epoch in an order of its own", passed)


def equal_neighbours(counts_K: NDArray[np.int64]) -> tuple[float, float]:
    """Mean and standard deviation of the share of neighbours with equal labels, over all orders of the same labels.

    Args:
        counts_K: how many samples each label has.

    Source: the number of runs of several kinds of elements; Mood, The distribution theory of runs, 1940.
    """
    counts = [int(count) for count in counts_K]  # exact: their third powers overflow
    total, squares, cubes = sum(counts), sum(count**2 for count in counts), sum(count**3 for count in counts)
    if total < 3:
        return 0.0, 0.0
    mean = (squares - total) / (total * (total - 1))
    variance = (squares * (squares + total * (total + 1)) - 2 * total * cubes - total**3) / (total**2 * (total - 1))
    return mean, math.sqrt(max(variance, 0.0)) / (total - 1)
