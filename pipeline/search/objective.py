"""What a study is judged by: a column of training's history on the validation split, of the weights that would be shipped."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.core.errors import PersonError
from pipeline.core.parts import build
from pipeline.search.study import Study


def shipped(
    rows: Sequence[Mapping[str, float]], recipe: Mapping[str, Any], metric: str, better: Mapping[str, bool]
) -> tuple[float, int]:  # fmt: skip
    """A metric of the weights that training would ship after these rows of its history, and the step reached; NaN for none.

    Args:
        rows: of the history, in order.
        recipe: of conf/train: `keep` says whether the last or the best weights are shipped, `monitor` what the best is.
        metric: a column.
        better: column -> whether more of it is better; the headline stands last.
    """
    looks = [row for row in rows if metric in row]
    if not looks:
        return math.nan, 0
    reached = int(looks[-1]["step"])
    if recipe.get("keep", "last") == "best":
        watched = "val_loss" if recipe.get("monitor") == "loss" else list(better)[-1]
        sign = -1 if better[watched] else 1
        looks = sorted(looks, key=lambda row: (sign * row[watched], row["step"]))[:1]
    return looks[-1][metric], reached


def directions(config: Mapping[str, Any]) -> dict[str, bool]:
    """What training records of the validation split, and whether more of it is better."""
    task = build(config["task"], card={})
    return {"val_loss": False, f"val_{task.headline}": bool(task.higher_is_better)}


def objective(study: Study, better: Mapping[str, bool]) -> str:
    """The column of training's history that is searched for.

    Raises:
        PersonError: it is not one of the validation split, or training does not record it.
    """
    metric, mode = study.objective.metric or list(better)[-1], study.objective.mode
    if not metric.startswith("val_"):
        raise PersonError(
            f"objective.metric {metric!r}: a study chooses on the validation split alone, never on the test split: "
            f"use one of {', '.join(better)}"
        )
    if metric not in better:
        raise PersonError(
            f"objective.metric {metric!r} is not recorded by training, which has {', '.join(better)}: "
            f"set  task.headline={metric.removeprefix('val_')}  in the study's overrides, if the task knows it"
        )
    if mode and (mode == "max") != better[metric]:
        raise PersonError(
            f"objective.mode {mode} contradicts {metric}, of which {'more' if better[metric] else 'less'} is better"
        )
    return metric
