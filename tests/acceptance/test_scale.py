"""The acceptance list of scaling out: one test a numbered line, printing its figure; its parts stand in tests/scale_<part>.py."""

import subprocess
import sys
from collections import Counter

import pytest

from tests import scale_hosts, scale_network, scale_study
from tests.scale_slurm import on_slurm

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(14400)]


def say(text):
    print(f"\n  {text}", flush=True)


def test_1_a_study_on_slurm_with_kills(clone):
    passed, figures = on_slurm(clone("study"), "tests/slurm/test_study.py", "tests/slurm/test_bad_input.py")
    say(f"1. twelve cells on a real Slurm of four nodes: {passed} tests passed\n     " + "\n     ".join(figures))
    assert passed == 6


def test_2_preemption(clone):
    passed, figures = on_slurm(clone("preempted"), "tests/slurm/test_preemption.py")
    say(f"2. preempted, a killed node, a killed controller: {passed} tests passed\n     " + "\n     ".join(figures))
    assert passed == 6


@pytest.mark.parametrize("name", ["ssh", "s3"])
def test_3_two_machines_and_a_remote(tmp_path, name):
    with scale_network.Network(tmp_path / "net") as network:
        folder = network.serve_ssh()
        if name == "ssh":
            address, key = f"{folder}/cache", ["keyfile", "~/client_key"]  # each machine has its own home
        else:
            address, key = "s3://cache/dvc", ["endpointurl", network.serve_s3()]
        ran, same, back = scale_network.by_remote(network, address, name=name, key=key)
    print(f"REMOTE {name}: machine a pushed a to d and died in e; machine b ran {ran}, equal bytes {same}; handed back without a run {back}")
    assert (ran, same, back) == (["e", "f"], True, True)


def test_3_a_training_over_two_machines(tmp_path):
    with scale_network.Network(tmp_path / "net") as network:
        rows, found, whole = scale_network.across(network, tmp_path)
    for what, seconds, codes in rows:
        print(f"  {what}: both ended after {seconds:.1f} s with {codes}")
    print(f"TWO MACHINES, NO SHARED DISK: lost three times, {'the same bytes' if found == whole else 'OTHER BYTES'} as one machine undisturbed")
    assert found == whole
    assert all(seconds < 90 for _, seconds, _ in rows)


def test_4_planning_of_200_cells():
    done = subprocess.run([sys.executable, "-m", "benchmarks.planning"], cwd=scale_study.HOME, capture_output=True, text=True)
    print(done.stdout)
    assert done.returncode == 0, done.stderr[-3000:]


def test_4_a_plan_of_ten_thousand_jobs_beside_snakemake():
    done = subprocess.run([sys.executable, "-m", "benchmarks.planning", "jobs"], cwd=scale_study.HOME, capture_output=True, text=True)
    print(done.stdout)
    assert done.returncode == 0, done.stderr[-3000:]


def test_4_jobs_run_are_the_distinct_digests_and_cells_are_those_of_dvc_repro(tmp_path):
    folder = scale_study.project(tmp_path / "toy")
    scale_study.write(folder)
    scale_study.snake(folder)
    notes = scale_study.notes(folder, "done")
    alone = scale_study.cell_by_cell(folder, tmp_path / "beside")
    same = sum(scale_study.artifacts(folder / f".run/study/m/{cell}") == found for cell, found in alone.items())
    print(f"STUDY: {len(alone)} cells, {len(notes)} jobs, entered {dict(scale_study.ran(folder))}")
    print(f"       {same} cells byte for byte those of dvc repro")
    assert (len(notes), scale_study.ran(folder), same) == (scale_study.JOBS, scale_study.RAN, scale_study.CELLS)


def test_5_forty_corruptions_of_the_cache(tmp_path):
    rows = scale_hosts.corrupted(tmp_path / "dry", tmp_path)
    for name, alone, detected, after in rows:
        print(f"  {name}: DVC alone {'serves it' if alone else 'does not serve it'}; verify --deep {'names it' if detected else 'MISSES IT'}")
        assert not after, name
    detected, served = sum(row[2] for row in rows), sum(row[3] for row in rows)
    print(f"CORRUPTIONS: {len(rows)}; detected {detected}; served after it {served}; DVC alone served {sum(row[1] for row in rows)}")
    assert (len(rows), detected, served) == (40, 40, 0)


def test_5_fifty_kills_under_snakemake(tmp_path):
    killed, recovered, troubles = scale_hosts.killed_and_recovered(tmp_path / "dry", tmp_path / "log", times=50)
    print(f"KILLS: {killed}; recovered by the same command {recovered}; unlocked by hand 0")
    assert troubles == []
    assert (killed, recovered) == (50, 50)


def test_5_two_runs_in_one_repository(tmp_path):
    corrupt, fates = scale_hosts.side_by_side(tmp_path / "dry", tmp_path, times=10)
    print(f"TWO AT ONCE: 10 times; corrupt {corrupt}; {dict(Counter(fates))}")
    assert corrupt == 0
    assert all(fate.startswith(("ended well", "was told")) for fate in fates), fates


def test_6_the_page_word_by_word(clone):
    passed, _ = on_slurm(clone("page"), "tests/slurm/test_page.py")
    say(f"6. docs/cluster.md followed on two nodes: {passed} tests passed")
    assert passed == 2
