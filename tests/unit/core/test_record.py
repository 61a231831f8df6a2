"""Reading a file by its path: all of it, however large, and an error that names what is wrong."""

import pytest

from pipeline.core import record
from pipeline.core.record import OnDisk


@pytest.mark.parametrize("size", [0, 1, 7, 8, 20])
def test_all_bytes_of_a_file(tmp_path, monkeypatch, size):
    monkeypatch.setattr(record, "PIECE", 8)
    (tmp_path / "file").write_bytes(bytes(range(size)))
    assert OnDisk(str(tmp_path / "file"))() == bytes(range(size))


def test_a_file_that_is_gone_or_no_file_is_an_error(tmp_path):
    for name in ("gone", "."):
        with pytest.raises(OSError, match=r"No such file|directory"):
            OnDisk(str(tmp_path / name))()
