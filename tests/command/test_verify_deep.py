"""`verify --deep` on a project that DVC ran: what rotted in the cache, what is lost, and what changed unseen."""

import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from pipeline.cache import lost, objects, runs
from pipeline.cache.deep import QUARANTINE, examine, quarantine
from pipeline.cache.locks import mend
from pipeline.cache.objects import Rot
from pipeline.command import verify
from pipeline.core import listed
from pipeline.core.errors import PersonError
from pipeline.intake.items import LIST, checksum
from pipeline.intake.known import KnownList
from tests.scale_hosts import Dry, corrupt


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    dry = Dry.make(tmp_path_factory.mktemp("made") / "dry", size=2000)
    dry.call("dvc", "repro")
    return dry


@pytest.fixture
def dry(made, tmp_path, monkeypatch):
    copy = made.copy(tmp_path / "dry")
    monkeypatch.chdir(copy.root)
    for name, value in copy.environment().items():
        monkeypatch.setenv(name, value)
    return copy


def files(dry):
    return [path for path in dry.objects() if path.suffix != ".dir" and path.stat().st_size == 2000]


def trees(dry):
    return [dry.cache / "files" / "md5" / digest[:2] / digest[2:] for digest in dry.outputs().values()]


def rotten(dry):
    found = objects.scan(dry.cache)
    return [str(rot.path) for rot in (*found.rotten, *runs.rotten(dry.cache, {**lost.stated(dry.root), **found.sizes()}))]


def test_a_whole_cache_has_no_fault(dry):
    found = objects.scan(dry.cache)
    assert (rotten(dry), lost.lost(lost.named(dry.root), found)) == ([], [])
    assert len(found.whole) == len(dry.objects())
    assert len(runs.entries(dry.cache)) == 6


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("how", ["flip", "truncate", "zero"])
@pytest.mark.parametrize("kind", ["file", "directory", "run"])
def test_each_corruption_is_named_and_nothing_else(dry, kind, how, keep):
    path = {"file": files(dry)[3], "directory": trees(dry)[2], "run": runs.entries(dry.cache)[1]}[kind]
    corrupt(path, how, keep=keep)
    assert rotten(dry) == [str(path.relative_to(dry.cache))]


@pytest.mark.parametrize("place", [0, 1])
def test_a_size_in_a_run_which_no_hash_covers_is_held_against_the_objects_and_the_lock(dry, place):
    path = next(path for path in runs.entries(dry.cache) if "stage.py a " in path.read_text())  # its input lies in no cache
    parts = path.read_text().split("size: ")
    assert len(parts) == 3
    parts[place + 1] = "9" + parts[place + 1]
    path.chmod(0o644)
    path.write_text("size: ".join(parts))
    assert rotten(dry) == [str(path.relative_to(dry.cache))]


@pytest.mark.parametrize("kind", ["file", "directory", "run"])
def test_two_that_changed_places_are_both_named(dry, kind):
    pair = sorted({"file": files(dry), "directory": trees(dry), "run": runs.entries(dry.cache)}[kind][:2])
    corrupt(pair[0], "swap", keep=True, other=pair[1])
    assert sorted(rotten(dry)) == [str(path.relative_to(dry.cache)) for path in pair]


def test_what_is_lost_is_named_by_its_place_in_the_workspace(dry):
    tree = trees(dry)[0]
    oid, relative = objects.members(tree)[0]
    (dry.cache / "files/md5" / oid[:2] / oid[2:]).unlink()
    trees(dry)[5].unlink()
    assert [name for _, name in lost.lost(lost.named(dry.root), objects.scan(dry.cache))] == [f"data/a/{relative}", "data/f"]


def test_a_text_with_line_ends_in_the_layout_of_dvc_2_is_whole(tmp_path):
    import hashlib

    text = b"one\r\ntwo\r" * 300_000 + b"\r"
    digest = hashlib.md5(text.replace(b"\r\n", b"\n")).hexdigest()
    for below in ("", "files/md5"):
        place = tmp_path / below / digest[:2] / digest[2:]
        place.parent.mkdir(parents=True)
        place.write_bytes(text)
    assert [str(rot.path) for rot in objects.scan(tmp_path).rotten] == [f"files/md5/{digest[:2]}/{digest[2:]}"]


def test_a_link_and_a_pipe_in_the_cache_are_no_objects(dry):
    one, two = files(dry)[:2]
    shutil.move(one, dry.root / "elsewhere")
    one.symlink_to(dry.root / "elsewhere")
    two.unlink()
    os.mkfifo(two)
    assert sorted(rot.why for rot in objects.scan(dry.cache).rotten) == ["is no file", "is no file"]


def test_the_quarantine_takes_the_same_name_twice_and_leaves_what_cannot_be_read(dry):
    path = files(dry)[0].relative_to(dry.cache)
    for content in (b"first", b"second"):
        (dry.cache / path).unlink(missing_ok=True)
        (dry.cache / path).write_bytes(content)
        quarantine(dry.cache, [Rot(path, "x", "rotten")])
    assert sorted(file.read_bytes() for file in (dry.cache / QUARANTINE).iterdir()) == [b"first", b"second"]
    other = files(dry)[1]
    assert quarantine(dry.cache, [Rot(other.relative_to(dry.cache), "x", "cannot be read", movable=False)]) == ""
    assert other.is_file()


def test_a_cache_that_cannot_be_written_is_said(dry, monkeypatch):
    def refuse(*_):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(type(dry.cache), "rename", refuse)
    with pytest.raises(PersonError, match=r"1 of 1 rotten files stay in .*DVC will serve them \(Read-only file system\)"):
        quarantine(dry.cache, [Rot(files(dry)[0].relative_to(dry.cache), "x", "rotten")])


def test_the_command_puts_it_away_and_dvc_makes_it_again(dry, capsys):
    path, whole = files(dry)[0], dry.content()
    corrupt(path, "flip", keep=True)
    assert verify.main(["--deep", "--leave"]) == 1
    assert path.is_file()
    assert verify.main(["--deep"]) == 1
    said = capsys.readouterr().out
    assert f"{path.relative_to(dry.cache)}: holds other bytes than its name says; it is data/" in said
    assert not path.exists()
    dry.wipe()
    dry.call("dvc", "repro")
    assert dry.content() == whole
    assert verify.main(["--deep"]) == 0
    assert "cache: whole; the workspace hides nothing from DVC" in capsys.readouterr().out


def test_a_source_that_changed_behind_its_time_is_named(dry, capsys):
    path = dry.root / "data/raw/one.txt"
    dry.call("dvc", "status")
    before = path.stat()
    path.write_text("owe\n")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert "up to date" in dry.call("dvc", "status").stdout, "DVC sees it by itself"
    assert verify.main(["--deep"]) == 1
    assert "data/raw  (a)" in capsys.readouterr().out
    subprocess.run(["touch", str(path)], check=True)
    assert "modified" in dry.call("dvc", "status").stdout


@pytest.mark.parametrize("left", ["", '{"/a/path": ', "[]", '{"write": {"/a": 3}}'])
def test_a_lock_file_that_a_kill_left_half_written_is_removed_and_another_is_not(dry, left):
    import fcntl

    path = dry.root / ".dvc/tmp/rwlock"
    path.parent.mkdir(exist_ok=True)
    path.write_text('{"read": {}, "write": {}}')
    assert not mend(dry.root)
    path.write_text(left)
    with path.with_name("rwlock.lock").open("a") as busy:
        fcntl.flock(busy, fcntl.LOCK_EX)
        assert not mend(dry.root)
        assert path.is_file()
    assert mend(dry.root)
    assert not path.exists()


@pytest.fixture
def linked(dry):
    """The list of a project whose DVC locks by hard links, cut off by a kill; and the lock of that list."""
    dry.call("dvc", "config", "--local", "core.hardlink_lock", "true")
    path = dry.root / ".dvc/tmp/rwlock"
    path.parent.mkdir(exist_ok=True)
    for name in ("lock", "rwlock.lock"):  # of the time before the setting: DVC would take them for held
        path.with_name(name).unlink(missing_ok=True)
    path.write_text("")
    return path, path.with_name("rwlock.lock")


def test_where_dvc_locks_by_links_its_lock_is_respected_and_none_is_left(dry, linked):
    from dvc.lock import make_lock

    path, guard = linked
    with make_lock(str(guard), tmp_dir=str(path.parent), hardlink_lock=True):
        assert not mend(dry.root)
        assert path.is_file()
    assert mend(dry.root)
    assert not path.exists()
    assert not guard.exists(), "it would be a lock that nobody holds"


def test_dvc_removes_a_lock_that_a_kill_of_this_mend_left(dry, linked, monkeypatch):
    path, guard = linked
    with monkeypatch.context() as killed:
        killed.setattr(Path, "unlink", lambda self, missing_ok=False: None)
        assert mend(dry.root)
    past = time.time() - 60
    os.utime(guard, (past, past))
    path.unlink()
    (dry.root / "data/raw/one.txt").write_text("new\n")
    dry.call("dvc", "repro")
    assert not guard.exists()


def test_a_process_that_ended_and_was_not_waited_for_is_taken_off_the_lock_file_and_others_stay(dry):
    """DVC takes such a process for alive, and ends with "is busy"; without the mend this is what it says here."""
    path = dry.root / ".dvc/tmp/rwlock"
    path.parent.mkdir(exist_ok=True)
    ended, alive = (subprocess.Popen(["sleep", seconds]) for seconds in ("0", "60"))
    gone = subprocess.Popen(["true"])
    gone.wait()
    try:
        while psutil.Process(ended.pid).status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.02)
        a, b, c = ({"pid": process.pid, "cmd": "dvc repro"} for process in (ended, alive, gone))
        data = dry.root / "data"
        held = {"write": {f"{data}/a": a, f"{data}/other": b}, "read": {f"{data}/raw": [a, b, c], f"{data}/raw2": [a]}}
        path.write_text(json.dumps(held))
        (data / "raw" / "one.txt").write_text("new\n")
        assert "is busy" in dry.call("dvc", "repro", check=False).stderr, "the fault is gone from DVC: this mend can go"
        path.write_text(json.dumps(held))
        assert mend(dry.root, patience=0)
        assert json.loads(path.read_text()) == {"write": {f"{data}/other": b}, "read": {f"{data}/raw": [b, c]}}
        assert not mend(dry.root, patience=0)
        dry.call("dvc", "repro")
    finally:
        alive.kill()
        alive.wait()
        ended.wait()


def test_a_process_that_is_still_ending_is_waited_for(dry):
    path = dry.root / ".dvc/tmp/rwlock"
    path.parent.mkdir(exist_ok=True)
    ending = subprocess.Popen(["sleep", "0.6"])
    path.write_text(json.dumps({"write": {"/a": {"pid": ending.pid, "cmd": "dvc"}}, "read": {}}))
    assert mend(dry.root)
    assert json.loads(path.read_text()) == {"write": {}, "read": {}}
    ending.wait()


@pytest.mark.parametrize("words", [["--leave"], ["--deep", "--release", "x"]])
def test_words_that_would_have_no_effect_are_refused(dry, words):
    with pytest.raises(SystemExit):
        verify.main(words)


def test_what_ingest_takes_over_is_read_and_forgotten_where_it_rotted(dry, capsys):
    items = dry.root / ".run/ingest/items"
    (items / "shards").mkdir(parents=True)
    (items / "shards/a.arrow").write_bytes(b"as it was")
    known = checksum(items / "shards/a.arrow")
    KnownList(items / LIST).finish(["settings", {"a.arrow": (known, {}, [])}, ["a.arrow"], 0])
    assert verify.main(["--deep"]) == 0
    (items / "shards/a.arrow").write_bytes(b"as it is.")
    assert verify.main(["--deep", "--leave"]) == 1
    assert (items / LIST).is_file()
    assert verify.main(["--deep"]) == 1
    assert "a.arrow" in capsys.readouterr().out
    assert not (items / LIST).exists()


def test_what_other_stages_take_over_is_read_too(dry, capsys):
    folder = dry.root / ".run/quality/items/key/0"
    folder.mkdir(parents=True)
    path = folder / "measures.npy"
    path.write_bytes(b"as it was")
    os.utime(path, (1.6e9, 1.6e9))
    listed.note(folder)
    path.write_bytes(b"as it is.")
    os.utime(path, (1.6e9, 1.6e9))
    assert listed.whole(folder) is not None, "size, time and inode are as they were"
    assert verify.main(["--deep", "--leave"]) == 1
    assert listed.whole(folder) is not None
    assert verify.main(["--deep"]) == 1
    said = capsys.readouterr().out
    assert "quality takes over" in said
    assert "measures.npy" in said
    assert listed.whole(folder) is None
    assert verify.main(["--deep"]) == 0


def test_gc_removes_what_the_workspace_does_not_name_and_nothing_else(dry):
    before = {path.name for path in dry.objects()}
    (dry.root / "data/raw/one.txt").write_text("another one\n")
    dry.call("dvc", "repro")
    named, content = dry.outputs(), dry.content()
    dry.call("dvc", "gc", "--workspace", "--force")
    after = {path.name for path in dry.objects()}
    assert {digest[2:] for digest in named.values()} <= after
    assert before - after
    dry.wipe()
    dry.call("dvc", "checkout")
    assert dry.content() == content
    assert "rotten" not in "\n".join(examine(dry.root).lines)
