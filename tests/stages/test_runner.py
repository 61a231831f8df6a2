"""The runner on a repository of toy stages, each run in a process of its own as DVC runs it."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import yaml

from pipeline.core import artifact, ledger, runner
from pipeline.core.dag import Stage
from pipeline.core.errors import PersonError

DVC = """
stages:
  compose: {cmd: x, deps: [conf, pipeline], params: [experiment, overrides], outs: [data/compose]}
  first:
    desc: the first toy
    cmd: x
    deps: ["${source}"]
    params: [{data/compose/config.yaml: [size, seed, threads, code.first]}]
    outs: [data/first]
  second:
    cmd: x
    deps: [data/first]
    params: [{data/compose/config.yaml: [size, seed, code.second]}]
    outs: [data/second]
"""
FIRST = """
import os, random
from pathlib import Path

def run(cfg, out: Path, *, source: Path) -> str:
    (out / "copy.txt").write_text((source / "raw.txt").read_text() * cfg["size"])
    (out / "draw.txt").write_text(f"{random.random()} {hash('word')} {os.environ['OMP_NUM_THREADS']}")
    return f"{cfg['size']} copies"
"""
SECOND = """
from pathlib import Path

def run(cfg, out: Path, *, first: Path, scratch: Path) -> str:
    (scratch / "state").write_text("half")
    (out / "b.txt").write_text((first / "copy.txt").read_text().upper())
    %s
    return "done"
"""
CONFIG = {"size": 2, "secret": 5, "seed": 11, "threads": 1, "code": {"first": {"modules": "aa", "versions": {"numpy": "2.0"}}, "second": {"modules": "bb"}}}


@pytest.fixture
def root(tmp_path, project):
    shutil.copytree(project / "pipeline" / "core", tmp_path / "pipeline" / "core")
    for name in ("__init__.py", "__main__.py"):
        shutil.copy(project / "pipeline" / name, tmp_path / "pipeline" / name)
    for package, files in {"stages": {"first": FIRST, "second": SECOND % ""}, "command": {}}.items():
        (tmp_path / "pipeline" / package).mkdir()
        (tmp_path / "pipeline" / package / "__init__.py").write_text("")
        for name, text in files.items():
            (tmp_path / "pipeline" / package / f"{name}.py").write_text(text)
    (tmp_path / "dvc.yaml").write_text(DVC)
    (tmp_path / "params.yaml").write_text("experiment: a\noverrides: []\nsource: data/raw\n")
    for folder in ("data/raw", "data/compose", "data/hidden", "conf"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "data/raw/raw.txt").write_text("abc ")
    (tmp_path / "data/hidden/file.txt").write_text("undeclared")
    (tmp_path / "conf/config.yaml").write_text("a: 1\n")
    (tmp_path / "data/compose/config.yaml").write_text(yaml.safe_dump(CONFIG))
    return tmp_path


def run(root, stage, **environment):
    return subprocess.run([sys.executable, "-m", "pipeline", stage], cwd=root, env={**os.environ, **environment}, capture_output=True,
                          text=True, timeout=60)  # fmt: skip


def second_with(root, line):
    """Run the second stage with one more line in its code."""
    assert run(root, "first").returncode == 0
    (root / "pipeline/stages/second.py").write_text(SECOND % line)
    return run(root, "second")


def test_a_stage_publishes_and_says_one_line(root):
    done = run(root, "first")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    words = done.stdout.split()
    assert (words[0], words[-1], words[3:5]) == ("first", "data/first", ["2", "copies"])
    manifest = json.loads((root / "data/first/manifest.json").read_text())
    assert manifest["stage"] == "first"
    assert manifest["seed"] == 11
    assert manifest["versions"] == {"numpy": "2.0"}
    assert artifact.damaged(root / "data/first") == []


def test_two_runs_in_two_environments_are_equal(root):
    assert run(root, "first", PYTHONHASHSEED="1", OMP_NUM_THREADS="2", TZ="Asia/Tokyo").returncode == 0
    before = artifact.digest(root / "data/first")
    assert run(root, "first", PYTHONHASHSEED="2", OMP_NUM_THREADS="1").returncode == 0
    assert artifact.digest(root / "data/first") == before


def test_an_edit_that_alters_no_output_alters_no_digest(root):
    """So a stage downstream need not run again."""
    assert run(root, "first").returncode == 0
    before = artifact.digest(root / "data/first")
    edited = {**CONFIG, "code": {**CONFIG["code"], "first": {"modules": "another", "versions": {"numpy": "2.0"}}}}
    (root / "data/compose/config.yaml").write_text(yaml.safe_dump(edited))
    assert run(root, "first").returncode == 0
    assert artifact.digest(root / "data/first") == before


def test_the_manifest_names_the_digests_of_the_inputs_and_scratch_is_gone(root):
    assert run(root, "first").returncode == 0
    assert run(root, "second").returncode == 0
    manifest = json.loads((root / "data/second/manifest.json").read_text())
    assert manifest["inputs"] == {"first": artifact.digest(root / "data/first")}
    assert [path.name for path in (root / ".run/second").iterdir()] == ["lock"]


def test_reading_an_undeclared_key_is_an_error(root):
    done = second_with(root, "cfg['secret']")
    assert done.returncode == 1
    assert "reads the configuration key 'secret'" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (root / "data/second").exists()


@pytest.mark.parametrize("line", [
    "open('data/hidden/file.txt').close()",
    "Path('data/hidden/file.txt').read_bytes()",
    "open('data/../data/hidden/file.txt').close()",
    "open(str(first) + '/../hidden/file.txt').close()",
    "import os; os.open('data/hidden/file.txt', os.O_RDONLY)",
    "open('conf/config.yaml').close()",
    "open('data/compose/config.yaml').close()",
    "open('data/raw/raw.txt').close()",
    "list(Path('data/hidden').iterdir())",
    "import os; os.listdir('data/hidden')",
    "list(Path('data').rglob('*.txt'))",
    "import os; list(os.walk('conf'))",
    "import contextlib\n    with contextlib.suppress(Exception): open('data/hidden/file.txt').close()",
    "import threading; t = threading.Thread(target=lambda: open('data/hidden/file.txt').close()); t.start(); t.join();"
    " (out / 'late').write_text(open('data/hidden/file.txt').read())",
])  # fmt: skip
def test_an_undeclared_file_or_folder_is_an_error(root, line):
    done = second_with(root, line)
    assert done.returncode == 1, done.stdout
    assert "which dvc.yaml does not list under its deps" in done.stderr
    assert not (root / "data/second").exists()


@pytest.mark.parametrize("line", [
    "list(first.iterdir())",
    "open(first / 'manifest.json').close()",
    "list(out.rglob('*'))",
    "import tempfile; tempfile.NamedTemporaryFile().close()",
    "import json.tool",
])  # fmt: skip
def test_what_is_declared_stays_open(root, line):
    done = second_with(root, line)
    assert done.returncode == 0, done.stderr


def test_publishing_again_over_an_old_artifact_is_allowed(root):
    for _ in range(2):
        assert run(root, "first").returncode == 0
        assert run(root, "second").returncode == 0
    assert sorted(path.name for path in (root / "data").iterdir()) == ["compose", "first", "hidden", "raw", "second"]


def test_a_failing_stage_leaves_the_old_artifact(root):
    assert run(root, "first").returncode == 0
    before = artifact.digest(root / "data/first")
    (root / "pipeline/stages/first.py").write_text(FIRST + "    \nrun_whole = run\ndef run(cfg, out, *, source):\n"
                                                   "    run_whole(cfg, out, source=source)\n    raise OSError(28, 'No space left', 'x')\n")  # fmt: skip
    done = run(root, "first")
    assert done.returncode == 1
    assert "No space left x: nothing was published" in done.stderr
    assert artifact.digest(root / "data/first") == before


def test_a_missing_or_partial_input_names_the_command(root):
    done = run(root, "second")
    assert done.returncode == 1
    assert "run dvc repro first" in done.stderr
    (root / "data/compose/config.yaml").unlink()
    assert "run dvc repro second which composes it first" in run(root, "second").stderr


def test_two_runs_of_one_stage_at_once_wait_for_each_other(root):
    slow = FIRST.replace("def run", "import time\n\ndef run").replace("    return", "    time.sleep(1)\n    return")
    (root / "pipeline/stages/first.py").write_text(slow)
    with ThreadPoolExecutor(2) as pool:
        began = time.monotonic()
        both = list(pool.map(lambda _: run(root, "first"), range(2)))
    assert [done.returncode for done in both] == [0, 0], both[0].stderr + both[1].stderr
    assert time.monotonic() - began >= 2
    assert artifact.damaged(root / "data/first") == []


def test_a_stage_that_holds_the_lock_too_long_is_named(tmp_path, monkeypatch):
    clock = iter(range(0, 10000, 40))
    monkeypatch.setattr(runner.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(runner.time, "sleep", lambda seconds: None)
    path = tmp_path / "train" / "lock"
    with runner._alone(path), pytest.raises(PersonError, match="another process runs the stage train"), runner._alone(path):
        pytest.fail("two held the lock")
    with runner._alone(path):
        pass


OTHER = {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}


def test_another_process_computes_where_the_stage_takes_many_and_does_not_publish(root):
    (root / "dvc.yaml").write_text(DVC + "    meta: {processes: many}\n")
    done = run(root, "second", **OTHER)
    assert done.returncode == 1  # its input is not there
    assert run(root, "first").returncode == 0
    (root / "pipeline/stages/second.py").write_text("def run(cfg, out, *, first):\n    return 'x'\n")
    done = run(root, "second", **OTHER)
    assert "process 1 of 2 is done" in done.stdout, done.stderr
    assert not (root / "data/second").exists()


def test_another_process_leaves_a_stage_alone_that_runs_on_one(root):
    (root / "pipeline/stages/first.py").write_text("raise AssertionError('imported')\n")
    done = run(root, "first", **OTHER)
    assert done.returncode == 0, done.stderr
    assert "runs on one process; process 1 of 2 has nothing to do" in done.stdout
    assert not (root / "data/first").exists()


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1", "SIGUSR2"])
def test_a_signal_ends_a_stage_and_nothing_is_published(root, name):
    assert run(root, "first").returncode == 0
    (root / "pipeline/stages/second.py").write_text(SECOND % "print('waiting', flush=True); import time; time.sleep(60)")
    with subprocess.Popen([sys.executable, "-m", "pipeline", "second"], cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True) as process:  # fmt: skip
        assert process.stdout.readline() == "waiting\n"
        process.send_signal(getattr(signal, name))
        _, said = process.communicate(timeout=30)
    assert process.returncode == 75
    assert said == f"interrupted by {name}: nothing was published; the same command continues\n"
    assert list((root / "data").glob("second*")) == []


def test_a_signal_while_an_artifact_is_published_leaves_it_whole(root):
    slow = FIRST.replace("    return", "    from pipeline.core import artifact\n    whole = artifact.publish\n\n    def publish(*words):\n"
                         "        import signal\n        signal.raise_signal(signal.SIGTERM)\n        return whole(*words)\n\n"
                         "    artifact.publish = publish\n    return")  # fmt: skip
    (root / "pipeline/stages/first.py").write_text(slow)
    done = run(root, "first")
    assert done.returncode == 0, done.stderr
    assert artifact.damaged(root / "data/first") == []


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is of Linux")
def test_a_stage_that_can_continue_is_asked_to_end_when_its_parent_dies(root):
    assert run(root, "first").returncode == 0
    (root / "pipeline/stages/second.py").write_text(SECOND % "import time; (scratch / 'up').touch(); time.sleep(60)")
    code = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-m', 'pipeline', 'second']); time.sleep(60)"
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=root, stderr=subprocess.PIPE, text=True)
    while not list((root / ".run/second").glob("*/up")):
        time.sleep(0.02)
    parent.kill()
    assert parent.communicate(timeout=30)[1] == "interrupted by SIGTERM: nothing was published; the same command continues\n"
    assert list((root / "data").glob("second*")) == []


def test_a_stage_that_opens_the_test_split_leaves_a_line_outside_its_artifact(root):
    assert run(root, "first").returncode == 0
    assert ledger.read(root).entries == [], "a stage that opens nothing leaves none"
    assert run(root, "second").returncode == 0
    before = artifact.digest(root / "data/second")
    (root / "dvc.yaml").write_text(DVC + "    meta: {opens: test}\n")
    assert run(root, "second").returncode == 0
    assert artifact.digest(root / "data/second") == before
    (root / "pipeline/stages/second.py").write_text(SECOND % "raise ValueError('late')")
    assert run(root, "second").returncode != 0
    assert run(root, "second", **OTHER).returncode == 0
    looks = ledger.read(root)
    assert [entry["stage"] for entry in looks.entries] == ["second", "second"], "one that failed has looked; another rank is no look"
    assert looks.models == 1
    assert looks.faults == []
    assert done_ledger_is_closed(root)


def done_ledger_is_closed(root):
    """A stage cannot read the ledger: it lies in the scratch, which is guarded."""
    (root / "pipeline/stages/second.py").write_text(SECOND % "open('.run/looks.jsonl').close()")
    return "opens .run/looks.jsonl, which dvc.yaml does not list" in run(root, "second").stderr


def test_only_declared_keys_reach_the_stage(root):
    stage = Stage("x", "", ("size", "code.first"), ("experiment",), {}, "data/x", {})
    cfg = runner.stage_config(root, stage)
    assert cfg == {"size": 2, "code": {"first": CONFIG["code"]["first"]}, "experiment": "a"}
    with pytest.raises(PersonError, match="'seed'"):
        cfg["seed"]


def test_help_of_a_stage_says_what_it_reads(root):
    done = subprocess.run([sys.executable, "-m", "pipeline", "first", "--help"], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0
    assert "the first toy" in done.stdout
    assert "publishes: data/first" in done.stdout


def test_an_unknown_word_names_the_nearest(root):
    done = run(root, "frist")
    assert done.returncode == 1
    assert done.stderr == "error: unknown command or stage 'frist': did you mean 'first'? (options: first, second)\n"


def test_outside_the_project_the_folder_is_named(root, tmp_path):
    (root / "dvc.yaml").unlink()
    done = run(root, "first")
    assert done.returncode == 1
    assert "there is no dvc.yaml in" in done.stderr
