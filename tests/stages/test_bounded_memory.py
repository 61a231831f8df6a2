"""Ingest and train a set of four times the memory that the process may take; peaks at eight times the data against once."""

import json
import os
import subprocess
import sys

import pytest

ALLOWANCE = 48  # MB of private memory above what the stages need for a few images
IMAGES = 3072  # of 64 KB: 192 MB of pixels, four times the allowance
SMALL, TIMES = 1536, 8  # 96 MB: more than the store maps


def run(project, folder, *words):
    # glibc raises its threshold as large blocks are freed, and then keeps them in a heap full of holes, which the limit counts.
    environment = {
        **os.environ, "PYTHONPATH": str(project), "OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg", "MALLOC_MMAP_THRESHOLD_": "262144",
    }  # fmt: skip
    command = [sys.executable, "-m", "tests.bounded", str(folder), *map(str, words)]
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.multi
@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_DATA counts private mappings on Linux alone")
def test_four_times_the_memory_is_ingested_and_trained_and_holding_all_pixels_is_refused(project, tmp_path):
    told = run(project, tmp_path, IMAGES, ALLOWANCE)
    assert told["data"] == 4 * ALLOWANCE
    assert {"ingest", "split", "train"} <= set(told)
    assert "after ingest, split" in told["train holds all"]  # the same work refused: the limit is a limit
    assert "after nothing" in told["ingest holds all"]


@pytest.mark.slow
@pytest.mark.multi
@pytest.mark.timeout(900)
def test_eight_times_the_data_takes_no_more_memory(project, tmp_path):
    once, more = (run(project, tmp_path / str(times), SMALL * times, 0) for times in (1, TIMES))
    ratios = {stage: more[stage] / once[stage] for stage in ("ingest", "train")}
    print("\npeak memory at 8x the data over 1x:", {stage: f"{ratio:.3f}" for stage, ratio in ratios.items()}, once, more)
    assert max(ratios.values()) <= 1.10
