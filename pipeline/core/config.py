"""Compose conf/ with Hydra into one resolved mapping, and say in one line what a person mistyped.

Hydra composes; nothing of it is left in a stage. Checked here, before anything runs: the names of groups, options and keys
(with the near match), the types that parts declare for their arguments, `_target_` against the allow-list, and the ranges
of `conf/schema.yaml`.
"""

import copy
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pipeline.core.errors import PersonError, near_match
from pipeline.core.parts import check_arguments, check_target, is_off
from pipeline.core.schema import validator

OVERRIDE = re.compile(r"^(?P<sign>[+~]{0,2})(?P<key>[\w@/.\-]+)(=(?P<value>.*))?$", re.DOTALL)
UNSEEN = re.compile(r"(?:^|\.)(size|nfiles)(?=$|[.\[])")  # DVC takes keys of these names for facts about files, at any depth


def compose(conf: Path, *, experiment: str | None, overrides: Sequence[str]) -> dict[str, Any]:
    """Compose one experiment.

    Args:
        conf: the folder of Hydra's configuration.
        experiment: a file of conf/experiment without its ending, or None.
        overrides: Hydra overrides, as on Hydra's command line.

    Raises:
        PersonError: an unknown group, option or key, a wrong type or a value out of range.
    """
    return Composer(conf, experiment=experiment)(overrides)


class Composer:
    """Composes one experiment many times: Hydra runs once for each list of overrides; numbers of leaves are set on what it made.

    Args:
        conf: the folder of Hydra's configuration.
        experiment: a file of conf/experiment without its ending, or None.
    """

    def __init__(self, conf: Path, *, experiment: str | None) -> None:
        self.conf, self.experiment = conf, experiment
        self.made: dict[tuple[str, ...], dict[str, Any]] = {}

    def __call__(self, overrides: Sequence[str], leaves: Mapping[str, float] | None = None) -> dict[str, Any]:
        """The configuration with these overrides, and then these numbers at dotted keys: the same as `key=number` behind them.

        Raises:
            PersonError: an unknown group, option or key, a wrong type or a value out of range.
        """
        config = copy.deepcopy(self._composed(tuple(map(str, overrides))))
        for key, value in (leaves or {}).items():
            _check_names(self.conf, f"{key}={value}", config)
            *path, name = key.split(".")
            node = config
            for part in path:
                node = node[part]
            node[name] = value
        check(config, self.conf / "schema.yaml")
        return config

    def _composed(self, overrides: tuple[str, ...]) -> dict[str, Any]:
        """What Hydra makes of it; conf/ holds no interpolation, so nothing else follows from a leaf."""
        if overrides not in self.made:
            chosen = [f"+experiment={self.experiment}"] if self.experiment else []
            for override in overrides:
                _check_override(override)
            if self.experiment:
                _check_option(self.conf, "experiment", self.experiment)
            if () not in self.made:
                self.made[()] = _hydra(self.conf, chosen, overrides=[])
            for override in overrides:
                _check_names(self.conf, override, self.made[()])
            self.made[overrides] = _hydra(self.conf, chosen, overrides=list(overrides)) if overrides else self.made[()]
        return self.made[overrides]


def choices(conf: Path, *, experiment: str | None, overrides: Sequence[str] = ()) -> dict[str, str]:
    """Group -> the option that is chosen for it; groups of which several options are chosen are left out.

    Raises:
        PersonError: the configuration does not compose.
    """
    chosen = [f"+experiment={experiment}"] if experiment else []
    found = _hydra(conf, chosen, overrides=list(overrides), hydra=True)["choices"]
    return {group: option for group, option in found.items() if isinstance(option, str) and not group.startswith("hydra/")}


def check(config: dict[str, Any], schema: Path) -> None:
    """Hold a composed configuration against the allow-list, the parts' constructors and the schema of ranges."""
    for where, node in _parts(config, ""):
        if not is_off(node):
            check_target(node["_target_"])
            check_arguments(where, node)
    for where, value in _leaves(config, ""):
        blind = UNSEEN.search(where)
        if blind:
            name = blind[1]
            raise PersonError(
                f"{where}: DVC's run-cache does not see a key named {name!r} and would restore the result of another value "
                f"(treeverse/dvc#10296): give it another name, as in image_{name}"
            )
        if isinstance(value, float) and not math.isfinite(value):
            raise PersonError(f"{where} must be a finite number: received {value}")
        if value == "???":
            raise PersonError(f"{where} has no value: set it with  {where}=VALUE")
    errors = sorted(_rules(schema.read_text(encoding="utf-8")).iter_errors(config), key=lambda e: list(map(str, e.absolute_path)))
    if errors:
        error = errors[0]
        where = ".".join(str(part) for part in error.absolute_path)
        if error.validator == "additionalProperties":
            known = error.schema.get("properties", {})
            unknown = next(key for key in error.instance if key not in known)
            raise PersonError(f"unknown key {f'{where}.{unknown}'.lstrip('.')}: {near_match(unknown, known)}")
        raise PersonError(f"{where}: {error.message} (conf/schema.yaml)")


@lru_cache(maxsize=4)
def _rules(text: str) -> Any:
    return validator(yaml.safe_load(text))


def _hydra(conf: Path, chosen: list[str], *, overrides: list[str], hydra: bool = False) -> dict[str, Any]:
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(conf.resolve()), version_base="1.3"):
            composed = hydra_compose("config", overrides=[*chosen, *overrides], return_hydra_config=hydra)
            container = OmegaConf.to_container(composed.hydra.runtime if hydra else composed, resolve=True)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"{mark.name}, line {mark.line + 1}" if mark else "a file of conf/"
        raise PersonError(f"{where} is not YAML: {error.problem}") from error
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        first = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise PersonError(f"the configuration does not compose: {first.strip()}") from error
    if not isinstance(container, dict):
        raise PersonError("conf/config.yaml must be a mapping")
    return {str(key): value for key, value in container.items()}


def _check_override(override: str) -> None:
    match = OVERRIDE.match(override)
    if match is None or (match["value"] is None and "~" not in match["sign"]):
        raise PersonError(f"override {override!r} is not of the form key=value, +key=value or ~key")
    if "${" in override:
        raise PersonError(f"override {override!r} holds an interpolation; write the value itself")
    if match["key"].startswith("hydra"):
        raise PersonError(f"override {override!r}: Hydra's own keys have no effect here; the stage and DVC say where things go")


def _check_option(conf: Path, group: str, option: str) -> None:
    options = [path.stem for path in (conf / group).glob("*.yaml")]
    if option not in options:
        raise PersonError(f"unknown option {group}={option}: {near_match(option, options)}")


def _check_names(conf: Path, override: str, base: dict[str, Any]) -> None:
    match = OVERRIDE.match(override)
    assert match is not None
    key, value = match["key"].split("@")[0], match["value"]
    groups = [str(path.relative_to(conf)) for path in conf.rglob("*") if path.is_dir() and path.name != "experiment"]
    if key in groups and value is not None:
        for option in value.strip("[]").split(","):
            _check_option(conf, key, option.strip())
        return
    if "." not in key and key not in base and "+" not in match["sign"]:
        raise PersonError(f"unknown key {key}: {near_match(key, [*base, *groups])}")
    if "+" in match["sign"]:
        return
    node: Any = base
    for depth, name in enumerate(key.split(".")):
        if not isinstance(node, dict) or name not in node:
            known = list(node) if isinstance(node, dict) else []
            where = ".".join(key.split(".")[: depth + 1])
            if depth and _changes_option(conf, key, several="_target_" not in known):
                return
            raise PersonError(f"unknown key {where}: {near_match(name, known)}")
        node = node[name]


def _changes_option(conf: Path, key: str, *, several: bool) -> bool:
    """Whether some option of the key's group has it: another override may have chosen that option.

    `several` asks the options of which more than one can be chosen, each below its own name (`# @package group.option`).
    """
    group, *rest = key.split(".")
    for path in sorted((conf / group).glob("*.yaml")):
        text = path.read_text(encoding="utf-8")
        if text.startswith(f"# @package {group}.{path.stem}\n") != several:
            continue
        node: Any = {path.stem: yaml.safe_load(text)} if several else yaml.safe_load(text)
        for name in rest:
            if not isinstance(node, dict) or name not in node:
                break
            node = node[name]
        else:  # also where its value is null
            return True
    return False


def _parts(node: Any, where: str) -> Iterator[tuple[str, dict[str, Any]]]:
    children: list[tuple[str, Any]] = []
    if isinstance(node, dict):
        if "_target_" in node:
            yield where, node
        children = [(f"{where}.{key}".lstrip("."), value) for key, value in node.items()]
    elif isinstance(node, list):
        children = [(f"{where}[{number}]", value) for number, value in enumerate(node)]
    for path, value in children:
        yield from _parts(value, path)


def _leaves(node: Any, where: str) -> Iterator[tuple[str, Any]]:
    if isinstance(node, dict):
        for key, value in node.items():
            yield from _leaves(value, f"{where}.{key}".lstrip("."))
    elif isinstance(node, list):
        for number, value in enumerate(node):
            yield from _leaves(value, f"{where}[{number}]")
    else:
        yield where, node
