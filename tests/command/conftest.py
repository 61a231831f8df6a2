import shutil
import subprocess

import pytest


@pytest.fixture
def root(tmp_path, project, monkeypatch):
    """A project in git with DVC, small enough to start in a second."""
    root = tmp_path / "project"
    shutil.copytree(project / "conf", root / "conf")
    shutil.copytree(project / ".dvc", root / ".dvc", ignore=shutil.ignore_patterns("cache", "tmp"))
    for name in (".gitignore", ".dvcignore", "dvc.yaml", "params.yaml"):
        shutil.copy(project / name, root / name)
    (root / "data" / "raw").mkdir(parents=True)
    subprocess.run(["git", "init", "-q", str(root)], check=True)
    monkeypatch.chdir(root)
    return root
