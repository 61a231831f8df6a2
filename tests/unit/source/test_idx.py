"""The idx format against arrays written by hand, forged headers, and balanced subsets."""

import gzip
import struct

import numpy as np
import pytest

from pipeline.core.errors import PersonError
from pipeline.source.idx import IdxFile, balanced, held_out, labelled

IMAGES = np.random.default_rng(0).integers(0, 256, (7, 5, 6), dtype=np.uint8)


def data(values):
    return struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape) + values.tobytes()


def write(path, content, *, packed=False):
    path.write_bytes(gzip.compress(content) if packed else content)
    return path


def images(path, **changes):
    return IdxFile(path, **{"axes": (3, 4), "max_bytes": 10_000, **changes})


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("shape", [(7, 5, 6), (7, 5, 2, 3)])
def test_arrays_come_back_whatever_the_file_is_called(tmp_path, packed, shape):
    values = IMAGES.reshape(shape)
    file = images(write(tmp_path / "x.gz", data(values), packed=packed))
    assert file.shape == shape
    assert np.array_equal(file.values, values)
    assert file.row(3).shape == ((5, 6, 1) if len(shape) == 3 else (5, 2, 3))
    assert np.array_equal(file.row(3).reshape(values[3].shape), values[3])


WHOLE = data(IMAGES)
FORGED = {
    "nothing": (b"", "x is not an idx file: it begins with nothing"),
    "text": (b"hello", "x is not an idx file: it begins with 68 65 6c 6c"),
    "floats": (b"\0\0\x0d\x03" + WHOLE[4:], "x holds floats along 3 axes: expected unsigned bytes along 3 or 4"),
    "labels": (data(np.zeros(9, dtype=np.uint8)), "x holds unsigned bytes along 1 axes: expected unsigned bytes along 3 or 4"),
    "header cut": (WHOLE[:9], "x is damaged or truncated (the header ends early): fetch it again"),
    "too large": (WHOLE[:4] + struct.pack(">III", 2**31, 2**31, 2**31), "x says it holds 2147483648 x 2147483648 x 2147483648 bytes: expected 1 to 10,000"),
    "nothing in it": (WHOLE[:4] + struct.pack(">III", 0, 5, 6), "x says it holds 0 x 5 x 6 bytes: expected 1 to 10,000 in all"),
    "cut": (WHOLE[:-1], "x holds 209 bytes, and its header says 210 (7 x 5 x 6): fetch it again"),
    "longer": (WHOLE + b"x", "x holds more bytes, and its header says 210 (7 x 5 x 6): fetch it again"),
    "five channels": (data(np.zeros((2, 3, 4, 5), dtype=np.uint8)), "x holds images of 5 channels: expected 1 or 3"),
}  # fmt: skip


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("case", FORGED)
def test_a_forged_file_is_refused(tmp_path, case, packed):
    content, line = FORGED[case]
    with pytest.raises(PersonError) as caught:
        _ = images(write(tmp_path / "x", content, packed=packed)).values
    assert str(caught.value).startswith(line)


def test_a_damaged_gzip_and_a_missing_file_are_one_line(tmp_path):
    whole = gzip.compress(WHOLE)
    for broken in (whole[:-30], whole[:60] + b"\xff\xff" + whole[62:], whole[:-8] + bytes(8)):
        (tmp_path / "x").write_bytes(broken)
        with pytest.raises(PersonError, match=r"x is damaged or truncated \(.*\): fetch it again"):
            _ = images(tmp_path / "x").values
    with pytest.raises(PersonError, match="y does not exist"):
        _ = images(tmp_path / "y").shape


def test_a_gzip_bomb_stops_at_its_header(tmp_path):
    bomb = WHOLE[:4] + struct.pack(">III", 1, 1, 9_000) + bytes(50_000_000)
    with pytest.raises(PersonError, match=r"x holds more bytes, and its header says 9000"):
        _ = images(write(tmp_path / "x", bomb, packed=True)).values


def test_labels_must_be_as_many_as_images(tmp_path):
    file = images(write(tmp_path / "x", WHOLE))
    for count in (7, 6):
        labels = IdxFile(write(tmp_path / "y", data(np.arange(count, dtype=np.uint8))), axes=(1,), max_bytes=100)
        if count == 7:
            assert labelled(file, labels).tolist() == list(range(7))
        else:
            with pytest.raises(PersonError, match="x holds 7 images and y 6 labels: they do not belong together"):
                labelled(file, labels)


def test_a_subset_is_balanced_and_in_order_and_the_last_are_held_out():
    labels = np.random.default_rng(0).integers(0, 5, 1000)
    chosen = balanced(labels, 100)
    assert np.bincount(labels[chosen]).tolist() == [20] * 5
    assert chosen.tolist() == sorted(chosen.tolist())
    assert all(chosen[labels[chosen] == k].tolist() == np.flatnonzero(labels == k)[:20].tolist() for k in range(5))
    assert balanced(labels, 0).tolist() == list(range(1000))
    held = held_out(labels, chosen, 0.25)
    assert np.bincount(labels[sorted(held)]).tolist() == [5] * 5
    assert all(set(np.flatnonzero(labels == k)[15:20].tolist()) <= held for k in range(5))
    assert held_out(labels, chosen, 0.0) == set()
    with pytest.raises(PersonError, match="a limit of 4 images is too low for 5 classes"):
        balanced(labels, 4)
