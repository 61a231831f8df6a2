"""Fingerprint of the code that a stage really uses.

DVC and Snakemake see a stage's own file, not what it imports (treeverse/dvc#9195). The closure here is: the stage's module,
what it imports inside `pipeline/` (also inside functions), every part that its configuration names, and the runner, which
writes every artifact. A data file beside a module that bears its name (`page.html.j2` beside `page.py`) counts with it.
Comments, docstrings and formatting of modules do not count. Versions of the third-party distributions that the
closure imports do, by their public part.
"""

import ast
import hashlib
import importlib.metadata
import sys
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

from pipeline.core.parts import LIBRARIES, ROOM_TARGET, targets

RUNNER = "pipeline.core.runner"


def fingerprint(package: Path, stage: str, config: dict[str, Any]) -> dict[str, Any]:
    """The identity of one stage's code.

    Args:
        package: the folder `pipeline/`.
        stage: name of the stage; its module is `pipeline.stages.<stage>`.
        config: the part of the composed configuration that the stage reads.

    Returns:
        `modules`: a hash over the closure; `versions`: distribution -> public version.
    """
    return fingerprint_from(package, [RUNNER, f"pipeline.stages.{stage}"], config)


def fingerprint_from(package: Path, roots: Iterable[str], config: dict[str, Any]) -> dict[str, Any]:
    """The identity of the code that is reached from modules and from the parts that a configuration names; see `fingerprint`."""
    named = list(targets(config))
    rooms = [target.rsplit(".", 1)[0] for target in named if ROOM_TARGET.fullmatch(target)]
    modules, foreign = closure(package, [*roots, *rooms])
    foreign |= {target.split(".")[0] for target in named if any(p.fullmatch(target) for p in LIBRARIES)}
    total = hashlib.sha256()
    for module in sorted(modules):
        path = _path(package, module)
        total.update(f"{module} {module_hash(path)}\n".encode())
        for companion in companions(path):
            total.update(f"{companion.name} {hashlib.sha256(companion.read_bytes()).hexdigest()}\n".encode())
    return {"modules": total.hexdigest()[:16], "versions": versions(foreign)}


def closure(package: Path, roots: Iterable[str]) -> tuple[set[str], set[str]]:
    """Modules of this package reachable from `roots`, and the top-level names of what they import from outside."""
    inside: set[str] = set()
    outside: set[str] = set()
    waiting = list(roots)
    while waiting:
        module = waiting.pop()
        if module in inside or not _path(package, module).is_file():
            continue
        inside.add(module)
        for name in _module(_path(package, module).read_text(encoding="utf-8"))[1]:
            if name.split(".")[0] == "pipeline":
                waiting += [".".join(name.split(".")[:end]) for end in range(2, name.count(".") + 2)]
            elif name.split(".")[0] not in sys.stdlib_module_names:
                outside.add(name.split(".")[0])
    return inside, outside


def module_hash(path: Path) -> str:
    """Hash of a module's syntax tree without comments, docstrings and formatting."""
    return _module(path.read_text(encoding="utf-8"))[0]


@lru_cache(maxsize=1024)  # the closures of the stages hold mostly the same modules
def _module(text: str) -> tuple[str, frozenset[str]]:
    """A module's hash, and what it imports."""
    tree = ast.parse(text)
    imported: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
                node.body = node.body[1:] or [ast.Pass()]
        elif isinstance(node, ast.Import):
            imported.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            imported.update([node.module, *(f"{node.module}.{alias.name}" for alias in node.names)])
    return hashlib.sha256(ast.unparse(tree).encode()).hexdigest(), frozenset(imported)


def companions(path: Path) -> list[Path]:
    """Data files that bear a module's name and lie beside it, such as its templates."""
    found = (other for other in path.parent.glob(f"{path.stem}.*") if other.is_file())
    return sorted(other for other in found if other.suffix not in {".py", ".pyc"} and not other.name.endswith("~"))


def versions(names: Iterable[str]) -> dict[str, str]:
    """Installed public versions (no `+cpu` part) of the distributions that provide these import names."""
    providers = _providers()
    distributions = {dist for name in names for dist in providers.get(name, ())}
    return {dist: importlib.metadata.version(dist).split("+")[0] for dist in sorted(distributions)}


@lru_cache(maxsize=1)
def _providers() -> dict[str, list[str]]:
    return {name: list(dists) for name, dists in importlib.metadata.packages_distributions().items()}


def _path(package: Path, module: str) -> Path:
    path = package.joinpath(*module.split(".")[1:])
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
