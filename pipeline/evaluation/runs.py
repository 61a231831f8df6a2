"""Published results of evaluate, wherever they lie: a folder, a folder of runs, or a git revision or DVC experiment.

A revision is read from DVC's cache by its documented layout (`files/md5/ab/cdef...`; a folder is a `.dir` file that lists its
files), so nothing is checked out and nothing of the workspace changes.
"""

import csv
import io
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from pipeline.core.artifact import MANIFEST
from pipeline.core.errors import PersonError
from pipeline.core.parts import build

NEEDED = ("predictions.csv", "metrics.json", "headline.json", "task.json", MANIFEST)
PLACES = ("", "evaluate", "data/evaluate")  # of the artifact below a folder that a person names
KNOWN = ("id", "name", "truth", "truth_value", "weight", "group")


@dataclass(frozen=True)
class Run:
    """One run's results on its test split.

    Attributes:
        name: as the person gave it.
        ids: of the N test samples.
        truth_N: class index or value.
        weight_N: confidence of the labels.
        groups: group of each sample; "" for none.
        prediction_NK: decoded, six decimals.
        metrics: metric -> `value`, `low`, `high`.
        headline: `metric`, `label`, `higher_is_better` and more.
        task: `part`, `card` and `train_samples`.
        seed: of the run.
        model: digest of what train published.
    """

    name: str
    ids: tuple[str, ...]
    truth_N: NDArray[Any]
    weight_N: NDArray[np.float64]
    groups: tuple[str, ...]
    prediction_NK: NDArray[np.float64]
    metrics: dict[str, Any]
    headline: dict[str, Any]
    task: dict[str, Any]
    seed: int
    model: str


def find(text: str, root: Path) -> list[Run]:
    """The runs that a word of the command line names: one, or as many as a folder of runs or a list with commas holds.

    Args:
        text: a path, a revision, or several of them with commas between.
        root: the repository, for revisions.

    Raises:
        PersonError: nothing of that name, or it holds no results; with what was looked for.
    """
    if "," in text and not Path(text).exists():
        return [run for part in text.split(",") for run in find(part.strip(), root)]
    path = Path(text).expanduser()
    if path.is_dir():
        folders = _artifacts(path) or [own for child in sorted(path.iterdir()) if child.is_dir() for own in _artifacts(child)]
        if not folders:
            raise PersonError(f"{text} holds no results of evaluate (predictions.csv with headline.json and task.json): "
                              "run  dvc repro evaluate  there, or name another folder or a git revision")  # fmt: skip
        return [_read(str(folder) if len(folders) > 1 else text, _in_folder(folder)) for folder in folders]
    return [_read(text, _at_revision(text, root))]


def _in_folder(folder: Path) -> Callable[[str], bytes]:
    """A reader of the files of a folder."""
    return lambda name: (folder / name).read_bytes()


def _artifacts(path: Path) -> list[Path]:
    return [path / place for place in PLACES if all((path / place / name).is_file() for name in NEEDED)][:1]


def _read(name: str, read: Callable[[str], bytes]) -> Run:
    raw = {file: read(file) for file in NEEDED}
    facts = {file: json.loads(text) for file, text in raw.items() if file.endswith(".json")}
    rows = list(csv.DictReader(io.StringIO(raw["predictions.csv"].decode(), newline="")))
    columns = [column for column in (rows[0] if rows else {}) if column not in KNOWN]
    if not rows or not {"truth_value", "weight", "group"} <= rows[0].keys():
        raise PersonError(f"{name} was published by an older version of evaluate: run  dvc repro evaluate  there")
    whole = build(facts["task.json"]["part"], card=facts["task.json"]["card"]).categories > 0
    return Run(
        name=name, ids=tuple(row["id"] for row in rows),
        truth_N=np.asarray([float(row["truth_value"]) for row in rows]).astype(np.int64 if whole else np.float32),
        weight_N=np.asarray([float(row["weight"]) for row in rows]), groups=tuple(row["group"] for row in rows),
        prediction_NK=np.asarray([[float(row[column]) for column in columns] for row in rows]),
        metrics=facts["metrics.json"], headline=facts["headline.json"], task=facts["task.json"],
        seed=int(facts[MANIFEST]["seed"]), model=str(facts[MANIFEST]["inputs"].get("train", "")),
    )  # fmt: skip


def _at_revision(text: str, root: Path) -> Callable[[str], bytes]:
    """A reader of evaluate's files as they were at a commit or in a DVC experiment."""
    commit = _commit(text, root)
    lock = _git(root, "show", f"{commit}:dvc.lock")
    if lock is None:
        raise PersonError(f"the commit {text} has no dvc.lock, so nothing was published there: name one after a  dvc repro")
    try:
        out = yaml.safe_load(lock)["stages"]["evaluate"]["outs"][0]["md5"]
    except (KeyError, TypeError, IndexError) as error:
        raise PersonError(f"dvc.lock of {text} names no results of evaluate: name one after a  dvc repro evaluate") from error
    cache = Path(_dvc(root, "cache", "dir")) / "files" / "md5"
    listed = _cached(cache, str(out), text)
    files = {entry["relpath"]: entry["md5"] for entry in json.loads(listed)}

    def read(name: str) -> bytes:
        if name not in files:
            raise PersonError(f"{text} was published by an older version of evaluate, without {name}: run it again there")
        return _cached(cache, files[name], text)

    return read


def _cached(cache: Path, digest: str, text: str) -> bytes:
    path = cache / digest[:2] / digest[2:]
    if not path.is_file():
        raise PersonError(f"the results of {text} are not in DVC's cache here: fetch them with  dvc fetch --all-commits evaluate")
    return path.read_bytes()


def _commit(text: str, root: Path) -> str:
    """Hash of the commit that a revision or the name of a DVC experiment stands for."""
    found = _git(root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{text}^{{commit}}")
    if not found:
        found = _git(root, "for-each-ref", "--format=%(objectname)", f"refs/exps/*/*/{text}")
    if not found or not found.strip():
        raise PersonError(f"{text!r} is neither a folder nor a git revision or experiment here: name a folder with results of "
                          "evaluate, a commit, or one of  dvc exp show")  # fmt: skip
    return found.split()[0]


def _git(root: Path, *words: str) -> str | None:
    git = shutil.which("git")
    if git is None:
        raise PersonError("git is not installed, and revisions are read through it: name folders instead")
    done = subprocess.run([git, "-C", str(root), *words], capture_output=True, text=True, check=False)
    return done.stdout if done.returncode == 0 else None


def _dvc(root: Path, *words: str) -> str:
    done = subprocess.run([sys.executable, "-m", "dvc", *words], cwd=root, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise PersonError(f"DVC does not say where its cache is ({done.stderr.strip()[:99]}): run this in the project's folder")
    return done.stdout.strip()
