"""The files of `conf/study/`, of either kind: found by name, read, and held against a rule of conf/schema.yaml."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pipeline.core.errors import PersonError, near_match
from pipeline.core.schema import validator

FOLDER = Path("conf") / "study"


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
    errors = sorted(validator(whole).iter_errors(asked), key=lambda e: list(map(str, e.absolute_path)))
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
