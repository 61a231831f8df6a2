"""A person's table of images: columns, paths and numbers, and one line that names the row for each mistake."""

import math
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from pipeline.core.decode import Decoder
from pipeline.core.errors import PersonError
from pipeline.dataset.image_table import ImageTable

DECODER = Decoder(
    height=8, width=8, channels=1, fit="stretch", min_side=4, max_pixels=10_000, sixteen_bit="reject", background=255
)
PLAIN = {
    "file": "labels.csv",
    "path": "path",
    "label": "label",
    "group": None,
    "target": None,
    "unit": "",
    "target_low": None,
    "target_high": None,
    "unlisted": "stop",
    "encoding": "utf-8",
    "title": "t",
    "licence": "",
    "citation": "",
}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "img").mkdir()
    for number in range(4):
        buffer = BytesIO()
        Image.fromarray(np.random.default_rng(number).integers(0, 256, (8, 8), dtype=np.uint8)).save(buffer, "PNG")
        (tmp_path / "img" / f"{number}.png").write_bytes(buffer.getvalue())
    return tmp_path


def dataset(folder, text, **changes):
    (folder / "labels.csv").write_text(text, encoding="utf-8")
    return ImageTable(source=folder, decode=DECODER.decode, **{**PLAIN, **changes})


ROWS = "path,label,value,who\nimg/2.png,b,3.5,x\nimg/0.png,a,-1,x\nimg/1.png,a,2,\nimg/3.png,b,1e1,y\n"


def test_classes_groups_and_targets(folder):
    found = dataset(folder, ROWS, group="who", target="value", unit="mm")
    card = found.card()
    assert card["classes"] == ["a", "b"]
    assert card["target"] == {"name": "value", "unit": "mm", "low": -1.0, "high": 10.0}
    samples = list(found.samples())
    assert [(entry.name, entry.label, entry.target, entry.group, entry.order) for entry in samples] == [
        ("img/2.png", 1, 3.5, "x", 0),
        ("img/0.png", 0, -1.0, "x", 1),
        ("img/1.png", 0, 2.0, "", 2),
        ("img/3.png", 1, 10.0, "y", 3),
    ]
    assert len(found) == 4


def test_a_target_alone_has_no_classes(folder):
    found = dataset(folder, ROWS, label=None, target="value", target_low=-5.0, target_high=20.0)
    assert found.card()["classes"] == []
    assert found.card()["target"] == {"name": "value", "unit": "", "low": -5.0, "high": 20.0}
    assert {entry.label for entry in found.samples()} == {-1}


def test_a_label_alone_has_no_target(folder):
    assert all(math.isnan(entry.target) for entry in dataset(folder, ROWS).samples())


def test_the_table_may_lie_deeper_and_paths_are_relative_to_it(folder):
    (folder / "img" / "t.csv").write_text("path,label\n" + "".join(f"{number}.png,{number % 2}\n" for number in range(4)))
    found = ImageTable(source=folder, decode=DECODER.decode, **{**PLAIN, "file": "img/t.csv"})
    assert [entry.name for entry in found.samples()] == ["0.png", "1.png", "2.png", "3.png"]


def test_unlisted_images_can_be_ignored(folder):
    assert len(dataset(folder, "path,label\nimg/0.png,a\nimg/1.png,b\n", unlisted="ignore")) == 2


MISTAKES = {
    "missing files": (
        "path,label\nimg/9.png,a\nimg/0.png,a\nimg/8.png,b\n",
        {},
        "2 of 3 files that labels.csv names do not exist in {0}: img/9.png (line 2), img/8.png (line 4)",
    ),
    "images without a row": (
        "path,label\nimg/0.png,a\nimg/1.png,b\n",
        {},
        "2 images in {0} have no row in labels.csv: img/2.png, img/3.png; add rows, or set dataset.unlisted=ignore",
    ),
    "no label": ("path,label\nimg/0.png,a\nimg/1.png, \n", {}, "1 rows of labels.csv have no label: img/1.png (line 3)"),
    "not a number": (
        "path,label,value\nimg/0.png,a,1\nimg/1.png,b,high\n",
        {"target": "value"},
        "labels.csv line 3: value must be a finite number: received 'high'",
    ),
    "NaN": (
        "path,label,value\nimg/0.png,a,nan\n",
        {"target": "value"},
        "labels.csv line 2: value must be a finite number: received 'nan'",
    ),
    "infinite": (
        "path,label,value\nimg/0.png,a,inf\n",
        {"target": "value"},
        "labels.csv line 2: value must be a finite number: received 'inf'",
    ),
    "empty number": (
        "path,label,value\nimg/0.png,a,\n",
        {"target": "value"},
        "labels.csv line 2: value must be a finite number: received ''",
    ),
    "row twice": (
        "path,label\nimg/0.png,a\nimg/1.png,b\nimg/./0.png,b\n",
        {},
        "labels.csv names 'img/./0.png' twice, in lines 2 and 4: remove one",
    ),
    "case twins": ("path,label\nimg/0.png,a\nimg/0.PNG,b\n", {}, "two paths differ only by case or Unicode form"),
    "unknown column": (
        "path,lable\nimg/0.png,a\n",
        {},
        "labels.csv has no column 'label' (dataset.label): did you mean 'lable'?",
    ),
    "header alone": ("path,label\n", {}, "labels.csv has a header and no rows"),
    "class variants": (
        "path,label\nimg/0.png,Cat\nimg/1.png,cat \nimg/2.png,x\nimg/3.png,x\n",
        {},
        "the classes 'Cat' and 'cat ' differ",
    ),
    "leaves the folder": (
        "path,label\nimg/../../x.png,a\n",
        {},
        "labels.csv line 2: the path 'img/../../x.png' leaves the folder {0}",
    ),
    "absolute": ("path,label\n/etc/passwd,a\n", {}, "labels.csv line 2: the path '/etc/passwd' leaves the folder {0}"),
    "backslash": (
        "path,label\nimg\\0.png,a\n",
        {},
        "labels.csv line 2: 'img\\\\0.png' is not a path with forward slashes, relative to {0}",
    ),
    "no path": ("path,label\n,a\n", {}, "labels.csv line 2: '' is not a path with forward slashes, relative to {0}"),
    "table outside": ("path,label\n", {"file": "../labels.csv"}, "dataset.file: the path '../labels.csv' leaves the folder {0}"),
    "no table": ("path,label\n", {"file": "other.csv"}, "the table {0}/other.csv does not exist"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_one_line_that_names_the_row(folder, case):
    text, changes, line = MISTAKES[case]
    with pytest.raises(PersonError) as caught:
        dataset(folder, text, **changes).card()
    assert str(caught.value).startswith(line.format(folder))
    assert "\n" not in str(caught.value)


def test_a_link_is_refused(folder):
    (folder / "img" / "9.png").symlink_to("/etc/passwd")
    with pytest.raises(PersonError, match=r"labels.csv line 2: .*img/9.png is a link"):
        dataset(folder, "path,label\nimg/9.png,a\n").card()


def test_long_lists_are_counted(folder):
    text = "path,label\n" + "".join(f"no/{number}.png,a\n" for number in range(14))
    with pytest.raises(PersonError, match=r"14 of 14 files .* and 4 more$"):
        dataset(folder, text).card()


def test_nothing_to_predict_and_unknown_choice(folder):
    with pytest.raises(PersonError, match=r"dataset.label and dataset.target are both null"):
        dataset(folder, ROWS, label=None)
    with pytest.raises(PersonError, match=r"dataset.unlisted must be stop or ignore: received 'warn'"):
        dataset(folder, ROWS, unlisted="warn")
