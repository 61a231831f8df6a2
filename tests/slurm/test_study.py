"""A study of twelve cells on a real Slurm, with the controller, a node and a job killed on the way: what `dvc repro` makes cell by cell."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
import yaml

from tests.slurm.cluster import jobs, wait
from tests.slurm.conftest import snakemake

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(6000)]
ARMS = {f"lr{lr[2:]}_at{share}": [f"train.lr={lr}", f"calibrate.coverage=0.{share}"] for lr in ("0.01", "0.003", "0.001") for share in (80, 85, 90, 95)}
STUDY = {"matrix": {"experiments": ["toy"], "overrides": ARMS}, "overrides": ["logger=none"], "target": "calibrate"}
DISTINCT = {"compose": 12, "train": 3, "calibrate": 12}  # the others are the same in all cells


class Faults(threading.Thread):
    """Kills the controller, a node's daemon and a job, each once, while jobs run; and lets no requeued job wait for two minutes."""

    def __init__(self, cluster):
        super().__init__(daemon=True)
        self.cluster, self.done, self.over = cluster, [], threading.Event()

    def running(self):
        return [one for one in jobs() if one["JobState"] == "RUNNING"]

    def next(self):
        while not self.over.wait(2):
            self.hurry()
            if found := self.running():
                return found[0]
        return None

    def hurry(self):
        for one in jobs():
            if one["JobState"] == "PENDING" and int(one["Restarts"]):
                subprocess.run(["scontrol", "update", f"JobId={one['JobId']}", "StartTime=now"], capture_output=True)

    def run(self):
        if one := self.next():
            subprocess.run(["scancel", "--signal=KILL", "--full", one["JobId"]], capture_output=True)
            self.done.append(f"job {one['JobId']}")
        self.over.wait(20)
        if self.next():
            self.cluster.kill("slurmctld")
            self.over.wait(5)
            self.cluster.start_controller()
            self.done.append("controller")
        self.over.wait(20)
        if one := self.next():
            node = one["NodeList"]
            self.cluster.kill(f"slurmd-{node}")
            self.done.append(node)
            with contextlib.suppress(AssertionError):
                wait(lambda: any(int(job["Restarts"]) for job in jobs()), 120, "no job requeued")
            self.cluster.start_node(int(node.removeprefix("node")))
        while not self.over.wait(5):
            self.hurry()


def cell_by_cell(repository):
    """Arm -> stage -> hash, by `dvc repro` in one workspace after the other."""
    made = {}
    for arm, overrides in ARMS.items():
        repository.params(overrides=["logger=none", *overrides])
        repository.call("dvc", "repro", "--quiet", "calibrate")
        made[arm] = repository.outputs()
    return made


def test_twelve_cells_as_cell_by_cell_with_three_kills(cluster, prepared):
    repository = prepared("study")
    (repository.root / "conf/study/twelve.yaml").write_text(yaml.safe_dump(STUDY))
    repository.commit("study")
    faults = Faults(cluster)
    faults.start()
    began = time.monotonic()
    code, text = snakemake(repository, "--config", "study=twelve", check=False, timeout=5000)
    faults.over.set()
    faults.join(60)
    print(f"STUDY exit {code} after {time.monotonic() - began:.0f} s, killed: {', '.join(faults.done)}")
    assert code == 0, text[-6000:]
    assert len(faults.done) == 3
    cells = sorted((repository.root / ".run/study/twelve").glob("*/dvc.lock"))
    assert len(cells) == 12
    notes = [path.name for path in (repository.root / ".run/study/twelve").rglob("*") if path.is_file() and path.suffix == ".json"]
    expected = cell_by_cell(prepared("cells"))
    for lock in cells:
        arm = next(name for name in ARMS if name in lock.parent.name)
        found = {name: stage["outs"][0]["md5"] for name, stage in yaml.safe_load(lock.read_text())["stages"].items()}
        wanted = {name: digest for name, digest in expected[arm].items() if name in found}
        assert found == wanted, lock.parent.name
    ran = {name: text.count(f"\nrule study_{name}:") for name in DISTINCT}
    print(f"STUDY jobs: {ran}; notes {len(notes)}")
    again = {name: ran[name] - number for name, number in DISTINCT.items()}
    assert all(extra >= 0 for extra in again.values())
    assert sum(again.values()) <= 2 * len(faults.done), "only what a kill failed was submitted again"
    code, text = snakemake(repository, "--config", "study=twelve")
    assert "study_" not in text.replace("study=twelve", ""), "a second run has nothing to do"


def test_a_killed_snakemake_goes_on(cluster, prepared):
    """Its jobs run on; the same command finds them done."""
    repository = prepared("killed")
    words = [sys.executable, "-m", "snakemake", "--profile", "profiles/slurm", "--slurm-init-seconds-before-status-checks", "3"]
    process = subprocess.Popen([*words, ".snakemake/asked/split"], cwd=repository.root, env=repository.environment, start_new_session=True,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    wait(lambda: any(one["WorkDir"] == str(repository.root) for one in jobs()), 300, "nothing was submitted")
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    snakemake(repository, ".snakemake/asked/split")
    repository.assert_whole()
