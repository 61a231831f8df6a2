"""Publish a directory whole, with its manifest, or not at all.

A stage writes into `data/<stage>.partial`. When it has succeeded, every file is hashed and flushed to disk, `manifest.json`
is written, and one rename makes the directory visible. A failed or killed stage can never pass for done.
"""

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

from pipeline.core.errors import PersonError

MANIFEST = "manifest.json"
MEASURED = "timings.json"  # times on one machine: they lie beside the content and are no part of its identity


def write_json(path: Path, value: Any) -> None:
    """Write byte-stable JSON: sorted keys, no NaN, a newline at the end."""
    path.write_text(json.dumps(value, sort_keys=True, indent=2, allow_nan=False, ensure_ascii=False) + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """Read a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def begin(final: Path) -> Path:
    """Make an empty `<final>.partial` and return it; what a killed run left there is removed."""
    partial = final.with_name(final.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    return partial


def publish(partial: Path, final: Path, facts: dict[str, Any]) -> str:
    """Seal a partial directory and give it its final name.

    Args:
        partial: the directory that `begin` returned.
        final: the artifact's directory.
        facts: what else the manifest says (stage, inputs' digests, seed, code); no time, host, user or absolute path.

    Returns:
        The artifact's digest.

    Raises:
        PersonError: the stage wrote nothing.
    """
    files = {str(path.relative_to(partial)): sha256(path) for path in _files(partial) if path.name != MEASURED}
    if not files:
        raise PersonError(f"{final.name} wrote no file; nothing is published")
    write_json(partial / MANIFEST, {**facts, "files": files})
    for path in [*_files(partial), *sorted(path for path in partial.rglob("*") if path.is_dir()), partial]:
        _fsync(path)
    old = final.with_name(final.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if final.exists():
        final.rename(old)
    partial.rename(final)
    _fsync(final.parent)
    shutil.rmtree(old, ignore_errors=True)
    return digest(final)


def digest(directory: Path) -> str:
    """Digest of a published artifact: the hash of its manifest.

    Raises:
        PersonError: the directory holds no manifest, so it is not a whole artifact.
    """
    manifest = directory / MANIFEST
    if not manifest.is_file():
        raise PersonError(f"{directory} is not a whole artifact (no {MANIFEST}): run  dvc repro {directory.name}")
    return sha256(manifest)


def damaged(directory: Path) -> list[str]:
    """Files of an artifact that differ from its manifest, are missing, or are not named there."""
    declared = read_json(directory / MANIFEST)["files"]
    found = {str(path.relative_to(directory)): path for path in _files(directory) if path.name not in {MANIFEST, MEASURED}}
    changed = [name for name in declared if name not in found or sha256(found[name]) != declared[name]]
    return sorted([*changed, *(name for name in found if name not in declared)])


def sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _files(directory: Path) -> list[Path]:
    return sorted(path for path in directory.rglob("*") if path.is_file())


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
