"""A person's folder of class folders: what is read, and one clear line for each mistake."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from pipeline.core.errors import PersonError
from pipeline.core.record import Rejected
from pipeline.dataset.image_folder import ImageFolder


def picture(seed):
    buffer = BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (8, 8), dtype=np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def put(folder, *names):
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(picture(number))


def dataset(folder):
    return ImageFolder(source=folder, title="t", licence="CC0", citation="")


def test_classes_labels_names_and_what_was_ignored(tmp_path):
    put(tmp_path, "dog/1.png", "cat/deep/2.PNG", "cat/1.png", "loose.png")
    (tmp_path / "cat" / "notes.txt").write_text("x")
    (tmp_path / "dog" / "bad.jpg").write_text("<html>")
    (tmp_path / ".ipynb_checkpoints").mkdir()
    found = dataset(tmp_path)
    card = found.card()
    assert card["classes"] == ["cat", "dog"]
    assert card["ignored"] == {".txt": 1}
    assert card["source"] == f"image folder {tmp_path.name}"
    entries = list(found.entries())
    assert len(entries) == len(found)
    assert [(entry.name, entry.label) for entry in entries if not isinstance(entry, Rejected)] == [
        ("cat/1.png", 0), ("cat/deep/2.PNG", 0), ("dog/1.png", 1), ("dog/bad.jpg", 1)]  # fmt: skip
    assert entries[-1] == Rejected("loose.png", "lies in no class folder")
    assert [entry.read() for entry in entries[:4]] == [(tmp_path / entry.name).read_bytes() for entry in entries[:4]]


MISTAKES = {
    "empty": ([], [], "the data folder {0} is empty: expected {0}/CLASS/image.jpg with at least two class folders"),
    "no images": ([], ["a/x.txt", "b/y.heic", "b/z.heic"], "no images in {0} (found 2 .heic, 1 .txt; accepted endings: "),
    "one class": (["a/1.png", "a/2.png"], [], "1 class folders in {0} (a 2): expected"),
    "no folders": (["1.png", "2.png"], [], "0 class folders in {0} (2 images in no class folder): expected"),
    "empty class": (["a/1.png", "b/1.png"], ["c/x.txt"],
                    "no images in the class folder {0}/c (images of each class: a 1, b 1, c 0): add some, or remove the folder"),
    "variants": (["Cat/1.png", "cat /1.png"], [], "the classes 'Cat' and 'cat ' differ only by case, spaces or Unicode form: "),
    "case collision": (["a/1.png", "b/1.png", "b/1.PNG"], [], "two files differ only by case or Unicode form"),
}  # fmt: skip


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_in_the_structure_is_one_line(tmp_path, case):
    images, others, line = MISTAKES[case]
    put(tmp_path, *images)
    for name in others:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    with pytest.raises(PersonError) as caught:
        dataset(tmp_path).card()
    assert str(caught.value).startswith(line.format(tmp_path))


def test_links_are_refused(tmp_path):
    put(tmp_path, "a/1.png", "b/1.png")
    (tmp_path / "b" / "2.png").symlink_to("/etc/passwd")
    with pytest.raises(PersonError, match=r"b/2\.png is a link"):
        dataset(tmp_path).card()


def test_a_linked_class_folder_is_refused(tmp_path):
    put(tmp_path, "a/1.png", "b/1.png")
    (tmp_path / "c").symlink_to(tmp_path / "a")
    with pytest.raises(PersonError, match=r"/c is a link"):
        dataset(tmp_path).card()


def test_the_source_itself_may_be_a_link(tmp_path):
    put(tmp_path / "data", "a/1.png", "b/1.png")
    (tmp_path / "here").symlink_to(tmp_path / "data")
    assert dataset(tmp_path / "here").card()["classes"] == ["a", "b"]
