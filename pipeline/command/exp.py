"""Run an experiment with Hydra overrides; a comma makes a queued sweep.

`experiment=NAME` and `source=PATH` set those keys of params.yaml; every other word is an override. All of it is composed and
checked in this process first, so a typo is one line and nothing runs.
"""

import argparse
import difflib
import itertools
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ValueType
from hydra.errors import HydraException

from pipeline.core.config import compose
from pipeline.core.dag import read_params
from pipeline.core.errors import PersonError, near_match

EXAMPLES = """examples:
  python -m pipeline exp model=resnet train.lr=3e-4            one run, in this workspace
  python -m pipeline exp experiment=digits seed=1,2,3          three runs, one after the other
  python -m pipeline exp model=resnet,mlp train.lr=1e-3,1e-2 -j 2    four runs, two at a time
  python -m pipeline exp model=resnet seed=1,2 --queue         into the queue; `dvc exp run --run-all` runs it
  python -m pipeline exp experiment=own_images source=~/photos   a folder of your own, where it lies
afterwards:
  dvc exp show        every run, its parameters and metrics, beside each other
  dvc exp apply NAME  take a run's results into the workspace
"""


@dataclass(frozen=True)
class Run:
    """One point of a sweep: what params.yaml will hold."""

    experiment: str
    source: str | None
    overrides: tuple[str, ...]


def main(argv: list[str]) -> int:
    """Run `python -m pipeline exp`; returns the exit code of DVC, or raises PersonError before anything has run."""
    options = _parse(argv)
    root = Path.cwd()
    if not (root / "dvc.yaml").is_file():
        raise PersonError(f"there is no dvc.yaml in {root}: run this in the folder of the project")
    params = read_params(root)
    runs = plan(options.words, params=params, keep=options.keep, root=root)
    for run in runs:
        compose(root / "conf", experiment=run.experiment, overrides=run.overrides)
    _committed(root)
    replaced = [str(override) for override in params.get("overrides") or []]
    if replaced and not options.keep:
        print(f"replaces the overrides of params.yaml ({', '.join(replaced)}); --keep keeps them")
    if len(runs) == 1 and not options.queue:
        return _dvc("exp", "run", *settings(runs[0]), *(["--name", options.name] if options.name else []))
    print(f"{len(runs)} run{'s' if len(runs) > 1 else ''}:")
    for number, run in enumerate(runs, start=1):
        print("  " + " ".join([run.experiment, *run.overrides]), flush=True)
        name = [] if not options.name else ["--name", options.name if len(runs) == 1 else f"{options.name}-{number}"]
        code = _dvc("exp", "run", "--queue", "--quiet", *settings(run), *name)
        if code:
            return code
    if options.queue:
        print("queued; start them with  dvc exp run --run-all")
        return 0
    return _dvc("exp", "run", "--run-all", "--jobs", str(options.jobs))


def plan(words: Sequence[str], *, params: dict[str, Any], keep: bool, root: Path) -> list[Run]:
    """Every run that the words mean: the cross product over the words that hold a sweep.

    Args:
        words: `key=value` in Hydra's grammar.
        params: what params.yaml holds now.
        keep: keep its overrides and put the new ones behind them.
        root: the repository.

    Raises:
        PersonError: a word that is no override, or a source that is not there.
    """
    experiments, source, choices = [str(params["experiment"])], None, []
    for word in words:
        key, equals, value = word.partition("=")
        if not equals and "~" not in key[:1]:
            raise PersonError(f"{word!r} is not of the form key=value; {near_match(key, ['experiment', 'source', 'overrides'])}")
        if any(ord(character) < 32 for character in word):
            raise PersonError(f"{word!r} holds a control character")
        if key == "overrides":
            raise PersonError("write each override as a word of its own: python -m pipeline exp model=resnet train.lr=3e-4")
        if key == "source":
            source = _source(value, root)
        elif key == "experiment":
            experiments = value.split(",")
        else:
            choices.append(sweep(word))
    kept = tuple(str(override) for override in params.get("overrides") or []) if keep else ()
    return [Run(experiment, source, kept + tuple(chosen)) for experiment, *chosen in itertools.product(experiments, *choices)]


def sweep(word: str) -> list[str]:
    """The overrides that one word stands for: several where it holds `a,b`, `choice(...)` or `range(...)`.

    >>> sweep("model=resnet,mlp")
    ['model=resnet', 'model=mlp']
    >>> sweep("baseline=[majority,linear]")
    ['baseline=[majority,linear]']
    """
    try:
        override = OverridesParser.create().parse_override(word)
    except HydraException as error:
        first = next(line for line in str(error).splitlines() if line.strip())
        raise PersonError(f"{word!r} is not an override in Hydra's grammar: {first.strip()}") from error
    if not override.is_sweep_override():
        return [word]
    if override.value_type not in {ValueType.CHOICE_SWEEP, ValueType.SIMPLE_CHOICE_SWEEP, ValueType.RANGE_SWEEP}:
        raise PersonError(f"{word!r}: a sweep must name its values, as in  key=a,b  or  key=range(1,4)")
    key = word.partition("=")[0]
    return [f"{key}={value}" for value in override.sweep_string_iterator()]


def settings(run: Run) -> list[str]:
    """Words for `dvc exp run` that write this run into params.yaml, quoted for the Hydra grammar that DVC reads them with."""
    listed = ",".join(_quoted(override) for override in run.overrides)
    words = ["-S", f"experiment={_quoted(run.experiment)}", "-S", f"overrides=[{listed}]"]
    return words if run.source is None else [*words, "-S", f"source={_quoted(run.source)}"]


def _quoted(text: str) -> str:
    """A double-quoted string of Hydra's grammar: a backslash counts as one unless it stands before a quote."""
    quoted, slashes = "", 0
    for character in text:
        if character == '"':
            quoted += "\\" * slashes + '\\"'
        else:
            quoted += character
        slashes = slashes + 1 if character == "\\" else 0
    return f'"{quoted}' + "\\" * slashes + '"'


def _source(value: str, root: Path) -> str:
    """The source as params.yaml shall hold it: relative where DVC keeps it inside the project, absolute otherwise."""
    if not value or "${" in value:
        raise PersonError(f"source must be the path of a folder: received {value!r}")
    path = Path(os.path.abspath(Path(value).expanduser()))
    if not path.exists():
        beside = [other.name for other in path.parent.iterdir()] if path.parent.is_dir() else []
        close = difflib.get_close_matches(path.name, beside, n=1)
        hint = f"did you mean {path.with_name(close[0])}?" if close else "give the path of the folder that holds your data"
        raise PersonError(f"source {value!r}: there is no {path}; {hint}")
    if path.is_relative_to(root) and path.with_name(path.name + ".dvc").is_file():
        return path.relative_to(root).as_posix()
    return path.as_posix()


def _committed(root: Path) -> None:
    """An experiment is a change on top of a commit, so there must be one."""
    git = subprocess.run(["git", "rev-parse", "--verify", "--quiet", "HEAD"], cwd=root, capture_output=True, check=False)  # noqa: S607
    if git.returncode:
        raise PersonError("experiments are kept beside a git commit, and there is none: run  git add -A && git commit -m start")


def _dvc(*words: str) -> int:
    """Run DVC with this interpreter; its `python` is the one of this environment."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    environment = {**os.environ, "PATH": path, "DVC_NO_ANALYTICS": "1"}
    return subprocess.run([sys.executable, "-m", "dvc", *words], env=environment, check=False).returncode


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m pipeline exp", description=(__doc__ or "").splitlines()[0], epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("words", nargs="+", metavar="key=value", help="experiment=NAME, source=PATH, or any Hydra override")
    parser.add_argument("--keep", action="store_true", help="keep the overrides that params.yaml holds already")
    parser.add_argument("--queue", action="store_true", help="only put into DVC's queue; run nothing yet")
    parser.add_argument("--name", help="name of the experiment; a sweep adds -1, -2, ...")
    parser.add_argument("-j", "--jobs", type=int, default=1, help="runs of a sweep at a time (1)")
    return parser.parse_intermixed_args(argv)
