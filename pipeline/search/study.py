"""What a person asks of a study: the file of `conf/study/`, read and checked. docs/search.md shows what it may hold."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pipeline.core.errors import PersonError
from pipeline.search.files import check, load, locate
from pipeline.search.space import Dimension, read_space

SAMPLERS = ("tpe", "random", "grid")
PRUNERS = ("asha", "halving", "hyperband", "none")


@dataclass(frozen=True)
class Objective:
    """A column of training's history on the validation split, at the last step; empty: the task's headline."""

    metric: str = ""
    mode: str = ""


@dataclass(frozen=True)
class Sampler:
    """Who proposes: `tpe` (after `startup` random points), `random` or `grid`; every draw follows from `seed` and the number."""

    name: str = "tpe"
    seed: int = 0
    startup: int = 10


@dataclass(frozen=True)
class Pruner:
    """Who stops: the best 1 in `eta` of each of `rungs` looks goes on; the last look is the end of training."""

    name: str = "asha"
    eta: int = 3
    rungs: int = 3


@dataclass(frozen=True)
class Confirm:
    """Repeat the `top` best and the default with `seeds` other seeds; 0 does not."""

    seeds: int = 0
    top: int = 1
    coverage: float = 0.95


@dataclass(frozen=True)
class Limits:
    """Of one stage of one trial: megabytes and minutes, 0 for none; beyond them the trial fails and the study goes on."""

    memory_mb: int = 0
    minutes: float = 0.0


@dataclass(frozen=True)
class Study:
    """One study.

    Attributes:
        name: of its folder `.run/studies/<name>`.
        experiment: file of conf/experiment.
        overrides: of every trial.
        space: what varies.
        trials: how many points.
        default: the first trial is what the configuration has without a study.
    """

    name: str
    experiment: str
    overrides: tuple[str, ...]
    space: tuple[Dimension, ...]
    trials: int
    default: bool = True
    objective: Objective = field(default_factory=Objective)
    sampler: Sampler = field(default_factory=Sampler)
    pruner: Pruner = field(default_factory=Pruner)
    confirm: Confirm = field(default_factory=Confirm)
    limits: Limits = field(default_factory=Limits)

    def identity(self) -> str:
        """Hash of whatever would make trials of another study; how many there are and how they are confirmed does not."""
        space = [[dimension.key, str(dimension.distribution), dimension.when] for dimension in self.space]
        facts = [self.experiment, self.overrides, space, self.default, asdict(self.objective), asdict(self.sampler),
                 asdict(self.pruner)]  # fmt: skip
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]


def read_study(root: Path, word: str, *, extra: Sequence[str] = (), changes: Mapping[str, Any] | None = None) -> Study:
    """Read a study and check its shape.

    Args:
        root: the repository.
        word: a name of conf/study, or the path of a YAML file.
        extra: further overrides of every trial.
        changes: keys that replace those of the file, such as `trials`.

    Raises:
        PersonError: no such file, or a key or value that it cannot have.
    """
    path = locate(root, word)
    node = load(path)
    if "matrix" in node:
        raise PersonError(f"{path.name} is a matrix of cells, not a search: run  python -m pipeline study run {word}")
    asked = node | dict(changes or {})
    check(asked, root / "conf" / "schema.yaml", path, rule="study")
    space = read_space(asked["space"])
    sampler = Sampler(**asked.get("sampler", {}))
    return Study(
        name=str(asked.get("name", path.stem)), experiment=str(asked["experiment"]), space=space, trials=asked["trials"],
        overrides=(*map(str, asked.get("overrides", [])), *extra), default=asked.get("default", sampler.name != "grid"),
        objective=Objective(**asked.get("objective", {})), sampler=sampler, pruner=Pruner(**asked.get("pruner", {})),
        confirm=Confirm(**asked.get("confirm", {})), limits=Limits(**asked.get("limits", {})),
    )  # fmt: skip
