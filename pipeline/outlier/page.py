"""Pictures, tables and words on unknown inputs, for the report.

N inputs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core import charts, pictures
from pipeline.core.artifact import write_json
from pipeline.core.pictures import GREY, PALETTE, figure, grid, save
from pipeline.core.record import Pixels
from pipeline.core.section import Cell, Picture, Section, Table, write_section
from pipeline.core.table import write_csv
from pipeline.outlier.measure import promised
from pipeline.outlier.watch import save_watch

DPI = 110
SHOWN = 4  # images of each set on the sheet
WEAK = 0.8  # AUROC below which a reader is warned
ALARMING = 2  # times the asked rate of false alarms from which a reader is warned
TITLE = "Unknown inputs"
COLUMNS = ("set", "id", "detector", "score", "unknown")
Values = NDArray[np.floating]
Entry = Mapping[str, float]


@dataclass(frozen=True)
class Result:
    """What one detector says.

    Attributes:
        name: of the option.
        travels: whether it can be put behind the exported model.
        threshold: score above which an input is called unknown.
        choice: mean AUROC of outliers made of validation samples against validation samples; NaN where it was not asked.
        known: score of each test sample.
        ids: of these.
        others: set -> score of each of its images.
        false_alarm: share of the test samples above the threshold, with its interval.
        sets: set -> auroc, fpr95, flagged, each with its interval.
    """

    name: str
    travels: bool
    threshold: float
    choice: float
    known: Values
    ids: Sequence[str]
    others: Mapping[str, Values]
    false_alarm: Entry
    sets: Mapping[str, Mapping[str, Entry]]


@dataclass(frozen=True)
class Told:
    """What the page says beside the results.

    Attributes:
        asked: the false-alarm rate that thresholds were set for.
        counts: samples by name: train, val, test, other, gradients.
        left_out: detectors and sets that were not tried, and why, as sentences.
        meaning: what was chosen, and by what.
    """

    asked: float
    counts: Mapping[str, int]
    left_out: Sequence[str]
    meaning: str


def worst(result: Result) -> str:
    """The set whose FPR95 is the largest."""
    return max(result.sets, key=lambda name: (result.sets[name]["fpr95"]["value"], -result.sets[name]["auroc"]["value"]))


def spoken_of(results: Sequence[Result], shipped: Result | None) -> Result:
    """The detector that pictures and summary are about: the one that travels, or else the best on validation."""
    return shipped or max(results, key=lambda result: np.nan_to_num(result.choice, nan=-1.0))


def facts(results: Sequence[Result], shipped: Result | None) -> dict[str, Any]:
    """`metrics.json`."""
    found: dict[str, Any] = {"detectors": {}, "shipped": {}}
    for result in results:
        choice = {} if np.isnan(result.choice) else {"validation_auroc": result.choice}
        found["detectors"][result.name] = {
            "threshold": result.threshold, "false_alarm": result.false_alarm, "sets": result.sets, **choice
        }  # fmt: skip
    if shipped is not None:
        found["shipped"] = {"detector": shipped.name, "false_alarm": shipped.false_alarm, "worst_set": worst(shipped)}
        for key, sign in (("auroc", 1), ("fpr95", -1), ("flagged", 1)):
            found["shipped"][key] = _least(shipped, key, sign=sign)
    return found


def _least(result: Result, key: str, *, sign: int) -> Entry:
    """The entry of the set that has least of it, or most where `sign` is -1."""
    return min((entry[key] for entry in result.sets.values()), key=lambda entry: sign * entry["value"])


def rows(results: Sequence[Result]) -> list[list[Any]]:
    """Lines of `scores.csv`: every score of a test sample and of another set's image; images of sets are numbered."""
    found: list[list[Any]] = []
    for result in results:
        for name, score_N in {"test": result.known, **result.others}.items():
            for number, score in enumerate(score_N):
                identity = result.ids[number] if name == "test" else str(number)
                found.append([name, identity, result.name, float(score), int(score > result.threshold)])
    return found


def draw(result: Result, images: Mapping[str, Sequence[Pixels]], out: Path) -> list[Picture]:
    """Histograms of the scores, ROC curves, and a few images of each set with what is said of them."""
    _histograms(result, out / "scores.png")
    curves = []
    for name, score_N in result.others.items():
        joined = np.concatenate([result.known, score_N])
        curves.append((name, joined, np.arange(len(joined)) >= len(result.known)))
    charts.roc(curves, out / "roc.png", dpi=DPI)
    shown, titles = [], []
    for name, pixels in images.items():
        score_N = result.others.get(name, np.sort(result.known)[::-1])
        for place in np.linspace(0, min(len(pixels), len(score_N)) - 1, SHOWN).round().astype(int):
            shown.append(pixels[place])
            titles.append(f"{name}\n{'unknown' if score_N[place] > result.threshold else 'passes for known'}")
    pictures.sheet(shown, titles, out / "sets.png", columns=2 * SHOWN, dpi=DPI)
    return [
        Picture("scores.png", f"Scores of {result.name}: what lies right of the line is called unknown."),
        Picture("roc.png", f"Known test samples against each other set, by {result.name}; unknown is positive."),
        Picture("sets.png", f"Known test samples that look most unlike, images of the other sets, and what {result.name} says."),
    ]


def _histograms(result: Result, path: Path) -> None:
    """One row a set, on one axis that shows the middle 98 % of each; what lies beyond is drawn at the border."""
    found = {"test (known)": result.known, **result.others}
    ends = np.concatenate([np.quantile(score_N, [0.01, 0.99]) for score_N in found.values()])
    low, high = min(float(ends.min()), result.threshold), max(float(ends.max()), result.threshold)
    margin = 0.03 * (high - low) or 1.0
    edges = np.linspace(low - margin, high + margin, 49)
    fig = figure(6.4, 0.4 + 0.75 * len(found))
    axes = fig.subplots(len(found), 1, sharex=True, squeeze=False)[:, 0]
    for number, (name, score_N) in enumerate(found.items()):
        inside = np.clip(score_N, edges[0], edges[-1])
        axes[number].hist(inside, bins=edges.tolist(), color=PALETTE[number % len(PALETTE)])
        axes[number].axvline(result.threshold, color=GREY, linestyle=":", linewidth=1.2)
        axes[number].set_yticks([])
        axes[number].set_ylabel(pictures.shorten(name, 14), rotation=0, ha="right", va="center")
        grid(axes[number], "x")
    axes[-1].set_xlabel(f"score of {result.name} (larger is more unlike the training data)")
    save(fig, path, DPI)


def section(results: Sequence[Result], shipped: Result | None, told: Told, shown: list[Picture]) -> Section:
    """The report's part."""
    counts = told.counts
    speaker = spoken_of(results, shipped)
    name = worst(speaker)
    flagged = speaker.sets[name]
    summary = (
        f"{speaker.name}{' travels with the export' if shipped else ', not exported'}: AUROC {flagged['auroc']['value']:.3f}, "
        f"FPR95 {flagged['fpr95']['value']:.3f} against {name}, its worst of {len(speaker.sets)} sets; false alarms on test "
        f"{_share(speaker.false_alarm)} (asked {100 * told.asked:g} %)"
    )
    measured = (
        f"Detectors are fitted on {counts['train']:,} samples of the train split; thresholds are set on {counts['val']:,} of the "
        f"validation split for {100 * told.asked:g} % false alarms; measured on {counts['test']:,} test samples against up to "
        f"{counts['other']:,} images of each other set. Scores come from pytorch-ood. {told.meaning}"
    )
    text = [measured, *told.left_out]
    return Section(TITLE, summary, text=text, warnings=_warnings(speaker, told), tables=_tables(results, speaker), pictures=shown)


def _tables(results: Sequence[Result], speaker: Result) -> list[Table]:
    names = list(speaker.sets)
    compared: list[list[Cell]] = [
        [
            result.name,
            *(f"{result.sets[name]['auroc']['value']:.3f} ({result.sets[name]['fpr95']['value']:.2f})" for name in names),
            None if np.isnan(result.choice) else f"{result.choice:.3f}",
            "yes" if result.travels else "no",
        ]
        for result in results
    ]
    own: list[list[Cell]] = [
        [name, _interval(found["auroc"]), _interval(found["fpr95"]), _interval(found["flagged"])]
        for name, found in speaker.sets.items()
    ]
    return [
        Table("AUROC (FPR95) of the test split against each other set; the last columns: AUROC on validation, by which one is "
              "chosen, and whether it can travel", ["detector", *names, "validation", "can travel"], compared),
        Table(f"{speaker.name} against each set, with intervals", ["set", "AUROC", "FPR95", "share called unknown"], own),
    ]  # fmt: skip


def _warnings(speaker: Result, told: Told) -> list[str]:
    found = []
    least = promised(told.counts["val"], told.asked)
    if least > told.asked:
        found.append(
            f"{told.counts['val']} validation samples cannot promise less than {100 * least:.2g} % false alarms, and "
            f"{100 * told.asked:g} % were asked for (ood.false_alarm): the threshold is their largest score."
        )
    weak = [name for name, entry in speaker.sets.items() if entry["auroc"]["value"] < WEAK]
    if weak:
        found.append(f"The detector {speaker.name} hardly tells these from the data (AUROC under {WEAK}): {', '.join(weak)}.")
    alarm = speaker.false_alarm
    if alarm["low"] > told.asked or alarm["value"] > ALARMING * told.asked:
        found.append(
            f"{speaker.name} calls {_share(alarm)} of the known test samples unknown, though its threshold was set for "
            f"{100 * told.asked:g} %: the test split is not drawn as the validation split was, so do not rely on the flag."
        )
    return found


def _interval(entry: Entry) -> str:
    return f"{entry['value']:.3f} [{entry['low']:.3f}, {entry['high']:.3f}]"


def _share(entry: Entry) -> str:
    return f"{100 * entry['value']:.1f} % [{100 * entry['low']:.1f}, {100 * entry['high']:.1f}]"


def nothing(out: Path, why: str) -> str:
    """The artifact where no detector was asked for."""
    save_watch(out, None, {})
    write_json(out / "metrics.json", {"detectors": {}, "shipped": {}})
    write_csv(out / "scores.csv", COLUMNS, [])
    return write_section(out, Section(title=TITLE, summary=why))
