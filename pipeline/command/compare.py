"""Say whether one run is better than another, or the difference is chance.

A and B are folders with results of evaluate, folders of several such folders (one a seed), git revisions or DVC experiments;
several of them with commas between. One run each is compared over the test samples that both predicted, several over their
seeds, in pairs.
"""

import argparse
import math
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from pipeline.core.artifact import write_json
from pipeline.core.errors import PersonError, near_match
from pipeline.core.parts import build
from pipeline.evaluation import contest, paired
from pipeline.evaluation.paired import Compared
from pipeline.evaluation.runs import find

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
        found, notes, what = contest.over_seeds(task, both, metric=metric, measure=measure)
    else:
        found, notes, what = contest.over_samples(task, (first, both[1][0]), metric=metric, measure=measure)
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
