"""What is kept of samples is found where they stand now, only new ones are looked at, and only their rows are written."""

import numpy as np
import pytest

from pipeline.core.record import Sample
from pipeline.core.store import open_samples, write_shards
from pipeline.findings import items
from pipeline.findings.items import gather
from pipeline.findings.rows import Rows

IMAGES = np.random.default_rng(0).integers(0, 256, (12, 9, 8, 1), dtype=np.uint8)


def stored(folder, numbers):
    write_shards(folder, [Sample(id=f"x{number}", pixels_HWC=IMAGES[number]) for number in numbers])
    return open_samples(folder)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([0, 1, 2], [0, 1, 2]),
        ([0, 1, 2], [9, 0, 1, 2]),  # a new one before the first
        ([0, 1, 2, 3], [0, 8, 1, 3, 9]),
        ([0, 1, 2, 3], [3, 2, 1, 0]),
        ([0, 1, 2, 3], [8, 9, 10]),
        ([5], [4, 5, 6, 7, 8]),
    ],
)
def test_rows_are_those_of_a_run_that_knows_nothing(tmp_path, before, after):
    gather(stored(tmp_path / "before", before), tmp_path / "kept", {})
    samples = stored(tmp_path / "after", after)
    found = gather(samples, tmp_path / "kept", {})
    fresh = gather(samples, tmp_path / "fresh", {})
    assert found.computed == len(set(after) - set(before))
    assert fresh.computed == len(after)
    assert np.array_equal(found.small_N[:], fresh.small_N[:])
    assert np.array_equal(found.thumb_NTT[:], fresh.thumb_NTT[:])
    assert {name: values.tolist() for name, values in found.measures.items()} == {
        name: values.tolist() for name, values in fresh.measures.items()
    }


def test_other_code_knows_nothing(tmp_path):
    samples = stored(tmp_path / "samples", range(4))
    gather(samples, tmp_path / "kept", {"modules": "one"})
    assert gather(samples, tmp_path / "kept", {"modules": "two"}).computed == 4


def parts(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.npy")}


def equal(one, other):
    return np.array_equal(one.small_N[:], other.small_N[:]) and np.array_equal(one.measures["noise"], other.measures["noise"])


def test_a_run_writes_what_is_new_and_nothing_else(tmp_path):
    gather(stored(tmp_path / "one", range(6)), tmp_path / "kept", {})
    before = parts(tmp_path / "kept")
    gather(stored(tmp_path / "two", [7, *range(6)]), tmp_path / "kept", {})
    after = parts(tmp_path / "kept")
    assert {name: after[name] for name in before} == before
    assert len(after) == 2 * len(before)
    gather(stored(tmp_path / "three", [7, *range(6)]), tmp_path / "kept", {})
    assert parts(tmp_path / "kept") == after


@pytest.mark.parametrize(("after", "computed"), [(range(5, 9), 3), (range(6, 10), 4), ([1, 2], 0)])
def test_rows_of_samples_that_are_gone_do_not_stay_for_ever(tmp_path, after, computed):
    gather(stored(tmp_path / "one", range(6)), tmp_path / "kept", {})
    samples = stored(tmp_path / "two", after)
    found = gather(samples, tmp_path / "kept", {})
    assert found.computed == computed
    (ids,) = (tmp_path / "kept").rglob("ids.npy")
    assert np.load(ids).tolist() == samples.ids
    assert equal(found, gather(samples, tmp_path / "fresh", {}))


def test_many_parts_become_one(tmp_path, monkeypatch):
    monkeypatch.setattr(items, "PARTS", 3)
    counts = []
    for number in range(1, 8):
        samples = stored(tmp_path / str(number), range(number))
        found = gather(samples, tmp_path / "kept", {})
        counts.append(len(list((tmp_path / "kept").rglob("ids.npy"))))
        assert found.computed == 1
    assert counts == [1, 2, 3, 1, 2, 3, 1]
    assert equal(found, gather(samples, tmp_path / "fresh", {}))


@pytest.mark.parametrize("name", ["ids", "measures", "small", "thumbs"])
@pytest.mark.parametrize("harm", ["cut", "gone", "flip"])
def test_a_part_that_is_not_whole_is_looked_at_anew(tmp_path, name, harm):
    gather(stored(tmp_path / "one", range(6)), tmp_path / "kept", {})
    samples = stored(tmp_path / "two", range(8))
    gather(samples, tmp_path / "kept", {})
    (file,) = (tmp_path / "kept").glob(f"*/0/{name}.npy")
    if harm == "cut":
        file.write_bytes(file.read_bytes()[:-1])
    elif harm == "flip":
        content = file.read_bytes()
        file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    else:
        file.unlink()
    found = gather(samples, tmp_path / "kept", {})
    assert found.computed == 6
    assert equal(found, gather(samples, tmp_path / "fresh", {}))


def test_what_a_killed_run_left_is_not_believed(tmp_path, monkeypatch):
    gather(stored(tmp_path / "one", range(6)), tmp_path / "kept", {})
    samples = stored(tmp_path / "two", range(9))
    with monkeypatch.context() as patch:
        patch.setattr(items.phash, "small", lambda grey: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            gather(samples, tmp_path / "kept", {})
    found = gather(samples, tmp_path / "kept", {})
    assert found.computed == 3
    assert equal(found, gather(samples, tmp_path / "fresh", {}))


def test_rows_are_read_like_those_of_an_array():
    arrays = [np.arange(12).reshape(4, 3), 100 + np.arange(6).reshape(2, 3)]
    rows = Rows(arrays, np.array([1, 0, 0, 1]), np.array([1, 3, 0, 0]))
    whole = np.array([[103, 104, 105], [9, 10, 11], [0, 1, 2], [100, 101, 102]])
    assert (len(rows), rows.shape) == (4, whole.shape)
    for which in (2, np.int64(3), slice(1, 3), slice(None), np.array([3, 3, 0]), np.zeros(0, np.int64)):
        assert np.array_equal(rows[which], whole[which])
