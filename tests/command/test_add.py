import os
import shutil
import subprocess
import sys

import pytest
import yaml

from pipeline.command import add
from pipeline.core.config import compose
from pipeline.core.errors import PersonError


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "my photos"
    for name in ("cat/1.jpg", "cat/2 ü.jpg", "dog/1.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    return folder


def test_a_folder_is_copied_versioned_and_gets_an_experiment_that_composes(root, photos, capsys):
    assert add.main([str(photos), "--name", "parts"]) == 0
    copied = root / "data/raw/parts"
    assert sorted(str(path.relative_to(copied)) for path in copied.rglob("*") if path.is_file()) == ["cat/1.jpg", "cat/2 ü.jpg", "dog/1.png"]
    assert yaml.safe_load((root / "data/raw/parts.dvc").read_text())["outs"][0]["nfiles"] == 3
    assert compose(root / "conf", experiment="parts", overrides=[]) == compose(root / "conf", experiment="own_images", overrides=[])
    said = capsys.readouterr().out
    assert "python -m pipeline exp experiment=parts source=data/raw/parts" in said
    ignored = subprocess.run(["git", "status", "--short", "--untracked-files=all"], cwd=root, capture_output=True, text=True).stdout
    assert "data/raw/parts.dvc" in ignored
    assert "1.jpg" not in ignored
    assert (photos / "cat/1.jpg").read_bytes() == b"cat/1.jpg"


def test_link_leaves_the_folder_where_it_lies(root, photos, capsys):
    assert add.main([str(photos), "--name", "parts", "--link"]) == 0
    assert not (root / "data/raw/parts").exists()
    assert f"source='{photos}'" in capsys.readouterr().out
    assert (root / "conf/experiment/parts.yaml").is_file()


@pytest.mark.parametrize("name", ["", "Parts", "../x", "a/b", "a b", "-x", "1x", "x.y", "a" * 64, "ü", "x\n", "$(id)"])
def test_an_unsafe_name_is_refused(root, photos, name):
    with pytest.raises(PersonError, match="--name"):
        add.main([str(photos), f"--name={name}"])
    assert list((root / "data/raw").iterdir()) == []


@pytest.mark.parametrize("taken", ["data/raw/parts", "data/raw/parts.dvc", "conf/experiment/parts.yaml"])
def test_nothing_that_exists_is_overwritten(root, photos, taken):
    (root / taken).write_text("mine")
    with pytest.raises(PersonError, match="exists already"):
        add.main([str(photos), "--name", "parts"])
    assert (root / taken).read_text() == "mine"


def fault(photos, kind, tmp_path):
    if kind == "a file":
        return photos / "cat/1.jpg"
    if kind == "missing":
        return photos / "nowhere"
    if kind == "empty":
        (tmp_path / "empty").mkdir()
        return tmp_path / "empty"
    if kind == "link to a file":
        (photos / "cat/link.jpg").symlink_to("/etc/passwd")
    elif kind == "link to a folder":
        (photos / "bird").symlink_to(photos / "cat")
    elif kind == "dangling link":
        (photos / "bird").symlink_to(tmp_path / "nowhere")
    elif kind == "a link itself":
        (tmp_path / "link").symlink_to(photos)
        return tmp_path / "link"
    elif kind == "pipe":
        os.mkfifo(photos / "cat/pipe")
    return photos


@pytest.mark.parametrize(("kind", "said"), [
    ("a file", "is neither a folder nor an archive"), ("missing", "is neither a folder nor an archive"), ("empty", "holds no file"), ("link to a file", "is a link"),
    ("link to a folder", "is a link"), ("dangling link", "is a link"), ("a link itself", "is a link"), ("pipe", "neither a file nor"),
])  # fmt: skip
def test_a_folder_that_cannot_be_kept_is_refused_and_nothing_is_left(root, photos, tmp_path, kind, said):
    with pytest.raises(PersonError, match=said):
        add.main([str(fault(photos, kind, tmp_path)), "--name", "parts"])
    assert list((root / "data/raw").iterdir()) == []
    assert not (root / "conf/experiment/parts.yaml").exists()


def test_a_folder_around_the_project_is_refused(root, tmp_path):
    with pytest.raises(PersonError, match="contains this project"):
        add.main([str(tmp_path), "--name", "parts"])


def test_too_little_disk_is_said_before_copying(root, photos, monkeypatch):
    monkeypatch.setattr(add.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 9, 1))
    with pytest.raises(PersonError, match="are free"):
        add.main([str(photos), "--name", "parts"])
    assert list((root / "data/raw").iterdir()) == []


def test_a_copy_that_breaks_leaves_nothing(root, photos, monkeypatch):
    copied = []

    def breaking(source, target, **keywords):
        if copied:
            raise OSError(28, "No space left on device")
        copied.append(target)

    monkeypatch.setattr(add.shutil, "copyfile", breaking)
    with pytest.raises(OSError, match="No space left"):
        add.main([str(photos), "--name", "parts"])
    assert list((root / "data/raw").iterdir()) == []


def test_a_failing_dvc_leaves_nothing(root, photos):
    (root / ".dvc/config").write_text("[core\n")
    with pytest.raises(PersonError, match="dvc add failed"):
        add.main([str(photos), "--name", "parts"])
    assert list((root / "data/raw").iterdir()) == []
    assert not (root / "conf/experiment/parts.yaml").exists()


def test_help_has_examples(project):
    done = subprocess.run([sys.executable, "-m", "pipeline", "add", "--help"], cwd=project, capture_output=True, text=True)
    assert "python -m pipeline add ~/photos --name parts" in done.stdout
