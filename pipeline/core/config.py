"""Compose conf/ with Hydra into one resolved mapping, and say in one line what a person mistyped.

Hydra composes; nothing of it is left in a stage. Checked here, before anything runs: the names of groups, options and keys
(with the near match), the types that parts declare for their arguments, `_target_` against the allow-list, and the ranges
of `conf/schema.yaml`.
"""

import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jsonschema
import yaml
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pipeline.core.errors import PersonError, near_match
from pipeline.core.parts import check_arguments, check_target, is_off

OVERRIDE = re.compile(r"^(?P<sign>[+~]{0,2})(?P<key>[\w@/.\-]+)(=(?P<value>.*))?$", re.DOTALL)


def compose(conf: Path, *, experiment: str | None, overrides: Sequence[str]) -> dict[str, Any]:
    """Compose one experiment.

    Args:
        conf: the folder of Hydra's configuration.
        experiment: a file of conf/experiment without its ending, or None.
        overrides: Hydra overrides, as on Hydra's command line.

    Raises:
        PersonError: an unknown group, option or key, a wrong type or a value out of range.
    """
    chosen = [f"+experiment={experiment}"] if experiment else []
    for override in overrides:
        _check_override(str(override))
    if experiment:
        _check_option(conf, "experiment", experiment)
    base = _hydra(conf, chosen, overrides=[])
    for override in overrides:
        _check_names(conf, str(override), base)
    config = _hydra(conf, chosen, overrides=[str(override) for override in overrides])
    check(config, conf / "schema.yaml")
    return config


def check(config: dict[str, Any], schema: Path) -> None:
    """Hold a composed configuration against the allow-list, the parts' constructors and the schema of ranges."""
    for where, node in _parts(config, ""):
        if not is_off(node):
            check_target(node["_target_"])
            check_arguments(where, node)
    for where, value in _leaves(config, ""):
        if isinstance(value, float) and not math.isfinite(value):
            raise PersonError(f"{where} must be a finite number: received {value}")
        if value == "???":
            raise PersonError(f"{where} has no value: set it with  {where}=VALUE")
    rules = yaml.safe_load(schema.read_text(encoding="utf-8"))
    errors = sorted(jsonschema.Draft202012Validator(rules).iter_errors(config), key=lambda e: list(map(str, e.absolute_path)))
    if errors:
        error = errors[0]
        where = ".".join(str(part) for part in error.absolute_path)
        if error.validator == "additionalProperties":
            known = error.schema.get("properties", {})
            unknown = next(key for key in error.instance if key not in known)
            raise PersonError(f"unknown key {f'{where}.{unknown}'.lstrip('.')}: {near_match(unknown, known)}")
        raise PersonError(f"{where}: {error.message} (conf/schema.yaml)")


def _hydra(conf: Path, chosen: list[str], *, overrides: list[str]) -> dict[str, Any]:
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(conf.resolve()), version_base="1.3"):
            composed = hydra_compose("config", overrides=[*chosen, *overrides])
            container = OmegaConf.to_container(composed, resolve=True)
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
            if depth and "_target_" in known and _changes_option(conf, key):
                return
            raise PersonError(f"unknown key {where}: {near_match(name, known)}")
        node = node[name]


def _changes_option(conf: Path, key: str) -> bool:
    """Whether some option of the key's group has it: another override may have chosen that option."""
    group, *rest = key.split(".")
    for path in sorted((conf / group).glob("*.yaml")):
        node: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
        for name in rest:
            node = node.get(name) if isinstance(node, dict) and name in node else None
        if node is not None:
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
