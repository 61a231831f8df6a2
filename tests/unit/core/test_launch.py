import gc
import inspect
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.core import launch
from pipeline.core.errors import PersonError

ENTER = """
import json, os, sys
from pathlib import Path
from pipeline.core import launch
launch.enter("train", threads=3, scratch=Path(sys.argv[1]))
print(json.dumps({**{k: os.environ.get(k) for k in ("PYTHONHASHSEED", "OMP_NUM_THREADS", "TMPDIR", "TZ", "PIPELINE_STAGE")},
                  "hash": hash("word"), "torch": "torch" in sys.modules, "argv": sys.argv[1:]}))
"""


def entered(project, scratch, **environment):
    clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONHASHSEED", "OMP_NUM_THREADS", "PIPELINE_STAGE")}
    done = subprocess.run([sys.executable, "-c", ENTER, str(scratch), "two words", "ü"], cwd=project, env={**clean, **environment},
                          capture_output=True, text=True, timeout=60)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_process_is_replaced_once_by_one_with_the_stages_environment(project, tmp_path):
    seen = [entered(project, tmp_path, PYTHONHASHSEED=seed) for seed in ("random", "7")]
    assert seen[0] == seen[1]
    assert seen[0]["PYTHONHASHSEED"] == "0"
    assert seen[0]["OMP_NUM_THREADS"] == "3"
    assert seen[0]["TMPDIR"] == str(tmp_path)
    assert seen[0]["TZ"] == "UTC"
    assert seen[0]["argv"] == [str(tmp_path), "two words", "ü"]
    assert not seen[0]["torch"]


def test_a_stage_started_by_another_stage_gets_its_own_environment(project, tmp_path):
    assert entered(project, tmp_path, PIPELINE_STAGE="ingest", OMP_NUM_THREADS="1")["PIPELINE_STAGE"] == "train"


def test_an_environment_that_does_not_hold_is_an_error_and_no_endless_loop(monkeypatch, tmp_path):
    monkeypatch.setenv("PIPELINE_STAGE", "train")
    monkeypatch.setenv("TZ", "Mars")
    monkeypatch.setattr(launch.os, "execve", lambda *words: pytest.fail("replaced itself again"))
    with pytest.raises(RuntimeError, match="does not hold"):
        launch.enter("train", threads=1, scratch=tmp_path)


def test_the_rank_and_the_number_of_processes_come_from_the_environment(monkeypatch):
    for name, value in {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    assert (launch.rank(), launch.world()) == (1, 2)


def test_workers_are_a_matter_of_the_machine(monkeypatch):
    monkeypatch.delenv("PIPELINE_WORKERS", raising=False)
    assert launch.workers() == 0
    monkeypatch.setenv("PIPELINE_WORKERS", "3")
    assert launch.workers() == 3
    monkeypatch.setenv("PIPELINE_WORKERS", "many")
    with pytest.raises(PersonError, match="PIPELINE_WORKERS must be a whole number, 0 or more: received 'many'"):
        launch.workers()


SHOW = "import json, os, sys; print(json.dumps([os.environ.get('PIPELINE_LAUNCHED'), sys.argv[1:]]))"
LAUNCH = "import sys; from pipeline.core import launch; launch.by_launcher(launch.place()); print('here', sys.argv[1:])"


@pytest.mark.parametrize(("environment", "shown"), [
    ({}, "here ['train']"),
    ({"PIPELINE_LAUNCH": f"{sys.executable} -c '{SHOW.replace(chr(39), chr(34))}' --ranks 2"},
     json.dumps(["1", ["--ranks", "2", sys.executable, "-c", LAUNCH, "train"]])),
    ({"PIPELINE_LAUNCH": "false", "PIPELINE_LAUNCHED": "1"}, "here ['train']"),
    ({"PIPELINE_LAUNCH": "false", "RANK": "0", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}, "here ['train']"),
], ids=["none", "srun", "started by it", "started by another"])  # fmt: skip
def test_a_launcher_of_the_environment_gets_the_command(project, environment, shown):
    done = subprocess.run([sys.executable, "-c", LAUNCH, "train"], cwd=project, env={**os.environ, **environment}, capture_output=True,
                          text=True)  # fmt: skip
    assert done.stdout.strip() == shown, done.stderr


def test_a_launcher_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setenv("PIPELINE_LAUNCH", "srunn --ntasks 2")
    with pytest.raises(PersonError, match="PIPELINE_LAUNCH names 'srunn', which is not installed"):
        launch.by_launcher(launch.place())


def test_seeding_touches_only_what_is_imported(project):
    code = (
        "import sys, random; from pipeline.core import launch; launch.seed_everything(5); a = random.random();"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules;"
        "import numpy as np; launch.seed_everything(5); assert random.random() == a; b = np.random.rand();"
        "launch.seed_everything(5); assert np.random.rand() == b; launch.seed_everything(6); assert np.random.rand() != b"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=project, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is of Linux")
def test_an_orphan_dies_with_its_parent(project):
    child = "from pipeline.core import launch; import time; launch.die_with_parent(); print('up', flush=True); time.sleep(60)"
    parent = (
        "import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', sys.argv[1]], stdout=subprocess.PIPE);"
        "p.stdout.readline(); print(p.pid, flush=True); import time; time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", parent, child], cwd=project, stdout=subprocess.PIPE, text=True)
    orphan = int(process.stdout.readline())
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    for _ in range(100):
        try:
            state = Path(f"/proc/{orphan}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except FileNotFoundError:
            return
        if state == "Z":
            return
        time.sleep(0.05)
    os.kill(orphan, signal.SIGKILL)
    pytest.fail("the orphan lived on")


def test_python_collects_rarely_inside_and_as_before_after_an_error():
    before = gc.get_threshold()

    @launch.collecting_rarely()
    def run(cfg, *, scratch):
        assert gc.get_threshold() == launch.RARELY
        raise ValueError(cfg)

    for _ in range(2):
        with pytest.raises(ValueError, match="said"):
            run("said", scratch=None)
        assert gc.get_threshold() == before
    assert list(inspect.signature(run).parameters) == ["cfg", "scratch"]  # the runner asks which folders a stage takes
