"""A listed folder is whole while its files are as they were; a changed one is found by its times, or by its bytes when asked."""

import os

import pytest
import xxhash

from pipeline.core import listed
from pipeline.core.shard_files import settled

LONG_AGO = (1.6e9, 1.6e9)


@pytest.fixture
def folder(tmp_path):
    found = tmp_path / "items/key"
    (found / "shards").mkdir(parents=True)
    for name in ("a.npy", "shards/b"):
        (found / name).write_bytes(name.encode())
        os.utime(found / name, LONG_AGO)
    listed.note(found)
    return found


def write(path, content, times=None):
    path.write_bytes(content)
    if times:
        os.utime(path, times)


def test_it_holds_the_hash_of_every_file(folder):
    assert listed.whole(folder) == {name: xxhash.xxh3_64(name.encode()).intdigest() for name in ("a.npy", "shards/b")}
    assert list(listed.rotten(folder.parent)) == []


def test_a_hash_that_is_known_is_not_taken_again(folder):
    listed.note(folder, {"a.npy": 1})
    assert listed.whole(folder)["a.npy"] == 1
    assert list(listed.rotten(folder.parent)) == [(folder, ["a.npy"])]


@pytest.mark.parametrize("harm", [
    lambda folder: write(folder / "a.npy", b"a.npz"),
    lambda folder: write(folder / "shards/b", b""),
    lambda folder: (folder / "shards/b").unlink(),
    lambda folder: [(folder / "a.npy").unlink(), (folder / "a.npy").mkdir()],
    lambda folder: (folder / listed.SUMS).unlink(),
    lambda folder: write(folder / listed.SUMS, b'{"a.npy": [1'),
    lambda folder: write(folder / listed.SUMS, b'{"a.npy": 1}'),
    lambda folder: write(folder / listed.SUMS, b"[1]"),
    lambda folder: write(folder / listed.SUMS, b'{"a.npy": [Infinity, []]}'),
], ids=["flip", "empty", "gone", "a folder", "no list", "cut list", "other list", "no object", "no number"])  # fmt: skip
def test_whatever_changed_is_not_whole(folder, harm):
    harm(folder)
    assert listed.whole(folder) is None


def test_other_times_and_the_same_bytes_are_whole(folder):
    write(folder / "a.npy", b"a.npy")
    assert listed.whole(folder) is not None


def test_a_change_behind_the_times_is_found_by_the_bytes_alone(folder):
    write(folder / "a.npy", b"a.npz", LONG_AGO)
    assert listed.whole(folder) is not None
    assert list(listed.rotten(folder.parent)) == [(folder, ["a.npy"])]


@pytest.mark.parametrize(("fraction", "age", "believed"), [
    (0, 1.0, False), (0, 1.9, False), (0, 2.1, True),  # a file system that may know whole seconds alone, or every second one
    (4_000_000, 0.05, False), (4_000_000, 0.2, True), (1, 1.0, True), (0, -1.0, False), (1, -1.0, False),
])  # fmt: skip
def test_a_time_is_believed_once_no_later_change_could_bear_it(tmp_path, monkeypatch, fraction, age, believed):
    path = tmp_path / "shard"
    path.write_bytes(b"it")
    changed = 1_700_000_000 * 10**9 + fraction
    os.utime(path, ns=(changed, changed))
    monkeypatch.setattr("pipeline.core.shard_files.time.time_ns", lambda: changed + int(age * 1e9))
    assert settled(path) == ([2, changed, path.stat().st_ino] if believed else [])


def test_a_damaged_list_is_rotten_itself(folder):
    write(folder / listed.SUMS, b"{")
    assert list(listed.rotten(folder.parent)) == [(folder, [listed.SUMS])]
