"""Which folders are uploaded, and what a person hears when they cannot be."""

import shutil
import socket
from pathlib import Path

import pytest

from pipeline.command import sync
from pipeline.core.errors import PersonError
from pipeline.tracking import live
from tests.tracked_runs import inside, two_runs


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the folder of runs, in a directory of its own."""
    shutil.copytree(two_runs() / ".run", tmp_path / ".run")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    monkeypatch.delenv("WANDB_BASE_URL", raising=False)
    return tmp_path / ".run" / "wandb"


def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Put a package named wandb before the real one, whose `python -m wandb` runs the code."""
    (tmp_path / "shadow" / "wandb").mkdir(parents=True)
    (tmp_path / "shadow" / "wandb" / "__init__.py").touch()
    (tmp_path / "shadow" / "wandb" / "__main__.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "shadow"))


MARKS = "import sys, pathlib\nfor word in sys.argv[3:]:\n    next(pathlib.Path(word).glob('*.wandb')).with_suffix('.wandb.synced').touch()"


def test_what_is_uploaded_is_skipped_the_second_time(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stand_in(tmp_path, monkeypatch, MARKS)
    assert sync.main([]) == 0
    assert capsys.readouterr().out == "uploaded 4 folders (2 runs); 0 were on the server already\n"
    assert sync.main([]) == 0
    assert capsys.readouterr().out == "nothing to upload: 4 folders are on the server already\n"


def test_a_run_that_is_being_written_is_left_alone(runs: Path) -> None:
    file = live.hold(runs, "aaaa1111", patience=1)
    waiting, running, done = sync.sort_out(runs)
    assert (len(waiting), len(running), done) == (1, 3, 0)
    file.close()
    assert len(sync.sort_out(runs)[0]) == 4


def test_a_run_made_online_counts_only_when_it_was_cut_short(runs: Path) -> None:
    whole, *_ = sorted(runs.glob("offline-run-*"))
    whole.rename(whole.with_name(whole.name.removeprefix("offline-")))
    waiting, _, done = sync.sort_out(runs)
    assert (len(waiting), done) == (3, 1)
    cut = next(runs.glob("run-*/*.wandb"))
    cut.write_bytes(cut.read_bytes()[:-200])
    assert len(sync.sort_out(runs)[0]) == 4


def test_the_reason_of_a_failure_is_one_line(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(tmp_path, monkeypatch, "import sys; print('wandb: hello'); sys.exit('Error: No API key configured.')")
    with pytest.raises(
        PersonError, match=r"^4 of 4 folders were not uploaded \(No API key configured\.\); the same command continues$"
    ):
        sync.main([])


def test_a_hanging_upload_ends(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(tmp_path, monkeypatch, "import time; time.sleep(600)")
    with pytest.raises(PersonError, match="did not end within 1 s"):
        sync.main(["--timeout", "1"])


def test_no_server_is_said_at_once(runs: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(PersonError, match=f"no W&B server answers at http://127.0.0.1:{port}"):
        sync.main(["--url", f"http://127.0.0.1:{port}"])
    with pytest.raises(PersonError, match="must begin with http"):
        sync.main(["--url", "file:///etc/passwd"])


def test_nothing_to_do_and_wrong_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with inside(tmp_path):
        assert sync.main([]) == 0
    assert "make one with  dvc repro" in capsys.readouterr().out
    with pytest.raises(PersonError, match="--timeout must be above 0"):
        sync.main(["--timeout", "0"])
