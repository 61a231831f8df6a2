"""A real Slurm for these tests, and a toy repository whose stages before the training are done."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import Repository, fresh, snapshot
from tests.slurm.cluster import VARIABLES, Cluster, jobs, said, wait

LONG = ["train.max_steps=150", "train.validate_every=150", "train.checkpoint_every=10", "train.log_every=1", "logger=none"]


class Submitted:
    """A job of Slurm in a repository."""

    def __init__(self, repository, *words, wrap):
        self.repository, self.log = repository, repository.root / "job.log"
        command = ["sbatch", "--parsable", "--requeue", "--open-mode=append", f"--output={self.log}", "--mem=2000", *words, "--wrap", wrap]
        done = subprocess.run(command, cwd=repository.root, env=surrounded(repository), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        self.number = done.stdout.strip()

    def facts(self):
        return next((one for one in jobs() if one["JobId"] == self.number), {})

    def state(self):
        return self.facts().get("JobState", "")

    def trained(self):
        """Newest row's step of the training that is under way."""
        found = list((self.repository.root / ".run/train").glob("*/history.jsonl"))
        return found[0].read_bytes().count(b"\n") if found else 0

    def wait_for_steps(self, more, timeout=300):
        before = self.trained()
        wait(lambda: self.trained() >= before + more or self.state() in {"COMPLETED", "FAILED"}, timeout, f"no steps\n{self.said()}")
        assert self.state() == "RUNNING", self.said()

    def wait_for_end(self, timeout=600):
        wait(lambda: self.state() in {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL"}, timeout, f"no end\n{self.said()}")
        return self.state()

    def begin_again(self, timeout=300):
        """Slurm lets a requeued job wait for two minutes; the test does not."""
        wait(lambda: self.state() == "PENDING", timeout, f"not requeued\n{self.said()}")
        wait(self._running_now, timeout, f"not begun again\n{self.said()}")

    def _running_now(self):
        """Asked again each time: a job that is still being cleaned up gets its two minutes when that is done."""
        if self.state() == "PENDING":
            subprocess.run(["scontrol", "update", f"JobId={self.number}", "StartTime=now"], capture_output=True)
        return self.state() == "RUNNING"

    def said(self):
        return self.log.read_text(errors="replace")[-6000:] if self.log.is_file() else ""


def surrounded(repository):
    kept = {name: value for name, value in repository.environment.items() if not name.startswith(("SLURM_", "SBATCH_"))}
    return {**kept, **VARIABLES, "OMP_NUM_THREADS": "1"}


def snakemake(repository, *words, check=True, timeout=3000):
    """`snakemake --profile profiles/slurm`, looking at its jobs every three seconds."""
    command = [sys.executable, "-m", "snakemake", "--profile", "profiles/slurm", "--slurm-init-seconds-before-status-checks", "3", *words]
    done = subprocess.run(command, cwd=repository.root, env=surrounded(repository), capture_output=True, text=True, timeout=timeout)
    text = done.stdout + done.stderr
    assert done.returncode == 0 or not check, text[-6000:]
    return done.returncode, text


@pytest.fixture(scope="session")
def cluster():
    """Four nodes; a machine that cannot have them fails these tests, which were asked for by name."""
    made = Cluster()
    if reason := made.missing():
        pytest.fail(f"no Slurm can be started here: {reason}")
    made.start()
    yield made
    made.stop()


@pytest.fixture(scope="session")
def prepared(tmp_path_factory):
    """Toy repositories up to the training: `prepared("name")`. PREPARED names one of a former run, to be copied."""
    base = Path(os.environ.get("PREPARED", tmp_path_factory.mktemp("prepared") / "base"))
    if not base.is_dir():
        tree = tmp_path_factory.mktemp("tree")
        snapshot(tree)
        fresh(tree, base).repro("augment", "synthesize")

    def make(name, overrides=()):
        folder = tmp_path_factory.mktemp("copies") / name
        shutil.copytree(base, folder, symlinks=True, ignore=shutil.ignore_patterns("__pycache__", "rwlock*", ".snakemake"))
        repository = Repository(folder, {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"})
        repository.params(overrides=list(overrides))
        repository.call("dvc", "repro", "compose")
        return repository

    return make


@pytest.fixture
def urgent(cluster):
    """Preempt whatever runs: a job of the partition that goes first takes all nodes for some seconds."""

    def make(seconds=3):
        words = ["sbatch", "--parsable", "--partition=urgent", f"--nodes={cluster.nodes}", "--exclusive", "--time=2", "--output=/dev/null"]
        return subprocess.run([*words, "--wrap", f"sleep {seconds}"], capture_output=True, text=True, check=True).stdout.strip()

    yield make
    for one in jobs():
        if one["Partition"] == "urgent" and one["JobState"] in {"PENDING", "RUNNING"}:
            said("scancel", one["JobId"])
