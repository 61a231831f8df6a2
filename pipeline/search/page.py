"""The page of a study: one self-contained HTML file with what was found, how sure that is, and every trial."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from scipy.stats import spearmanr

from pipeline.core import figures
from pipeline.search import pictures, space
from pipeline.search.compare import Candidate
from pipeline.search.halving import COMPLETE, FAILED, STOPPED, Rule, Trial
from pipeline.search.sampling import view
from pipeline.search.space import Dimension
from pipeline.search.study import Study

FEW = 6  # trials below which importance is not worked out
BUDGET = 3_000_000  # characters of all pictures together
CAPTIONS = {
    "history": "Each trial where it stands; the line is the best so far among those that reached the end.",
    "gains": "Gain over the default with the same seeds: each pair, the mean and its interval, corrected for the candidates.",
    "importances": "Which keys explain the differences between trials (fANOVA, Hutter et al. 2014).",
    "coordinates": "Each trial as a line through its values; the darker the better, thick where it reached the end.",
    "slices": "The objective against each key; blue reached the end, grey was stopped on the way.",
}


@dataclass(frozen=True)
class Result:
    """What a study came to.

    Attributes:
        study: what was asked.
        rule: of stopping.
        metric: that was searched for.
        trials: all of them.
        best: the best that reached its end, or None.
        confirmed: candidates against the default.
        said: what may be said of the best.
        facts: name -> value for people.
    """

    study: Study
    rule: Rule
    metric: str
    trials: Sequence[Trial]
    best: Trial | None
    confirmed: Sequence[Candidate]
    said: str
    facts: Mapping[str, str] = field(default_factory=dict)


def write_page(result: Result, path: Path) -> Path:
    """Write the page, whole or not at all."""
    environment = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined,
                              trim_blocks=True, lstrip_blocks=True)  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        drawn = _drawn(result, Path(folder))
        shown = figures.encode(list(drawn.values()), budget=BUDGET, width=1400)
        charts = [(name, CAPTIONS[name], shown[file].uri) for name, file in drawn.items()]
    text = environment.get_template("page.html.j2").render(
        it=result, charts=charts, rows=rows(result), correlations=correlations(result.trials, result.rule),
        taken=" ".join(space.overrides(result.best.params)) if result.best else "",
    )  # fmt: skip
    partial = path.with_name(path.name + ".part")
    partial.write_text(text, encoding="utf-8")
    return partial.replace(path)


def rows(result: Result) -> list[dict[str, Any]]:
    """A row a trial, the best first, the failed last."""
    sign = -1 if result.rule.maximise else 1
    ranked = sorted(
        result.trials, key=lambda t: (t.state == FAILED, -t.rung, sign * t.values[t.rung] if t.values else 0.0, t.number)
    )
    return [
        {
            "number": trial.number, "state": "stopped" if trial.state == STOPPED else trial.state,
            "value": figures.number(float(trial.values[trial.rung])) if trial.values else "–",
            "steps": trial.facts.get("steps", 0), "cpu": trial.facts.get("cpu", 0.0), "reason": trial.facts.get("reason", ""),
            "params": {dimension.key: shown(trial.params.get(dimension.key)) for dimension in result.study.space},
        }
        for trial in ranked
    ]  # fmt: skip


def shown(value: object) -> str:
    """A drawn value for people: numbers with four digits, a dash where the key did not exist."""
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def importances(trials: Sequence[Trial], dimensions: Sequence[Dimension], rule: Rule) -> tuple[dict[str, float], int]:
    """Share of each key in what the keys explain, on the highest rung that half of the trials reached; and how many those are."""
    alive = [trial for trial in trials if trial.values]
    reached = [rung for rung in range(rule.rungs) if 2 * sum(rung in trial.values for trial in alive) >= len(alive)]
    if len(alive) < FEW or not reached:
        return {}, len(alive)
    rung = reached[-1]
    there = [
        Trial(number, trial.params, values={rung: trial.values[rung]}, state=COMPLETE)
        for number, trial in enumerate(alive) if rung in trial.values
    ]  # fmt: skip
    keys = [d.key for d in dimensions if all(d.key in t.params for t in there) and len({t.params[d.key] for t in there}) > 1]
    if len({trial.values[rung] for trial in there}) < 2 or not keys:
        return {}, len(there)
    known = view(dimensions, there, last=rung, maximise=rule.maximise)
    return dict(get_param_importances(known, evaluator=FanovaImportanceEvaluator(seed=0), params=keys)), len(there)


def correlations(trials: Sequence[Trial], rule: Rule) -> list[tuple[int, int, int, float]]:
    """(rung, next rung, trials on both, Spearman's rank correlation): where it is low, stopping early is unsafe."""
    found = []
    for rung in range(rule.rungs - 1):
        both = [trial for trial in trials if rung in trial.values and rung + 1 in trial.values]
        before, after = ([trial.values[place] for trial in both] for place in (rung, rung + 1))
        if len(both) >= 3 and np.ptp(before) > 0 and np.ptp(after) > 0:
            found.append((rung + 1, rung + 2, len(both), float(spearmanr(before, after).statistic)))
    return found


def _drawn(result: Result, folder: Path) -> dict[str, Path]:
    """Name -> PNG, in the order of the page."""
    drawn = {"history": pictures.history(result.trials, result.rule, result.metric, folder / "history.png")}
    if result.confirmed:
        drawn["gains"] = pictures.gains(result.confirmed, folder / "gains.png")
    if any(trial.values for trial in result.trials):
        found, _ = importances(result.trials, result.study.space, result.rule)
        if found:
            drawn["importances"] = pictures.importances(found, folder / "importances.png")
        dimensions = result.study.space
        drawn["coordinates"] = pictures.coordinates(
            result.trials, dimensions, folder / "coordinates.png", rule=result.rule, metric=result.metric
        )
        drawn["slices"] = pictures.slices(result.trials, dimensions, result.metric, folder / "slices.png")
    return drawn
