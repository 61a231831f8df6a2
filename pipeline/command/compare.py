"""Say whether one run is better than another, or the difference is chance.

A and B are folders with results of evaluate, folders of several such folders (one a seed), git revisions or DVC experiments;
several of them with commas between. One run each is compared over the test samples that both predicted, several over their
seeds, in pairs.
"""

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from pipeline.core.artifact import write_json
from pipeline.core.errors import PersonError, near_match
from pipeline.core.intervals import bootstrap
from pipeline.core.parts import build
from pipeline.evaluation import paired
from pipeline.evaluation.paired import Compared
from pipeline.evaluation.runs import Run, find

EXAMPLES = """examples:
  python -m pipeline compare HEAD~1 data/evaluate            the last commit against what lies here
  python -m pipeline compare resnet-run vit-run              two DVC experiments
  python -m pipeline compare runs/plain runs/mixup           two folders of six runs, paired by seed
  python -m pipeline compare a1,a2,a3,a4,a5,a6 b1,b2,b3,b4,b5,b6
"""


def main(argv: Sequence[str]) -> int:
    """Run `python -m pipeline compare`; 0 whatever the verdict is.

    Raises:
        PersonError: a name that means nothing, or runs that cannot be paired.
    """
    options = _parse(argv)
    if not 0.5 < options.coverage < 1 or options.resamples < 100:
        raise PersonError(f"--coverage must lie in (0.5, 1) and --resamples be 100 or more: received {options.coverage:g} "
                          f"and {options.resamples}")  # fmt: skip
    both = find(options.a, Path.cwd()), find(options.b, Path.cwd())
    first = both[0][0]
    metric = options.metric or str(first.headline["metric"])
    for run in (*both[0], *both[1]):
        if metric not in run.metrics:
            raise PersonError(f"{run.name} has no metric {metric!r}: {near_match(metric, run.metrics)}")
    task = build({**first.task["part"], "headline": metric}, card=first.task["card"])
    label = str(first.headline["labels"].get(metric, metric))
    measure = {"resamples": options.resamples, "coverage": options.coverage, "seed": options.seed}
    if len(both[0]) > 1 or len(both[1]) > 1:
        found, notes, what = _seeds(task, both, metric, measure)
    else:
        found, notes, what = _samples(task, (first, both[1][0]), metric, measure)
    tested = next((one for one in found if one.metric == metric), None)
    if tested is None:
        raise PersonError(f"{label} is undefined in most resamples of these test samples: compare by another  --metric")
    said = paired.verdict(tested, names=(options.a, options.b), label=label, higher_is_better=task.higher_is_better,
                          coverage=options.coverage, what=what)  # fmt: skip
    _show(found, options, first.headline["labels"])
    for line in (said, *notes):
        print(line)
    if options.json is not None:
        facts = {"verdict": said, "metric": metric, "pairs_of": what, **measure}
        winner = tested.winner(higher_is_better=task.higher_is_better, coverage=options.coverage) or None
        write_json(options.json, {**facts, "winner": winner, "compared": {one.metric: one.facts() for one in found}})
    return 0


def _samples(
    task: Any, both: tuple[Run, Run], metric: str, measure: dict[str, Any]
) -> tuple[list[Compared], list[str], str]:  # fmt: skip
    """One run each, over the test samples; every metric, notes, and what the pairs are."""
    a, b = both
    _check_same_samples(a, b)
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


def _seeds(
    task: Any, both: tuple[list[Run], list[Run]], metric: str, measure: dict[str, Any]
) -> tuple[list[Compared], list[str], str]:  # fmt: skip
    """Several runs each, over their seeds; the tested metric, notes, and what the pairs are."""
    a, b = ({run.seed: run for run in side} for side in both)
    for name, side, runs in (("A", a, both[0]), ("B", b, both[1])):
        if len(side) < len(runs):
            raise PersonError(f"{name} holds {len(runs)} runs of {len(side)} seeds: give one run of each seed")
    if set(a) != set(b):
        lone = ", ".join(map(str, sorted(set(a) ^ set(b))))
        raise PersonError(f"runs are paired by seed, and the seeds {lone} are of one side alone: run the other one too")
    seeds = sorted(a)
    for seed in seeds:
        _check_same_samples(a[seed], b[seed])
    shared = all(set(a[seed].ids) == set(a[seeds[0]].ids) for seed in seeds)
    values = [[float(side[seed].metrics[metric]["value"]) for seed in seeds] for side in (a, b)]
    coverage = float(measure["coverage"])
    if shared:
        notes = ["The seeds share one test split; the interval holds the chance of a training and of who is in the test split."]
        of_samples = _over_samples(task, a, b, metric=metric, measure=measure)
        found = paired.by_seed(*values, metric=metric, coverage=coverage, of_samples=of_samples)
    else:
        overlap = float(np.mean([len(run.ids) / max(1, int(run.task["train_samples"])) for run in a.values()]))
        notes = ["Each seed has its own test split; intervals are widened, since training sets overlap (Nadeau & Bengio 2003)."]
        found = paired.by_seed(*values, metric=metric, coverage=coverage, overlap=overlap)
    return [found], notes, "seeds"


def _over_samples(
    task: Any, a: dict[int, Run], b: dict[int, Run], *, metric: str, measure: dict[str, Any]
) -> tuple[float, float] | None:
    """Interval over the test samples of the mean difference of all seeds."""
    seeds = sorted(a)
    base = a[seeds[0]]
    width = base.prediction_NK.shape[1]
    parts = [run.prediction_NK[_order(run, base.ids)] for seed in seeds for run in (a[seed], b[seed])]

    def mean(both_NM: Any, truth_N: Any, weight_N: Any) -> dict[str, float]:
        starts = range(0, both_NM.shape[1], width)
        values = [task.metrics(both_NM[:, start : start + width], truth_N, weight_N)[metric] for start in starts]
        return {metric: float(np.mean(np.subtract(values[1::2], values[::2])))}

    entry = bootstrap(mean, np.concatenate(parts, axis=1), base.truth_N, base.weight_N, base.groups, **measure).get(metric)
    return None if entry is None else (entry["low"], entry["high"])


def _check_same_samples(a: Run, b: Run) -> None:
    """Hold two runs to the same test samples in the same order, and to the same task."""
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


def _order(run: Run, ids: tuple[str, ...]) -> list[int]:
    place = {identity: row for row, identity in enumerate(run.ids)}
    return [place[identity] for identity in ids]


def _show(found: Sequence[Compared], options: argparse.Namespace, labels: dict[str, str]) -> None:
    table = Table(title=f"B minus A, with {100 * options.coverage:.0f} % intervals of the paired difference")
    for column in ("metric", f"A: {options.a}", f"B: {options.b}", "B - A", "p"):
        table.add_column(column, justify="left" if column == "metric" else "right", overflow="fold")
    for one in found:
        interval = f"{one.change:+.4f}" + (f" [{one.low:+.4f}, {one.high:+.4f}]" if math.isfinite(one.low) else "")
        p = f"{one.p:.3f}" if math.isfinite(one.p) else ""
        table.add_row(labels.get(one.metric, one.metric), f"{one.a:.4f}", f"{one.b:.4f}", interval, p)
    Console().print(table)


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m pipeline compare", description=(__doc__ or "").splitlines()[0], epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("a", metavar="A", help="a folder, a git revision, a DVC experiment, or several with commas between")
    parser.add_argument("b", metavar="B", help="the same, of the other side")
    parser.add_argument("--metric", default="", metavar="NAME", help="the metric that is tested (default: the headline of A)")
    parser.add_argument("--coverage", type=float, default=0.95, metavar="X", help="of the intervals; the test is at 1 - X (0.95)")
    parser.add_argument("--resamples", type=int, default=1000, metavar="N", help="resamples, and exchanges of the test (1000)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the resamples (0)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the result as JSON")
    return parser.parse_args(argv)
