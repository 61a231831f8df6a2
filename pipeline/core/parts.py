"""Build a part from its configuration: `_target_` names the class, every other key is a keyword argument.

Configuration may come from strangers, and Hydra's own block list is not a boundary. So a target must lie in one of the
project's rooms or be one of a few named kinds of class in a named library, and everything else is refused before import.
"""

import ast
import importlib
import importlib.util
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.core.errors import PersonError, near_match

PACKAGE = Path(__file__).resolve().parents[1]
ROOMS = (
    "dataset", "embedder", "splitter", "transform", "generator", "task", "baseline", "model",
    "attack", "explainer", "detector", "verifier", "shrinker", "compressor", "exporter", "target", "logger", "plant",
)  # fmt: skip
LIBRARIES = (
    re.compile(r"albumentations\.[A-Z]\w*"),
    re.compile(r"torch\.optim\.[A-Z]\w*"),
    re.compile(r"torch\.optim\.lr_scheduler\.[A-Z]\w*"),
)
ROOM_TARGET = re.compile(rf"pipeline\.({'|'.join(ROOMS)})\.(\w+)\.([A-Z]\w*)")


def targets(node: Any) -> Iterator[str]:
    """Every `_target_` below a piece of configuration, in order."""
    if isinstance(node, dict):
        if node.get("_target_") is not None:
            yield node["_target_"]
        for value in node.values():
            yield from targets(value)
    elif isinstance(node, list):
        for value in node:
            yield from targets(value)


def check_target(target: object) -> str:
    """Return the target if it may be built.

    Raises:
        PersonError: it is not a class of a room or of an allowed library.
    """
    if not isinstance(target, str):
        raise PersonError(f"_target_ must be the dotted name of a class: received {target!r}")
    if ROOM_TARGET.fullmatch(target) or any(pattern.fullmatch(target) for pattern in LIBRARIES):
        return target
    raise PersonError(
        f"_target_ {target!r} is not allowed: it must name a class in pipeline.<room>.<file> "
        f"(rooms: {', '.join(ROOMS)}), albumentations, torch.optim or torch.optim.lr_scheduler"
    )


def source_of(target: str) -> Path:
    """The file that holds a target of one of our rooms.

    Raises:
        PersonError: there is no such file.
    """
    match = ROOM_TARGET.fullmatch(check_target(target))
    if match is None:
        raise PersonError(f"{target} is not a class of this project")
    path = PACKAGE / match.group(1) / f"{match.group(2)}.py"
    if not path.is_file():
        files = (file.stem for file in path.parent.glob("*.py") if file.stem != "__init__")
        raise PersonError(f"_target_ {target!r}: there is no pipeline/{match.group(1)}/{match.group(2)}.py; "
                          f"{near_match(match.group(2), files)}")
    return path


def declared_arguments(target: str) -> dict[str, str]:
    """Keyword arguments of a part's constructor and their annotations, read from its source without importing it."""
    name = target.rsplit(".", 1)[1]
    tree = ast.parse(source_of(target).read_text(encoding="utf-8"))
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    if name not in classes:
        raise PersonError(f"_target_ {target!r}: no class of that name in its file; {near_match(name, classes)}")
    for node in classes[name].body:
        if isinstance(node, ast.FunctionDef) and node.name == "__init__":
            found = [*node.args.args[1:], *node.args.kwonlyargs]
            return {arg.arg: ast.unparse(arg.annotation) if arg.annotation else "Any" for arg in found}
    return {}


ACCEPTS: dict[str, tuple[type, ...]] = {
    "int": (int,), "float": (int, float), "str": (str,), "bool": (bool,), "None": (type(None),),
    "list": (list,), "Sequence": (list,), "tuple": (list,), "dict": (dict,), "Mapping": (dict,),
}  # fmt: skip


def check_arguments(where: str, node: dict[str, Any]) -> None:
    """Hold a part's configuration against its constructor: names, and types where the annotation is simple.

    Raises:
        PersonError: an unknown argument (the near match is named) or a value of the wrong type.
    """
    if not ROOM_TARGET.fullmatch(check_target(node["_target_"])):
        return
    known = declared_arguments(node["_target_"])
    for key, value in node.items():
        if key == "_target_":
            continue
        if key not in known:
            raise PersonError(f"unknown key {where}.{key}: {near_match(key, known)}")
        kinds = [ACCEPTS.get(part.split("[")[0].strip()) for part in known[key].split("|")]
        accepted = tuple(kind for group in kinds if group for kind in group)
        wrong_bool = isinstance(value, bool) and bool not in accepted
        if all(kinds) and (wrong_bool or not isinstance(value, accepted)):
            raise PersonError(f"{where}.{key} must be {known[key]}: received {value!r}")


def build(node: dict[str, Any], **extra: Any) -> Any:
    """Build one part.

    Args:
        node: a `_target_` and keyword arguments; arguments that are themselves parts, or lists of parts, are built too.
        extra: arguments that come from the data card or the stage and not from conf.

    Raises:
        PersonError: the target is outside the allow-list or does not exist.
    """
    target = check_target(node["_target_"])
    module, name = target.rsplit(".", 1)
    if ROOM_TARGET.fullmatch(target):
        source_of(target)
    found = getattr(importlib.import_module(module), name, None)
    if not isinstance(found, type):
        raise PersonError(f"_target_ {target!r} does not name a class")
    arguments = {key: _value(value) for key, value in node.items() if key != "_target_"}
    arguments |= extra
    return _foreign(target, found, arguments) if target.startswith("albumentations.") else found(**arguments)


def _foreign(target: str, found: type, arguments: dict[str, Any]) -> Any:
    """Build an albumentation; it only warns about an argument that it ignores, and that is an error here."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            return found(**arguments)
    except (UserWarning, TypeError, ValueError) as error:
        raise PersonError(f"{target}: {' '.join(str(error).split())}: received {arguments}") from error


def is_off(node: dict[str, Any] | None) -> bool:
    """Whether the option is `none`: the stage then publishes an empty, valid artifact."""
    return not node or node.get("_target_") is None


def _value(value: Any) -> Any:
    if isinstance(value, dict) and "_target_" in value:
        return build(value)
    if isinstance(value, list):
        return [_value(item) for item in value]
    return value
