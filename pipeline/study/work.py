"""What one job of a study does: run one stage in its cell by DVC, or finish a cell and keep it as a DVC experiment."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from pipeline.cache.locks import mend
from pipeline.core import ledger
from pipeline.core.artifact import MANIFEST
from pipeline.core.dag import read_stages
from pipeline.core.errors import PersonError
from pipeline.core.launch import die_with_parent
from pipeline.study.book import Book, Planned, read
from pipeline.study.plan import Cell, job_name
from pipeline.study.results import facts_of, forward_looks
from pipeline.study.worktree import prepare

AGAIN = 75  # a stage was asked to end and can be continued: the same command goes on where it stopped
RAN = "Running stage '{}'"
ENTRY_SECONDS, PERIOD_SECONDS = 30.0, 0.2  # that a stage's entry may be hidden by the DVC of another; between two looks
SAID = (r"error: (.*)", r"((?:\w+\.)*\w+(?:Error|Exception)\b.*)", r"ERROR: (.*)")  # a stage, Python of a stage that crashed, DVC
FAULTS = (PersonError, OSError, LookupError, ValueError)  # of a workspace, a full disk, a result that is not what it should be


def run_stage(root: Path, study: str, cell: str, stage: str) -> int:
    """Have a stage's output in a cell: restored where DVC's run-cache has it, made where it has not.

    Returns:
        0; 75 where the stage was asked to end and can be continued; 1 where it failed, with the reason written down.

    Raises:
        PersonError: no such study or cell.
    """
    book = Book(root, study)
    plan = book.plan()
    here = _cell(plan, cell)
    job = job_name(stage, here.digests[stage])
    began = time.monotonic()
    log = _log(book, f"{cell}-{stage}")
    try:
        folder = prepare(book, here, plan.facts)
    except FAULTS as error:
        return _fail(book, job, f"error: {_one_line(error)}", cell=cell, stage=stage)
    with book.hold(f"restore-{cell}"):
        code = _repro(folder, _absent(book, here, plan.above(stage)), log, study)
    code = code or _repro(folder, [stage], log, study)
    _count_looks(book, folder)  # a stage that failed may have looked as well, and its cell may never be finished
    text = log.read_text(encoding="utf-8", errors="replace")
    out = "" if code else _output(folder, stage)
    if not out:
        return _fail(book, job, text, cell=cell, stage=stage)
    ran = RAN.format(stage) in text
    book.failed(job).unlink(missing_ok=True)
    seconds = round(time.monotonic() - began, 1)
    book.write(book.done(job), {"md5": out, "cell": cell, "stage": stage, "ran": ran, "seconds": seconds})
    said = next((line for line in text.splitlines() if re.match(rf"{stage} +\d", line)), "")
    _say(f"{cell}: {said.strip() or f'{stage} restored'}")
    return 0


def finish(root: Path, study: str, cell: str) -> int:
    """Restore whatever a cell does not hold yet, note what it came to, and keep it as a DVC experiment.

    Returns:
        0; 75 where a stage was asked to end and can be continued; 1 where it failed, with the reason written down.

    Raises:
        PersonError: no such study or cell.
    """
    book = Book(root, study)
    plan = book.plan()
    here = _cell(plan, cell)
    log = _log(book, f"{cell}-finish")
    try:
        note = _keep(book, plan, here, log)
    except FAULTS as error:
        return _fail(book, cell, f"error: {_one_line(error)}", cell=cell, stage="finish", digests=here.digests)
    if note is None:
        text = log.read_text(encoding="utf-8", errors="replace")
        return _fail(book, cell, text, cell=cell, stage="finish", digests=here.digests)
    book.failed(cell).unlink(missing_ok=True)
    book.write(book.finished(cell), note)
    _say(f"{cell}: finished, DVC experiment {note['experiment']}")
    return 0


def _keep(book: Book, plan: Planned, cell: Cell, log: Path) -> dict[str, Any] | None:
    """What a cell came to, after it was made whole and kept; None where a stage failed.

    Raises:
        PersonError: DVC refused, or there is no workspace.
    """
    folder = prepare(book, cell, plan.facts)
    with book.hold(f"restore-{cell.name}"):
        if _repro(folder, _absent(book, cell, plan.stages), log, book.study):
            return None
    name = experiment_name(book.study, cell.name)
    _count_looks(book, folder)
    with book.hold("experiments", root=True):
        _dvc(folder, "exp", "save", "--force", "--name", name, *plan.stages, log=log, study=book.study)
    return {"digests": cell.digests, "experiment": name, **facts_of(folder, plan.stages)}


def _one_line(error: BaseException) -> str:
    """What went wrong; by its kind where it was not meant for a person."""
    said = str(error) if isinstance(error, PersonError) else f"{type(error).__name__}: {error}"
    return " ".join(said.split())


def experiment_name(study: str, cell: str) -> str:
    """Of a cell, for `dvc exp show`."""
    return f"{study}-{cell}"


def _count_looks(book: Book, folder: Path) -> None:
    """In the repository's ledger, each once: the jobs of all cells take turns."""
    if (folder / ledger.LEDGER).is_file():
        with book.hold("looks", root=True):
            forward_looks(book.root, folder)


def _log(book: Book, name: str) -> Path:
    """An empty log."""
    log = book.log(name)
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_bytes(b"")
    return log


def _cell(plan: Planned, name: str) -> Cell:
    if name not in plan.cells:
        raise PersonError(f"the study has no cell {name!r}; it has {', '.join(list(plan.cells)[:20])}")
    return plan.cells[name]


def _absent(book: Book, cell: Cell, stages: Sequence[str]) -> list[str]:
    """Stages whose output the workspace does not hold as the jobs of the study made it."""
    there = _outputs(book.cell(cell.name))
    outs = {name: stage.out for name, stage in read_stages(book.cell(cell.name)).items()}
    absent = []
    for stage in stages:
        note = read(book.done(job_name(stage, cell.digests[stage])))
        whole = (book.cell(cell.name) / outs[stage] / MANIFEST).is_file()
        if note is None or there.get(stage) != note.get("md5") or not whole:
            absent.append(stage)
    return absent


def _output(folder: Path, stage: str) -> str:
    """Hash of the output that DVC just noted; "" where the note does not appear."""
    until = time.monotonic() + ENTRY_SECONDS
    while not (out := _outputs(folder).get(stage, "")) and time.monotonic() < until:
        time.sleep(PERIOD_SECONDS)
    return out


def _outputs(folder: Path) -> dict[str, str]:
    """Stage -> hash of its output, as the workspace's lock file has it.

    The DVC of another job of the cell may be writing the file: it is then empty or cut off anywhere. The last line without an end
    is not looked at, nor is an entry that is not whole.
    """
    try:
        text = (folder / "dvc.lock").read_bytes()
        stages = yaml.safe_load(text[: text.rfind(b"\n") + 1])["stages"].items()
    except (FileNotFoundError, yaml.YAMLError, TypeError, KeyError, AttributeError):
        return {}
    found = {}
    for name, stage in stages:
        with suppress(TypeError, KeyError, IndexError):
            found[str(name)] = str(stage["outs"][0]["md5"])
    return found


def _repro(folder: Path, stages: Sequence[str], log: Path, study: str) -> int:
    if not stages:
        return 0
    return _run(folder, ["--wait-for-lock", "repro", "--single-item", *stages], log, study)


def _dvc(folder: Path, *words: str, log: Path, study: str) -> None:
    if _run(folder, list(words), log, study):
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
        raise PersonError(f"dvc {' '.join(words[:2])} failed in {folder.name}: {reason(lines)}")


def _run(folder: Path, words: list[str], log: Path, study: str) -> int:
    """Run DVC in a cell with this interpreter; it ends with this process."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    group = {"WANDB_RUN_GROUP": os.environ.get("WANDB_RUN_GROUP", study)}
    environment = {**os.environ, "PATH": path, "DVC_NO_ANALYTICS": "1", **group}
    mend(folder, patience=0)  # other stages of the cell may be at work: nobody is waited for
    with log.open("ab") as file:
        done = subprocess.run([sys.executable, "-m", "dvc", *words], cwd=folder, env=environment, stdin=subprocess.DEVNULL,
                              stdout=file, stderr=subprocess.STDOUT, check=False, preexec_fn=die_with_parent)  # fmt: skip
    return done.returncode


def _fail(book: Book, job: str, text: str, *, cell: str, stage: str, digests: Mapping[str, str] | None = None) -> int:
    """Write down why; a stage that was asked to end has not failed. `digests` for a job whose name does not say what it made."""
    if f"exited with {AGAIN}" in text:
        _say(f"{cell}: {stage} was asked to end; the same command goes on where it stopped")
        return AGAIN
    why = reason(text.splitlines())
    facts: Mapping[str, Any] = {"cell": cell, "stage": stage, "reason": why, "log": str(book.log(f"{cell}-{stage}").name)}
    book.write(book.failed(job), {**facts, **({} if digests is None else {"digests": digests})})
    _say(f"{cell}: {stage} failed: {why}")
    return 1


def reason(lines: Sequence[str]) -> str:
    """What a stage said last of its failure, or else DVC."""
    for pattern in SAID:
        found = [match[1] for line in lines if (match := re.fullmatch(pattern, line.strip()))]
        if found:
            return " ".join(found[-1].split())[:400]
    return " ".join((lines or ["it said nothing"])[-1].split())[:400]


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
