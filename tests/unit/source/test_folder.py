"""Which files of a person's folder are seen, and which names are refused."""

import os

import pytest

from pipeline.core.errors import PersonError
from pipeline.source.folder import check_collisions, check_source, class_names, endings, files_below, folders_in, unwrapped


def put(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


def test_files_are_sorted_by_bytes_and_what_systems_leave_is_not_seen(tmp_path):
    put(tmp_path, "b/2.png", "b/10.png", "a/x.JPG", "a/.hidden.png", ".git/y.png", "__MACOSX/z.png", "a/Thumbs.db", "a/.DS_Store",
        "README.md", "raw.dvc", ".gitignore", "a/.ipynb_checkpoints/x.png", "B/1.png")  # fmt: skip
    assert [str(path) for path in files_below(tmp_path)] == ["B/1.png", "a/x.JPG", "b/10.png", "b/2.png"]
    assert folders_in(tmp_path) == ["B", "a", "b"]
    assert endings(files_below(tmp_path)) == {".png": 3, ".jpg": 1}


def test_the_order_does_not_depend_on_the_directory_listing(tmp_path, monkeypatch):
    put(tmp_path, "a/1.png", "a/2.png", "b/1.png")
    expected = files_below(tmp_path)
    scandir = os.scandir

    class Reversed:
        def __init__(self, path):
            self.entries = list(scandir(path))[::-1]

        def __enter__(self):
            return iter(self.entries)

        def __exit__(self, *_):
            return None

        def __iter__(self):
            return iter(self.entries)

        def __next__(self):
            if not self.entries:
                raise StopIteration
            return self.entries.pop(0)

        def close(self):
            return None

    monkeypatch.setattr(os, "scandir", Reversed)
    assert files_below(tmp_path) == expected


@pytest.mark.parametrize("target", ["/etc/passwd", "a/1.png", "nowhere", "a"])
def test_a_link_is_refused(tmp_path, target):
    put(tmp_path, "a/1.png")
    (tmp_path / "link").symlink_to(target)
    with pytest.raises(PersonError, match="link is a link; links inside the data folder are not followed: copy the file itself"):
        files_below(tmp_path)


@pytest.mark.parametrize(("one", "other"), [("a/X.png", "a/x.png"), ("a/\u00e9.png", "a/e\u0301.png")])
def test_colliding_names_are_refused(tmp_path, one, other):
    put(tmp_path, one, other)
    with pytest.raises(PersonError, match="two files differ only by case or Unicode form"):
        files_below(tmp_path)
    check_collisions(["a", "b"], what="files")


def test_a_name_that_is_not_utf8_is_refused(tmp_path):
    (tmp_path / os.fsdecode(b"bad\xff.png")).write_bytes(b"x")
    with pytest.raises(PersonError, match=r"the name b'bad\\xff.png' in .* is not UTF-8: rename it"):
        files_below(tmp_path)


@pytest.mark.parametrize(
    ("names", "merged"), [(["Cat", "cat "], "Cat"), (["dog", " dog"], "dog"), (["e\u0301", "\u00e9"], "\u00e9")]
)
def test_class_variants_are_refused_with_the_merge(names, merged):
    with pytest.raises(PersonError) as caught:
        class_names([*names, "other"])
    assert str(caught.value).endswith(f"merge them into one, for example {merged!r}")


def test_class_names_are_sorted():
    assert class_names(["b", "a", "B2", "a"]) == ["B2", "a", "b"]


def test_the_source_must_be_a_folder(tmp_path):
    put(tmp_path, "file")
    with pytest.raises(PersonError, match=r"file is a file: set `source` in params.yaml to a folder"):
        check_source(tmp_path / "file")
    with pytest.raises(PersonError, match="does not exist"):
        check_source(tmp_path / "nothing")


def test_a_pipe_which_would_never_end_is_refused(tmp_path):
    put(tmp_path, "a/1.png")
    os.mkfifo(tmp_path / "a" / "2.png")
    with pytest.raises(PersonError, match=r"a/2\.png is neither a file nor a folder: remove it"):
        files_below(tmp_path)


@pytest.mark.parametrize(
    ("files", "inner"),
    [
        (["cat/1.jpg", "dog/2.jpg"], "."),
        (["photos/cat/1.jpg", "photos/dog/2.jpg", "__MACOSX/x", ".DS_Store"], "photos"),
        (["a/b/cat/1.jpg", "a/b/dog/2.jpg"], "a/b"),
        (["photos/labels.csv", "photos/1.jpg"], "photos"),
        (["cat/1.jpg"], "."),  # one class, for the dataset to refuse
        (["photos/cat/1.jpg", "photos/dog/2.jpg", "notes.txt"], "."),
        (["empty/.keep"], "."),
    ],
)
def test_a_folder_around_everything_is_left_out_and_a_class_is_not(tmp_path, files, inner):
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    assert unwrapped(tmp_path) == tmp_path / inner
