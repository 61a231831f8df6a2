"""Mutated images and archives: the parent lives, nothing is written outside, nothing hangs, memory stays bounded.

A few hundred in `make test`, twenty thousand in `make test-all`. Input number n is the same bytes everywhere: a failure names it.
"""

import os
import tarfile
import time
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from pipeline.core.errors import PersonError
from pipeline.images.geometry import Request
from pipeline.images.pool import DecodePool, Refused, Taken
from pipeline.source.archive import unpack
from tests.bad_inputs.run import tree
from tests.fuzz.mutations import archives, images, mutated

COUNTS = [pytest.param(400), pytest.param(20_000, marks=[pytest.mark.slow, pytest.mark.timeout(3600)])]
DECODER = {"height": 16, "width": 16, "channels": 3, "fit": "stretch", "min_side": 4, "max_pixels": 10**6, "sixteen_bit": "scale",
           "background": 255, "max_aspect": 20.0}  # fmt: skip
LIMITS = {"max_members": 50, "max_bytes": 200_000, "max_file_bytes": 100_000, "max_ratio": 100.0}
SECONDS = 5.0  # that one input may take
GROWTH = 200 << 20  # bytes that the parent may grow by


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def children() -> set[int]:
    return {int(pid) for pid in Path("/proc/self/task", str(os.getpid()), "children").read_text().split()}


@pytest.fixture
def canary(tmp_path):
    """A folder beside the work; whatever escapes upwards from the work would be seen in it or beside it."""
    folder = tmp_path / "canary"
    folder.mkdir()
    (folder / "kept.txt").write_text("kept")
    before = tree(tmp_path)

    def unchanged() -> bool:
        return tree(tmp_path) == before

    return unchanged


@pytest.mark.multi
@pytest.mark.parametrize("count", COUNTS)
def test_mutated_images(count, canary):
    before, seen = resident(), Counter()
    with DecodePool(DECODER, seconds=2.0, memory_mb=300, workers=2) as pool:
        work = ((number, Request(mutated(number, images()))) for number in range(count))
        expected = 0
        for number, result in pool.in_order(work):
            assert number == expected
            expected += 1
            assert isinstance(result, Taken | Refused), f"input {number}: {result!r}"
            seen[type(result).__name__] += 1
            if isinstance(result, Taken):
                pixels = result.decoded.pixels_HWC
                assert (pixels.shape, pixels.dtype) == ((16, 16, 3), np.uint8), f"input {number}"
            else:
                assert 0 < len(result.reason) < 400, f"input {number}: {result.reason!r}"
                assert "\n" not in result.reason, f"input {number}: {result.reason!r}"
    assert expected == count
    assert seen["Refused"] > 0.2 * count  # the mutations do harm
    assert seen["Taken"] > 0.05 * count  # and not to everything
    assert resident() - before < GROWTH
    assert canary()


@pytest.mark.parametrize("count", COUNTS)
def test_mutated_archives(count, canary, tmp_path):
    names, seeds = zip(*archives(), strict=True)
    before, seen, slowest = resident(), Counter(), 0.0
    for number in range(count):
        work = tmp_path / "work"
        work.mkdir()
        packed = work / names[number % len(names)]
        packed.write_bytes(mutated(number, list(seeds)))
        began = time.process_time()
        try:
            files = unpack(packed, work / "out", **LIMITS)
        except PersonError as error:
            assert not os.path.lexists(work / "out"), f"input {number} left a folder"
            line = " ".join(str(error).split())
            assert names[number % len(names)] in line, f"input {number}: {line}"
            assert len(line) < 1500, f"input {number}: {line}"
            seen["refused"] += 1
        else:
            _assert_safe(work / "out", files, number)
            seen["unpacked"] += 1
        assert {path.name for path in work.iterdir()} <= {packed.name, "out"}, f"input {number} left something"
        slowest = max(slowest, time.process_time() - began)
        _remove(work)
    assert canary()
    assert slowest < SECONDS
    assert resident() - before < GROWTH
    assert seen["refused"] > 0.2 * count
    assert seen["unpacked"] > 0.02 * count


def _assert_safe(out: Path, files: int, number: int) -> None:
    """Regular files and folders alone, no more than the limits, without special modes."""
    found = [path for path in out.rglob("*") if not path.is_dir() or path.is_symlink()]
    assert len(found) == files, f"input {number}"
    for path in found:
        status = os.lstat(path)
        assert path.is_file(), f"input {number}: {path}"
        assert not path.is_symlink(), f"input {number}: {path}"
        assert (status.st_mode & 0o7777, status.st_nlink) == (0o644, 1), f"input {number}: {path}"
        assert status.st_size <= LIMITS["max_file_bytes"], f"input {number}: {path}"
    assert sum(os.lstat(path).st_size for path in found) <= LIMITS["max_bytes"], f"input {number}"


def _remove(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    folder.rmdir()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_canary_sees_what_the_standard_library_lets_through(canary, tmp_path):
    """The check itself is checked: the seeds do escape where `extractall` trusts them."""
    for name in ("u.tar", "l.tar", "c.zip"):
        assert canary()
        data = dict(archives())[name]
        work = tmp_path / "work"
        work.mkdir()
        (work / name).write_bytes(data)
        if name.endswith(".zip"):
            with zipfile.ZipFile(work / name) as file:  # zipfile drops the `..`; written by hand, it goes outside
                for info in file.infolist():
                    if not info.is_dir():
                        target = Path(os.path.normpath(work / info.orig_filename))
                        target.parent.mkdir(exist_ok=True)
                        target.write_bytes(file.read(info))
        else:
            with tarfile.open(work / name) as file:
                file.extractall(work, filter="fully_trusted")
        _remove(work)
        assert not canary(), f"{name} did not escape"
        (tmp_path / "canary" / "evil.txt").unlink()
