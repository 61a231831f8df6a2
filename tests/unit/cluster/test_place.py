"""A machine without Slurm, a cache that is not shared, that cannot be written, a clock that is off: one line each."""

import os
import time

import pytest

from pipeline.cluster import place
from pipeline.core.errors import PersonError


@pytest.fixture
def shared(tmp_path, monkeypatch):
    """A workspace and its cache, after the machine that submits has looked at them."""
    root, cache = tmp_path / "work", tmp_path / "cache"
    root.mkdir()
    monkeypatch.setattr(place, "cache_folder", lambda root: cache)
    monkeypatch.setattr(place.shutil, "which", lambda name: f"/usr/bin/{name}")
    place.offer(root)
    return root, cache


def token(root):
    return (root / ".snakemake" / place.SHARED).read_text()


def test_a_shared_cache_is_fine(shared):
    assert place.check(shared[0]) == ""
    assert [path.name for path in shared[1].iterdir()] == [f"{place.SHARED}-{token(shared[0])}"]


def test_two_clones_on_one_cache_leave_each_other_s_jobs_alone(shared):
    root, _ = shared
    other = root.with_name("other")
    other.mkdir()
    before = token(root)
    place.offer(other)
    assert token(other) != before
    assert place.check(root) == place.check(other) == ""
    place.offer(root)
    assert token(root) == before, "jobs that wait in the queue go by it"
    assert place.check(root) == place.check(other) == ""


def test_the_file_of_a_clone_may_belong_to_another_user(shared, monkeypatch):
    def refuse(*args, **named):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(place.Path, "touch", refuse)
    monkeypatch.setattr(place.Path, "write_text", refuse)
    place.offer(shared[0])
    assert place.check(shared[0]) == ""


def test_no_slurm_commands_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(place.shutil, "which", lambda name: None if name == "sbatch" else "there")
    with pytest.raises(PersonError, match=r"Slurm's sbatch is not found on this machine: .*snakemake -c2"):
        place.offer(tmp_path)


@pytest.mark.parametrize("how", ["empty", "another clone's", "no token", "old"])
def test_another_cache_is_named(shared, how):
    root, cache = shared
    (cache / f"{place.SHARED}-{token(root)}").unlink()
    if how == "another clone's":
        (cache / f"{place.SHARED}-{'0' * 32}").touch()
    elif how == "no token":
        (root / ".snakemake" / place.SHARED).write_text("the machine that submitted")
    elif how == "old":
        (cache / place.SHARED).write_text(token(root))
    with pytest.raises(PersonError, match="is not the one of the machine that submitted"):
        place.check(root)


def test_a_cache_that_cannot_be_written_is_named(shared, monkeypatch):
    def refuse(*args, **named):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(place.tempfile, "NamedTemporaryFile", refuse)
    with pytest.raises(PersonError, match=r"cache cannot be written on .* by this user: .* \(Permission denied\)"):
        place.check(shared[0])
    with pytest.raises(PersonError, match=r"cache cannot be written on .* by this user: .* \(Permission denied\)"):
        place.offer(shared[0])


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere; the test above stands in")
def test_a_cache_without_rights_is_named(shared):
    shared[1].chmod(0o500)
    with pytest.raises(PersonError, match="cannot be written"):
        place.check(shared[0])


def test_a_clock_that_is_off_is_a_warning(shared, monkeypatch):
    now = time.time()
    monkeypatch.setattr(place.time, "time", lambda: now + 120)
    assert "s off that of the file system" in place.check(shared[0])
