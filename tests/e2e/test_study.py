"""A matrix study with real git, DVC and Snakemake over toy stages: shared, killed, failed, repeated - and equal to `dvc repro`."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest

from tests import scale_study, searching

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(2400)]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A study that ran once, from nothing."""
    folder = scale_study.project(tmp_path_factory.mktemp("study") / "toy")
    scale_study.write(folder)
    done = scale_study.snake(folder)
    return folder, done.stdout + done.stderr


def test_jobs_run_are_the_distinct_digests(finished):
    folder, text = finished
    assert scale_study.ran(folder) == scale_study.RAN
    notes = scale_study.notes(folder, "done")
    assert len(notes) == scale_study.JOBS
    assert all(note["ran"] for note in notes.values())
    assert len(scale_study.notes(folder, "cells")) == scale_study.CELLS, text[-3000:]


def test_every_cell_holds_what_dvc_repro_makes_of_it(finished, tmp_path):
    folder, _ = finished
    alone = scale_study.cell_by_cell(folder, tmp_path / "beside")
    for cell, artifacts in alone.items():
        assert scale_study.artifacts(folder / f".run/study/m/{cell}") == artifacts, cell


def test_a_second_run_does_nothing(finished):
    folder, _ = finished
    before = scale_study.ran(folder)
    done = scale_study.snake(folder)
    assert "rule study_" not in done.stdout + done.stderr
    assert "rule finish_cell" not in done.stdout + done.stderr
    assert scale_study.ran(folder) == before
    assert "6 cells, 0 of them to do; 20 jobs, 0 of them to run" in scale_study.call(folder, "pipeline", "study", "plan", "m").stdout


def test_a_dry_run_changes_nothing(finished):
    folder, _ = finished
    scale_study.write(folder, matrix={**scale_study.MATRIX["matrix"], "seeds": [0, 5]})
    before = (folder / ".run/study/m/.state/plan.json").read_bytes()
    done = scale_study.snake(folder, "m", "-n")
    assert "finish_cell" in done.stdout + done.stderr
    assert (folder / ".run/study/m/.state/plan.json").read_bytes() == before
    scale_study.write(folder)


def test_cells_come_back_as_experiments_and_as_one_page(finished):
    folder, _ = finished
    shown = json.loads(scale_study.call(folder, "dvc", "exp", "show", "--json").stdout)
    names = {run["name"] for entry in shown for run in entry.get("experiments") or []}
    assert names == {f"m-{cell}" for cell in scale_study.notes(folder, "cells")}
    page = (folder / ".run/study/m/report.html").read_text()
    assert "6 cells, 6 finished" in page
    assert "fewer than 6 pairs cannot show a difference" in page
    assert "http" not in page.replace("http-equiv", ""), "self-contained"
    assert page.count("data:image/") >= 3


def test_what_is_added_runs_alone_and_what_was_removed_is_restored(finished):
    folder, _ = finished
    before = scale_study.ran(folder)
    scale_study.write(folder, matrix={**scale_study.MATRIX["matrix"], "seeds": [0, 1, 2]})
    scale_study.snake(folder)
    after = scale_study.ran(folder)
    assert after - before == {"prep": 2, "split": 2, "train": 3}
    scale_study.call(folder, "pipeline", "study", "clean", "m")
    for path in (folder / ".run/study/m/.state").iterdir():
        subprocess.run(["rm", "-r", str(path)], check=True)
    scale_study.snake(folder)
    assert scale_study.ran(folder) == after, "all of it came from DVC's run-cache"
    assert not any(note["ran"] for note in scale_study.notes(folder, "done").values())
    scale_study.write(folder)


def test_a_failed_cell_is_recorded_and_stops_no_other(finished):
    folder, _ = finished
    scale_study.write(folder, "f", matrix={"experiments": ["toy"], "overrides": {"plain": [], "bad": ["train.width=15"]}, "seeds": [0, 1]})
    done = scale_study.snake(folder, "f", check=False)
    assert done.returncode != 0
    assert set(scale_study.notes(folder, "cells", "f")) == {"toy-plain-s0", "toy-plain-s1"}
    failed = scale_study.notes(folder, "failed", "f")
    assert {note["cell"] for note in failed.values()} == {"toy-bad-s0", "toy-bad-s1"}
    assert all("planted" in note["reason"] for note in failed.values()), failed
    assert "4 cells, 2 finished, 2 failed" in (folder / ".run/study/f/report.html").read_text()
    before = scale_study.ran(folder)
    scale_study.snake(folder, "f", check=False)
    assert scale_study.ran(folder) - before == {"train": 2}, "the failed ones are tried again, and nothing else"


def test_two_people_cannot_run_the_same_study_at_once(finished):
    folder, _ = finished
    hold = f"import sys, time; from pathlib import Path; from pipeline.search.alone import alone\nwith alone(Path({str(folder / '.run/study/m')!r})): print('held', flush=True); time.sleep(60)"
    other = subprocess.Popen([sys.executable, "-c", hold], cwd=folder, stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout.readline() == "held\n"
        done = scale_study.snake(folder, check=False)
        assert done.returncode != 0
        assert "another process runs the study m: wait for it, or end it" in done.stdout + done.stderr
        assert "Traceback" not in done.stdout + done.stderr
    finally:
        other.kill()
        other.communicate()


@pytest.mark.parametrize(("cache", "overrides", "said"), [
    ("file/cache", [], "cannot be written"),
    (None, ["train.rl=1"], "cell toy-x-s0: unknown key train.rl"),
    (None, ["mdoel=wide"], "unknown key mdoel"),
])  # fmt: skip
def test_what_cannot_run_is_said_in_one_line_and_nothing_runs(finished, tmp_path, cache, overrides, said):
    folder, _ = finished
    before = scale_study.ran(folder)
    scale_study.write(folder, "bad", matrix={"experiments": ["toy"], "overrides": {"x": overrides}, "seeds": [0]})
    if cache:
        (tmp_path / "file").write_text("no folder")
        scale_study.call(folder, "dvc", "cache", "dir", "--local", str(tmp_path / cache))
    try:
        for words in (["snakemake", "-c1", "--config", "study=bad"], ["pipeline", "study", "plan", "bad"]):
            done = scale_study.call(folder, *words, check=False)
            assert done.returncode != 0
            assert said in done.stdout + done.stderr
            assert "Traceback" not in done.stdout + done.stderr
    finally:
        (folder / ".dvc/config.local").unlink(missing_ok=True)
    assert scale_study.ran(folder) == before


def test_kill_nine_at_random_moments_and_the_same_command_ends_with_the_same(finished, tmp_path):
    reference, _ = finished
    folder = scale_study.project(tmp_path / "killed")
    scale_study.write(folder)
    seed = int(os.environ.get("KILL_SEED", time.time_ns() % 10**6))
    print(f"KILL_SEED={seed}")
    chance, kills = random.Random(seed), 0
    for _ in range(4):
        process = subprocess.Popen([sys.executable, "-m", "snakemake", "-c2", "--config", "study=m"], cwd=folder, start_new_session=True,
                                   env=scale_study.surroundings(folder), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
        time.sleep(chance.uniform(6, 30))
        kills += process.poll() is None
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert kills >= 2
    scale_study.snake(folder)
    assert len(scale_study.notes(folder, "cells")) == scale_study.CELLS
    for cell in scale_study.notes(folder, "cells"):
        mine, others = (scale_study.artifacts(root / f".run/study/m/{cell}") for root in (folder, reference))
        assert {stage: files for stage, files in mine.items() if stage != "compose"} == {
            stage: files for stage, files in others.items() if stage != "compose"}, cell  # fmt: skip
    assert [word for word in searching.ran(folder) if word.startswith("step")], "the log is that of this folder"
