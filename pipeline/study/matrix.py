"""What a person asks of a matrix study: a file of `conf/study/` with the key `matrix`. docs/studies.md shows what it may hold."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.core.dag import read_stage
from pipeline.core.errors import PersonError, near_match
from pipeline.search.files import FOLDER, check, load, locate

PLAIN = "plain"  # name of the only configuration where a file lists none


@dataclass(frozen=True)
class Point:
    """One cell, before anything is composed.

    Attributes:
        name: of its folder, unique in the study.
        experiment: file of conf/experiment.
        arm: which of the configurations.
        seed: None is that of the configuration.
        fold: the test fold; None where nothing is crossed.
        overrides: Hydra's, without those of seed and fold.
    """

    name: str
    experiment: str
    arm: str
    seed: int | None
    fold: int | None
    overrides: tuple[str, ...]


@dataclass(frozen=True)
class Matrix:
    """One study.

    Attributes:
        name: of its folder `.run/study/<name>`.
        experiments: files of conf/experiment.
        arms: name of a configuration -> its overrides.
        seeds: to repeat each with; empty for the configuration's own.
        folds: of a cross-validation; 0 leaves the splitter as it is.
        overrides: of every cell.
        target: the stage that is wanted; those that it needs come with it.
        reference: the arm that the others are compared with.
        coverage: of all intervals of one comparison together.
    """

    name: str
    experiments: tuple[str, ...]
    arms: dict[str, tuple[str, ...]]
    seeds: tuple[int, ...] = ()
    folds: int = 0
    overrides: tuple[str, ...] = ()
    target: str = "report"
    reference: str = PLAIN
    coverage: float = 0.95

    def points(self) -> list[Point]:
        """Every cell, in the order of the file."""
        seeds: Sequence[int | None] = self.seeds or [None]
        folds: Sequence[int | None] = range(self.folds) if self.folds else [None]
        crossed = ("splitter=kfold", f"splitter.folds={self.folds}") if self.folds else ()
        made = []
        for experiment, arm, seed, fold in itertools.product(self.experiments, self.arms, seeds, folds):
            parts = [experiment, arm, *([] if seed is None else [f"s{seed}"]), *([] if fold is None else [f"f{fold}"])]
            overrides = (*self.overrides, *self.arms[arm], *crossed)
            made.append(Point("-".join(parts), experiment, arm, seed, fold, overrides))
        return made


def read_matrix(root: Path, word: str) -> Matrix:
    """Read a matrix study and check its shape; what it names is composed later, by `plan`.

    Args:
        root: the repository.
        word: a name of conf/study, or the path of a YAML file.

    Raises:
        PersonError: no such file, a search instead of a matrix, or a key or value that it cannot have.
    """
    path = locate(root, word)
    asked = load(path)
    if "space" in asked and "matrix" not in asked:
        raise PersonError(f"{path.name} is a search, not a matrix of cells: run  python -m pipeline tune {word}")
    check(asked, root / "conf" / "schema.yaml", path, rule="matrix")
    try:  # the file's own name is that of folders, git refs and words of a shell, as `name:` is
        check({"name": path.stem, **asked}, root / "conf" / "schema.yaml", path, rule="matrix")
    except PersonError as error:
        raise PersonError(f"{error}: rename the file, or give it `name:`") from None
    found: dict[str, Any] = asked["matrix"]
    known = [file.stem for file in (root / "conf" / "experiment").glob("*.yaml")]
    for experiment in found["experiments"]:
        if experiment not in known:
            raise PersonError(f"{path}: unknown experiment {experiment!r}: {near_match(experiment, known)}")
    arms = {str(arm): tuple(words) for arm, words in found.get("overrides", {PLAIN: []}).items()}
    reference = str(asked.get("reference", next(iter(arms))))
    if reference not in arms:
        raise PersonError(f"{path}: reference {reference!r} is none of matrix.overrides: {near_match(reference, arms)}")
    target = str(asked.get("target", "report"))
    if target == "compose":
        raise PersonError(f"{path}: target must be a stage that reads what compose composed: received 'compose'")
    read_stage(root, target)
    return Matrix(
        name=str(asked.get("name", path.stem)), experiments=tuple(found["experiments"]), arms=arms,
        seeds=tuple(found.get("seeds", ())), folds=int(found.get("folds", 0)), overrides=tuple(asked.get("overrides", ())),
        target=target, reference=reference, coverage=float(asked.get("coverage", 0.95)),
    )  # fmt: skip


def matrices(root: Path) -> list[str]:
    """Names of the matrix studies of conf/study."""
    return sorted(path.stem for path in (root / FOLDER).glob("*.yaml") if "matrix" in load(path))
