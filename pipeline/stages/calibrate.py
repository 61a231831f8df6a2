"""What validation alone may decide about a trained model: temperature, conformal quantile, operating point.

Letters: N samples, K outputs.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.artifact import read_json, write_json
from pipeline.core.errors import PersonError
from pipeline.core.intervals import count_groups
from pipeline.core.parts import build
from pipeline.core.section import Picture, write_section
from pipeline.evaluation import calibration, charts, conformal, operating, page, shares, temperature
from pipeline.evaluation.calibration import Calibration
from pipeline.training.predict import decoded, outputs
from pipeline.training.saved_model import load_model
from pipeline.training.subset import Subset, read_subset

DPI = 110
LABELS = {"lac": "one minus the probability of the truth", "aps": "probability of all classes down to the truth",
          "residual": "absolute error"}  # fmt: skip


def run(cfg: dict[str, Any], out: Path, *, ingest: Path, split: Path, train: Path) -> str:
    """Fit on the validation split; write `calibration.json`, pictures and the section.

    Raises:
        PersonError: there are no validation samples, the model's outputs are not finite, or `costs` do not fit the classes.
    """
    task = build(cfg["task"], card=read_json(ingest / "card.json"))
    val = read_subset(task, ingest, split, ["val"])
    if len(val) == 0:
        raise PersonError("the validation split is empty, and calibration rests on it: give the splitter a validation share")
    output_NK = outputs(load_model(train), task, val.pixels(), total=len(val), what="predicting")
    prediction_NK = decoded(task, output_NK)
    found = calibration.fit(task, output_NK, prediction_NK, val.truth, groups=val.groups, settings=cfg["calibrate"])
    heat: dict[str, float] = {}
    if found.temperature is not None and found.temperature.determined:
        measure = {**{key: cfg["intervals"][key] for key in ("resamples", "coverage")}, "seed": int(cfg["seed"])}
        heat = temperature.interval(output_NK, val.truth, val.groups, **measure)
    write_json(out / calibration.FILE, {
        **calibration.facts(found, task), "samples": len(val), "groups": count_groups(val.groups),
        "temperature_interval": heat or None,
    })  # fmt: skip
    costs, shown = _costs(out, found, task, val, output_NK=output_NK, coverage=float(cfg["intervals"]["coverage"]))
    section = page.calibrated(task, found, samples=len(val), groups=count_groups(val.groups), heat=heat, costs=costs)
    shown += _scores(out, found, task, val, predicted=(output_NK, prediction_NK))
    section.pictures.extend(shown)
    if not task.categories and cfg["calibrate"]["costs"]:
        section.text.append("calibrate.costs speak of classes and change nothing where values are predicted.")
    return write_section(out, section)


def _costs(
    out: Path, found: Calibration, task: Any, val: Subset, *, output_NK: NDArray[np.float32], coverage: float
) -> tuple[list[list[Any]], list[Picture]]:
    """Mean costs on validation, and the curve along the threshold where there is one."""
    point = found.operating
    if point is None:
        return [], []
    p_NK = found.probabilities(output_NK)
    said = {"at the operating point": point.decide(p_NK), "by the most probable class": p_NK.argmax(axis=1)}
    rows = [
        [how, page.text(shares.mean(point.cost(said_N, val.truth), val.groups, coverage=coverage))]
        for how, said_N in said.items()
    ]
    if point.positive is None or point.threshold is None or point.theory is None or point.best is None:
        return rows, []
    miss, alarm = (float(point.costs_KK[truth, 1 - truth]) for truth in (point.positive, 1 - point.positive))
    name = str(task.classes[point.positive])
    curve = operating.curve(p_NK[:, point.positive], val.truth == point.positive, miss=miss, alarm=alarm)
    marks = {"for honest probabilities": point.theory, "cheapest here": point.best, "chosen": point.threshold}
    charts.cost(curve, out / "cost.png", marks=marks, positive=name, dpi=DPI)
    caption = f"Mean cost on validation at each threshold; a missed {name} costs {miss:g}, a false one {alarm:g}."
    return rows, [Picture("cost.png", caption)]


def _scores(
    out: Path, found: Calibration, task: Any, val: Subset, *, predicted: tuple[NDArray[np.float32], NDArray[np.float32]]
) -> list[Picture]:
    """The scores of the truths that the conformal quantile was read from."""
    held = found.conformal
    if task.categories:
        score_NK = conformal.scores(found.probabilities(predicted[0]), held.method)
        score_N = score_NK[np.arange(len(val)), val.truth]
    else:
        score_N = task.errors(predicted[1], val.truth)
    charts.nonconformity(score_N, held.quantile, LABELS[held.method], out / "scores.png", dpi=DPI)
    return [Picture("scores.png", "How ill the truth fits on validation; what lies left of the line is kept.")]
