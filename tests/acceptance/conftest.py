"""Fresh clones of this repository."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.commands import run

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def clone(tmp_path_factory):
    """Makes a fresh clone of the committed state in a folder of its own name."""

    def make(name):
        folder = tmp_path_factory.mktemp("clones") / name
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
        return folder

    return make


@pytest.fixture(scope="session")
def first(clone):
    """A fresh clone in which `make repro` ran, and that run; no network but loopback where this user may take it away."""
    folder = clone("first")
    words = ["make", f"PYTHON={sys.executable}", "repro"]
    if subprocess.run(["unshare", "--net", "true"], capture_output=True, check=False).returncode == 0:
        words = ["unshare", "--net", "sh", "-c", 'ip link set lo up 2>/dev/null; exec "$@"', "sh", *words]
    done = run(words, cwd=folder)
    assert done.code == 0, done.text[-6000:]
    return folder, done
