"""What changed in the workspace behind an unchanged size and time.

DVC hashes a file once and goes by its inode, size and time afterwards. Asked a second time with an empty memory
(`DVC_SITE_CACHE_DIR`), it hashes everything; what only the second answer names is a change that DVC would never see.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from pipeline.core.errors import PersonError


def changes(root: Path) -> list[tuple[str, str]]:
    """(Stage or `.dvc` file, path) of each input and output whose content changed unseen.

    Raises:
        PersonError: DVC cannot say.
    """
    with tempfile.TemporaryDirectory(prefix="forgetful-") as folder:
        afresh = _status(root, DVC_SITE_CACHE_DIR=folder)
    return sorted(afresh - _status(root))


def cache_folder(root: Path) -> Path:
    """Where the cache of this workspace lies, shared or not."""
    return (root / _dvc(root, "cache", "dir").strip()).resolve()


def _status(root: Path, **environment: str) -> set[tuple[str, str]]:
    said: dict[str, list[Any]] = json.loads(_dvc(root, "status", "--json", **environment))
    found = set()
    for name, changed in said.items():
        for entry in changed:
            if isinstance(entry, dict):
                for kind in ("changed deps", "changed outs"):
                    found |= {(name, path) for path, how in entry.get(kind, {}).items() if how == "modified"}
    return found


def _dvc(root: Path, *words: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "dvc", *words], cwd=root, env={**os.environ, "DVC_NO_ANALYTICS": "1", **environment},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        said = done.stderr.strip().splitlines() or ["no word"]
        raise PersonError(f"dvc {' '.join(words)} failed ({said[0][:200]}): run this in the project's folder, with DVC installed")
    return done.stdout
