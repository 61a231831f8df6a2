"""What is named and not in the cache: outputs of `dvc.lock` and of `*.dvc` files, and files of directories."""

from dataclasses import dataclass
from pathlib import Path

import yaml

from pipeline.cache.objects import Scan
from pipeline.core.errors import PersonError


@dataclass(frozen=True)
class Named:
    """An output that this workspace names.

    Attributes:
        oid: name of its object.
        path: where it lies in the workspace.
        target: what `dvc commit`, `dvc pull` and `dvc repro` call it.
    """

    oid: str
    path: str
    target: str


def named(root: Path) -> list[Named]:
    """The outputs that `dvc.lock` and the `*.dvc` files below `data/` name.

    Raises:
        PersonError: one of these files cannot be understood.
    """
    found: list[Named] = []
    files = [root / "dvc.lock", *sorted((root / "data").rglob("*.dvc"))]
    for path in files:
        if not path.is_file():
            continue
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
            own = path.relative_to(root).as_posix()
            blocks = content.get("stages", {}).items() if path.name == "dvc.lock" else [(own, content)]
            for target, block in blocks:
                where = Path() if path.name == "dvc.lock" else path.parent.relative_to(root)
                found += [Named(out["md5"], (where / out["path"]).as_posix(), target) for out in block["outs"] if "md5" in out]
        except (yaml.YAMLError, UnicodeDecodeError, AttributeError, KeyError, TypeError) as error:
            raise PersonError(f"{path.relative_to(root)} cannot be understood: take it from git again") from error
    return found


def stated(root: Path) -> dict[str, tuple[int, int | None]]:
    """Object -> bytes and number of files, as `dvc.lock` states them; it has what no cache holds, the source, too."""
    path = root / "dvc.lock"
    if not path.is_file():
        return {}
    stages = (yaml.safe_load(path.read_text(encoding="utf-8")) or {}).get("stages", {})
    described = [one for stage in stages.values() for one in (*stage.get("deps", []), *stage.get("outs", []))]
    return {one["md5"]: (one["size"], one.get("nfiles")) for one in described if "md5" in one and "size" in one}


def users(outputs: list[Named], found: Scan) -> dict[str, list[Named]]:
    """Object -> the outputs of this workspace that it is, or is a file of; for a file, `path` is the file's own."""
    by: dict[str, list[Named]] = {}
    for output in outputs:
        by.setdefault(output.oid, []).append(output)
        for oid, relative in found.trees.get(output.oid, []):
            by.setdefault(oid, []).append(Named(oid, f"{output.path}/{relative}", output.target))
    return by


def lost(outputs: list[Named], found: Scan) -> list[tuple[str, str]]:
    """(Object, what it is) for each that is named and neither there nor rotten; the rotten ones are told apart already."""
    gone = {rot.oid for rot in found.rotten}
    by = users(outputs, found)
    names = {oid: by[oid][0].path for oid in by}
    for tree, files in found.trees.items():
        for oid, relative in files:
            names.setdefault(oid, f"{relative} of a directory of another commit ({tree[:8]})")
    missing = [(oid, name) for oid, name in names.items() if oid not in found.whole and oid not in gone]
    return sorted(missing, key=lambda item: item[1])
