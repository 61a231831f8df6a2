"""A person's idx files: splits, names, and one line for each mistake."""

import gzip
import struct
from collections import Counter

import numpy as np
import pytest

from pipeline.core.errors import PersonError
from pipeline.dataset.idx import Idx

PLAIN = {"images": "i", "labels": "l", "test_images": None, "test_labels": None, "classes": None, "limit": 0, "val": 0.25,
         "max_bytes": 100_000, "title": "t", "licence": "CC0", "citation": ""}  # fmt: skip
TESTED = {"test_images": "ti.gz", "test_labels": "tl"}


def put(folder, name, values):
    content = struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape) + values.tobytes()
    (folder / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    put(tmp_path, "i", rng.integers(0, 256, (24, 5, 6), dtype=np.uint8))
    put(tmp_path, "l", np.arange(24, dtype=np.uint8) % 3)
    put(tmp_path, "ti.gz", rng.integers(0, 256, (6, 5, 6), dtype=np.uint8))
    put(tmp_path, "tl", np.arange(6, dtype=np.uint8) % 3)
    return tmp_path


def dataset(folder, **changes):
    return Idx(source=folder, **{**PLAIN, **changes})


def test_images_labels_and_names(folder):
    found = dataset(folder)
    entries = list(found.entries())
    assert found.card()["classes"] == ["0", "1", "2"]
    assert [(entry.name, entry.label, entry.given) for entry in entries[:2]] == [("i#000000", 0, ""), ("i#000001", 1, "")]
    assert len(entries) == len(found) == 24
    values = np.frombuffer((folder / "i").read_bytes()[16:], dtype=np.uint8).reshape(24, 5, 6)
    assert np.array_equal(np.stack([entry.read()[..., 0] for entry in entries]), values)
    assert dataset(folder, classes=["x", "y", "z"]).card()["classes"] == ["x", "y", "z"]


def test_a_test_set_makes_every_image_name_its_split(folder):
    entries = list(dataset(folder, **TESTED).entries())
    assert Counter(entry.given for entry in entries) == {"train": 18, "val": 6, "test": 6}
    assert [entry.name for entry in entries if entry.given == "val"] == [f"i#{number:06d}" for number in range(18, 24)]
    assert entries[-1].name == "ti.gz#000005"
    small = list(dataset(folder, limit=12, val=0.5, **TESTED).entries())
    assert Counter((entry.given, entry.label) for entry in small if entry.given != "test") == {
        (given, label): 2 for given in ("train", "val") for label in range(3)}  # fmt: skip


MISTAKES = [
    ({"test_images": "ti.gz"}, "dataset.test_images and dataset.test_labels go together: set both or neither"),
    ({"val": 1.0}, r"dataset.limit must be 0 or more, val in \[0, 1\), max_bytes 1 or more: received 0, 1.0, 100000"),
    ({"images": "nowhere"}, "nowhere does not exist: set dataset.images"), ({"labels": "../l"}, "dataset.labels: the path '../l' leaves"),
    ({"classes": ["x", "y"]}, "l holds the label 2, and dataset.classes has 2 names: add the others"),
    ({"labels": "tl"}, "i holds 24 images and tl 6 labels: they do not belong together"),
    ({"max_bytes": 500}, "i says it holds 24 x 5 x 6 bytes: expected 1 to 500 in all"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "line"), MISTAKES)
def test_a_mistake_is_one_line(folder, change, line):
    with pytest.raises(PersonError, match=line):
        dataset(folder, **change).card()


def test_images_of_another_size_do_not_belong_to_the_test(folder):
    put(folder, "ti.gz", np.zeros((6, 5, 7), dtype=np.uint8))
    with pytest.raises(
        PersonError, match=r"ti.gz holds images of \(5, 7\) pixels, and i of \(5, 6\): they do not belong together"
    ):
        dataset(folder, **TESTED).card()
