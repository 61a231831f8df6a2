"""Search over configurations: a study of conf/study, resumable, with trials stopped early.

A trial is an experiment with some values changed. It runs the stages up to train, each once for all trials that share it, and is
judged on the validation split; the test split stays closed. The same command after a kill, or with more trials, continues.
"""

import argparse
import sys
import webbrowser
from collections.abc import Sequence
from pathlib import Path

from pipeline.command.review import has_display
from pipeline.core.artifact import read_json
from pipeline.core.errors import PersonError
from pipeline.search import compare, page, repeats, space
from pipeline.search.alone import alone
from pipeline.search.conduct import Conductor
from pipeline.search.halving import COMPLETE, FAILED, STOPPED, Trial
from pipeline.search.keep import keep
from pipeline.search.lane import Lane, Lanes, published
from pipeline.search.planning import Cell, jobs
from pipeline.search.study import Confirm, read_study

PAGE = "report.html"
EXAMPLES = """examples:
  python -m pipeline tune digits                       the study conf/study/digits.yaml
  python -m pipeline tune digits --trials 40           more of it: what is there is kept
  python -m pipeline tune my_study.yaml -w 2 train.max_steps=300
  python -m pipeline tune digits --plan                what would run, and nothing runs
  python -m pipeline tune digits --write               keep the best as conf/experiment/digits_best.yaml
a study:
  experiment: digits
  space:
    train.lr: {low: 1.0e-3, high: 1.0e-1, log: true}
    model: [resnet_small, mlp]
  trials: 8
"""


def main(argv: Sequence[str]) -> int:
    """Run `python -m pipeline tune`; 0 where a trial reached its end.

    Raises:
        PersonError: a study that cannot be run as it is written; nothing ran.
    """
    options = _parse(argv)
    root = Path.cwd()
    if not (root / "dvc.yaml").is_file():
        raise PersonError(f"there is no dvc.yaml in {root}: run this in the folder of the project")
    changes = {"trials": options.trials} if options.trials is not None else {}
    study = read_study(root, options.study, extra=options.overrides, changes=changes)
    with alone(root / ".run" / "studies" / study.name):
        conductor = Conductor(root, study, say=_say)
        if options.plan:
            _plan(conductor)
            return 0
        before = sum(trial.state in {COMPLETE, STOPPED, FAILED} for trial in conductor.trials)
        if conductor.trials:
            _say(f"study {study.name}: continues with {len(conductor.trials)} trials, {before} of them finished")
        if options.workers > 1:
            _say(f"{options.workers} workers: trials come back in no fixed order, so points asked later may differ between runs")
        with Lanes(root, conductor.planner.stages, count=options.workers, limits=study.limits) as lanes:
            conductor.run(lanes)
            confirmed = _confirm(conductor, study.confirm, lanes) if study.confirm.seeds else []
        result = _result(conductor, confirmed)
        shown = page.write_page(result, conductor.folder / PAGE)
        _tell(result, shown.relative_to(root))
        if options.write:
            _say(f"kept: {keep(result, conductor.cell(result.best.params if result.best else {}), root=root).relative_to(root)}")
    if has_display() and sys.stdout.isatty() and not options.no_browser:
        webbrowser.open(shown.resolve().as_uri())
    return 0 if result.best else 1


def _plan(conductor: Conductor) -> None:
    """Say which stages are shared and how many jobs that makes at most."""
    study = conductor.study
    points = space.grid(study.space)[: conductor.count] if study.sampler.name == "grid" else space.probes(study.space)
    cells = [conductor.cell(params) for params in points]
    counted = jobs(cells)
    for name in conductor.planner.stages:
        distinct = sum(job == name for job, _ in counted)
        if study.sampler.name == "grid":
            said = f"{distinct} of {len(cells)}"
        else:
            said = "once, for all trials" if distinct == 1 else f"varies: up to {conductor.count}"
        _say(f"  {name:<12}{said}")
    steps = conductor.steps_of_default()
    _say(f"{conductor.count} trials, judged by {conductor.metric} at the steps {', '.join(map(str, steps))}")


def _confirm(conductor: Conductor, wanted: Confirm, lanes: Lanes) -> list[compare.Candidate]:
    """Repeat the best few and the default with other seeds."""
    default = conductor.default()
    ended = conductor.rule.order([trial for trial in conductor.trials if trial.state == COMPLETE], conductor.rule.rungs - 1)
    arms: dict[str, space.Params] = {}
    for trial in ended:
        if len(arms) < wanted.top and trial.params not in arms.values() and trial.params != default:
            arms[f"trial {trial.number}"] = dict(trial.params)
    if not arms:
        return []
    first = int(conductor.cell({}).config["seed"])
    seeds = [first + number for number in range(1, wanted.seeds + 1)]
    planned = [
        conductor.planner.cell([*conductor.fixed, *space.overrides(params), f"seed={seed}"])
        for params in ({}, *arms.values()) for seed in seeds
    ]  # fmt: skip
    _say(f"confirming {', '.join(arms)} and the default with {len(seeds)} other seeds each")
    outcomes = repeats.run(planned, conductor.planner, lanes, folder=conductor.folder / "confirm", told=_told(planned))
    failed = next((outcome.reason for outcome in outcomes if outcome.state != "done"), "")
    if failed:
        raise PersonError(f"a repeat failed, so nothing can be compared: {failed}")
    lane = lanes.lanes[0]
    values = [_value(conductor, cell, lane) for cell in planned]
    splits = [read_json(lane.artifact("split", cell.digests["split"]) / "split.json") for cell in planned[: len(seeds)]]
    per_arm = [values[place : place + len(seeds)] for place in range(0, len(values), len(seeds))]
    return compare.compare(
        per_arm[0], dict(zip(arms, per_arm[1:], strict=True)), maximise=conductor.rule.maximise, coverage=wanted.coverage,
        overlap=compare.overlap_of(splits, "val"),
    )  # fmt: skip


def _value(conductor: Conductor, cell: Cell, lane: Lane) -> float:
    target = conductor.planner.target
    return conductor.value(cell, published(lane.artifact(target, cell.digests[target]) / "history.csv"))[0]


def _told(planned: Sequence[Cell]) -> repeats.Told:
    return lambda number, outcome: _say(f"  repeat {number + 1} of {len(planned)}: {outcome.state} {outcome.reason}".rstrip())


def _result(conductor: Conductor, confirmed: Sequence[compare.Candidate]) -> page.Result:
    trials, study = conductor.trials, conductor.study
    states = {name: sum(trial.state == name for trial in trials) for name in (COMPLETE, STOPPED, FAILED)}
    used = sum(_number(trial, "steps") for trial in trials)
    cpu = sum(_number(trial, "cpu") for trial in trials)
    full = sum(conductor.steps_of_default()[-1:]) * len(trials)
    facts = {
        "trials": f"{len(trials)}: {states[COMPLETE]} to the end, {states[STOPPED]} stopped on the way, {states[FAILED]} failed",
        "sampler": f"{study.sampler.name}, seed {study.sampler.seed}",
        "pruner": study.pruner.name if study.pruner.name == "none" else
        f"{study.pruner.name}, 1 in {study.pruner.eta} goes on at each of {study.pruner.rungs} looks",
        "optimiser steps": f"{used:,.0f}" + (f" ({full / used:.1f} times fewer than all trials to the end)" if used else ""),
        "CPU seconds in stages": f"{cpu:,.0f}",
        "CPU seconds of the search itself, this time": f"{conductor.scheduling:.2f}",
    }  # fmt: skip
    said = compare.verdict(confirmed, conductor.metric)
    return page.Result(study, conductor.rule, conductor.metric, trials, conductor.best(), confirmed, said, facts)


def _number(trial: Trial, name: str) -> float:
    value = trial.facts.get(name, 0)
    return float(value) if isinstance(value, int | float) else 0.0


def _tell(result: page.Result, where: Path) -> None:
    for name, value in result.facts.items():
        _say(f"  {name}: {value}")
    if result.best is None:
        _say("no trial reached its end")
    else:
        reached = result.best.values[result.rule.rungs - 1]
        _say(f"best: trial {result.best.number}, {result.metric} {reached:.4f}  {' '.join(space.overrides(result.best.params))}")
        _say(result.said)
    _say(f"the page: {where}")


def _say(line: str) -> None:
    print(line, flush=True)


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m pipeline tune", description=(__doc__ or "").splitlines()[0], epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("study", help="a name of conf/study, or the path of a YAML file")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="further overrides of every trial")
    parser.add_argument("-w", "--workers", type=int, default=1, metavar="N", help="trials at a time (1: the order is fixed)")
    parser.add_argument("--trials", type=int, metavar="N", help="instead of the number in the file")
    parser.add_argument("--plan", action="store_true", help="say what would run, and run nothing")
    parser.add_argument("--write", action="store_true", help="keep the best as conf/experiment/<study>_best.yaml")
    parser.add_argument("--no-browser", action="store_true", help="do not open the page")
    return parser.parse_intermixed_args(argv)
