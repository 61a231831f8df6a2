"""What corruptions take away: errors, corruption errors against a reference, and the headline, each with an interval.

Source: Hendrycks and Dietterich 2019, arXiv 1903.12261, section 4.1. With E the error of a model f under corruption c at
severity s, CE_c = sum_s E_(s,c)^f / sum_s E_(s,c)^reference, and the mean corruption error mCE is the mean of CE_c over the
fifteen. What differs: the reference is a baseline of the same run on the same images, not AlexNet; the error of a real value
is the mean absolute error; intervals resample the images (groups of them, `core.intervals`) and keep each image's five
severities, its seventeen corruptions and both models together.

C cells (a corruption at a severity; the first cell is the clean one), K columns of a prediction, N samples.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.intervals import bootstrap
from pipeline.corruption.catalogue import PAPER

Cell = tuple[str, int]
Entry = Mapping[str, float]
CLEAN: Cell = ("clean", 0)


def cells_of(names: Sequence[str], severities: Sequence[int]) -> list[Cell]:
    """The clean cell and every corruption at every severity, each once, severities ascending."""
    return [CLEAN, *((name, severity) for name in names for severity in sorted(set(severities)))]


def sample_errors(task: Any, prediction_NK: NDArray[Any], truth_N: NDArray[Any]) -> NDArray[np.float64]:
    """Error of each sample (N,): 1 for another class than the truth, or the absolute error of a value."""
    if task.categories:
        return np.asarray(prediction_NK.argmax(axis=1) != truth_N, dtype=np.float64)
    return np.asarray(task.errors(prediction_NK, truth_N), dtype=np.float64)


def errors(
    cells: Sequence[Cell], model_NC: NDArray[Any], reference_NC: NDArray[Any] | None, *, groups: Sequence[str], **measure: Any
) -> dict[str, dict[str, float]]:
    """Mean errors of every cell, corruption and model, and the corruption errors, as name -> `value`, `low`, `high`.

    Args:
        cells: as `cells_of` gives them.
        model_NC: error of each sample in each cell.
        reference_NC: the same of the reference; None where there is none.
        groups: of the samples.
        measure: `resamples`, `coverage` and `seed` of `core.intervals.bootstrap`.

    Returns:
        `clean_error`, `<corruption>_<severity>_error`, `<corruption>_error` (mean over severities), `corrupted_error` (mean over
        all corruptions), the same with `reference_` before them, `<corruption>_ce` and `mce`. A corruption error is left out
        where the reference makes no error at all.
    """
    both_NX = model_NC if reference_NC is None else np.concatenate([model_NC, reference_NC], axis=1)
    count = len(cells)
    places = places_of(cells)

    def found(rows_NX: NDArray[Any], _truth: Any, _weight: Any) -> dict[str, float]:
        mean_X = rows_NX.mean(axis=0)
        values = _named(cells, places, mean_X[:count])
        if reference_NC is not None:
            values |= _named(cells, places, mean_X[count:], prefix="reference_")
            values |= _ratios(places, mean_X[:count], mean_X[count:])
        return values

    nothing = np.zeros(len(both_NX))
    return bootstrap(found, both_NX, nothing, nothing, groups, **measure)


def headlines(
    task: Any, cells: Sequence[Cell], prediction_NCK: NDArray[Any], truth: tuple[NDArray[Any], NDArray[Any]], *,
    groups: Sequence[str], **measure: Any,
) -> dict[str, dict[str, float]]:  # fmt: skip
    """Metrics of the clean cell, and the headline of every other cell, corruption and over all, with intervals.

    Args:
        task: whose metrics these are.
        cells: as `cells_of` gives them.
        prediction_NCK: decoded predictions of every cell.
        truth: truths and weights, (N,) each.
        groups: of the samples.
        measure: `resamples`, `coverage` and `seed` of `core.intervals.bootstrap`.

    Returns:
        `clean_<metric>`, `<corruption>_<severity>_<headline>`, `<corruption>_<headline>` and `corrupted_<headline>`.
    """
    places = places_of(cells)

    def found(rows_NCK: NDArray[Any], truth_N: NDArray[Any], weight_N: NDArray[Any]) -> dict[str, float]:
        clean = task.metrics(rows_NCK[:, 0], truth_N, weight_N)
        value_C = [task.metrics(rows_NCK[:, c], truth_N, weight_N)[task.headline] for c in range(1, len(cells))]
        others = _named(cells, places, np.asarray([clean[task.headline], *value_C]), what=task.headline)
        return {f"clean_{name}": value for name, value in clean.items()} | others

    return bootstrap(found, prediction_NCK, truth[0], truth[1], groups, **measure)


def places_of(cells: Sequence[Cell]) -> dict[str, list[int]]:
    """Corruption -> numbers of its cells, in the order of the cells; the clean one is left out."""
    names = dict.fromkeys(name for name, _ in cells[1:])
    return {name: [number for number, cell in enumerate(cells) if cell[0] == name] for name in names}


def _named(
    cells: Sequence[Cell], places: Mapping[str, list[int]], value_C: NDArray[Any], *, prefix: str = "", what: str = "error"
) -> dict[str, float]:
    values = {f"{prefix}clean_{what}": float(value_C[0])}
    values |= {f"{prefix}{name}_{severity}_{what}": float(value_C[c]) for c, (name, severity) in enumerate(cells) if c}
    values |= {f"{prefix}{name}_{what}": float(value_C[numbers].mean()) for name, numbers in places.items()}
    if places:
        values[f"{prefix}corrupted_{what}"] = float(value_C[1:].mean())
    return values


def _ratios(places: Mapping[str, list[int]], model_C: NDArray[Any], reference_C: NDArray[Any]) -> dict[str, float]:
    ratios = {}
    for name, numbers in places.items():
        whole = float(reference_C[numbers].sum())
        ratios[f"{name}_ce"] = float(model_C[numbers].sum()) / whole if whole > 0 else float("nan")
    paper = [ratios[f"{name}_ce"] for name in places if name in PAPER]
    return {**ratios, "mce": float(np.mean(paper))} if paper else ratios
