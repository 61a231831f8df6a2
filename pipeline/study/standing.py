"""How a study stands: what each cell came to or why it did not, and each configuration held against the reference."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.core import ledger
from pipeline.core.errors import PersonError
from pipeline.core.parts import build
from pipeline.evaluation import contest, paired
from pipeline.evaluation.paired import Compared
from pipeline.evaluation.runs import Run, find
from pipeline.search.compare import Estimate, estimate
from pipeline.study.book import Book, read
from pipeline.study.matrix import Matrix, read_matrix
from pipeline.study.plan import Cell, Plan, job_name, make_plan
from pipeline.study.work import experiment_name

FINISHED, FAILED, TO_DO = "finished", "failed", "to do"
RESAMPLES = 1000
Repeat = tuple[int, int]  # seed, and fold (-1 for none)


@dataclass(frozen=True)
class Row:
    """A cell.

    Attributes:
        cell: as planned.
        state: finished, failed or to do.
        note: what it came to; empty unless finished.
        reason: of its failure.
    """

    cell: Cell
    state: str
    note: dict[str, Any]
    reason: str = ""

    @property
    def repeat(self) -> Repeat:
        """What it repeats."""
        return self.cell.seed, -1 if self.cell.fold is None else self.cell.fold


@dataclass(frozen=True)
class Arm:
    """A configuration of one experiment, over its finished cells."""

    name: str
    found: Estimate
    cells: int


@dataclass(frozen=True)
class Contest:
    """A configuration against the reference; `compared` is None where they cannot be held against each other."""

    arm: str
    compared: Compared | None
    said: str
    better: bool


@dataclass(frozen=True)
class Group:
    """One experiment.

    Attributes:
        experiment: file of conf/experiment.
        label: of the metric.
        arms: configurations, in the order of the file.
        contests: of all but the reference.
        notes: about the intervals.
    """

    experiment: str
    label: str
    arms: list[Arm]
    contests: list[Contest]
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Standing:
    """All that the page shows."""

    book: Book
    study: Matrix
    plan: Plan
    rows: list[Row]
    groups: list[Group]
    looks: str

    def count(self, state: str) -> int:
        """Cells in a state."""
        return sum(row.state == state for row in self.rows)


def stand(root: Path, word: str) -> Standing:
    """Read how a study stands; nothing runs.

    Raises:
        PersonError: a study that cannot be planned as it is written.
    """
    study = read_matrix(root, word)
    plan, book = make_plan(root, study), Book(root, study.name)
    rows = [_row(book, cell) for cell in plan.cells.values()]
    groups = [_group(root, book, study, [row for row in rows if row.cell.experiment == name]) for name in study.experiments]
    return Standing(book, study, plan, rows, [group for group in groups if group], ledger.read(root).sentence())


def _row(book: Book, cell: Cell) -> Row:
    note = read(book.finished(cell.name))
    if note is not None and note.get("digests") == cell.digests:
        return Row(cell, FINISHED, note)
    for job in [*(job_name(stage, digest) for stage, digest in cell.digests.items()), cell.name]:
        failed = read(book.failed(job))
        if failed is not None and job == cell.name and failed.get("digests") != cell.digests:
            continue  # of a configuration that was changed since
        if failed is not None and not book.done(job).is_file():
            return Row(cell, FAILED, {}, f"{failed.get('stage', '')}: {failed.get('reason', '')}")
    return Row(cell, TO_DO, {})


def _group(root: Path, book: Book, study: Matrix, rows: Sequence[Row]) -> Group | None:
    """The configurations of one experiment; None where nothing was measured."""
    measured = [row for row in rows if isinstance(row.note.get("value"), int | float)]
    if not measured:
        return None
    of_arm = {arm: {row.repeat: row for row in measured if row.cell.arm == arm} for arm in study.arms}
    runs = {arm: _runs(root, book, found) for arm, found in of_arm.items()}
    arms = [Arm(arm, _estimate(found, runs[arm], study.coverage), len(found)) for arm, found in of_arm.items() if found]
    others = [arm for arm in study.arms if arm != study.reference]
    coverage = 1 - (1 - study.coverage) / max(1, len(others))
    contests, notes = [], []
    for arm in others:
        both = {name: (of_arm[name], runs[name]) for name in (study.reference, arm)}
        one, said = _contest(study.reference, arm, both, coverage)
        contests.append(one)
        notes += [note for note in said if note not in notes]
    if len(others) > 1:
        notes.append(f"Intervals of differences are corrected for the {len(others)} configurations (Bonferroni).")
    return Group(rows[0].cell.experiment, str(measured[0].note["label"]), arms, contests, notes)


def _runs(root: Path, book: Book, rows: Mapping[Repeat, Row]) -> dict[Repeat, Run]:
    """Results on the test split, from the workspaces or, where they were removed, from DVC's cache."""
    found = {}
    for repeat, row in rows.items():
        if "evaluate" in row.cell.digests:
            folder = book.cell(row.cell.name)
            there = (folder / "data" / "evaluate" / "metrics.json").is_file()
            found[repeat] = find(str(folder) if there else experiment_name(book.study, row.cell.name), root)[0]
    return found


def _estimate(rows: Mapping[Repeat, Row], runs: Mapping[Repeat, Run], coverage: float) -> Estimate:
    values = [float(row.note["value"]) for row in rows.values()]
    if len(values) == 1:
        low, high = (rows[next(iter(rows))].note.get(name) for name in ("low", "high"))
        return Estimate(values[0], math.nan if low is None else low, math.nan if high is None else high, (values[0],))
    overlap = contest.overlap(list(runs.values())) if runs else _overlap(list(rows.values()))
    return estimate(values, coverage=coverage, overlap=overlap)


def _overlap(rows: Sequence[Row]) -> float:
    """Validation samples for each that trains, where cells have different ones; 0 where all share them."""
    if len({row.note.get("held") for row in rows}) < 2:
        return 0.0
    return sum(float(row.note.get("share", 0.0)) for row in rows) / len(rows)


def _contest(
    reference: str, arm: str, both: Mapping[str, tuple[dict[Repeat, Row], dict[Repeat, Run]]], coverage: float
) -> tuple[Contest, list[str]]:  # fmt: skip
    """A configuration against the reference, over the repeats that both finished."""
    (base, base_runs), (other, other_runs) = both[reference], both[arm]
    common = sorted(set(base) & set(other))
    if not common:
        return Contest(arm, None, f"{arm} and {reference} have no finished repeat in common.", better=False), []
    first = base[common[0]].note
    if other[common[0]].note["metric"] != first["metric"]:
        return Contest(arm, None, f"{arm} and {reference} are measured in different metrics.", better=False), []
    measure = {"resamples": RESAMPLES, "coverage": coverage, "seed": 0}
    try:
        if base_runs and other_runs:
            picked = [{repeat: runs[repeat] for repeat in common} for runs in (base_runs, other_runs)]
            compared, notes, what = _tested(picked[0], picked[1], str(first["metric"]), measure)
        else:
            values = [[float(rows[repeat].note["value"]) for repeat in common] for rows in (base, other)]
            overlap = _overlap([base[repeat] for repeat in common])
            compared = paired.by_seed(*values, metric=str(first["metric"]), coverage=coverage, overlap=overlap)
            notes, what = ["Values are of the validation split; the test split was not opened."], "repeats"
    except PersonError as error:
        return Contest(arm, None, f"{arm} and {reference} cannot be paired: {error}", better=False), []
    higher = bool(first["higher"])
    said = paired.verdict(compared, names=(reference, arm), label=str(first["label"]), higher_is_better=higher, coverage=coverage,
                          what=what)  # fmt: skip
    winner = compared.winner(higher_is_better=higher, coverage=coverage) if len(common) > 1 else ""
    return Contest(arm, compared, said, winner == "B"), notes


def _tested(
    a: dict[Repeat, Run], b: dict[Repeat, Run], metric: str, measure: dict[str, Any]
) -> tuple[Compared, list[str], str]:  # fmt: skip
    """Results on the test split: over the repeats, or over the samples where there is one repeat."""
    first = next(iter(a.values()))
    task = build({**first.task["part"], "headline": metric}, card=first.task["card"])
    if len(a) == 1:
        found, notes, what = contest.over_samples(task, (first, next(iter(b.values()))), metric=metric, measure=measure)
    else:
        found, notes, what = contest.over_repeats(task, a, b, metric=metric, measure=measure)
        what = "repeats"
    return next(one for one in found if one.metric == metric), notes, what
