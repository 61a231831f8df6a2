"""kill -9 of everything at random moments: the next `dvc repro` goes on, and nothing half-made was ever visible."""

import contextlib
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest

pytestmark = [pytest.mark.e2e]


def kill_once(repository, stage, fraction, seconds, log):
    """Start `dvc repro`, wait for the stage, kill the whole process group after a fraction of its duration.

    Returns:
        Whether the stage was still running.
    """
    with log.open("wb") as file:
        process = subprocess.Popen([sys.executable, "-m", "dvc", "repro"], cwd=repository.root, env=repository.environment, stdout=file,
                                   stderr=subprocess.STDOUT, start_new_session=True)  # fmt: skip
        deadline = time.monotonic() + 600
        while f"Running stage '{stage}'" not in log.read_text(errors="replace"):
            repository.assert_visible_is_whole()
            assert process.poll() is None, f"dvc ended before {stage}:\n{log.read_text(errors='replace')[-4000:]}"
            assert time.monotonic() < deadline
            time.sleep(0.1)
        time.sleep(fraction * seconds)
        alive = process.poll() is None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    repository.assert_visible_is_whole()
    return alive


class Watched:
    """A repository whose artifacts are looked at while others write them."""

    def __init__(self, repository):
        self.repository = repository
        self.root, self.environment = repository.root, repository.environment

    def assert_visible_is_whole(self):
        for stage in self.repository.stages():
            folder = self.root / "data" / stage
            with contextlib.suppress(FileNotFoundError):  # DVC removes an old output before a run
                names = {path.name for path in folder.iterdir()}
                assert not names or "manifest.json" in names or not folder.exists(), f"data/{stage} is visible and has no manifest"


def durations(text):
    return {name: float(seconds) for name, seconds in re.findall(r"^(\w+) +(\d+\.\d) s ", text, flags=re.MULTILINE)}


def forget(repository, stages):
    """As if these stages had never run here: no artifact, nothing in DVC's cache, no scratch."""
    for name in stages:
        digest = repository.outputs()[name]
        (repository.root / ".dvc/cache/files/md5" / digest[:2] / digest[2:]).unlink()
        for folder in ("data", ".run"):
            shutil.rmtree(repository.root / folder / name, ignore_errors=True)
    shutil.rmtree(repository.root / ".dvc/cache/runs")


def killed_and_completed(built, repository, moments, tmp_path, measured):
    watched = Watched(repository)
    killed = 0
    for number, (stage, fraction) in enumerate(moments):
        killed += kill_once(watched, stage, fraction, measured[stage], tmp_path / f"log{number}")
    ran = repository.repro()
    repository.assert_whole()
    assert repository.repro().run == []
    assert sorted(path.name for path in (repository.root / "data").iterdir() if path.suffix in {".partial", ".old"}) == []
    differing = {name for name, digest in built.outputs().items() if repository.outputs()[name] != digest}
    assert differing <= {"export", "report"}, ran.text  # measured latency, and the page that shows it
    return killed


@pytest.fixture
def chance():
    seed = int(os.environ.get("KILL_SEED", time.time_ns() % 10**6))
    print(f"KILL_SEED={seed} repeats these moments")
    return random.Random(seed)


@pytest.mark.timeout(1500)
def test_three_random_kills_and_the_result_is_the_same(built, first_run, duplicate, chance, tmp_path):
    names = built.stages()
    stages = sorted({"train", "synthesize", chance.choice([name for name in names if name not in {"train", "synthesize"}])}, key=names.index)
    moments = [(stage, chance.uniform(0.2, 0.9)) for stage in stages]
    repository = duplicate("killed")
    forget(repository, stages)
    assert killed_and_completed(built, repository, moments, tmp_path, durations(first_run.text)) >= 1


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_twenty_kills_at_least_one_in_each_stage(built, first_run, clone, chance, tmp_path):
    names = built.stages()
    stages = sorted([*names, "train", "train", "train", *chance.choices(names, k=17 - len(names))], key=names.index)
    moments = [(stage, chance.uniform(0.05, 0.9)) for stage in stages]
    assert len(moments) == 20
    assert killed_and_completed(built, clone("killed"), moments, tmp_path, durations(first_run.text)) >= 12
