"""What is fitted on validation and travels to whoever measures or ships: temperature, conformal quantile, operating point.

Letters: N samples, K outputs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.artifact import read_json
from pipeline.core.errors import PersonError
from pipeline.evaluation import conformal, operating, temperature
from pipeline.evaluation.conformal import Conformal
from pipeline.evaluation.operating import Operating
from pipeline.evaluation.temperature import Temperature

FILE = "calibration.json"
SURE = 0.95  # coverage of the interval of the saving that moves the threshold


@dataclass(frozen=True)
class Calibration:
    """All of it.

    Attributes:
        conformal: sets of classes, or intervals of values.
        temperature: None for values.
        operating: None for values.
    """

    conformal: Conformal
    temperature: Temperature | None = None
    operating: Operating | None = None

    def probabilities(self, output_NK: NDArray[Any]) -> NDArray[np.float64]:
        """Calibrated probabilities of logits."""
        assert self.temperature is not None
        return np.exp(temperature.log_probabilities(output_NK, self.temperature.value))


def fit(
    task: Any, output_NK: NDArray[Any], prediction_NK: NDArray[Any], truth_N: NDArray[Any], *,
    groups: Sequence[str], settings: Mapping[str, Any],
) -> Calibration:  # fmt: skip
    """Fit on held-out samples.

    Args:
        task: of classes or of values.
        output_NK: the model's raw outputs.
        prediction_NK: the same, decoded.
        truth_N: truths.
        groups: of the samples; "" for none.
        settings: `calibrate` of the configuration: `coverage`, `conformal` and `costs`.

    Raises:
        PersonError: `costs` do not fit the classes.
    """
    coverage = float(settings["coverage"])
    if not task.categories:
        error_N = task.errors(prediction_NK, truth_N)
        return Calibration(conformal.fit(error_N, method="residual", coverage=coverage))
    costs_KK = operating.cost_matrix(settings["costs"], task.classes)
    heat = temperature.fit(output_NK, truth_N)
    p_NK = np.exp(temperature.log_probabilities(output_NK, heat.value))
    method = str(settings["conformal"])
    score_N = conformal.scores(p_NK, method)[np.arange(len(truth_N)), truth_N]
    held = conformal.fit(score_N, method=method, coverage=coverage)
    point = operating.choose(p_NK, truth_N, costs_KK, positive=positive(task), groups=groups, coverage=SURE)
    return Calibration(held, heat, point)


def positive(task: Any) -> int:
    """Index of the class that a threshold speaks of: the one that the task names, or the last."""
    return int(task.classes.index(task.positive)) if task.positive is not None else len(task.classes) - 1


def facts(found: Calibration, task: Any) -> dict[str, Any]:
    """As plain JSON."""
    heat, point = found.temperature, found.operating
    return {
        "temperature": None if heat is None else {"value": heat.value, "determined": heat.determined},
        "conformal": found.conformal.facts(),
        "operating_point": None if point is None else point.facts(task.classes),
    }


def read(folder: Path, task: Any) -> Calibration:
    """What the stage calibrate published.

    Raises:
        PersonError: it was fitted for other classes, or for values.
    """
    raw = read_json(folder / FILE)
    held = Conformal(**raw["conformal"])
    heat, point = raw["temperature"], raw["operating_point"]
    if (point is None) != (not task.categories) or (point and list(point["costs"]) != sorted(task.classes)):
        raise PersonError(f"{folder.name}/{FILE} was fitted for another task or other classes: run  dvc repro calibrate")
    if heat is None or point is None:
        return Calibration(held)
    costs_KK = np.asarray([[point["costs"][truth][said] for said in task.classes] for truth in task.classes], dtype=np.float64)
    index = None if point["positive"] is None else task.classes.index(point["positive"])
    chosen = Operating(costs_KK, index, point["threshold"], point["theory"], point["best"])
    return Calibration(held, Temperature(**heat), chosen)
