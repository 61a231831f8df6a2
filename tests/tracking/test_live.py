"""A lock that lives as long as its process."""

import subprocess
import sys
import time
from pathlib import Path

from pipeline.tracking import live


def test_held_and_released(tmp_path: Path) -> None:
    assert not live.is_live(tmp_path, "abc")
    file = live.hold(tmp_path, "abc", patience=1)
    assert live.is_live(tmp_path, "abc")
    assert not live.is_live(tmp_path, "other")
    file.close()
    assert not live.is_live(tmp_path, "abc")


def test_it_dies_with_its_process_and_patience_ends(tmp_path: Path) -> None:
    code = (
        f"import sys, time\nfrom pathlib import Path\nfrom pipeline.tracking import live\n"
        f"file = live.hold(Path({str(tmp_path)!r}), 'abc', patience=1)\nprint('held', flush=True)\ntime.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]) as other:
        other.stdout.readline()
        assert live.is_live(tmp_path, "abc")
        began = time.monotonic()
        live.hold(tmp_path, "abc", patience=0.3).close()
        assert 0.3 <= time.monotonic() - began < 2
        other.kill()
        other.wait()
    assert not live.is_live(tmp_path, "abc")
