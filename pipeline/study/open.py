"""Open a study for Snakemake: plan it, find out what is missing, and have it alone."""

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from pipeline.core.dag import read_params
from pipeline.search.alone import alone
from pipeline.study.book import Book, Planned, read
from pipeline.study.matrix import read_matrix
from pipeline.study.plan import Plan, make_plan
from pipeline.study.work import experiment_name
from pipeline.study.worktree import cache_dir, git, snapshot

HELD = ExitStack()  # the lock of the study that this process runs; it falls with the process


@dataclass(frozen=True)
class Opened:
    """A study as one run of Snakemake sees it.

    Attributes:
        book: its files.
        plan: its cells and jobs.
        missing: jobs that this run has to do.
        unfinished: cells that this run has to finish.
    """

    book: Book
    plan: Planned
    missing: frozenset[str]
    unfinished: frozenset[str]

    def path(self, path: Path) -> str:
        """A file as Snakemake names it."""
        return path.relative_to(self.book.root).as_posix()

    def wanted(self) -> list[str]:
        """Files that the run shall make."""
        return [self.path(self.book.finished(name)) for name in self.plan.cells if name in self.unfinished]

    def before_cell(self, name: str) -> list[str]:
        """Files that must be there before a cell can be finished."""
        cell = self.plan.cells[name]
        return [self.path(self.book.done(job)) for job in map("-".join, cell.digests.items()) if job in self.missing]

    def before_job(self, stage: str, digest: str) -> list[str]:
        """Files that must be there before a job can begin."""
        return [self.path(self.book.done(job)) for job in self.plan.jobs[f"{stage}-{digest}"].needs if job in self.missing]


def open_study(root: Path, word: str, *, main: bool, dry: bool) -> Opened:
    """Plan a study in the process that schedules it; read that plan in the processes of its jobs.

    Args:
        root: the repository.
        word: a name of conf/study.
        main: whether this process schedules.
        dry: whether nothing shall be written.

    Raises:
        PersonError: a study that cannot be run as it is written, that another process runs, or whose cache cannot be written.
    """
    study = read_matrix(root, word)
    book = Book(root, study.name)
    if not main:
        plan = book.plan()
        return Opened(book, plan, frozenset(plan.facts["missing"]), frozenset(plan.facts["unfinished"]))
    if not dry:
        HELD.enter_context(alone(book.folder))
    made = make_plan(root, study)
    cache = cache_dir(root)
    base, commit = ("", "") if dry else snapshot(root, study.name)
    unfinished = made.cells.keys() - finished(book, made)
    missing = needed(made, made.jobs.keys() - book.settled(made, cache), unfinished)
    for name in () if dry else missing:
        book.done(name).unlink(missing_ok=True)
    for name in () if dry else unfinished:
        book.finished(name).unlink(missing_ok=True)
    facts = {"cache": str(cache), "base": base, "snapshot": commit, "source": str(read_params(root)["source"]),
             "missing": sorted(missing), "unfinished": sorted(unfinished)}  # fmt: skip
    if not dry:
        book.save(made, facts)
    plan = Planned(made.cells, made.jobs, made.stages, made.upstream, facts)
    return Opened(book, plan, frozenset(missing), frozenset(unfinished))


def needed(plan: Plan, missing: set[str], unfinished: set[str]) -> set[str]:
    """Of the jobs that are missing, those that an unfinished cell needs."""
    wanted = {job for name in unfinished for job in map("-".join, plan.cells[name].digests.items())}
    return missing & wanted


def finished(book: Book, plan: Plan) -> set[str]:
    """Cells that were finished with these digests, and whose experiments are still kept."""
    kept = {ref.rpartition("/")[2] for ref in git(book.root, "for-each-ref", "--format=%(refname)", "refs/exps").splitlines()}
    notes = {name: read(book.finished(name)) for name in plan.cells if experiment_name(book.study, name) in kept}
    return {name for name, note in notes.items() if note is not None and note.get("digests") == plan.cells[name].digests}
