"""Repeat configurations with several seeds or folds, and compare them in pairs with intervals.

Each repeat is a cell of its own; stages that repeats share run once. Values are of the validation split unless `--test` is given:
then the test split is opened once a repeat, and each look is counted.
"""

import argparse
import csv
import hashlib
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from pipeline.command import exp
from pipeline.core.artifact import read_json, write_json
from pipeline.core.dag import read_params
from pipeline.core.errors import PersonError
from pipeline.search import repeats
from pipeline.search.alone import alone
from pipeline.search.compare import FEWEST, Candidate, Estimate, compare, estimate, overlap_of
from pipeline.search.conduct import FIXED, STUDIES
from pipeline.search.lane import Lane, Lanes, published
from pipeline.search.objective import directions, shipped
from pipeline.search.planning import Cell, Planner
from pipeline.search.study import Limits

FANS = STUDIES / "fans"
EXAMPLES = """examples:
  python -m pipeline fan --seeds 6 experiment=digits                      one configuration, six seeds
  python -m pipeline fan --seeds 6 experiment=digits model=resnet_small,mlp     two of them, compared in pairs
  python -m pipeline fan --folds 5 --test experiment=digits                cross-validation: every sample is tested once
"""


def main(argv: Sequence[str]) -> int:
    """Run `python -m pipeline fan`; 0 where every repeat came back.

    Raises:
        PersonError: words that mean nothing; nothing ran.
    """
    options = _parse(argv)
    if options.seeds == 0 and options.folds == 0:
        raise PersonError("nothing to repeat: give  --seeds N  (2 or more) or  --folds N  (3 or more)")
    if options.seeds == 1 or options.seeds < 0:
        raise PersonError(f"--seeds must be 2 or more, since one value has no interval: received {options.seeds}")
    root = Path.cwd()
    params = read_params(root)
    runs = exp.plan(options.words, params=params, keep=False, root=root) if options.words else [
        exp.Run(str(params["experiment"]), None, tuple(map(str, params.get("overrides") or [])))
    ]  # fmt: skip
    if any(run.source is not None for run in runs) or len({run.experiment for run in runs}) > 1:
        raise PersonError("a fan repeats one experiment on the source of params.yaml: give one experiment=NAME, set source there")
    planner = Planner(root, runs[0].experiment, target="evaluate" if options.test else "train", test=options.test)
    arms = [" ".join(run.overrides) or runs[0].experiment for run in runs]
    planned = [
        repeat for run, arm in zip(runs, arms, strict=True)
        for repeat in repeats.fan(arm, (*FIXED, *run.overrides), seeds=_seeds(planner, run, options.seeds), folds=options.folds)
    ]  # fmt: skip
    cells = [planner.cell(repeat.overrides) for repeat in planned]
    name = hashlib.sha256(json.dumps([cell.digests for cell in cells]).encode()).hexdigest()[:12]
    folder = root / FANS / name
    with alone(folder):
        judged = "; each opens the test split, and that is counted" if options.test else ", judged on the validation split"
        _say(f"{len(cells)} repeats of {len(arms)} configuration{'s' * (len(arms) > 1)}{judged}")
        with Lanes(root, planner.stages, count=options.workers, limits=Limits()) as lanes:
            outcomes = repeats.run(cells, planner, lanes, folder=folder, told=lambda number, outcome: _say(
                f"  {number + 1} of {len(cells)}: {outcome.state} {outcome.reason}".rstrip()))  # fmt: skip
            lane = lanes.lanes[0]
        bad = [outcome.reason for outcome in outcomes if outcome.state != "done"]
        if bad:
            raise PersonError(f"{len(bad)} of {len(cells)} repeats failed, so nothing is compared: {bad[0]}")
        metric, maximise, values = _values(cells, lane, test=options.test)
        _write(folder, planned, values, metric)
        _show(planned, values, metric=metric, maximise=maximise, overlap=_overlap(cells, lane, test=options.test))
    _say(f"the values: {(folder / 'values.csv').relative_to(root)}")
    return 0


def _seeds(planner: Planner, run: exp.Run, count: int) -> list[int]:
    """The configuration's own seed and the ones that follow it."""
    first = int(planner.cell((*FIXED, *run.overrides)).config["seed"]) if count else 0
    return [first + number for number in range(count)]


def _values(cells: Sequence[Cell], lane: Lane, *, test: bool) -> tuple[str, bool, list[float]]:
    """The headline metric of each repeat, its name, and whether more of it is better."""
    better = directions(cells[0].config)
    headline = list(better)[-1]
    if not test:
        histories = [published(lane.artifact("train", cell.digests["train"]) / "history.csv") for cell in cells]
        values = [shipped(rows, cell.config["train"], headline, better)[0] for rows, cell in zip(histories, cells, strict=True)]
        return headline, better[headline], values
    name = headline.removeprefix("val_")
    metrics: list[dict[str, Any]] = [
        read_json(lane.artifact("evaluate", cell.digests["evaluate"]) / "metrics.json") for cell in cells
    ]  # fmt: skip
    return f"test {name}", better[headline], [float(found[name]["value"]) for found in metrics]


def _overlap(cells: Sequence[Cell], lane: Lane, *, test: bool) -> float:
    splits = [read_json(lane.artifact("split", cell.digests["split"]) / "split.json") for cell in cells]
    return overlap_of(splits, "test" if test else "val")


def _write(folder: Path, planned: Sequence[repeats.Repeat], values: Sequence[float], metric: str) -> None:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["configuration", "seed", "fold", metric])
    for repeat, value in zip(planned, values, strict=True):
        table.writerow([repeat.arm, repeat.seed, repeat.fold, repr(value)])
    (folder / "values.csv").write_text(text.getvalue(), encoding="utf-8")
    write_json(folder / "fan.json", {"metric": metric, "overrides": [list(repeat.overrides) for repeat in planned]})


def _show(
    planned: Sequence[repeats.Repeat], values: Sequence[float], *, metric: str, maximise: bool, overlap: float
) -> None:  # fmt: skip
    arms = list(dict.fromkeys(repeat.arm for repeat in planned))
    of_arm = {arm: [v for repeat, v in zip(planned, values, strict=True) if repeat.arm == arm] for arm in arms}
    first, *others = arms
    found = compare(of_arm[first], {arm: of_arm[arm] for arm in others}, maximise=maximise, coverage=0.95, overlap=overlap)
    table = Table(title=f"{metric}: mean of {len(of_arm[first])} repeats and 95 % interval")
    for column in ("configuration", metric, f"gain over {first}" if others else ""):
        table.add_column(column, justify="left" if column == "configuration" else "right", overflow="fold")
    table.add_row(first, _interval(estimate(of_arm[first], coverage=0.95, overlap=overlap)), "")
    for candidate in found:
        table.add_row(candidate.name, _interval(candidate.value), _gain(candidate))
    Console().print(table)
    if overlap:
        _say("repeats split the same data anew: intervals are widened, since training sets overlap (Nadeau & Bengio 2003)")
    else:
        _say("the split is the same in every repeat: intervals hold the chance of a training, not that of other data")


def _interval(found: Estimate) -> str:
    return f"{found.mean:.4f} [{found.low:.4f}, {found.high:.4f}]"


def _gain(found: Candidate) -> str:
    said = f"{found.gain.mean:+.4f} [{found.gain.low:+.4f}, {found.gain.high:+.4f}]"
    if found.shown:
        return f"{said} better"
    return f"{said} fewer than {FEWEST} pairs" if len(found.gain.values) < FEWEST else f"{said} not shown"


def _say(line: str) -> None:
    print(line, flush=True)


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m pipeline fan", description=(__doc__ or "").splitlines()[0], epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("words", nargs="*", metavar="key=value", help="experiment=NAME or any override; a comma compares them")
    parser.add_argument("--seeds", type=int, default=0, metavar="N", help="repeat with N seeds, from the configuration's own on")
    parser.add_argument("--folds", type=int, default=0, metavar="N", help="cross-validate with N folds (splitter=kfold)")
    parser.add_argument("--test", action="store_true", help="judge on the test split: each repeat opens it once, and is counted")
    parser.add_argument("-w", "--workers", type=int, default=1, metavar="N", help="repeats at a time")
    return parser.parse_intermixed_args(argv)
