"""Metrics of the trained model on the test split, each with an interval, and the pictures that explain them.

Letters: K outputs, N samples.
"""

from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core import intervals, pictures
from pipeline.core.artifact import read_json, write_json
from pipeline.core.errors import PersonError
from pipeline.core.parts import build
from pipeline.core.section import Picture, Section, Table, write_section
from pipeline.core.table import write_csv
from pipeline.training.predict import predict
from pipeline.training.saved_model import load_model
from pipeline.training.subset import Subset, read_subset

DPI = 110
FEW_SAMPLES = 200  # below, intervals are so wide that models cannot be ranked
FEW_GROUPS = 20  # below, intervals over groups rest on little and are rough


def run(cfg: dict[str, Any], out: Path, *, ingest: Path, split: Path, train: Path) -> str:
    """Predict the test split and measure; write metrics, predictions, pictures and the section.

    Raises:
        PersonError: the model's predictions are not finite, or the headline metric is undefined on this split.
    """
    task = build(cfg["task"], card=read_json(ingest / "card.json"))
    test = read_subset(task, ingest, split, ["test"])
    prediction = predict(load_model(train), task, test.pixels(), total=len(test), what="predicting")
    measure: dict[str, Any] = {**{key: cfg["intervals"][key] for key in ("resamples", "coverage")}, "seed": int(cfg["seed"])}
    results = intervals.bootstrap(task.metrics, prediction, test.truth, test.weight, test.groups, **measure)
    if task.headline not in results:
        raise PersonError(f"{task.headline} is undefined on the {len(test)} test samples: choose another task.headline "
                          "or another split")  # fmt: skip
    headline = {
        "metric": task.headline, "label": task.meanings[task.headline][0], "higher_is_better": task.higher_is_better,
        "labels": {name: task.meanings[name][0] for name in results}, "hub_task": task.hub_task,
        "samples": len(test), "groups": intervals.count_groups(test.groups), "coverage": measure["coverage"],
    }  # fmt: skip
    write_json(out / "metrics.json", results)
    write_json(out / "headline.json", headline)
    _write_tables(out, task, test, prediction)
    shown = task.pictures(prediction, test.truth, out, DPI)
    badness = task.errors(prediction, test.truth)
    order = [int(row) for row in np.argsort(-badness, kind="stable")[: int(cfg["evaluate"]["mistakes"])] if badness[row] > 0]
    titles = [f"{task.text(prediction[row])}\ntrue: {task.truth_text(test.truth[row])}" for row in order]
    worst = _mistakes([test.samples.pixels(int(test.positions[row])) for row in order], titles, out / "mistakes.png")
    return write_section(out, _section(task, results, headline, [*shown, *worst]))


def _write_tables(out: Path, task: Any, test: Subset, prediction_NK: NDArray[np.float32]) -> None:
    """Predictions with six decimals, as numbers and so never taken for a formula, and the pairs behind the confusion matrix."""
    names = [str(name) for name in test.samples.columns["name"][test.positions]]
    rows = [
        [identity, name, task.truth_text(truth), *(Decimal(f"{value:.6f}") for value in row)]
        for identity, name, truth, row in zip(test.ids, names, test.truth, prediction_NK, strict=True)
    ]
    write_csv(out / "predictions.csv", ["id", "name", "truth", *task.columns], rows)
    pairs = zip(*task.bins(prediction_NK, test.truth), strict=True)
    write_csv(out / "confusion.csv", ["actual", "predicted"], [list(pair) for pair in pairs])


def _mistakes(images_HWC: list[NDArray[np.uint8]], titles: list[str], path: Path) -> list[Picture]:
    if not titles:
        return []
    pictures.sheet(images_HWC, titles, path, columns=6, dpi=DPI)
    return [Picture(path.name, f"The {len(titles)} worst mistakes, the worst first: what the model said, and the truth.")]


def _section(task: Any, results: dict[str, dict[str, float]], headline: dict[str, Any], shown: list[Picture]) -> Section:
    entry, percent = results[task.headline], f"{100 * headline['coverage']:.0f} %"
    count, units = headline["samples"], headline["groups"]
    over = f"{units:,} groups of samples" if units else "single samples"
    warnings = []
    if count < FEW_SAMPLES:
        warnings.append(f"Only {count} test samples: too small to rank models. Read the intervals, not the values.")
    if 0 < units < FEW_GROUPS:
        warnings.append(f"The intervals rest on {units} groups of test samples; with fewer than {FEW_GROUPS} they are rough.")
    table = Table(
        caption=f"Metrics on {count:,} test samples, with {percent} bootstrap intervals over {over}",
        columns=["metric", "value", "low", "high", "what it says"],
        rows=[
            [task.meanings[name][0], found["value"], found["low"], found["high"], task.meanings[name][1]]
            for name, found in results.items()
        ],
    )
    summary = f"{headline['label']} {entry['value']:.3f} [{entry['low']:.3f}, {entry['high']:.3f}] on {count:,} test samples"
    text = [f"The test split took no part in training. Intervals are bootstrap intervals (expanded percentiles) over {over}."]
    left_out = [task.meanings[name][0] for name in task.meanings if name not in results]
    if left_out:
        text.append(f"Undefined on this split, and so left out: {', '.join(left_out)}.")
    return Section("Evaluation", summary, text=text, warnings=warnings, tables=[table], pictures=shown)
