"""How a study stands, from the notes of its cells: no winner inside the noise, failures with their reason, and a page that holds them."""

import os
import shutil
import subprocess
import sys

import pytest

from pipeline.command import study
from pipeline.core import ledger
from pipeline.study.book import Book
from pipeline.study.matrix import read_matrix
from pipeline.study.page import lead, tell, write_page
from pipeline.study.plan import make_plan
from pipeline.study.results import forward_looks
from pipeline.study.standing import stand
from pipeline.study.work import reason
from tests import scale_study, searching

SEEDS = list(range(8))


@pytest.fixture(scope="module")
def planned(tmp_path_factory, project):
    """The toy project, a study of two configurations and eight seeds, and its plan."""
    root = searching.project(tmp_path_factory.mktemp("standing") / "toy", project)
    scale_study.write(root, matrix={"experiments": ["toy"], "overrides": {"plain": [], "wide": ["model=wide"]}, "seeds": SEEDS})
    return root, make_plan(root, read_matrix(root, "m"))


@pytest.fixture
def book(planned):
    root, _ = planned
    yield Book(root, "m")
    shutil.rmtree(root / ".run", ignore_errors=True)


def finish(book, plan, gain, *, leave=(), held="same"):
    """Write what cells came to: `wide` is `gain` better, with a noise of each seed that both share and a small one of its own."""
    for number, (name, cell) in enumerate(plan.cells.items()):
        if name not in leave:
            shared, own = 0.8 + 0.02 * (cell.seed % 3), 0.001 * ((7 * number) % 5 - 2)
            value = shared + own + (gain if cell.arm == "wide" else 0)
            book.write(book.finished(name), {"digests": cell.digests, "experiment": f"m-{name}", "metric": "val_accuracy",
                                             "label": "accuracy (validation)", "higher": True, "value": value, "low": None, "high": None,
                                             "held": held if held == "same" else str(cell.seed), "share": 0.25})  # fmt: skip


def test_a_real_gain_is_named_and_noise_is_not(planned, book):
    root, plan = planned
    finish(book, plan, 0.02)
    real = stand(root, "m").groups[0].contests[0]
    assert real.better
    assert real.said.startswith("wide is better than plain: +0.0198 [")
    finish(book, plan, 0.0)
    none = stand(root, "m").groups[0].contests[0]
    assert not none.better
    assert none.said.startswith("No difference")


def test_fewer_than_six_repeats_name_no_winner_and_own_splits_widen_the_interval(planned, book):
    root, plan = planned
    finish(book, plan, 0.02, leave=[f"toy-wide-s{seed}" for seed in SEEDS[5:]])
    few = stand(root, "m")
    assert few.groups[0].contests[0].compared.pairs == 5
    assert "fewer than 6 pairs" in few.groups[0].contests[0].said
    assert "13 finished, 3 to do" in lead(few)
    finish(book, plan, 0.02)
    narrow = stand(root, "m").groups[0].contests[0].compared
    finish(book, plan, 0.02, held="own")
    wide = stand(root, "m").groups[0].contests[0].compared
    assert wide.high - wide.low > 1.5 * (narrow.high - narrow.low)


def test_results_of_other_digests_do_not_count_and_failures_have_their_reason(planned, book):
    root, plan = planned
    finish(book, plan, 0.0)
    cell = plan.cells["toy-plain-s0"]
    book.write(book.finished(cell.name), {"digests": {**cell.digests, "train": "old"}, "value": 9.0})
    other = plan.cells["toy-wide-s0"]
    book.finished(other.name).unlink()
    book.write(book.failed(f"train-{other.digests['train']}"), {"cell": other.name, "stage": "train", "reason": "loss <b>nan</b>"})
    standing = stand(root, "m")
    states = {row.cell.name: row.state for row in standing.rows}
    assert (states[cell.name], states[other.name]) == ("to do", "failed")
    assert "  toy-wide-s0: train: loss <b>nan</b>" in tell(standing)
    text = write_page(standing, book.folder / "report.html").read_text()
    assert "loss &lt;b&gt;nan" in text
    assert "<b>nan" not in text
    assert text.count("data:image/") == 3
    assert standing.groups[0].arms[0].cells == len(SEEDS) - 1


def test_a_cell_that_could_not_be_finished_is_failed_until_its_configuration_changes(planned, book):
    root, plan = planned
    one, other, *_ = plan.cells.values()
    for cell, digests in ((one, one.digests), (other, {**other.digests, "train": "old"})):
        book.write(book.failed(cell.name), {"cell": cell.name, "stage": "finish", "reason": "no space", "digests": digests})
    rows = {row.cell.name: row for row in stand(root, "m").rows}
    assert (rows[one.name].state, rows[one.name].reason) == ("failed", "finish: no space")
    assert (rows[other.name].state, rows[other.name].reason) == ("to do", "")


def test_looks_at_the_test_split_are_counted_once_in_the_repository(tmp_path):
    cell = tmp_path / "cell"
    for model in ("a", "b"):
        ledger.record(cell, stage="evaluate", identity="i", digests={"train": model})
    assert forward_looks(tmp_path, cell) == 2
    assert forward_looks(tmp_path, cell) == 0
    ledger.record(cell, stage="evaluate", identity="i", digests={"train": "c"})
    assert forward_looks(tmp_path, cell) == 1
    looks = ledger.read(tmp_path)
    assert [entry["model"] for entry in looks.entries] == ["a", "b", "c"]
    assert looks.faults == []


@pytest.mark.parametrize(("log", "said"), [
    (["> python -m pipeline x", "error: expected that", "ERROR: failed to reproduce 'x'"], "expected that"),
    (["Traceback (most recent call last):", "  raise", "ZeroDivisionError: planted", "ERROR: failed"], "ZeroDivisionError: planted"),
    (["a.b.OutOfMemoryError: too much", "ERROR: failed"], "a.b.OutOfMemoryError: too much"),
    (["ERROR: failed to reproduce 'x': exited with -9"], "failed to reproduce 'x': exited with -9"),
    ([], "it said nothing"),
])  # fmt: skip
def test_the_reason_of_a_failure_is_what_the_stage_said(log, said):
    assert reason(log) == said


@pytest.mark.parametrize(("words", "config"), [
    ([], []), (["--config", "nodes=2"], ["nodes=2"]), (["-j", "2", "-C", "nodes=2", "most=1", "--dry-run"], ["nodes=2", "most=1"]),
    (["--config", "nodes=2", "--config=a=1", "--configfile", "x.yaml"], ["nodes=2", "a=1"]),
])  # fmt: skip
def test_settings_of_snakemake_come_along_and_do_not_take_the_place_of_the_study(planned, monkeypatch, words, config):
    root, _ = planned
    monkeypatch.chdir(root)
    called = []
    monkeypatch.setattr(study.subprocess, "run", lambda command, **_: called.append(command) or subprocess.CompletedProcess(command, 0))
    assert study.main(["run", "m", *words]) == 0
    sent = called[0]
    assert sent.count("--config") == 1
    assert not [word for word in sent if word.startswith(("--config=", "-C"))]
    first = sent.index("--config") + 1
    assert sent[first : first + len(config) + 1] == [*config, "study=m"]
    assert sent[first + len(config) + 1].startswith("-")


def test_words_that_mean_nothing_are_one_line(planned):
    root, _ = planned
    environment = {**os.environ, "PYTHONPATH": str(root)}
    for words, said in ((["run", "k"], "unknown study 'k'"), (["job", "m", "toy", "train"], "was not begun"), (["dance", "m"], "invalid choice")):
        done = subprocess.run([sys.executable, "-m", "pipeline", "study", *words], cwd=root, env=environment, capture_output=True, text=True)
        assert done.returncode in {1, 2}
        assert said in done.stderr
        assert "Traceback" not in done.stderr
