"""Two sides of published runs held against each other: one run each over their test samples, or several over their repeats.

What `pipeline.evaluation.paired` needs is taken from the runs here, and what cannot be paired is refused.
"""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np

from pipeline.core.errors import PersonError
from pipeline.core.intervals import bootstrap
from pipeline.evaluation import paired
from pipeline.evaluation.paired import Compared
from pipeline.evaluation.runs import Run

Verdicts = tuple[list[Compared], list[str], str]  # metrics, notes for people, and what the pairs are


def over_samples(task: Any, both: tuple[Run, Run], *, metric: str, measure: dict[str, Any]) -> Verdicts:
    """One run each, over the test samples; every metric, notes, and what the pairs are.

    Raises:
        PersonError: the runs were not tested on the same samples.
    """
    a, b = both
    check_same_samples(a, b)
    samples = paired.Samples(a.truth_N, a.weight_N, a.groups)
    found = paired.by_sample(task.metrics, a.prediction_NK, b.prediction_NK, samples, tested=metric, measure=measure)
    grouped = found[0].pairs < len(a.ids) if found else False
    notes = [
        (
            "This speaks of these two trained models on samples like these. It says nothing of their configurations: one seed "
            f"each, and a winner takes {paired.FEWEST} paired seeds (python -m pipeline fan --seeds {paired.FEWEST})."
        )
    ]
    if a.model and a.model == b.model:
        notes.insert(0, "A and B are the same trained model.")
    return found, notes, "groups of test samples" if grouped else "test samples"


def over_seeds(task: Any, both: tuple[Sequence[Run], Sequence[Run]], *, metric: str, measure: dict[str, Any]) -> Verdicts:
    """Several runs each, over their seeds; the tested metric, notes, and what the pairs are.

    Raises:
        PersonError: the seeds differ, or one seed was not tested on the same samples by both.
    """
    a, b = ({run.seed: run for run in side} for side in both)
    for name, side, runs in (("A", a, both[0]), ("B", b, both[1])):
        if len(side) < len(runs):
            raise PersonError(f"{name} holds {len(runs)} runs of {len(side)} seeds: give one run of each seed")
    return over_repeats(task, a, b, metric=metric, measure=measure)


def over_repeats(
    task: Any, a: Mapping[Any, Run], b: Mapping[Any, Run], *, metric: str, measure: dict[str, Any]
) -> Verdicts:  # fmt: skip
    """Several runs each, paired by what repeats them: a seed, or a seed and a fold.

    Args:
        task: that both were trained for.
        a: repeat -> run of A.
        b: repeat -> run of B.
        metric: that is tested.
        measure: `resamples`, `coverage` and `seed`.

    Raises:
        PersonError: the repeats differ, or one repeat was not tested on the same samples by both.
    """
    if set(a) != set(b):
        lone = ", ".join(map(str, sorted(set(a) ^ set(b))))
        raise PersonError(f"runs are paired by seed, and the seeds {lone} are of one side alone: run the other one too")
    keys = sorted(a)
    for key in keys:
        check_same_samples(a[key], b[key])
    shared = all(set(a[key].ids) == set(a[keys[0]].ids) for key in keys)
    values = [[float(side[key].metrics[metric]["value"]) for key in keys] for side in (a, b)]
    coverage = float(measure["coverage"])
    if shared:
        notes = ["The seeds share one test split; the interval holds the chance of a training and of who is in the test split."]
        of_samples = _over_samples(task, a, b, metric=metric, measure=measure)
        found = paired.by_seed(*values, metric=metric, coverage=coverage, of_samples=of_samples)
    else:
        notes = ["Each seed has its own test split; intervals are widened, since training sets overlap (Nadeau & Bengio 2003)."]
        found = paired.by_seed(*values, metric=metric, coverage=coverage, overlap=overlap(list(a.values())))
    return [found], notes, "seeds"


def overlap(runs: Sequence[Run]) -> float:
    """Test over training samples on average, where the test samples of the runs differ; 0 where all share them."""
    if all(set(run.ids) == set(runs[0].ids) for run in runs):
        return 0.0
    return float(np.mean([len(run.ids) / max(1, int(run.task["train_samples"])) for run in runs]))


def check_same_samples(a: Run, b: Run) -> None:
    """Hold two runs to the same test samples in the same order, and to the same task.

    Raises:
        PersonError: they cannot be paired.
    """
    if a.task["part"]["_target_"] != b.task["part"]["_target_"] or a.task["card"].get("classes") != b.task["card"].get("classes"):
        raise PersonError(f"{a.name} and {b.name} predict different things (task or classes), so no metric compares them")
    if a.ids != b.ids:
        common = len(set(a.ids) & set(b.ids))
        raise PersonError(
            f"{a.name} and {b.name} were tested on different samples ({len(a.ids)} and {len(b.ids)}, {common} of them common), "
            "so they cannot be paired: split the same data alike for both"
        )
    if not np.array_equal(a.truth_N, b.truth_N):
        raise PersonError(f"{a.name} and {b.name} have the same test samples with different truths: one of them saw older labels")


def _over_samples(
    task: Any, a: Mapping[Hashable, Run], b: Mapping[Hashable, Run], *, metric: str, measure: dict[str, Any]
) -> tuple[float, float] | None:  # fmt: skip
    """Interval over the test samples of the mean difference of all repeats."""
    keys = sorted(a)  # type: ignore[type-var]
    base = a[keys[0]]
    width = base.prediction_NK.shape[1]
    parts = [run.prediction_NK[_order(run, base.ids)] for key in keys for run in (a[key], b[key])]

    def mean(both_NM: Any, truth_N: Any, weight_N: Any) -> dict[str, float]:
        starts = range(0, both_NM.shape[1], width)
        values = [task.metrics(both_NM[:, start : start + width], truth_N, weight_N)[metric] for start in starts]
        return {metric: float(np.mean(np.subtract(values[1::2], values[::2])))}

    entry = bootstrap(mean, np.concatenate(parts, axis=1), base.truth_N, base.weight_N, base.groups, **measure).get(metric)
    return None if entry is None else (entry["low"], entry["high"])


def _order(run: Run, ids: tuple[str, ...]) -> list[int]:
    place = {identity: row for row, identity in enumerate(run.ids)}
    return [place[identity] for identity in ids]
