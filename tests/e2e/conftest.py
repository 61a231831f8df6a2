"""Repositories for whole runs: a copy of the working tree in git, at toy size, with real DVC and this interpreter."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from pipeline.core.artifact import damaged
from pipeline.core.dag import read_stages

ROOT = Path(__file__).resolve().parents[2]
TOY = """# @package _global_
defaults:
  - small
  - _self_
dataset: {limit: 700}
"""
SMALL = """# @package _global_
# The digits at the smallest size that still runs every stage.
defaults:
  - digits
  - override /target: [onnx]
  - _self_
generator: {max_steps: 4, width: 8, checkpoint_every: 2}
train: {max_steps: 24, validate_every: 12, checkpoint_every: 6, log_every: 6}
intervals: {resamples: 50}
explain: {count: 4}
robustness: {corruptions: [gaussian_noise, brightness], severities: [1, 3], count: 32, attacked: 16}
ood: {sets: [noise, inverted], others: 16, gradients: 20}
synthesize: {count: 20, sheet: 20}
export: {timing_repeats: 3}
ship: {samples: 32, timed: [1], repeats: 2}
"""


@dataclass(frozen=True)
class Ran:
    """What one `dvc repro` did."""

    run: list[str]
    restored: list[str]
    skipped: list[str]
    text: str


@dataclass(frozen=True)
class Repository:
    """One workspace."""

    root: Path
    environment: dict[str, str]

    def call(self, *words, check=True, timeout=900, **environment):
        """Run a command of this environment's Python in the workspace."""
        done = subprocess.run([sys.executable, "-m", *words], cwd=self.root, env={**self.environment, **environment},
                              capture_output=True, text=True, timeout=timeout)  # fmt: skip
        if check and done.returncode:
            pytest.fail(f"{' '.join(words)} ended with {done.returncode} in {self.root}:\n{done.stdout[-6000:]}\n{done.stderr[-6000:]}")
        return done

    def git(self, *words):
        subprocess.run(["git", *words], cwd=self.root, env=self.environment, check=True, capture_output=True)

    def commit(self, message="state"):
        self.git("add", "-A")
        self.git("commit", "--quiet", "--allow-empty", "-m", message)

    def repro(self, *words, **environment):
        """`dvc repro`, and what it said it ran, restored and skipped."""
        done = self.call("dvc", "repro", *words, **environment)
        text = done.stdout + done.stderr
        found = [re.findall(pattern, text) for pattern in (
            r"Running stage '([^']+)'", r"Stage '([^']+)' is cached - skipping run", r"Stage '([^']+)' didn't change, skipping",
        )]  # fmt: skip
        return Ran(*found, text=text)

    def params(self, **values):
        path = self.root / "params.yaml"
        path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **values}))

    def lock(self):
        return yaml.safe_load((self.root / "dvc.lock").read_text())["stages"]

    def outputs(self):
        """Stage -> hash of what it published."""
        return {name: stage["outs"][0]["md5"] for name, stage in self.lock().items()}

    def files(self, stage):
        """File -> hash, as the stage's manifest says."""
        return json.loads((self.root / "data" / stage / "manifest.json").read_text())["files"]

    def stages(self):
        return list(read_stages(self.root))

    def assert_whole(self):
        """Whatever stands under a final name is a whole artifact."""
        for path in (self.root / "data").iterdir():
            if path.is_dir() and path.suffix not in {".partial", ".old"} and path.name != "raw":
                assert (path / "manifest.json").is_file(), f"{path.name} is visible without a manifest"
                assert damaged(path) == []


def surroundings():
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PIPELINE_", "DVC_", "GIT_", "RANK", "LOCAL_RANK"))}
    return {
        **kept, "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]), "DVC_NO_ANALYTICS": "1",
        "GIT_AUTHOR_NAME": "test", "GIT_AUTHOR_EMAIL": "test@example.org", "GIT_COMMITTER_NAME": "test",
        "GIT_COMMITTER_EMAIL": "test@example.org", "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull,
    }  # fmt: skip


def snapshot(folder):
    """The working tree as git would commit it now, without its lock file."""
    listed = subprocess.run(["git", "ls-files", "-coz", "--exclude-standard"], cwd=ROOT, capture_output=True, check=True).stdout
    for name in filter(None, listed.decode().split("\0")):
        if (ROOT / name).is_file() and name != "dvc.lock":
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)


def fresh(tree, root, *, overrides=()):
    """A clone of that tree, at toy size, with an empty cache."""
    shutil.copytree(tree, root)
    (root / "conf/experiment/toy.yaml").write_text(TOY)
    (root / "conf/experiment/small.yaml").write_text(SMALL)
    repository = Repository(root, surroundings())
    repository.params(experiment="toy", overrides=list(overrides))
    repository.git("init", "--quiet", "-b", "main")
    for key in ("user.name", "user.email"):
        repository.git("config", key, "test@example.org")
    repository.commit("clone")
    return repository


@pytest.fixture(scope="session")
def clone(tmp_path_factory):
    """Make a fresh clone: `clone("name")`; all of them of one state of the working tree, whoever edits it meanwhile."""
    tree = tmp_path_factory.mktemp("tree")
    snapshot(tree)

    def make(name, **options):
        return fresh(tree, tmp_path_factory.mktemp("clones") / name, **options)

    return make


@pytest.fixture(scope="session")
def _first(clone):
    repository = clone("first")
    ran = repository.repro()
    assert ran.run == repository.stages(), ran.text
    repository.commit("built")
    return repository, ran


@pytest.fixture(scope="session")
def built(_first):
    """A toy repository that `dvc repro` has run once; tests look at it and copy it, and leave it as it is."""
    return _first[0]


@pytest.fixture(scope="session")
def first_run(_first):
    """What that first `dvc repro` said."""
    return _first[1]


@pytest.fixture(scope="session")
def duplicate(built, tmp_path_factory):
    """Copy the toy repository with its cache and lock: `duplicate("name")`."""
    def make(name):
        folder = tmp_path_factory.mktemp("copies") / name
        shutil.copytree(built.root, folder, symlinks=True, ignore=shutil.ignore_patterns("__pycache__", "rwlock*", "*.lock.json"))
        return Repository(folder, built.environment)

    return make
