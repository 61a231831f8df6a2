"""A person's table of images: columns, paths and numbers, and one line that names the row for each mistake."""

import math
from io import BytesIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline.core.errors import PersonError
from pipeline.dataset.image_table import ImageTable

PLAIN = {
    "file": "labels.csv",
    "path": "path",
    "label": "label",
    "group": None,
    "split": None,
    "time": None,
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
    return ImageTable(source=folder, **{**PLAIN, **changes})


ROWS = "path,label,value,who\nimg/2.png,b,3.5,x\nimg/0.png,a,-1,x\nimg/1.png,a,2,\nimg/3.png,b,1e1,y\n"


def test_classes_groups_and_targets(folder):
    found = dataset(folder, ROWS, group="who", target="value", unit="mm")
    card = found.card()
    assert card["classes"] == ["a", "b"]
    assert card["target"] == {"name": "value", "unit": "mm", "low": -1.0, "high": 10.0}
    entries = list(found.entries())
    assert [(entry.name, entry.label, entry.target, entry.group) for entry in entries] == [
        ("img/2.png", 1, 3.5, "x"),
        ("img/0.png", 0, -1.0, "x"),
        ("img/1.png", 0, 2.0, ""),
        ("img/3.png", 1, 10.0, "y"),
    ]
    assert len(found) == 4


def test_a_target_alone_has_no_classes(folder):
    found = dataset(folder, ROWS, label=None, target="value", target_low=-5.0, target_high=20.0)
    assert found.card()["classes"] == []
    assert found.card()["target"] == {"name": "value", "unit": "", "low": -5.0, "high": 20.0}
    assert {entry.label for entry in found.entries()} == {-1}


def test_a_label_alone_has_no_target(folder):
    assert all(math.isnan(entry.target) for entry in dataset(folder, ROWS).entries())


def test_the_table_may_lie_deeper_and_paths_are_relative_to_it(folder):
    (folder / "img" / "t.csv").write_text("path,label\n" + "".join(f"{number}.png,{number % 2}\n" for number in range(4)))
    found = ImageTable(source=folder, **{**PLAIN, "file": "img/t.csv"})
    assert [entry.name for entry in found.entries()] == ["0.png", "1.png", "2.png", "3.png"]


def test_unlisted_images_can_be_ignored(folder):
    assert len(dataset(folder, "path,label\nimg/0.png,a\nimg/1.png,b\n", unlisted="ignore")) == 2


def test_rows_are_ordered_by_their_time_and_name_their_split(folder):
    text = (
        "path,label,when,part\nimg/2.png,b,2024-03-02,test\nimg/0.png,a,2024-03-01T08:00,train\n"
        "img/1.png,a,2024-03-01,\nimg/3.png,b,2024-03-02,val\n"
    )
    found = [(entry.name, entry.given) for entry in dataset(folder, text, time="when", split="part").entries()]
    assert found == [("img/1.png", ""), ("img/0.png", "train"), ("img/2.png", "test"), ("img/3.png", "val")]
    assert [entry.given for entry in dataset(folder, text).entries()] == [""] * 4


def test_parquet_gives_what_csv_gives(folder):
    rows = [line.split(",") for line in ROWS.strip().splitlines()]
    columns = dict(zip(rows[0], zip(*rows[1:], strict=True), strict=True))
    changes = {"group": "who", "target": "value", "unit": "mm"}
    plain = dataset(folder, ROWS, **changes)
    expected = [(entry.name, entry.label, entry.target, entry.group) for entry in plain.entries()]
    columns["value"] = [float(value) for value in columns["value"]]
    pq.write_table(pa.table({name: list(cells) for name, cells in columns.items()}), folder / "labels.parquet")
    found = ImageTable(source=folder, **{**PLAIN, **changes, "file": "labels.parquet"})
    assert [(entry.name, entry.label, entry.target, entry.group) for entry in found.entries()] == expected
    assert found.card() == {**plain.card(), "source": f"image table labels.parquet in {folder.name}"}


def test_a_mistake_in_a_parquet_table_names_the_row(folder):
    pq.write_table(pa.table({"path": ["img/0.png", "img/1.png"], "label": ["a", None]}), folder / "labels.parquet")
    with pytest.raises(PersonError, match=r"1 rows of labels.parquet have no label: img/1.png \(row 2\)"):
        ImageTable(source=folder, **{**PLAIN, "file": "labels.parquet"}).card()


MISTAKES = {
    "unknown split": (
        "path,label,part\nimg/0.png,a,train\nimg/1.png,b,dev\n",
        {"split": "part"},
        "labels.csv line 3: part must be train, val, test or empty: received 'dev'",
    ),
    "no time": (
        "path,label,when\nimg/0.png,a,2024-03-01\nimg/1.png,b,soon\n",
        {"time": "when"},
        "labels.csv line 3: when must be a number or an ISO date such as 2024-03-01 or 2024-03-01T12:30: received 'soon'",
    ),
    "two kinds of time": (
        "path,label,when\nimg/0.png,a,2024-03-01\nimg/1.png,b,7\n",
        {"time": "when"},
        "labels.csv line 3: when is a number ('7') and a date in line 2 ('2024-03-01'): write all of them alike",
    ),
    "with and without a zone": (
        "path,label,when\nimg/0.png,a,2024-03-01T08:00\nimg/1.png,b,2024-03-01T08:00Z\n",
        {"time": "when"},
        "labels.csv line 3: when is a date with a zone ('2024-03-01T08:00Z') and a date in line 2",
    ),
    "an underscore": (
        "path,label,value\nimg/0.png,a,1_0\n",
        {"target": "value"},
        "labels.csv line 2: value must be a finite number: received '1_0'",
    ),
    "outside the range": (
        "path,label,value\nimg/0.png,a,1\nimg/1.png,b,101\n",
        {"target": "value", "target_low": 0.0, "target_high": 100.0},
        "labels.csv line 3: value must lie between dataset.target_low = 0.0 and dataset.target_high = 100.0: received '101'",
    ),
    "one value": (
        "path,label,value\n" + "".join(f"img/{number}.png,a,1\n" for number in range(4)),
        {"target": "value"},
        "value reaches from 1 to 1 in labels.csv: expected numbers that differ",
    ),
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
    with pytest.raises(PersonError, match=r"14 of 14 files .* and 4 more; add the files"):
        dataset(folder, text).card()


def test_nothing_to_predict_and_unknown_choice(folder):
    with pytest.raises(PersonError, match=r"dataset.label and dataset.target are both null"):
        dataset(folder, ROWS, label=None)
    with pytest.raises(PersonError, match=r"dataset.unlisted must be stop or ignore: received 'warn'"):
        dataset(folder, ROWS, unlisted="warn")
