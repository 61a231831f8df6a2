"""The pool: same results in the same order however many workers; a file that kills, hangs or bloats a worker is refused alone."""

import os
import resource
import signal
import subprocess
import sys
import time
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.images import decoding
from pipeline.images import pool as module
from pipeline.images.decode import Decoder, sample_id
from pipeline.images.decoding import Refused, Taken
from pipeline.images.geometry import Request
from pipeline.images.pool import DecodePool

SETTINGS = {"height": 12, "width": 10, "channels": 3, "fit": "stretch", "min_side": 4, "max_pixels": 10**9,
            "sixteen_bit": "reject", "background": 255}  # fmt: skip


def encoded(number, *, size=(20, 30), kind="PNG"):
    buffer = BytesIO()
    Image.fromarray(np.random.default_rng(number).integers(0, 256, (*size, 3), dtype=np.uint8)).save(buffer, kind)
    return buffer.getvalue()


def through(work, *, seconds=5.0, memory_mb=600, workers=2):
    with DecodePool(SETTINGS, seconds=seconds, memory_mb=memory_mb, workers=workers) as pool:
        return list(pool.in_order(work))


@pytest.mark.parametrize("workers", [1, 3])
def test_results_keep_the_order_and_equal_those_of_one_process(workers):
    work = []
    for number in range(150):
        kind = number % 5
        data = {0: None, 1: Request(b""), 2: Request(np.full((9, 9, 1), number, np.uint8))}.get(kind, Request(encoded(number)))
        work.append((number, data))
    found = through(iter(work), workers=workers)
    assert [number for number, _ in found] == list(range(150))
    decoder = Decoder(**SETTINGS)
    for (_, request), (_, outcome) in zip(work, found, strict=True):
        if request is None:
            assert outcome is None
        elif isinstance(request.data, bytes) and not request.data:
            assert outcome == Refused("empty file (0 bytes)")
        else:
            expected = decoder.decode_all(request).pixels_HWC
            assert np.array_equal(outcome.decoded.pixels_HWC, expected)
            assert outcome.id == sample_id(expected)


def test_masks_boxes_and_keypoints_come_back():
    buffer = BytesIO()
    Image.fromarray(np.arange(600, dtype=np.uint8).reshape(20, 30)).save(buffer, "PNG")
    request = Request(encoded(1), None, buffer.getvalue(), ((0.0, 0.0, 15.0, 10.0, 3),), ((30.0, 20.0),))
    (_, found), (_, plain) = through([(0, request), (1, Request(encoded(2)))])
    expected = Decoder(**SETTINGS).decode_all(request)
    assert np.array_equal(found.decoded.mask_HW, expected.mask_HW)
    assert found.decoded.boxes == expected.boxes == ((0.0, 0.0, 5.0, 6.0, 3),)
    assert found.decoded.keypoints == ((10.0, 12.0),)
    assert plain.decoded.mask_HW is None


def test_decoded_pixels_alone_start_no_process():
    with DecodePool(SETTINGS, seconds=5, memory_mb=500) as pool:
        found = list(pool.in_order((n, Request(np.full((12, 10, 3), n, np.uint8))) for n in range(70)))
        assert not pool._crew
    assert [outcome.decoded.pixels_HWC[0, 0, 0] for _, outcome in found] == list(range(70))


def planted():
    """A decoder that misbehaves over files that begin with a word; workers fork from a server that has it not, so it is sent."""

    class Planted(Decoder):
        def decode_all(self, request, room_N=None):
            word = bytes(request.data[:5])
            if word == b"CRASH":
                os.kill(os.getpid(), signal.SIGSEGV)
            if word == b"SPINS":
                while True:
                    pass
            if word == b"SLEEP":
                time.sleep(100)
            if word == b"BLOAT":
                return np.ones(900 << 20, np.uint8)
            return super().decode_all(request, room_N)

    return Planted


@pytest.fixture
def misbehaving(monkeypatch):
    """Workers that are plain forks of this process, so that they have the planted decoder."""
    from multiprocessing import get_context

    monkeypatch.setattr(decoding, "Decoder", planted())
    fork = get_context("fork")
    monkeypatch.setattr(module, "_context", lambda: fork)
    monkeypatch.setattr(module, "PATIENCE", 2)


@pytest.mark.parametrize(
    ("word", "line"),
    [
        (b"CRASH", "the decoder died of it (SIGSEGV): the file is damaged, or asks for too much memory"),
        (b"SPINS", "decoding takes longer than ingest.decode_seconds = 0.5"),
        (b"SLEEP", "decoding takes longer than ingest.decode_seconds = 0.5"),
        (b"BLOAT", "decoding needs more memory than ingest.decode_memory_mb: make the image smaller, or raise the limit"),
    ],
)
def test_a_file_that_takes_its_worker_down_is_refused_alone(misbehaving, word, line):
    work = [(number, Request(word + b"x" if number == 7 else encoded(number))) for number in range(40)]
    began = time.monotonic()
    found = through(work, seconds=0.5, memory_mb=400)
    assert time.monotonic() - began < 20
    assert found[7][1] == Refused(line, lasting=False)
    assert all(isinstance(outcome, Taken) for number, outcome in found if number != 7)


def test_several_bad_files_in_a_row_do_not_exhaust_the_pool(misbehaving):
    work = [(number, Request(b"CRASH" if number % 3 == 0 else encoded(number))) for number in range(20)]
    found = through(work, seconds=0.5)
    assert [isinstance(outcome, Refused) for _, outcome in found] == [number % 3 == 0 for number in range(20)]


def test_a_real_image_that_needs_more_memory_than_the_limit_is_refused_and_the_parent_has_no_limit():
    buffer = BytesIO()
    Image.new("RGB", (5000, 5000)).save(buffer, "PNG", compress_level=1)
    before = resource.getrlimit(resource.RLIMIT_AS)
    found = through([(0, Request(buffer.getvalue())), (1, Request(encoded(1)))], memory_mb=40)
    assert isinstance(found[0][1], Refused)
    assert "memory" in found[0][1].reason
    assert isinstance(found[1][1], Taken)
    assert resource.getrlimit(resource.RLIMIT_AS) == before


def test_a_temporary_folder_with_a_long_name_is_no_obstacle(tmp_path):
    """A socket's path has at most 107 bytes, and the temporary folder of a stage may be gone when the process ends."""
    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from test_pool import *\n"
        "if __name__ == '__main__': print(len(through([(0, Request(encoded(0)))]))); __import__('shutil').rmtree(sys.argv[2])"
    )
    (tmp_path / "run.py").write_text(code)
    root = Path(module.__file__).resolve().parents[2]
    environment = {**os.environ, "TMPDIR": str(folder), "PYTHONPATH": str(root)}
    words = [sys.executable, str(tmp_path / "run.py"), str(Path(__file__).parent), str(folder)]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=100)
    assert (done.stdout.split(), done.stderr) == (["1"], "")


def test_one_worker_does_for_a_few_files_and_large_ones_travel_too(monkeypatch):
    monkeypatch.setattr(module, "CHUNK_BYTES", 5000)  # most of the files below are larger than that, or fill it
    work = [(number, Request(encoded(number, size=(20, 30 + 40 * (number % 3))))) for number in range(12)]
    assert len({len(request.data) > 5000 for _, request in work}) == 2
    with DecodePool(SETTINGS, seconds=5, memory_mb=600, workers=2) as pool:
        assert next(pool.in_order(work[:1]))[1].id == sample_id(Decoder(**SETTINGS).decode(work[0][1].data))
        assert len(pool._crew) == 1
        found = list(pool.in_order(work))
    decoder = Decoder(**SETTINGS)
    assert [outcome.id for _, outcome in found] == [sample_id(decoder.decode(request.data)) for _, request in work]


def test_the_work_is_taken_as_results_are_and_not_all_at_once():
    taken = 0

    def work():
        nonlocal taken
        for number in range(2000):
            taken += 1
            yield number, Request(encoded(number % 10))

    with DecodePool(SETTINGS, seconds=5, memory_mb=600, workers=1) as pool:
        results = pool.in_order(work())
        for number in range(50):
            assert next(results)[0] == number
        assert taken <= 32 * 5
        results.close()


def test_a_script_without_a_guard_is_told_so(tmp_path):
    lines = [
        "from pipeline.images.geometry import Request",
        "from pipeline.images.pool import DecodePool",
        f"with DecodePool({SETTINGS!r}, seconds=2, memory_mb=600) as pool:",
        "    list(pool.in_order([(0, Request(b'x'))]))",
    ]
    (tmp_path / "script.py").write_text("\n".join(lines))
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    words = [sys.executable, str(tmp_path / "script.py")]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "ended while it started: what it said stands above. A script needs  if __name__ == '__main__':" in done.stderr
