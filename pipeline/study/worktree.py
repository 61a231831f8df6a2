"""Workspaces of cells: git worktrees of one state of the repository, with DVC's cache of the repository.

The state is that of the workspace when the study starts: the last commit, and on top of it what was changed since in files that
git knows, and new files below conf/ and pipeline/. It is kept under `refs/study/<name>`; nothing of the workspace changes.
"""

import configparser
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from pipeline.core.errors import PersonError
from pipeline.study.book import Book, read
from pipeline.study.plan import Cell

OWN = ("dvc.lock", "params.yaml")  # of each workspace; no part of the state that cells share
LENT = (Path(".run") / "wandb", Path(".run") / "web", Path("weights"))  # folders of the repository that a cell uses as its own
READY = Path(".run") / "cell.json"  # written last: a workspace without it was left by a crash
TYPES = "reflink,hardlink,symlink,copy"  # so that a cell costs no copy of what it shares
AUTHOR = {f"GIT_{who}_{what}": value for who in ("AUTHOR", "COMMITTER")
          for what, value in (("NAME", "study"), ("EMAIL", "study@localhost"), ("DATE", "2000-01-01T00:00:00Z"))}  # fmt: skip


def git(root: Path, *words: str, check: bool = True, own: Mapping[str, str] | None = None) -> str:
    """Run git; its words on standard output, "" where it refused.

    Args:
        root: where.
        words: of git's command line.
        check: whether a refusal is an error.
        own: variables of the environment.

    Raises:
        PersonError: git is not installed, or refused.
    """
    try:
        done = subprocess.run(["git", *words], cwd=root, env={**os.environ, **(own or {})}, capture_output=True, text=True,  # noqa: S607
                              check=False)  # fmt: skip
    except FileNotFoundError as error:
        raise PersonError("a study makes its workspaces with git, which is not installed here") from error
    if check and done.returncode:
        said = " ".join((done.stderr or done.stdout).split())
        raise PersonError(f"git {words[0]} failed: {said or 'it gave no reason'}")
    return done.stdout.strip() if done.returncode == 0 else ""


def cache_dir(root: Path) -> Path:
    """DVC's cache of the repository; made where it is not there yet.

    Raises:
        PersonError: it cannot be written.
    """
    done = subprocess.run([sys.executable, "-m", "dvc", "cache", "dir"], cwd=root, env={**os.environ, "DVC_NO_ANALYTICS": "1"},
                          capture_output=True, text=True, check=False)  # fmt: skip
    if done.returncode:
        raise PersonError(f"dvc cache dir failed: {' '.join(done.stderr.split())[:300]}")
    path = Path(done.stdout.strip())
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path, prefix=".study-"):
            return path
    except OSError as error:
        raise PersonError(
            f"DVC's cache {path} cannot be written ({error.strerror}): all cells of a study share it; mend the access or the "
            "disk, or name another folder with  dvc cache dir --local PATH"
        ) from error


def snapshot(root: Path, study: str) -> tuple[str, str]:
    """Keep the state of the workspace; (last commit, commit of that state).

    Raises:
        PersonError: no repository of git, or no commit.
    """
    if git(root, "rev-parse", "--show-toplevel", check=False) != str(root.resolve()):
        raise PersonError(f"{root} is no repository of git of its own: run  git init && git add -A && git commit -m start")
    base = git(root, "rev-parse", "--verify", "--quiet", "HEAD", check=False)
    if not base:
        raise PersonError("a study starts from a git commit, and there is none: run  git add -A && git commit -m start")
    with tempfile.TemporaryDirectory(prefix="study-") as folder:
        index = Path(folder) / "index"
        real = root / git(root, "rev-parse", "--git-path", "index")
        if real.is_file():
            shutil.copyfile(real, index)
        own = {"GIT_INDEX_FILE": str(index)}
        git(root, "add", "--update", own=own)
        git(root, "add", "--all", "--", *(name for name in ("conf", "pipeline") if (root / name).is_dir()), own=own)
        git(root, "reset", "--quiet", "HEAD", "--", *OWN, check=False, own=own)
        tree = git(root, "write-tree", own=own)
    if tree == git(root, "rev-parse", f"{base}^{{tree}}"):
        return base, base
    commit = git(root, "commit-tree", tree, "-p", base, "-m", f"study {study}", own=AUTHOR)
    git(root, "update-ref", f"refs/study/{study}", commit)
    return base, commit


def prepare(book: Book, cell: Cell, facts: dict[str, Any]) -> Path:
    """Make or renew a cell's workspace; its lock file and what DVC put there stay.

    Args:
        book: of the study.
        cell: the cell.
        facts: `base`, `snapshot`, `cache` and `source` of this run.
    """
    folder = book.cell(cell.name)
    wanted = {name: facts[name] for name in ("base", "snapshot", "cache", "source")} | {"overrides": list(cell.overrides)}
    if read(folder / READY) == wanted:
        return folder
    with book.hold(f"make-{cell.name}"):
        if read(folder / READY) == wanted:
            return folder
        (folder / READY).unlink(missing_ok=True)
        with book.hold("git", root=True):
            _check_out(book.root, folder, base=facts["base"], commit=facts["snapshot"])
        _settle(book.root, folder, cell, facts)
        book.write(folder / READY, wanted)
    return folder


def remove(book: Book, name: str) -> None:
    """Take a cell's workspace away; DVC's cache and its experiment stay."""
    with book.hold("git", root=True):
        shutil.rmtree(book.cell(name), ignore_errors=True)
        git(book.root, "worktree", "prune")


def _check_out(root: Path, folder: Path, *, base: str, commit: str) -> None:
    """Have the files of a commit in the folder, with `base` as its HEAD."""
    whole = (folder / ".git").is_file() and git(folder, "rev-parse", "--show-toplevel", check=False) == str(folder.resolve())
    if not whole:
        shutil.rmtree(folder, ignore_errors=True)  # left by a crash: git does not know it, or knows it no more
        git(root, "worktree", "prune")
        folder.parent.mkdir(parents=True, exist_ok=True)
        git(root, "worktree", "add", "--quiet", "--force", "--detach", "--no-checkout", str(folder), base)
    (folder / git(folder, "rev-parse", "--git-path", "index.lock")).unlink(missing_ok=True)  # of a process that was killed
    lock = folder / "dvc.lock"
    known = lock.read_bytes() if lock.is_file() and whole else None
    git(folder, "update-ref", "--no-deref", "HEAD", base)
    git(folder, "read-tree", "--reset", "-u", commit)
    if known is not None:
        lock.write_bytes(known)


def _settle(root: Path, folder: Path, cell: Cell, facts: Mapping[str, Any]) -> None:
    """Write what is the cell's own: its parameters, and where its cache lies. The source is that of the plan, not of today."""
    source = str(facts["source"])
    if Path(source).parts[:1] != ("conf",):  # what git has is in the workspace; a person's data lie where they lie
        source = str((root / source).resolve())
    params = {"experiment": cell.experiment, "overrides": list(cell.overrides), "source": source}
    (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False, allow_unicode=True, width=120), encoding="utf-8")
    settings = configparser.ConfigParser(interpolation=None)
    settings.read(root / ".dvc" / "config.local", encoding="utf-8")
    if not settings.has_section("cache"):
        settings.add_section("cache")
    settings["cache"]["dir"] = str(facts["cache"])
    if "type" not in settings["cache"]:
        settings["cache"]["type"] = f'"{TYPES}"'
    with (folder / ".dvc" / "config.local").open("w", encoding="utf-8") as file:
        settings.write(file)
    (root / LENT[0]).mkdir(parents=True, exist_ok=True)
    for lent in LENT:
        if (root / lent).is_dir() and not os.path.lexists(folder / lent):
            (folder / lent).parent.mkdir(parents=True, exist_ok=True)
            (folder / lent).symlink_to((root / lent).resolve(), target_is_directory=True)
