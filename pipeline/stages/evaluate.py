"""Metrics of the trained model on the test split, each with an interval, and the pictures that explain them.

What calibrate fitted on validation - temperature, conformal quantile, operating point - is measured here.

Letters: N samples, K outputs.
"""

from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core import intervals
from pipeline.core.artifact import read_json, write_json
from pipeline.core.errors import PersonError
from pipeline.core.parts import build
from pipeline.core.section import Picture, write_section
from pipeline.core.table import write_csv
from pipeline.evaluation import calibration, charts, conformal, operating, page, probabilities, sheets, slices
from pipeline.evaluation.calibration import Calibration
from pipeline.evaluation.temperature import log_probabilities
from pipeline.training.predict import decoded, outputs
from pipeline.training.saved_model import load_model
from pipeline.training.subset import Subset, read_subset

DPI = 110
_Known = tuple[Calibration, NDArray[np.float32], NDArray[np.float32]]  # what calibrate chose, raw outputs, decoded ones


def run(cfg: dict[str, Any], out: Path, *, ingest: Path, split: Path, train: Path, calibrate: Path) -> str:
    """Predict the test split and measure; write metrics, predictions, pictures and the section.

    Raises:
        PersonError: the model's predictions are not finite, or the headline metric is undefined on this split.
    """
    card = read_json(ingest / "card.json")
    task = build(cfg["task"], card=card)
    test = read_subset(task, ingest, split, ["test"])
    output_NK = outputs(load_model(train), task, test.pixels(), total=len(test), what="predicting")
    prediction_NK = decoded(task, output_NK)
    found = calibration.read(calibrate, task)
    measure: dict[str, Any] = {**{key: cfg["intervals"][key] for key in ("resamples", "coverage")}, "seed": int(cfg["seed"])}
    known = found, output_NK, prediction_NK
    human = page.checked(cfg["evaluate"]["human"], task)
    measured = _measure(task, test, known, settings=cfg["evaluate"], measure=measure)
    _write(out, task, test, prediction_NK, measured=measured)
    write_json(out / "task.json", {
        "part": cfg["task"], "card": {key: card.get(key) for key in ("name", "classes", "target")},
        "human": human, "train_samples": len(read_json(split / "split.json").get("train", [])),
    })  # fmt: skip
    section = page.evaluation(task, found, measured, human=human)
    section.pictures.extend(_pictures(out, task, test, known, measured=measured, settings=cfg["evaluate"]))
    return write_section(out, section)


def _measure(task: Any, test: Subset, known: _Known, *, settings: dict[str, Any], measure: dict[str, Any]) -> page.Measured:
    """Every number of the test split, with intervals."""
    found, output_NK, prediction_NK = known
    results = intervals.bootstrap(task.metrics, prediction_NK, test.truth, test.weight, test.groups, **measure)
    bins = int(task.bin_count) if task.categories else 0
    if len(test) < bins:
        results.pop("ece", None)
    if task.headline not in results:
        raise PersonError(f"{task.headline} is undefined on the {len(test)} test samples: choose another task.headline "
                          "or another split")  # fmt: skip
    facts = slices.Known(task.bins(prediction_NK, test.truth)[0], test.groups, test.weight, _brightness(test))
    badness_N = task.errors(prediction_NK, test.truth)
    score_N = (badness_N <= 0).astype(np.float64) if task.categories else badness_N
    groups = slices.measure(
        score_N, facts, settings["groups"], is_share=bool(task.categories), smallest=int(settings["smallest_group"]),
        coverage=measure["coverage"],
    )  # fmt: skip
    headline = {
        "metric": task.headline, "label": task.meanings[task.headline][0], "higher_is_better": task.higher_is_better,
        "labels": {name: task.meanings[name][0] for name in results}, "hub_task": task.hub_task,
        "samples": len(test), "groups": intervals.count_groups(test.groups), "coverage": measure["coverage"],
        "group_metric": "accuracy" if task.categories else "mean absolute error",
    }  # fmt: skip
    if found.operating is None:
        covered = conformal.measure_intervals(found.conformal, badness_N, test.groups, coverage=measure["coverage"])
        return page.Measured(results, headline, {}, covered, {}, groups, 0)
    assert found.temperature is not None
    known_test = (test.truth, test.groups)
    p_NK = found.probabilities(output_NK)
    return page.Measured(
        results, headline,
        probabilities.before_and_after(output_NK, *known_test, temperature=found.temperature.value, bins=bins, measure=measure),
        conformal.measure_sets(found.conformal, p_NK, *known_test, classes=task.classes, coverage=measure["coverage"]),
        operating.measure(found.operating, p_NK, *known_test, classes=task.classes, measure=measure), groups, bins,
    )  # fmt: skip


def _brightness(test: Subset) -> NDArray[np.float64]:
    return np.asarray([float(pixels_HWC.mean()) for pixels_HWC in test.pixels()], dtype=np.float64)


def _write(out: Path, task: Any, test: Subset, prediction_NK: NDArray[Any], *, measured: page.Measured) -> None:
    """Numbers as JSON; predictions with six decimals, as numbers and so never taken for a formula; pairs of truth and said."""
    numbers = {
        "metrics": measured.results, "headline": measured.headline, "calibration": measured.calibration,
        "conformal": measured.conformal, "operating_point": measured.operating, "groups": measured.groups,
    }  # fmt: skip
    for name, value in numbers.items():
        write_json(out / f"{name}.json", value)
    names = [str(name) for name in test.samples.columns["name"][test.positions]]
    known = zip(test.ids, names, test.truth, test.weight, test.groups, prediction_NK, strict=True)
    rows = [
        [identity, name, task.truth_text(truth), Decimal(repr(truth.item())), Decimal(f"{weight:.6g}"), group,
         *(Decimal(f"{value:.6f}") for value in row)]
        for identity, name, truth, weight, group, row in known
    ]  # fmt: skip
    write_csv(out / "predictions.csv", ["id", "name", "truth", "truth_value", "weight", "group", *task.columns], rows)
    pairs = zip(*task.bins(prediction_NK, test.truth), strict=True)
    write_csv(out / "confusion.csv", ["actual", "predicted"], [list(pair) for pair in pairs])


def _pictures(
    out: Path, task: Any, test: Subset, known: _Known, *, measured: page.Measured, settings: dict[str, Any]
) -> list[Picture]:  # fmt: skip
    """Draw everything; what each picture shows."""
    found, output_NK, prediction_NK = known
    badness_N, pairs = task.errors(prediction_NK, test.truth), task.bins(prediction_NK, test.truth)
    shown: list[Picture] = list(task.pictures(prediction_NK, test.truth, out, DPI))
    if found.temperature is not None and len(test) >= measured.bins:
        shown.append(_reliability(out, task, output_NK, test.truth, heat=found.temperature.value))
    if measured.groups["by"]:
        overall = float((badness_N <= 0).mean() if task.categories else badness_N.mean())
        label = str(measured.headline["group_metric"])
        low_is_bad = bool(task.categories)
        charts.groups(measured.groups["by"], out / "groups.png", overall=overall, label=label, low_is_bad=low_is_bad, dpi=DPI)
        shown.append(Picture("groups.png", f"{label.capitalize()} of each group with its interval; dotted: all samples."))

    def title(row: int) -> str:
        return f"{task.text(prediction_NK[row])}\ntrue: {task.truth_text(test.truth[row])}"

    def image(row: int) -> NDArray[np.uint8]:
        return test.samples.pixels(int(test.positions[row]))

    shown += sheets.worst(badness_N, title, image, out / sheets.WORST, most=int(settings["mistakes"]), dpi=DPI)
    shape = int(settings["kinds"]), int(settings["each"])
    return shown + sheets.kinds(pairs, badness_N, image, out / sheets.KINDS, shape=shape, dpi=DPI)


def _reliability(out: Path, task: Any, output_NK: NDArray[Any], truth_N: NDArray[Any], *, heat: float) -> Picture:
    drawn = {}
    for name, temperature in (("as trained", 1.0), (f"at T = {heat:.3f}", heat)):
        log_NK = log_probabilities(output_NK, temperature)
        drawn[name] = np.exp(log_NK.max(axis=1)), log_NK.argmax(axis=1) == truth_N
    charts.reliability(drawn, out / "reliability.png", bins=task.bin_count, equal_mass=task.equal_mass, dpi=DPI)
    kind = "equal counts" if task.equal_mass else "equal width"
    caption = (
        f"Reliability in {task.bin_count} bins of {kind}, before and after temperature scaling: confidence against the share "
        "that was right, with 95 % intervals; below the diagonal is overconfident. Bars: number of samples."
    )
    return Picture("reliability.png", caption)
