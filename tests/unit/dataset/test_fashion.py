"""Fashion-MNIST: where it is found, its splits, and the published set where it is installed."""

import gzip
import struct
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from pipeline.core.errors import PersonError
from pipeline.dataset import fashion
from pipeline.dataset.fashion import FILES, INSTALLED, Fashion

PLAIN = {"limit": 0, "test_limit": 0, "train_fraction": 0.9}
installed = pytest.mark.skipif(not (INSTALLED / f"{FILES[0]}.gz").is_file(), reason="dataset-fashion-mnist is not installed")


def put(folder, name, values):
    content = struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape) + values.tobytes()
    (folder / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(fashion, "INSTALLED", tmp_path / "absent")
    rng = np.random.default_rng(0)
    for place, count in ((0, 100), (2, 40)):
        put(tmp_path, FILES[place] + ".gz" * (place == 0), rng.integers(0, 256, (count, 28, 28), dtype=np.uint8))
        put(tmp_path, FILES[place + 1] + ".gz" * (place == 2), np.arange(count, dtype=np.uint8) % 10)
    return tmp_path


def test_the_official_files_are_read_from_the_source_packed_or_not(folder):
    found = Fashion(source=folder, **PLAIN)
    entries = list(found.entries())
    assert Counter(entry.given for entry in entries) == {"train": 90, "val": 10, "test": 40}
    assert [entries[0].name, entries[-1].name] == ["train-00000", "test-00039"]
    assert {entry.name for entry in entries if entry.given == "val"} == {f"train-{number:05d}" for number in range(90, 100)}
    assert entries[5].read().shape == (28, 28, 1)
    assert "subset" not in found.card()["source"]


def test_limits_are_balanced_and_stated(folder):
    found = Fashion(source=folder, limit=40, test_limit=20, train_fraction=0.5)
    assert Counter((entry.given, entry.label) for entry in found.entries()) == {
        (given, label): 2 for given in ("train", "val", "test") for label in range(10)}  # fmt: skip
    assert found.card()["source"].endswith("; a subset of 60 of 70,000 images")


def test_what_is_missing_or_wrong_is_one_line(folder, tmp_path):
    with pytest.raises(
        PersonError, match=r"Fashion-MNIST is not installed: run  apt-get install dataset-fashion-mnist  or put the four"
    ):
        Fashion(source=tmp_path / "nowhere", **PLAIN).card() and len(Fashion(source=tmp_path / "nowhere", **PLAIN))
    (folder / FILES[2]).unlink()
    with pytest.raises(PersonError, match=r"lacks t10k-images-idx3-ubyte \(.gz\): add the official files"):
        len(Fashion(source=folder, **PLAIN))
    put(folder, FILES[2], np.zeros((40, 20, 28), dtype=np.uint8))
    with pytest.raises(PersonError, match=r"holds images of 20 x 28 pixels with labels up to 9: expected 28 x 28 and 9"):
        len(Fashion(source=folder, **PLAIN))


@pytest.mark.parametrize("change", [{"limit": -1}, {"test_limit": -1}, {"train_fraction": 0.0}, {"train_fraction": 1.0}])
def test_ranges(change):
    with pytest.raises(ValueError, match="received"):
        Fashion(source=Path("none"), **{**PLAIN, **change})


@installed
def test_the_published_set():
    found = Fashion(source=Path("nowhere"), **PLAIN)
    entries = list(found.entries())
    assert len(entries) == 70_000
    assert Counter((entry.given, entry.label) for entry in entries) == {
        **{("train", label): 5400 for label in range(10)}, **{("val", label): 600 for label in range(10)},
        **{("test", label): 1000 for label in range(10)}}  # fmt: skip
    assert [entry.label for entry in entries[:5]] == [9, 0, 0, 3, 0]  # ankle boot, T-shirt, T-shirt, dress, T-shirt
    images = np.frombuffer(gzip.decompress((INSTALLED / f"{FILES[0]}.gz").read_bytes())[16:], dtype=np.uint8)
    counts = np.bincount(images, minlength=256) / images.size
    mean = counts @ np.arange(256) / 255
    std = np.sqrt(counts @ (np.arange(256) / 255 - mean) ** 2)
    assert (round(mean, 4), round(std, 4)) == (0.2860, 0.3530)  # as widely published for its 60,000 training images
    assert np.array_equal(entries[59_999].read().ravel(), images[-784:])
