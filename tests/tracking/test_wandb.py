"""The tracker fails, hangs, is absent or dies: the run goes on. Secrets stay here."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.core import redact as redaction
from pipeline.core.errors import PersonError
from pipeline.logger import wandb as subject
from pipeline.tracking import records
from tests.tracked_runs import tracker

CANARIES = {name: f"canary-{name}-7f3a9c41" for name in ("env", "config", "value", "argv", "stdout", "git", "proxy", "caption")}


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WANDB_MODE", raising=False)


def instead_of_wandb(folder: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Put a module named wandb before the real one, in the child's path."""
    (folder / "shadow").mkdir()
    (folder / "shadow" / "wandb.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(folder / "shadow"))


def drive(steps: int, **settings: object) -> tuple[float, float]:
    """Open, log and finish; return the seconds of all calls but the last, and of the last."""
    run = tracker(**settings)
    began = time.monotonic()
    run.open("abc", "name", {"lr": 0.1}, {})
    for step in range(steps):
        run.log(step, {"loss": 1.0})
    run.summary({"a": 1})
    logged = time.monotonic()
    run.finish()
    return logged - began, time.monotonic() - logged


def test_wandb_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    instead_of_wandb(tmp_path, monkeypatch, "raise ModuleNotFoundError(\"No module named 'wandb'\")")
    drive(3)
    said = capfd.readouterr().err
    assert said == (
        "warning: the tracker is off (ModuleNotFoundError: No module named 'wandb'); "
        "the run itself is whole, its numbers are in data/\n"
    )


def test_wandb_fails_at_init(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    instead_of_wandb(tmp_path, monkeypatch, "class Error(Exception): ...\nSettings = dict\ndef init(**_): raise Error('boom')")
    drive(3)
    assert "boom" in capfd.readouterr().err


def test_wandb_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    instead_of_wandb(tmp_path, monkeypatch, "import time; time.sleep(600)")
    logging, finishing = drive(20_000, timeout_seconds=1.0)
    assert logging < 10, "20,000 records must not wait for the tracker"
    assert 0.9 <= finishing < 4
    assert "did not end within 1 s" in capfd.readouterr().err


def test_wandb_killed_midway(capfd: pytest.CaptureFixture[str]) -> None:
    run = tracker()
    run.open("abc", "name", {}, {})
    run.log(0, {"loss": 1.0})
    os.kill(run._channel._child.pid, signal.SIGKILL)
    for step in range(1, 2000):
        run.log(step, {"loss": 1.0})
    run.finish()
    said = capfd.readouterr().err
    assert "killed (signal 9)" in said
    assert said.count("\n") == 1


def test_disabled_starts_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    drive(3, mode="online")
    assert not (tmp_path / ".run").exists()


def test_other_ranks_track_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    drive(3)
    assert not (tmp_path / ".run").exists()


@pytest.mark.parametrize("wrong", [{"mode": "onlin"}, {"project": ""}, {"timeout_seconds": 0.0}, {"images": -1}])
def test_wrong_settings(wrong: dict[str, object]) -> None:
    with pytest.raises(PersonError, match="received"):
        tracker(**wrong)


def test_an_unknown_mode_in_the_environment_is_offline(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_MODE", "onlnie")
    assert tracker()._mode() == "offline"
    assert "WANDB_MODE must be one of offline, online, disabled" in capfd.readouterr().err


def test_the_git_commit_is_found_and_nothing_is_where_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert subject.git_commit() == ""
    for words in (["init", "-q"], ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "--allow-empty", "-m", "x"]):
        subprocess.run(["git", *words], check=True)
    assert len(subject.git_commit()) == 40


CANARY_STAGE = """
import json, sys
from pathlib import Path
from pipeline.core import redact as redaction
from pipeline.logger import wandb as subject
c = json.loads(Path("canaries.json").read_text())
if Path("leaky").exists():
    subject.redact = lambda value, *_, **__: value
    subject.is_secret_name = lambda name: False
print("printed by the stage:", c["stdout"], flush=True)
run = subject.Wandb(project="tests", mode="offline", timeout_seconds=60.0, images=4)
run.open("abc", f"name {c['env']}", {"api_key": c["config"], "url": f"https://joe:{c['value']}@example.com", "note": c["env"],
                                       "argv": sys.argv}, {"remote": f"https://joe:{c['git']}@example.com/a.git"})
run.log(0, {"loss": 1.0})
run.table("t", ["a"], [[f"--token {c['caption']}"]])
run.summary({"said": f"password: {c['caption']}"})
run.finish()
"""


def leaked(folder: Path, how: str) -> set[str]:
    """Run a stage full of canaries; the names of those that are found in any file below .run/wandb."""
    folder.mkdir()
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    subprocess.run(["git", "remote", "add", "origin", f"https://joe:{CANARIES['git']}@example.com/a.git"], cwd=folder, check=True)
    environment = {
        **os.environ,
        "DB_PASSWORD": CANARIES["env"],
        "HTTPS_PROXY": f"http://joe:{CANARIES['proxy']}@127.0.0.1:1",
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    (folder / "canaries.json").write_text(json.dumps(CANARIES))
    (folder / how).touch()
    words = [sys.executable, "-c", CANARY_STAGE, "--api-key", CANARIES["argv"]]
    subprocess.run(words, cwd=folder, env=environment, check=True, capture_output=True)
    files = [path for path in (folder / ".run" / "wandb").rglob("*") if path.is_file()]
    assert any(path.suffix == ".wandb" for path in files), "the run itself must be there"
    contents = [path.read_bytes() for path in files]
    return {name for name, value in CANARIES.items() if any(value.encode() in content for content in contents)}


def test_no_canary_reaches_the_tracker_and_the_test_can_see_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert leaked(tmp_path / "leaky", "leaky") >= {"env", "config", "value", "git", "caption", "argv"}
    assert leaked(tmp_path / "tight", "tight") == set()


def test_the_child_is_handed_no_secret_but_its_own_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s" * 40)
    assert "WANDB_API_KEY" not in subject._environment(Path(), "offline")
    online = subject._environment(Path(), "online")
    assert online["WANDB_API_KEY"] == "k" * 40
    assert "AWS_SECRET_ACCESS_KEY" not in online
    assert not redaction.is_secret_name("WANDB_DIR")


def test_a_run_whose_owner_dies_is_closed_as_failed(tmp_path: Path) -> None:
    code = (
        "import os\nfrom tests.tracked_runs import tracker\nrun = tracker()\nrun.open('abc', 'n', {}, {})\n"
        "for step in range(5): run.log(step, {'loss': 1.0})\nimport time; time.sleep(4)\nos.kill(os.getpid(), 9)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    )
    assert done.returncode == -9
    (run,) = _wait_for_end(tmp_path / ".run" / "wandb")
    assert run.state == "failed"
    assert sorted(run.history) == [0, 1, 2, 3, 4]


def _wait_for_end(directory: Path) -> list[records.Run]:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        runs, _ = records.read_all(directory)
        if runs and runs[0].state != "unfinished":
            return runs
        time.sleep(0.3)
    return records.read_all(directory)[0]
