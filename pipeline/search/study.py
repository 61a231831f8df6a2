"""What a person asks of a study: the file of `conf/study/`, read and checked. docs/search.md shows what it may hold."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import jsonschema
import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pipeline.core.errors import PersonError, near_match
from pipeline.search.space import Dimension, read_space

FOLDER = Path("conf") / "study"
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


def locate(root: Path, word: str) -> Path:
    """The file of a study, by its name in conf/study or its own path.

    Raises:
        PersonError: there is none; with the near match.
    """
    given = Path(word)
    if given.suffix in {".yaml", ".yml"}:
        if not given.is_file():
            beside = [other.name for other in given.parent.glob("*.y*ml")] if given.parent.is_dir() else []
            raise PersonError(f"there is no study {word}: {near_match(given.name, beside)}")
        return given
    path = root / FOLDER / f"{word}.yaml"
    if not path.is_file():
        raise PersonError(f"unknown study {word!r}: {near_match(word, [other.stem for other in (root / FOLDER).glob('*.yaml')])}")
    return path


def load(path: Path) -> dict[str, Any]:
    """Read a study's file.

    Raises:
        PersonError: it is not YAML, or no mapping.
    """
    try:
        node = OmegaConf.to_container(OmegaConf.load(path), resolve=False)  # a plain reader takes 1e-4 for a text
    except (yaml.YAMLError, OmegaConfBaseException) as error:
        first = next((line for line in str(error).splitlines() if line.strip()), "")
        raise PersonError(f"{path} is not YAML: {first.strip()}") from error
    if not isinstance(node, dict):
        raise PersonError(f"{path} must be a mapping with the keys experiment, space and trials, or with the key matrix")
    return {str(key): value for key, value in node.items()}


def check(asked: Mapping[str, Any], schema: Path, path: Path, *, rule: str) -> None:
    """Hold a study's keys and values against a rule of conf/schema.yaml.

    Args:
        asked: what was read.
        schema: conf/schema.yaml.
        path: of the study, for the message.
        rule: a name below `$defs`.

    Raises:
        PersonError: an unknown key or a value that it cannot have.
    """
    rules = yaml.safe_load(schema.read_text(encoding="utf-8"))
    whole = {**rules["$defs"][rule], "$defs": rules["$defs"]}
    errors = sorted(jsonschema.Draft202012Validator(whole).iter_errors(asked), key=lambda e: list(map(str, e.absolute_path)))
    if not errors:
        return
    error = errors[0]
    where = ".".join(str(part) for part in error.absolute_path)
    if error.validator == "additionalProperties":
        known = error.schema.get("properties", {})
        unknown = next(key for key in error.instance if key not in known)
        raise PersonError(f"{path}: unknown key {f'{where}.{unknown}'.lstrip('.')}: {near_match(str(unknown), known)}")
    if error.validator == "enum":
        options = [str(option) for option in error.validator_value]
        raise PersonError(f"{path}: {where} {error.instance!r} is unknown: {near_match(str(error.instance), options)}")
    raise PersonError(f"{path}: {f'{where}: ' if where else ''}{error.message} (conf/schema.yaml)")
