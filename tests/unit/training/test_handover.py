"""Machines with disks of their own continue from the checkpoint of the first; those that share one are left alone."""

import hashlib
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

from pipeline.core.errors import PersonError
from pipeline.core.ranks import Place
from pipeline.training import handover
from pipeline.training.checkpoint import newest


def checkpoint(folder, step, module, *, more=0):
    """A file of that name and hash; `more` bytes make it several pieces."""
    folder.mkdir(exist_ok=True)
    path = folder / "new"
    torch.save({"state_dict": module.state_dict(), "more": torch.zeros(more, dtype=torch.uint8)}, path)
    hashed = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    return path.rename(folder / f"step={step:09d}-{hashed}.ckpt")


@pytest.fixture
def module():
    return nn.Linear(2, 1)


@pytest.fixture
def meet(monkeypatch, module):
    """Both machines hand over at once: `meet(first, second)`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("MASTER_PORT", str(free.getsockname()[1]))
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("PIPELINE_PATIENCE", "20")

    def run(*folders, devices=1):
        places = [Place(rank=node * devices, devices=devices, world=devices * len(folders), nodes=len(folders)) for node in range(len(folders))]
        with ThreadPoolExecutor(len(folders)) as pool:
            list(pool.map(handover.hand_over, folders, [module] * len(folders), places))

    return run


def test_a_machine_without_the_checkpoint_gets_it_in_pieces(tmp_path, meet, module, monkeypatch):
    monkeypatch.setattr(handover, "PIECE", 1000)
    checkpoint(tmp_path / "a", 3, module)
    sent = checkpoint(tmp_path / "a", 6, module, more=4500)
    checkpoint(tmp_path / "b", 3, module)
    (tmp_path / "b" / sent.name).write_bytes(b"half of it")
    meet(tmp_path / "a", tmp_path / "b", tmp_path / "c", devices=2)
    for name in "bc":
        assert newest(tmp_path / name, module) == (tmp_path / name / sent.name, 6)
        assert (tmp_path / name / sent.name).read_bytes() == sent.read_bytes()
        assert [path.name for path in (tmp_path / name).iterdir()] == [sent.name]


def test_a_shared_folder_is_left_as_it_is(tmp_path, meet, module):
    for step in (3, 6):
        checkpoint(tmp_path / "a", step, module)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "a").iterdir()}
    meet(tmp_path / "a", tmp_path / "a")
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "a").iterdir()}


@pytest.mark.parametrize("first", [None, 3])
def test_what_is_newer_than_the_first_machine_s_is_set_aside(tmp_path, meet, module, first):
    if first:
        checkpoint(tmp_path / "a", first, module)
    newer = checkpoint(tmp_path / "b", 6, module)
    meet(tmp_path / "a", tmp_path / "b")
    assert newest(tmp_path / "b", module)[1] == (first or 0)
    assert (tmp_path / "b" / f"refused-{newer.name}").is_file()


def test_a_machine_that_is_not_there_is_named(tmp_path, meet, module, monkeypatch):
    monkeypatch.setenv("PIPELINE_PATIENCE", "1")
    with pytest.raises(PersonError, match=r"process 1 of 2 does not meet the others at 127\.0\.0\.1:\d+.*MASTER_PORT \+ 1"):
        handover.hand_over(tmp_path, module, Place(rank=1, world=2, nodes=2))


def test_a_name_that_is_a_path_is_refused(tmp_path, module):
    class Store:
        def get(self, _):
            return b"10 ../../etc/passwd"

    with pytest.raises(PersonError, match="names a checkpoint"):
        handover._take(Store(), tmp_path, 1, first=True)


def test_one_machine_asks_nobody(tmp_path, module):
    handover.hand_over(tmp_path, module, Place(world=2, devices=2))
