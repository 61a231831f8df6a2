"""What goes wrong on a cluster is said in one line; what was too small is tried again with more."""

import os
import sys

import pytest

from tests.slurm.cluster import jobs
from tests.slurm.conftest import LONG, Submitted, snakemake

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(1500)]
COMPOSE = ".snakemake/asked/compose"


def test_a_machine_without_slurm_is_told_so(prepared, monkeypatch, tmp_path):
    repository = prepared("without")
    for name in ("bash", "sh", "git", "env", "which"):
        (tmp_path / name).symlink_to(f"/bin/{name}" if os.path.exists(f"/bin/{name}") else f"/usr/bin/{name}")
    repository.environment["PATH"] = f"{os.path.dirname(sys.executable)}{os.pathsep}{tmp_path}"
    code, text = snakemake(repository, COMPOSE, check=False)
    assert code != 0
    assert "Slurm's sbatch, squeue, scontrol is not found on this machine: run this where jobs are submitted" in text


def test_a_wrong_partition_is_slurm_s_own_word(cluster, prepared):
    code, text = snakemake(prepared("partition"), "--retries", "0", "--default-resources", "slurm_partition=nowhere", "--", COMPOSE, check=False)
    assert code != 0
    assert "invalid partition specified: nowhere" in text


def test_too_little_memory_is_said_and_tried_again_with_more(cluster, prepared):
    """170 MB hold no Snakemake; the second attempt asks for twice that."""
    repository = prepared("memory")
    dvc = repository.root / "dvc.yaml"
    dvc.write_text(dvc.read_text().replace("{mem_mb: 500, runtime: 5}", "{mem_mb: 170, runtime: 8}"))
    before = {one["JobId"] for one in jobs()}
    _, text = snakemake(repository, COMPOSE)
    mine = [one for one in jobs() if one["JobId"] not in before and one["Comment"] == "rule_compose"]
    print(f"MEMORY compose: {[(one['JobState'], one['MinMemoryNode']) for one in mine]}")
    assert [one["MinMemoryNode"] for one in mine][:2] == ["170M", "340M"]
    assert [one["JobState"] for one in mine] == ["FAILED"] * (len(mine) - 1) + ["COMPLETED"]
    assert "exceeded memory limit" in text, "the reason stands on the terminal"


def test_a_cache_that_a_node_does_not_share_is_one_line(cluster, prepared):
    repository = prepared("cache", LONG)
    (repository.root / ".snakemake").mkdir(exist_ok=True)
    (repository.root / ".snakemake/shared-with").write_text("the machine that submitted")
    job = Submitted(repository, wrap="srun python -m pipeline job train")
    assert job.wait_for_end(300) == "FAILED"
    assert "is not the one of the machine that submitted: put it where all machines see it" in job.said()
    assert "Traceback" not in job.said()
