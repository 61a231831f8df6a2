"""Which layout a folder has; and archives, tables and annotations through `add` to a configuration that composes."""

import json
import tarfile
import zipfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.command import add
from pipeline.core.config import compose
from pipeline.core.errors import PersonError
from pipeline.source.recognise import Layout, recognise

COCO = json.dumps({"images": [], "annotations": [], "categories": []})


def fill(folder, names):
    for name, text in names.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


CASES = {
    "class folders": ({"a/1.jpg": "", "b/2.jpg": ""}, Layout("image_folder", "one sub-folder a class")),
    "class folders with notes": ({"a/1.jpg": "", "b/2.jpg": "", "notes.json": "{}", "bad.json": "["}, Layout("image_folder", "one sub-folder a class")),
    "coco": ({"instances.json": COCO, "images/1.jpg": "", "other.json": "[]"},
             Layout("coco", "COCO annotations instances.json, each box a sample", "grouped", {"file": "instances.json", "images": "images"})),
    "coco without a folder": ({"_annotations.coco.json": COCO, "1.jpg": ""},
             Layout("coco", "COCO annotations _annotations.coco.json, each box a sample", "grouped", {"file": "_annotations.coco.json", "images": "."})),
    "coco in splits": ({f"annotations/instances_{split}.json": COCO for split in ("train2017", "val2017")},
             Layout("coco", "COCO annotations annotations/instances_train2017.json, annotations/instances_val2017.json, each box a sample", "given",
                    {"file": "annotations/instances_train2017.json", "images": ".", "val_file": "annotations/instances_val2017.json"})),
    "voc": ({"Annotations/1.xml": "", "JPEGImages/1.jpg": ""},
            Layout("voc", "Pascal VOC annotations, each box a sample", "grouped", {"annotations": "Annotations", "images": "JPEGImages"})),
    "voc in splits": ({"Annotations/1.xml": "", "JPEGImages/1.jpg": "", "ImageSets/Main/train.txt": "1"},
            Layout("voc", "Pascal VOC annotations, each box a sample", "given",
                   {"annotations": "Annotations", "images": "JPEGImages", "sets": "ImageSets/Main"})),
    "masks": ({"images/1.jpg": "", "masks/1.png": ""},
              Layout("masks_folder", "photos with masks; name their classes in the experiment (dataset.names)",
                     settings={"names": ["background", "object"]})),
    "idx": ({"x-images-idx3-ubyte.gz": "", "x-labels-idx1-ubyte.gz": ""},
            Layout("idx", "idx file x-images-idx3-ubyte.gz", settings={"images": "x-images-idx3-ubyte.gz", "labels": "x-labels-idx1-ubyte.gz"})),
    "idx with a test": ({"train-images-idx3-ubyte": "", "t10k-images-idx3-ubyte": ""},
            Layout("idx", "idx files t10k-images-idx3-ubyte, train-images-idx3-ubyte", "given",
                   {"images": "train-images-idx3-ubyte", "labels": "train-labels-idx1-ubyte",
                    "test_images": "t10k-images-idx3-ubyte", "test_labels": "t10k-labels-idx1-ubyte"})),
    "table": ({"list.csv": "\ufefffilename,class,other\n", "a/1.jpg": ""},
              Layout("image_table", "table list.csv", "stratified", {"file": "list.csv", "path": "filename", "label": "class"})),
    "table of groups": ({"labels.csv": "path,label,group,time\n", "more.csv": "x\n"},
              Layout("image_table", "table labels.csv", "grouped",
                     {"file": "labels.csv", "path": "path", "label": "label", "group": "group", "time": "time"})),
    "table of splits": ({"labels.csv": "path,label,group,split\n"},
              Layout("image_table", "table labels.csv", "given",
                     {"file": "labels.csv", "path": "path", "label": "label", "group": "group", "split": "split"})),
    "table that is no text": ({"labels.csv": '"\n'}, Layout("image_table", "table labels.csv", "stratified", {"file": "labels.csv"})),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_layout_is_recognised(tmp_path, case):
    names, layout = CASES[case]
    assert recognise(fill(tmp_path, names)) == layout


def test_a_parquet_table_is_recognised_and_a_broken_one_is_one_line(tmp_path):
    pq.write_table(pa.table({"path": ["a"], "label": ["b"]}), tmp_path / "labels.parquet")
    assert recognise(tmp_path).settings == {"file": "labels.parquet", "path": "path", "label": "label"}
    (tmp_path / "labels.parquet").write_bytes(b"x")
    with pytest.raises(PersonError, match=r"labels\.parquet cannot be read as Parquet"):
        recognise(tmp_path)


AMBIGUOUS = {
    "coco": ({"one.json": COCO, "two.json": COCO}, r"several COCO annotation files \(one.json, two.json\): leave one"),
    "coco twice the same split": ({"train_a.json": COCO, "train_b.json": COCO}, "several COCO annotation files"),
    "tables": ({"one.csv": "", "two.csv": ""}, r"several tables \(one.csv, two.csv\): call the one to use labels.csv"),
    "idx": ({f"{name}-images-idx3-ubyte": "" for name in ("a", "b")}, "holds the idx files a-images-idx3-ubyte, b-images-idx3-ubyte: "),
}  # fmt: skip


@pytest.mark.parametrize("case", AMBIGUOUS)
def test_a_folder_that_could_be_read_in_several_ways_is_refused(tmp_path, case):
    names, line = AMBIGUOUS[case]
    with pytest.raises(PersonError, match=line):
        recognise(fill(tmp_path, names))


def test_an_annotated_folder_gets_an_experiment_that_composes(root, tmp_path, capsys):
    folder = fill(tmp_path / "photos", CASES["coco"][0])
    assert add.main([str(folder), "--name", "parts", "--link"]) == 0
    made = compose(root / "conf", experiment="parts", overrides=[])
    assert made["dataset"]["_target_"] == "pipeline.dataset.coco.Coco"
    assert made["dataset"] | {"file": "instances.json", "images": "images"} == made["dataset"]
    assert made["splitter"]["_target_"] == "pipeline.splitter.grouped.Grouped"
    assert made["transform"] == compose(root / "conf", experiment="own_images", overrides=[])["transform"]
    assert "read as coco: COCO annotations instances.json, each box a sample." in capsys.readouterr().out


@pytest.mark.parametrize("wrapper", ["", "my photos/", "a/b/"])
@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_an_archive_is_unpacked_versioned_and_a_folder_around_all_is_left_out(root, tmp_path, kind, wrapper):
    archive = tmp_path / f"photos.{kind}"
    folder = fill(tmp_path / "src", {"cat/1.jpg": "x", "dog/2.jpg": "y"})
    if kind == "zip":
        with zipfile.ZipFile(archive, "w") as file:
            for name in ("cat/1.jpg", "dog/2.jpg"):
                file.write(folder / name, f"{wrapper}{name}")
            file.writestr("__MACOSX/._x", "left by a Mac")
    else:
        with tarfile.open(archive, "w:gz") as file:
            for name in ("cat/1.jpg", "dog/2.jpg"):
                file.add(folder / name, f"{wrapper}{name}")
    assert add.main([str(archive), "--name", "parts"]) == 0
    kept = root / "data/raw/parts"
    assert {path.relative_to(kept).as_posix() for path in kept.rglob("*.jpg")} == {"cat/1.jpg", "dog/2.jpg"}
    assert (root / "data/raw/parts.dvc").is_file()
    assert not list((root / "data/raw").glob("*.unpacked*"))
    assert compose(root / "conf", experiment="parts", overrides=[]) == compose(
        root / "conf", experiment="own_images", overrides=[]
    )


@pytest.mark.parametrize("fault", ["link", "outside", "several tables"])
def test_a_refused_archive_leaves_nothing(root, tmp_path, fault):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        names = {"outside": ["../x.jpg"], "several tables": ["a.csv", "b.csv"]}.get(fault, ["a/1.jpg"])
        for name in names:
            file.writestr(name, "x")
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(PersonError):
        add.main([str(tmp_path / "a.zip"), "--name", "parts", *(["--link"] if fault == "link" else [])])
    assert list((root / "data/raw").iterdir()) == []
    assert not (root / "conf/experiment/parts.yaml").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == before
