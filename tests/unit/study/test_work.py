"""What a job of a study makes of its cell, without DVC: whose words are taken down, and what other jobs of the cell do meanwhile."""

import threading

import pytest

from pipeline.core import ledger
from pipeline.core.errors import PersonError
from pipeline.study import work
from pipeline.study.book import Book, read
from pipeline.study.plan import Cell, Job, Plan, job_name

CELL = Cell("toy-plain", "toy", "plain", 0, None, (), {"train": "a" * 24})
JOB = job_name("train", "a" * 24)
ENTRY = """schema: '2.0'
stages:
  prep:
    cmd: x
    outs:
    - path: data/prep
      hash: md5
      md5: 11111111111111111111111111111111.dir
      size: 3
  train:
    cmd: x
    outs:
    - path: data/train
      hash: md5
      md5: 22222222222222222222222222222222.dir
      size: 3
      nfiles: 2
"""
WHOLE = {"prep": "1" * 32 + ".dir", "train": "2" * 32 + ".dir"}


@pytest.fixture
def book(tmp_path, monkeypatch):
    """A study of one cell and one stage, whose DVC always succeeds and says nothing."""
    book = Book(tmp_path, "m")
    plan = Plan(None, ["train"], {"train": []}, {CELL.name: CELL}, {JOB: Job("train", "a" * 24, CELL.name, (), 1)})
    book.save(plan, {})
    book.cell(CELL.name).mkdir()
    monkeypatch.setattr(work, "prepare", lambda book, cell, facts: book.cell(cell.name))
    monkeypatch.setattr(work, "_absent", lambda book, cell, stages: [])
    monkeypatch.setattr(work, "_repro", lambda *args: 0)
    return book


def test_a_lock_file_that_is_being_written_gives_whole_entries_only(tmp_path):
    assert work._outputs(tmp_path) == {}
    for length in range(len(ENTRY) + 1):
        (tmp_path / "dvc.lock").write_text(ENTRY[:length])
        assert work._outputs(tmp_path).items() <= WHOLE.items(), length
    assert work._outputs(tmp_path) == WHOLE
    (tmp_path / "dvc.lock").write_bytes(b"\xff\xfe\n: [\n")
    assert work._outputs(tmp_path) == {}


@pytest.mark.parametrize("cut", [0, 3, ENTRY.index("outs"), ENTRY.rindex("2222"), ENTRY.rindex(".dir")])
def test_a_stage_is_not_failed_by_the_dvc_of_another_that_writes_the_lock_file(book, cut):
    lock = book.cell(CELL.name) / "dvc.lock"
    lock.write_text(ENTRY[:cut])
    other = threading.Timer(0.3, lock.write_text, [ENTRY])
    other.start()
    assert work.run_stage(book.root, "m", CELL.name, "train") == 0
    other.join()
    assert read(book.done(JOB))["md5"] == WHOLE["train"]
    assert not book.failed(JOB).exists()


def test_a_stage_that_left_no_entry_has_failed(book, monkeypatch):
    monkeypatch.setattr(work, "ENTRY_SECONDS", 0.0)
    assert work.run_stage(book.root, "m", CELL.name, "train") == 1
    assert read(book.failed(JOB))["stage"] == "train"


@pytest.mark.parametrize("code", [0, 1])
def test_a_look_at_the_test_split_counts_though_the_cell_is_never_finished(book, monkeypatch, code):
    def repro(folder, stages, log, study):
        if stages:
            ledger.record(folder, stage="evaluate", identity="i", digests={"train": "model"})
            (folder / "dvc.lock").write_text(ENTRY)
        return code if stages else 0

    monkeypatch.setattr(work, "_repro", repro)
    assert work.run_stage(book.root, "m", CELL.name, "train") == code
    monkeypatch.setattr(work, "_repro", lambda *args: code)
    assert work.run_stage(book.root, "m", CELL.name, "train") == code
    assert [entry["model"] for entry in ledger.read(book.root).entries] == ["model"], "once"


@pytest.mark.parametrize(("where", "error", "said"), [
    ("prepare", PersonError("git worktree failed:\nno space"), "git worktree failed: no space"),
    ("prepare", OSError(28, "No space left on device"), "OSError: [Errno 28] No space left on device"),
    ("forward_looks", OSError(28, "No space left on device"), "OSError: [Errno 28] No space left on device"),
    ("_dvc", PersonError("dvc exp save failed in toy-plain: no"), "dvc exp save failed in toy-plain: no"),
    ("facts_of", KeyError("value"), "KeyError: 'value'"),
])  # fmt: skip
def test_a_cell_that_cannot_be_finished_has_failed_with_its_reason(book, monkeypatch, where, error, said):
    def refuse(*args, **named):
        raise error

    monkeypatch.setattr(work, "_dvc", lambda *args, **named: None)
    monkeypatch.setattr(work, "facts_of", lambda folder, stages: {})
    ledger.record(book.cell(CELL.name), stage="evaluate", identity="i", digests={})
    with monkeypatch.context() as broken:
        broken.setattr(work, where, refuse)
        assert work.finish(book.root, "m", CELL.name) == 1
    note = read(book.failed(CELL.name))
    assert (note["stage"], note["reason"], note["digests"]) == ("finish", said, CELL.digests)
    assert not book.finished(CELL.name).exists()
    assert work.finish(book.root, "m", CELL.name) == 0
    assert read(book.finished(CELL.name))["digests"] == CELL.digests
    assert not book.failed(CELL.name).exists()
