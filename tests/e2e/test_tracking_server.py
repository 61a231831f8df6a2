"""Online mode, sync and the resume of one run against a real W&B-compatible server on loopback.

The server is PyPI's `openwandb` (CC-BY-NC: for tests alone, in an environment of its own, never a dependency), bound to
127.0.0.1 with a data directory of its own. Its database says what really arrived; it appends whatever is sent, so a step that
is uploaded twice shows.
"""

import os
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
import venv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipeline.command import sync
from pipeline.core.errors import PersonError
from tests.tracked_runs import publish_all, tracker

pytestmark = [pytest.mark.slow, pytest.mark.e2e, pytest.mark.timeout(900)]
ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = ROOT / ".run" / "openwandb-venv"
KEY = "local" + "0" * 40  # the server's documented key of a fresh data directory


@dataclass(frozen=True)
class Server:
    url: str
    database: Path

    def ask(self, query: str, *values: str) -> list[tuple]:
        connection = sqlite3.connect(self.database)
        try:
            return connection.execute(query, values).fetchall()
        finally:
            connection.close()

    def steps(self, run_id: str, key: str = "loss") -> list[int]:
        """Steps of one metric in the order in which they arrived."""
        return [step for (step,) in self.ask("select step from metrics where run_id = ? and key = ? order by id", run_id, key)]


@pytest.fixture(scope="module")
def program() -> Path:
    """The server's command, installed once into a cached environment."""
    command = ENVIRONMENT / "bin" / "openwandb"
    if not command.is_file():
        venv.create(ENVIRONMENT, with_pip=True, clear=True)
        words = [str(ENVIRONMENT / "bin" / "python"), "-m", "pip", "install", "--quiet", "openwandb>=0.5.25,<0.6"]
        done = subprocess.run(words, capture_output=True, text=True, timeout=600)
        if done.returncode:
            pytest.skip(f"pip cannot install openwandb here: {done.stderr.strip().splitlines()[-1]}")
    return command


@pytest.fixture(scope="module")
def server(program: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [
        str(program),
        "serve",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--data-dir",
        str(folder),
        "--log-level",
        "warning",
    ]
    with (folder / "log").open("w") as log, subprocess.Popen(words, stdout=log, stderr=log) as process:
        try:
            url = f"http://127.0.0.1:{port}"
            _wait(url, process)
            yield Server(url, folder / "openwandb.db")
        finally:
            process.terminate()
            process.wait(20)


def _wait(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(url + "/login", timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.3)
    pytest.fail("the server did not start")


@pytest.fixture
def online(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("WANDB_BASE_URL", server.url)
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_MODE", "online")
    return server


def train(run_id: str, first: int, last: int) -> None:
    run = tracker()
    run.open(run_id, f"run {run_id}", {"lr": 0.1, "api_key": "canary-config-5521"}, {"inputs": {"ingest": "abc"}})
    for step in range(first, last):
        run.log(step, {"loss": 1.0 / (step + 1), "lr": 0.1})
    run.finish()


def test_online_a_resumed_run_continues_with_monotone_steps(
    online: Server, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    train("online01", 0, 20)
    train("online01", 12, 40)
    directories = publish_all(tmp_path / "data", lr=0.1, auroc=0.87, steps=40)
    tracker().finish_report(directories, "online01")
    assert capfd.readouterr().err == ""
    assert online.steps("online01") == list(range(40)), "each step once, in order, over a kill and a resume"
    ((name, state, summary, config),) = online.ask(
        "select display_name, state, summary_json, config_json from runs where run_id = ?", "online01"
    )
    assert (name, state) == ("run online01", "finished")
    assert '"headline_metric": "auroc"' in summary
    assert "canary-config-5521" not in config
    files = {name for (name,) in online.ask("select name from files where run_id = ?", "online01")}
    assert sum(name.endswith(".png") for name in files) == 4
    assert any("confusion_table" in name for name in files)
    assert sync.sort_out(Path(".run/wandb"))[0] == [], "what went online needs no sync"


def test_offline_runs_are_synced_once(online: Server, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    train("offline1", 0, 10)
    train("offline1", 6, 16)
    train("offline2", 0, 5)
    assert online.ask("select run_id from runs where run_id like 'offline%'") == [], "offline, nothing may arrive"
    assert sync.main([]) == 0
    assert "uploaded 3 folders (2 runs)" in capfd.readouterr().out
    assert online.steps("offline1") == list(range(16))
    assert online.steps("offline2") == list(range(5))
    assert sync.main([]) == 0
    assert "nothing to upload: 3 folders" in capfd.readouterr().out
    assert online.steps("offline1") == list(range(16))
    train("offline1", 16, 20)
    assert sync.main([]) == 0
    assert online.steps("offline1") == list(range(20)), "what is new is added, and nothing is sent twice"


def test_the_command_uploads_and_names_a_wrong_key_in_one_line(online: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    train("command1", 0, 5)
    words = [sys.executable, "-m", "pipeline", "sync"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    wrong = subprocess.run(words, capture_output=True, text=True, env={**environment, "WANDB_API_KEY": "short"})
    assert wrong.returncode == 1
    assert wrong.stderr.count("\n") == 1
    assert "API key" in wrong.stderr
    right = subprocess.run(words, capture_output=True, text=True, env=environment)
    assert (right.returncode, right.stderr) == (0, "")
    assert online.steps("command1") == list(range(5))


def test_a_server_that_is_gone_leaves_the_run_here(
    online: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    began = time.monotonic()
    train("gone0001", 0, 10)
    assert time.monotonic() - began < 70
    said = capfd.readouterr().err
    assert said.count("\n") == 1
    assert "W&B could not be reached" in said
    with pytest.raises(PersonError, match="no W&B server answers"):
        sync.main([])
    assert sync.main(["--url", online.url]) == 0
    assert online.steps("gone0001") == list(range(10))
