"""The acceptance list of scaling out, line by line; what each part needs stands in tests/scale_<part>.py."""

import subprocess
import sys

import pytest

from tests import scale_study

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
