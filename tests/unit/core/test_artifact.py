import errno
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from pipeline.core import artifact
from pipeline.core.errors import PersonError


def publish(final, content, **facts):
    partial = artifact.begin(final)
    (partial / "sub").mkdir()
    (partial / "a.txt").write_text(content)
    (partial / "sub" / "b.bin").write_bytes(b"\x00\x01")
    return artifact.publish(partial, final, facts)


def test_a_published_artifact_is_whole_and_says_what_it_holds(tmp_path):
    final = tmp_path / "data" / "train"
    digest = publish(final, "one", stage="train", seed=3)
    manifest = json.loads((final / "manifest.json").read_text())
    assert sorted(manifest["files"]) == ["a.txt", "sub/b.bin"]
    assert manifest["seed"] == 3
    assert digest == artifact.digest(final) == artifact.sha256(final / "manifest.json")
    assert artifact.damaged(final) == []
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["train"]


def test_the_digest_depends_on_content_and_facts_and_not_on_place_or_time(tmp_path):
    first = publish(tmp_path / "x" / "train", "one", seed=1)
    time.sleep(0.01)
    assert publish(tmp_path / "another place" / "train", "one", seed=1) == first
    assert publish(tmp_path / "x" / "train", "two", seed=1) != first
    assert publish(tmp_path / "x" / "train", "one", seed=2) != first


@pytest.mark.parametrize("fault", ["flip", "remove", "extra", "truncate"])
def test_each_kind_of_damage_is_named(tmp_path, fault):
    final = tmp_path / "train"
    publish(final, "some text")
    path = final / "a.txt"
    before = path.stat()
    if fault == "flip":  # same size, same time: what DVC and rsync do not see
        path.write_text("some texu")
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    elif fault == "remove":
        path.unlink()
    elif fault == "truncate":
        path.write_text("")
    else:
        path = final / "sub" / "extra.txt"
        path.write_text("more")
    assert artifact.damaged(final) == [str(path.relative_to(final))]


def test_a_stage_that_wrote_nothing_publishes_nothing(tmp_path):
    final = tmp_path / "train"
    with pytest.raises(PersonError, match="wrote no file"):
        artifact.publish(artifact.begin(final), final, {})
    assert not final.exists()


def test_a_directory_without_a_manifest_is_no_artifact(tmp_path):
    (tmp_path / "train").mkdir()
    with pytest.raises(PersonError, match="dvc repro train"):
        artifact.digest(tmp_path / "train")


def test_begin_removes_what_a_killed_run_left(tmp_path):
    partial = artifact.begin(tmp_path / "train")
    (partial / "half").write_text("half")
    assert list(artifact.begin(tmp_path / "train").iterdir()) == []


def steps_of_publish(tmp_path, monkeypatch, fail_at):
    """Publish a second version over a first one while the n-th system call of publishing fails with a full disk."""
    final = tmp_path / f"case{fail_at}" / "train"
    publish(final, "old")
    calls = {"count": 0}

    def breaking(function):
        def call(*arguments, **keywords):
            calls["count"] += 1
            if calls["count"] == fail_at:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return function(*arguments, **keywords)

        return call

    with monkeypatch.context() as patch:
        patch.setattr(artifact.os, "fsync", breaking(os.fsync))
        patch.setattr(artifact, "write_json", breaking(artifact.write_json))
        patch.setattr(artifact.Path, "rename", breaking(artifact.Path.rename))
        try:
            publish(final, "new")
        except OSError as error:
            assert error.errno == errno.ENOSPC
            return final, True
    return final, False


def test_a_full_disk_at_any_step_leaves_a_whole_artifact_or_none(tmp_path, monkeypatch):
    """The loop of SQLite's tests: fail the first call, then the second, ... until publishing passes without a fault."""
    failed = 0
    for number in range(1, 40):
        final, broke = steps_of_publish(tmp_path, monkeypatch, number)
        if not broke:
            assert (final / "a.txt").read_text() == "new"
            break
        failed += 1
        if final.exists():
            assert artifact.damaged(final) == []
        assert publish(final, "new")  # the same command again succeeds
        assert artifact.damaged(final) == []
    assert failed >= 8
    assert not broke


def test_a_full_disk_while_flushing_keeps_the_old_artifact(tmp_path, monkeypatch):
    final = tmp_path / "train"
    publish(final, "old")

    def full(handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(artifact.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        publish(final, "new")
    assert (final / "a.txt").read_text() == "old"
    assert artifact.damaged(final) == []


KILLED = """
import os, signal, sys
from pathlib import Path
from pipeline.core import artifact
final = Path(sys.argv[1])
partial = artifact.begin(final)
(partial / "a.txt").write_text("half")
artifact._fsync = lambda path: os.kill(os.getpid(), signal.SIGKILL)
artifact.publish(partial, final, {})
"""


def test_a_process_killed_before_the_rename_leaves_nothing_under_the_final_name(tmp_path, project):
    final = tmp_path / "train"
    done = subprocess.run([sys.executable, "-c", KILLED, str(final)], cwd=project)
    assert done.returncode == -signal.SIGKILL
    assert not final.exists()
    assert (tmp_path / "train.partial").exists()
    publish(final, "next")
    assert [path.name for path in tmp_path.iterdir()] == ["train"]


def test_json_is_byte_stable_and_refuses_nan(tmp_path):
    artifact.write_json(tmp_path / "a", {"b": 1, "a": "ü"})
    artifact.write_json(tmp_path / "b", {"a": "ü", "b": 1})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    with pytest.raises(ValueError, match="JSON compliant"):
        artifact.write_json(tmp_path / "c", {"a": float("nan")})
