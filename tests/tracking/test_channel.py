"""The pipe never blocks, never fails its owner, and stays small."""

import json
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from pipeline.tracking.channel import Channel

ECHO = "import sys; open(sys.argv[1], 'w').write(sys.stdin.read())"


def child(code: str, *words: str, capacity: int = 2**20) -> Channel:
    return Channel([sys.executable, "-c", code, *words], os.environ, capacity=capacity)


def test_everything_arrives_in_order(tmp_path: Path) -> None:
    channel = child(ECHO, str(tmp_path / "got"))
    for number in range(5000):
        channel.send({"number": number, "text": "x" * 40})
    assert channel.close(20) == 0
    assert [json.loads(line)["number"] for line in (tmp_path / "got").read_text().splitlines()] == list(range(5000))
    assert (channel.problem, channel.dropped) == ("", 0)


def test_a_hanging_child_neither_blocks_nor_grows() -> None:
    channel = child("import time; time.sleep(600)", capacity=200_000)
    began = time.monotonic()
    slowest = 0.0
    for number in range(100_000):
        before = time.monotonic()
        channel.send({"step": number, "loss": 0.5})
        slowest = max(slowest, time.monotonic() - before)
    assert time.monotonic() - began < 10
    assert slowest < 0.5
    assert channel._waiting <= 200_000
    assert channel.dropped > 50_000
    pid, began = channel._child.pid, time.monotonic()
    assert channel.close(0.5) is None or channel.problem
    assert time.monotonic() - began < 3
    assert "did not end within 0.5 s" in channel.problem
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_killed_child_is_noticed_and_harmless() -> None:
    channel = child("import sys, time\nfor line in sys.stdin: time.sleep(0.01)")
    channel.send({"a": 1})
    os.kill(channel._child.pid, signal.SIGKILL)
    channel._child.wait()
    for _ in range(10):
        channel.send({"a": 2})
    assert channel.problem == "its process ended"
    channel.close(1)
    assert channel.problem == "its process was killed (signal 9)"


def test_last_words_and_exit_code() -> None:
    channel = child("import sys; sys.stdin.read(); sys.stderr.write('first\\nModuleNotFoundError: no wandb\\n\\n'); sys.exit(7)")
    assert channel.close(20) == 7
    assert channel.said == "ModuleNotFoundError: no wandb"


def test_a_child_that_cannot_start(tmp_path: Path) -> None:
    channel = Channel([str(tmp_path / "absent")], {})
    channel.send({"a": 1})
    assert channel.close(1) is None
    assert "did not start" in channel.problem
