"""The acceptance list of scaling out, line by line; what each part needs stands in tests/scale_<part>.py."""

import subprocess
import sys

import pytest

from tests import scale_study
from tests.scale_slurm import on_slurm

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(7200)]


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


@pytest.mark.timeout(14400)
def test_1_a_study_on_slurm_with_kills(clone):
    passed, figures = on_slurm(clone("study"), "tests/slurm/test_study.py", "tests/slurm/test_bad_input.py")
    print(f"\n  1. twelve cells on a real Slurm of four nodes: {passed} tests passed\n     " + "\n     ".join(figures))
    assert passed == 6


@pytest.mark.timeout(14400)
def test_2_preemption(clone):
    passed, figures = on_slurm(clone("preempted"), "tests/slurm/test_preemption.py")
    print(f"\n  2. preempted, a killed node, a killed controller: {passed} tests passed\n     " + "\n     ".join(figures))
    assert passed == 6


@pytest.mark.timeout(14400)
def test_6_the_page_word_by_word(clone):
    passed, _ = on_slurm(clone("page"), "tests/slurm/test_page.py")
    print(f"\n  6. docs/cluster.md followed on two nodes: {passed} tests passed")
    assert passed == 2
