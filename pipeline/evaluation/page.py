"""Sections of the stages calibrate and evaluate: words and tables from what they measured."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.core.errors import PersonError, near_match
from pipeline.core.section import Cell, Section, Table
from pipeline.evaluation import conformal, probabilities, slices
from pipeline.evaluation.calibration import Calibration

FEW_SAMPLES = 200  # below, intervals are so wide that models cannot be ranked
FEW_GROUPS = 20  # below, intervals over groups rest on little and are rough
MEANING = {
    "lac": "a class is kept from one minus this probability on",
    "aps": "classes are kept up to this probability together",
    "residual": "half the width of an interval",
}
SETS = {"covered": "truths in their set", "size": "classes in a set", "single": "sets of one class", "empty": "empty sets"}
NAMES = {"cost": "mean cost", "accuracy": "accuracy", "balanced_accuracy": "balanced accuracy"}
Entry = Mapping[str, float]


@dataclass(frozen=True)
class Measured:
    """What evaluate measured on the test split.

    Attributes:
        results: metric -> value with interval.
        headline: what headline.json holds.
        calibration: `before`, `after` and `change`; empty for values.
        conformal: what sets or intervals cover.
        operating: `chosen`, `plain` and `change`; empty for values.
        groups: of `slices.measure`.
        bins: of the calibration errors; 0 for values.
    """

    results: Mapping[str, Entry]
    headline: Mapping[str, Any]
    calibration: Mapping[str, Mapping[str, Entry]]
    conformal: Mapping[str, Any]
    operating: Mapping[str, Mapping[str, Entry]]
    groups: Mapping[str, Any]
    bins: int


def text(entry: Entry | None, *, sign: bool = False) -> Cell:
    """A value with its interval in one cell."""
    if entry is None:
        return None
    shown = [f"{entry[key]:+.3f}" if sign else f"{entry[key]:.3f}" for key in ("value", "low", "high") if key in entry]
    return f"{shown[0]} [{shown[1]}, {shown[2]}]" if len(shown) == 3 else shown[0]


def checked(human: Mapping[str, Any] | None, task: Any) -> dict[str, Any] | None:
    """What people reach, as a person stated it; it is never invented.

    Raises:
        PersonError: its metric is none of the task.
    """
    if human is None:
        return None
    if human["metric"] not in task.meanings:
        known = near_match(str(human["metric"]), task.meanings)
        raise PersonError(f"evaluate.human.metric {human['metric']!r} is no metric of this task: {known}")
    return dict(human)


def evaluation(task: Any, found: Calibration, measured: Measured, *, human: Mapping[str, Any] | None) -> Section:
    """The section of evaluate, without its pictures."""
    headline, results = measured.headline, measured.results
    count, units = headline["samples"], headline["groups"]
    percent, over = f"{100 * headline['coverage']:.0f} %", f"{units:,} groups of samples" if units else "single samples"
    metrics = Table(
        caption=f"Metrics on {count:,} test samples, with {percent} bootstrap intervals over {over}",
        columns=["metric", "value", "low", "high", "what it says"],
        rows=[
            [task.meanings[name][0], entry["value"], entry["low"], entry["high"], task.meanings[name][1]]
            for name, entry in results.items()
        ],
    )
    tables = [metrics, *_calibration_table(measured, found), *_operating_table(measured, task, found)]
    tables.append(_conformal_table(measured, found))
    summary = f"{headline['label']} {text(results[task.headline])} on {count:,} test samples"
    if measured.groups["worst"]:
        summary += f"; worst group ({slices.KINDS[measured.groups['worst']['by']]} {measured.groups['worst']['name']}) "
        summary += str(text(measured.groups["worst"]))
    told = [*_words(task, measured, over), *_beside_people(task, measured, human)]
    return Section("Evaluation", summary, text=told, warnings=_warnings(measured, found), tables=tables)


def _words(task: Any, measured: Measured, over: str) -> list[str]:
    words = (
        f"The test split took no part in training. Intervals are bootstrap intervals (expanded percentiles) over {over}. What is "
        "called calibrated or chosen was fitted on validation alone."
    )
    told = [words]
    left_out = [task.meanings[name][0] for name in task.meanings if name not in measured.results]
    if left_out:
        told.append(f"Undefined on this split, and so left out: {', '.join(left_out)}.")
    worst = measured.groups["worst"]
    if worst:
        told.append(
            f"Worst of {worst['compared']} groups: {slices.KINDS[worst['by']]} {worst['name']} ({worst['samples']:,} samples), "
            f"{measured.headline['group_metric']} {text(worst)}; its interval is widened for having been picked out of so many."
        )
    return told


def _beside_people(task: Any, measured: Measured, human: Mapping[str, Any] | None) -> list[str]:
    """One sentence on the model beside people, where somebody said what they reach."""
    if human is None or human["metric"] not in measured.results:
        return []
    entry, value = measured.results[human["metric"]], float(human["value"])
    where = "holds that value"
    if not entry["low"] <= value <= entry["high"]:
        where = "lies above it" if entry["low"] > value else "lies below it"
    name = task.meanings[human["metric"]][0]
    told = (
        f"People reach {name} {value:.3f} ({human['source']}); the interval of the model {where}. Their samples and time to "
        "look were not the same, so this compares orders of magnitude."
    )
    return [told]


def _warnings(measured: Measured, found: Calibration) -> list[str]:
    count, units = measured.headline["samples"], measured.headline["groups"]
    told = []
    if count < FEW_SAMPLES:
        told.append(f"Only {count} test samples: too small to rank models. Read the intervals, not the values.")
    if 0 < units < FEW_GROUPS:
        told.append(f"The intervals rest on {units} groups of test samples; with fewer than {FEW_GROUPS} they are rough.")
    if count < measured.bins:
        told.append(f"{count} test samples are fewer than the {measured.bins} bins of the calibration error, which is left out: "
                    f"set task.bins to a tenth of the samples at most, or give the test split more of them.")  # fmt: skip
    covered = measured.conformal.get("covered")
    promised = found.conformal.coverage
    if covered is not None and covered["high"] < promised:
        kind = "sets" if measured.bins else "intervals"
        told.append(f"The prediction {kind} promise {promised:.0%} and cover {text(covered)} of the test samples: "
                    "test and validation are not alike.")  # fmt: skip
    change = measured.calibration.get("change", {}).get("nll")
    if change is not None and change["low"] > 0:
        told.append("What helped on validation makes probabilities on test worse: the two are not alike.")
    return told


def _calibration_table(measured: Measured, found: Calibration) -> list[Table]:
    parts = measured.calibration
    if not parts or found.temperature is None:
        return []
    names = [name for name in probabilities.MEANINGS if name in parts["before"]]
    rows: list[list[Cell]] = [
        [probabilities.MEANINGS[name][0], text(parts["before"][name]), text(parts["after"].get(name)),
         text(parts["change"].get(name), sign=True), probabilities.MEANINGS[name][1]] for name in names
    ]  # fmt: skip
    caption = f"Probabilities before and after temperature scaling (T = {found.temperature.value:.3f}); the change is paired"
    return [Table(caption, ["score", "before", "after", "change", "what it says"], rows)]


def _operating_table(measured: Measured, task: Any, found: Calibration) -> list[Table]:
    parts, point = measured.operating, found.operating
    if not parts or point is None:
        return []
    keys = [key for key in parts["chosen"] if "/" not in key or task.categories == 2]
    rows: list[list[Cell]] = [
        [_metric_name(key), text(parts["chosen"][key]), text(parts["plain"].get(key)), text(parts["change"].get(key), sign=True)]
        for key in keys
    ]
    where = "least expected cost"
    if point.threshold is not None and point.positive is not None:
        where = f"{task.classes[point.positive]} from {point.threshold:.3f}"
    caption = f"Decisions at the operating point ({where}) and by the most probable class; the change is paired"
    return [Table(caption, ["metric", "operating point", "most probable class", "change"], rows)]


def _conformal_table(measured: Measured, found: Calibration) -> Table:
    parts, held = measured.conformal, found.conformal
    if held.method == "residual":
        width = "unlimited" if held.quantile is None else f"{2 * held.quantile:.3g}"
        rows: list[list[Cell]] = [["share of truths inside", text(parts.get("covered"))], ["width", width]]
        return Table(f"Prediction intervals that promise {held.coverage:.0%}", ["on the test split", "found"], rows)
    rows = [[words, text(parts.get(key))] for key, words in SETS.items()]
    rows += [[f"share of {name} in their set", text(entry)] for name, entry in parts.get("classes", {}).items()]
    return Table(f"Prediction sets that promise {held.coverage:.0%} ({held.method})", ["on the test split", "found"], rows)


def _metric_name(key: str) -> str:
    return NAMES.get(key) or " of ".join(key.split("/", 1))


def calibrated(
    task: Any, found: Calibration, *, samples: int, groups: int, heat: Entry, costs: Sequence[Sequence[Any]]
) -> Section:  # fmt: skip
    """The section of calibrate, without its pictures.

    Args:
        task: of classes or values.
        found: what was fitted.
        samples: of the validation split.
        groups: that the interval of the temperature rests on; 0 for single samples.
        heat: the temperature with its interval; empty for values.
        costs: rows of the table of mean costs on validation.
    """
    held = found.conformal
    tables = [Table(f"Chosen on {samples:,} validation samples", ["what", "value", "what it says"], _chosen(task, found, heat))]
    if costs:
        tables.append(Table("Mean cost of a decision on validation", ["decision", "cost"], [list(row) for row in costs]))
    temperature = f"temperature {text(heat) if heat else f'{found.temperature.value:.3f}'}, " if found.temperature else ""
    promise = f"{'sets' if task.categories else 'intervals'} that promise {held.coverage:.0%}"
    summary = f"{temperature}{promise}, from {samples:,} validation samples"
    words = (
        "Fitted on the validation split alone, which also said when to stop training; the test split took no part. What is "
        "promised holds for samples like those of validation: of other groups (modules, patients, days) evaluate measures it, "
        "and nothing guarantees it."
    )
    told = [words]
    if groups:
        told.append(f"Validation holds {groups:,} groups of samples; the interval is over them.")
    return Section("Calibration", summary, text=told, warnings=_doubts(found, samples), tables=tables)


def _doubts(found: Calibration, samples: int) -> list[str]:
    told = []
    if found.temperature is not None and not found.temperature.determined:
        told.append("The validation split does not determine a temperature (every prediction right, one class only, or no better "
                    "than chance), so probabilities stay as they are.")  # fmt: skip
    if found.conformal.quantile is None:
        told.append(f"{samples} validation samples are too few to promise {found.conformal.coverage:.0%}: it takes "
                    f"{conformal.fewest(found.conformal.coverage)}; until then every answer is kept.")  # fmt: skip
    return told


def _chosen(task: Any, found: Calibration, heat: Entry) -> list[list[Cell]]:
    """Rows of what was chosen: name, value, meaning."""
    held, point = found.conformal, found.operating
    rows: list[list[Cell]] = []
    if found.temperature is not None:
        rows.append(["temperature", text(heat) if heat else f"{found.temperature.value:.3f}", "logits are divided by it"])
    if point is not None and point.threshold is not None and point.positive is not None:
        moved = "cheaper than the one for honest probabilities, beyond chance"
        why = moved if point.threshold != point.theory else f"no other is cheaper beyond chance; cheapest here {point.best:.3f}"
        said = f"say {task.classes[point.positive]} from this calibrated probability on"
        rows.append(["operating point", point.threshold, f"{said}: {why}"])
    meaning = f"{MEANING[held.method]}; promises {held.coverage:.0%}"
    return [*rows, [f"conformal quantile ({held.method})", held.quantile, meaning]]
