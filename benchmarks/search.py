"""What a search costs: asynchronous halving against full random search of the same 27 configurations, on the digits (goal 13).

    python -m benchmarks.search [--seeds N]

Both are real studies of this project's `tune`: random search trains every configuration for 27 units of 15 optimiser steps; the
rule of the studies in conf/study (ASHA, eta 3) looks at 1, 3 and 9 units and goes on from checkpoints with the better ones.
Printed: units, the best of each, the share of the search itself in the CPU seconds, and how well the order on a rung tells the
order on the next, over all 27, which random search alone can know. Synchronous halving and Hyperband are replayed on the
recorded curves, which is exact: a training that goes on from its checkpoint has the same bits.

The larger of two maxima over noisy validation figures is mostly that over more of them, so both networks that were chosen are
also asked on the test split, which neither search has seen: that difference is held to the required 0.5 points.
"""

import argparse
import itertools
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
CONFIGS, UNITS, UNIT = 27, 27, 15
MUST_UNITS, MUST_POINTS, MUST_SHARE = 1 / 5, 0.5, 0.05
STUDY = f"""
experiment: digits
overrides: [generator=none, task.headline=accuracy, train.max_steps={UNITS * UNIT}, train.validate_every={UNIT},
            train.checkpoint_every={UNITS * UNIT}, train.log_every={UNIT}]
space:
  train.lr: {{low: 1.0e-4, high: 1.0, log: true}}
  train.weight_decay: {{low: 1.0e-5, high: 1.0, log: true}}
  train.warmup: {{low: 0.0, high: 0.5}}
  model.dropout: {{low: 0.0, high: 0.6}}
  transform: [none, light]
trials: {CONFIGS}
default: false
sampler: {{name: random}}
pruner: {{name: asha, eta: 3, rungs: 4}}
"""
Row = dict[str, Any]


def main() -> int:
    """Print the table; 1 where a required figure is missed."""
    from scipy.stats import spearmanr

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    rows = [_seed(seed) for seed in range(parser.parse_args().seeds)]
    print("seed | asha: units, best %, on test | random: units, best %, on test | search CPU s, stages CPU s")
    for row in rows:
        found, top = (f"{100 * row[name]:7.2f} {100 * row[f'{name}_test']:7.2f}" for name in ("best", "top"))
        cost = f"{row['search']:6.2f} {row['cpu']:7.1f}"
        print(f"{row['seed']:4} | {row['units']:6.0f} {found} | {row['full']:6.0f} {top} | {cost}")
    units = sum(row["units"] for row in rows) / sum(row["full"] for row in rows)
    seen = 100 * sum(row["top"] - row["best"] for row in rows) / len(rows)
    points = 100 * sum(row["top_test"] - row["best_test"] for row in rows) / len(rows)
    share = sum(row["search"] for row in rows) / sum(row["search"] + row["cpu"] for row in rows)
    print(f"asha: {units:.3f} of the units (must {MUST_UNITS}), best {points:+.2f} points below on test (must {MUST_POINTS}), "
          f"{seen:+.2f} on the validation that both chose by; the search itself {100 * share:.1f} % of the CPU "
          "(must 5 %, target 2 %)")  # fmt: skip
    for rung, later in itertools.pairwise((1, 3, 9, 27)):
        near, far = (
            sum(spearmanr(row["curves"][:, rung - 1], row["curves"][:, to - 1]).statistic for row in rows) / len(rows)
            for to in (later, UNITS)
        )
        print(f"rank correlation of unit {rung} with unit {later}: {near:.2f}, with the end: {far:.2f}")
    for name in ("halving", "hyperband"):
        found = [_replay(row["curves"], name) for row in rows]
        spent = sum(cost for cost, _ in found) / sum(row["full"] for row in rows)
        lost = 100 * sum(row["top"] - best for row, (_, best) in zip(rows, found, strict=True)) / len(rows)
        print(f"{name}, replayed on the same curves: {spent:.3f} of the units, best {lost:+.2f} points below on validation")
    return int(units > MUST_UNITS or points > MUST_POINTS or share > MUST_SHARE)


def _seed(seed: int) -> Row:
    """Both searches with one seed, in a workspace of their own each."""
    halved, full = (_study(seed, name) for name in ("asha", "none"))
    return {"seed": seed, "units": halved["steps"] / UNIT, "best": halved["best"], "best_test": halved["test"],
            "full": full["steps"] / UNIT, "top": full["best"], "top_test": full["test"], "curves": full["curves"],
            "search": halved["search"], "cpu": halved["cpu"]}  # fmt: skip


def _study(seed: int, pruner: str) -> Row:
    import numpy as np

    from pipeline.search.conduct import Conductor
    from pipeline.search.lane import Lanes, published
    from pipeline.search.study import Limits, Pruner, read_study

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for name in ("pipeline", "conf", "dvc.yaml", "params.yaml"):
            (root / name).symlink_to(ROOT / name)
        (root / "study.yaml").write_text(STUDY, encoding="utf-8")
        study = read_study(root, str(root / "study.yaml"), extra=[f"seed={seed}"])
        study = replace(study, sampler=replace(study.sampler, seed=seed), pruner=Pruner(pruner, 3, 4))
        told = f"seed {seed} {pruner}"
        conductor = Conductor(root, study, say=lambda line: print(f"  {told}: {line[:60]}", file=sys.stderr, flush=True))
        with Lanes(root, conductor.planner.stages, count=1, limits=Limits()) as lanes:
            conductor.run(lanes)
            best = conductor.best()
            assert best is not None
            artifacts = [lanes.lanes[0].artifact("train", str(trial.facts["digest"])) for trial in conductor.trials]
            curves = [[row[conductor.metric] for row in published(path / "history.csv") if conductor.metric in row]
                      for path in artifacts if path.is_dir()]  # fmt: skip
            tested = _tested(lanes.lanes[0], conductor.cell(best.params))
        return {
            "steps": sum(int(str(trial.facts["steps"])) for trial in conductor.trials),
            "best": best.values[conductor.rule.rungs - 1],
            "test": tested, "search": conductor.scheduling, "curves": np.asarray(curves),
            "cpu": sum(float(str(trial.facts["cpu"])) for trial in conductor.trials),
        }  # fmt: skip


def _tested(lane: Any, cell: Any) -> float:
    """Accuracy on the test split of the network that a cell trained."""
    from pipeline.core.artifact import read_json
    from pipeline.core.parts import build
    from pipeline.training.predict import predict
    from pipeline.training.saved_model import load_model
    from pipeline.training.subset import read_subset

    at = {name: lane.artifact(name, cell.digests[name]) for name in ("ingest", "split", "train")}
    task = build(cell.config["task"], card=read_json(at["ingest"] / "card.json"))
    test = read_subset(task, at["ingest"], at["split"], ["test"])
    prediction_NK = predict(load_model(at["train"]), task, test.pixels(), total=len(test), what="testing")
    return float(task.metrics(prediction_NK, test.truth, test.weight)["accuracy"])


def _replay(curves: Any, name: str) -> tuple[float, float]:
    """Units and best of a rule on recorded curves (configurations, units)."""
    from pipeline.search.halving import COMPLETE, Trial, following, rule_of, steps_of

    rule = rule_of(name, eta=3, rungs=4, maximise=True)
    costs, trials, spent = steps_of(UNITS, 1, rule), [], 0
    while (job := following(trials, rule, len(curves))) is not None:
        trial = job.trial
        if trial is None:
            trial = Trial(len(trials), {}, job.rung)
            trials.append(trial)
        spent += costs[job.rung] - (costs[trial.rung] if trial.rung >= 0 else 0)
        trial.values[job.rung] = float(curves[trial.number, costs[job.rung] - 1])
        trial.state = COMPLETE if job.rung == rule.rungs - 1 else trial.state
    return spent, max(trial.values[rule.rungs - 1] for trial in trials if trial.state == COMPLETE)


if __name__ == "__main__":
    sys.exit(main())
