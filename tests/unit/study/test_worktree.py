"""Workspaces of cells: the state of the repository as it stands, made again after a crash, and nothing of the repository changed."""

import json
import subprocess

import pytest
import yaml

from pipeline.core.errors import PersonError
from pipeline.study.book import Book
from pipeline.study.plan import Cell
from pipeline.study.worktree import READY, git, prepare, remove, snapshot

CELL = Cell("toy-plain-s1", "toy", "plain", 1, None, ("seed=1",), {})


@pytest.fixture
def repository(tmp_path, monkeypatch):
    for name, value in {"GIT_AUTHOR_NAME": "t", "GIT_AUTHOR_EMAIL": "t@x", "GIT_COMMITTER_NAME": "t", "GIT_COMMITTER_EMAIL": "t@x"}.items():
        monkeypatch.setenv(name, value)
    root = tmp_path / "a repository"
    for name, text in {"conf/a.yaml": "a: 1", "pipeline/x.py": "x = 1", "params.yaml": "source: conf/none\n", ".gitignore": ".run/\nraw/\n",
                       "dvc.lock": "{}", ".dvc/config": "", ".dvc/.gitignore": "config.local\n"}.items():  # fmt: skip
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    for words in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-q", "-m", "one"]):
        git(root, *words)
    return root


def facts(root, study="m"):
    base, commit = snapshot(root, study)
    return {"base": base, "snapshot": commit, "cache": str(root / ".dvc/cache"), "source": yaml.safe_load((root / "params.yaml").read_text())["source"]}


def test_a_clean_workspace_is_its_last_commit(repository):
    base, commit = snapshot(repository, "m")
    assert base == commit == git(repository, "rev-parse", "HEAD")


def test_what_was_edited_comes_along_and_the_repository_stays_as_it_was(repository):
    (repository / "conf/a.yaml").write_text("a: 2")
    (repository / "conf/new.yaml").write_text("new: 1")
    (repository / "photos.bin").write_text("large")
    (repository / "params.yaml").write_text("source: raw\n")
    (repository / "dvc.lock").write_text("{stages: {}}")
    before = git(repository, "status", "--porcelain")
    known = facts(repository)
    assert git(repository, "status", "--porcelain") == before
    assert known["base"] != known["snapshot"] == facts(repository)["snapshot"], "the same state is the same commit"
    assert git(repository, "rev-parse", "refs/study/m") == known["snapshot"], "or git's gc would take it"
    folder = prepare(Book(repository, "m"), CELL, known)
    assert (folder / "conf/a.yaml").read_text() == "a: 2"
    assert (folder / "conf/new.yaml").is_file()
    assert not (folder / "photos.bin").exists(), "a person's data are not copied into git"
    assert (folder / "dvc.lock").read_text() == "{}"
    assert git(folder, "rev-parse", "HEAD") == known["base"], "experiments are kept beside the last commit"
    params = yaml.safe_load((folder / "params.yaml").read_text())
    assert params == {"experiment": "toy", "overrides": ["seed=1"], "source": str(repository / "raw")}
    assert f"dir = {repository / '.dvc/cache'}" in (folder / ".dvc/config.local").read_text()


def test_settings_of_this_machine_are_kept_beside_the_cache(repository):
    (repository / ".dvc/config.local").write_text("['remote \"mine\"']\n    url = /there\n[cache]\n    type = copy\n")
    folder = prepare(Book(repository, "m"), CELL, facts(repository))
    said = (folder / ".dvc/config.local").read_text()
    assert "['remote \"mine\"']" in said
    assert "url = /there" in said
    assert "type = copy" in said


def test_a_second_time_nothing_is_touched_and_after_an_edit_results_stay(repository):
    book = Book(repository, "m")
    folder = prepare(book, CELL, facts(repository))
    (folder / "data").mkdir()
    (folder / "data/kept").write_text("result")
    (folder / "dvc.lock").write_text("{stages: {a: 1}}")
    stamp = (folder / READY).stat().st_mtime_ns
    prepare(book, CELL, facts(repository))
    assert (folder / READY).stat().st_mtime_ns == stamp
    (repository / "pipeline/x.py").write_text("x = 2")
    prepare(book, CELL, facts(repository))
    assert (folder / "pipeline/x.py").read_text() == "x = 2"
    assert (folder / "dvc.lock").read_text() == "{stages: {a: 1}}"
    assert (folder / "data/kept").is_file()


def source_of(folder):
    return yaml.safe_load((folder / "params.yaml").read_text())["source"]


def test_another_source_reaches_a_workspace_that_is_there_already(repository):
    book = Book(repository, "m")
    (repository / "params.yaml").write_text("source: /photos_A\n")
    folder = prepare(book, CELL, facts(repository))
    (folder / "dvc.lock").write_text("{stages: {a: 1}}")
    (repository / "params.yaml").write_text("source: /photos_B\n")
    assert source_of(prepare(book, CELL, facts(repository))) == "/photos_B"
    assert (folder / "dvc.lock").read_text() == "{stages: {a: 1}}"


def test_a_source_that_is_edited_while_the_study_runs_waits_for_the_next_run(repository):
    (repository / "params.yaml").write_text("source: /photos_A\n")
    planned = facts(repository)
    (repository / "params.yaml").write_text("source: /photos_B\n")
    assert source_of(prepare(Book(repository, "m"), CELL, planned)) == "/photos_A"


@pytest.mark.parametrize("crash", ["half", "unregistered", "gone", "index", "foreign"])
def test_what_a_crash_left_is_made_again(repository, crash):
    book = Book(repository, "m")
    folder = prepare(book, CELL, facts(repository))
    (folder / READY).unlink()
    if crash == "half":
        (folder / "conf/a.yaml").unlink()
    elif crash == "unregistered":
        for path in (repository / ".git/worktrees").iterdir():
            subprocess.run(["rm", "-r", str(path)], check=True)
    elif crash == "gone":
        subprocess.run(["rm", "-r", str(folder)], check=True)
    elif crash == "index":
        (folder / git(folder, "rev-parse", "--git-path", "index.lock")).write_text("")
    else:
        subprocess.run(["rm", "-r", str(folder)], check=True)
        folder.mkdir()
        (folder / "rubbish").write_text("x")
    prepare(book, CELL, facts(repository))
    assert (folder / "conf/a.yaml").read_text() == "a: 1"
    assert git(folder, "status", "--porcelain") == "M params.yaml" or git(folder, "status", "--porcelain") == " M params.yaml".strip()
    assert not (folder / "rubbish").exists()
    assert len(git(repository, "worktree", "list").splitlines()) == 2


def test_a_removed_workspace_leaves_nothing_in_git(repository):
    book = Book(repository, "m")
    prepare(book, CELL, facts(repository))
    remove(book, CELL.name)
    assert not book.cell(CELL.name).exists()
    assert len(git(repository, "worktree", "list").splitlines()) == 1


def test_without_git_or_without_a_commit_it_says_what_to_do(tmp_path, repository):
    with pytest.raises(PersonError, match="git init"):
        snapshot(tmp_path, "m")
    git(tmp_path, "init", "-q", "-b", "main")
    with pytest.raises(PersonError, match="git commit"):
        snapshot(tmp_path, "m")


def test_a_plan_that_was_never_made_is_one_line(repository):
    with pytest.raises(PersonError, match="python -m pipeline study run m"):
        Book(repository, "m").plan()


def test_a_note_counts_only_while_the_cache_holds_what_it_names(repository):
    from pipeline.study.book import held_by

    cache = repository / "cache"
    there = cache / "files/md5/ab/cd.dir"
    assert not held_by(cache, {"md5": "abcd.dir"})
    there.parent.mkdir(parents=True)
    there.write_text(json.dumps([]))
    assert held_by(cache, {"md5": "abcd.dir"})
    assert not held_by(cache, None)
    assert not held_by(cache, {})
