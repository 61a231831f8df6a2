"""Which layout a folder of a person's data has, and the settings with which its dataset reads it."""

import csv
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.core.errors import PersonError
from pipeline.core.table import parquet_columns

TABLES = (".csv", ".parquet", ".pq")
COLUMNS = {  # setting of the dataset image_table -> names of columns that mean it
    "path": ("path", "file", "filename", "file_name", "image"), "label": ("label", "class", "category"), "group": ("group",),
    "split": ("split",), "time": ("time",),
}  # fmt: skip
COCO_BYTES = 2 << 30
SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Layout:
    """How a folder is read.

    Attributes:
        dataset: option of conf/dataset.
        splitter: option of conf/splitter that suits it.
        settings: of the dataset, beside its defaults.
        told: one line for the person.
    """

    dataset: str
    told: str
    splitter: str = "stratified"
    settings: dict[str, Any] = field(default_factory=dict)


def recognise(folder: Path) -> Layout:
    """The layout of a folder; class folders where it looks like nothing else.

    Raises:
        PersonError: it could be read in several ways.
    """
    return _coco(folder) or _voc(folder) or _masks(folder) or _idx(folder) or _table(folder) or Layout(
        "image_folder", "one sub-folder a class"
    )  # fmt: skip


def _coco(folder: Path) -> Layout | None:
    files = [path for path in sorted([*folder.glob("*.json"), *folder.glob("annotations/*.json")]) if _is_coco(path)]
    if not files:
        return None
    names = [path.relative_to(folder).as_posix() for path in files]
    images = "images" if (folder / "images").is_dir() else "."
    if len(files) == 1:
        settings = {"file": names[0], "images": images}
        return Layout("coco", f"COCO annotations {names[0]}, each box a sample", "grouped", settings)
    by_split = {split: [name for name in names if split in Path(name).stem] for split in SPLITS}
    if (
        any(len(found) > 1 for found in by_split.values())
        or not by_split["train"]
        or sum(map(len, by_split.values())) < len(names)
    ):
        raise PersonError(
            f"{folder} holds several COCO annotation files ({', '.join(names)}): leave one, or one each whose name holds train, "
            f"val and test"
        )
    settings = {"file": by_split["train"][0], "images": images}
    settings |= {f"{split}_file": by_split[split][0] for split in ("val", "test") if by_split[split]}
    return Layout("coco", f"COCO annotations {', '.join(names)}, each box a sample", "given", settings)


def _is_coco(path: Path) -> bool:
    if path.stat().st_size > COCO_BYTES:
        return False
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return False
    return isinstance(found, dict) and all(isinstance(found.get(key), list) for key in ("images", "annotations"))


def _voc(folder: Path) -> Layout | None:
    for annotations, images in (("Annotations", "JPEGImages"), ("annotations", "images")):
        if (folder / images).is_dir() and any((folder / annotations).glob("*.xml")):
            settings = {"annotations": annotations, "images": images}
            sets = "ImageSets/Main"
            if (folder / sets / "train.txt").is_file():
                return Layout("voc", "Pascal VOC annotations, each box a sample", "given", {**settings, "sets": sets})
            return Layout("voc", "Pascal VOC annotations, each box a sample", "grouped", settings)
    return None


def _masks(folder: Path) -> Layout | None:
    if not ((folder / "images").is_dir() and (folder / "masks").is_dir()):
        return None
    names = ["background", "object"]
    return Layout(
        "masks_folder", "photos with masks; name their classes in the experiment (dataset.names)", settings={"names": names}
    )


def _idx(folder: Path) -> Layout | None:
    images = sorted(path.name for path in folder.glob("*-images-idx3-ubyte*"))
    if not images:
        return None
    labels = [name.replace("-images-idx3-", "-labels-idx1-") for name in images]
    if len(images) == 1:
        return Layout("idx", f"idx file {images[0]}", settings={"images": images[0], "labels": labels[0]})
    train = [place for place, name in enumerate(images) if name.startswith("train")]
    if len(images) != 2 or len(train) != 1:
        raise PersonError(
            f"{folder} holds the idx files {', '.join(images)}: leave one, or one that begins with train and one for the test"
        )
    one, other = train[0], 1 - train[0]
    settings = {"images": images[one], "labels": labels[one], "test_images": images[other], "test_labels": labels[other]}
    return Layout("idx", f"idx files {', '.join(images)}", "given", settings)


def _table(folder: Path) -> Layout | None:
    tables = sorted(path for path in folder.iterdir() if path.is_file() and path.suffix.lower() in TABLES)
    named = [path for path in tables if path.stem == "labels"] or tables
    if not named:
        return None
    if len(named) > 1:
        raise PersonError(
            f"{folder} holds several tables ({', '.join(path.name for path in named)}): call the one to use labels.csv"
        )
    header = _header(named[0])
    settings: dict[str, Any] = {"file": named[0].name}
    for key, names in COLUMNS.items():
        column = next((name for name in names if name in header), None)
        if column is not None:
            settings[key] = column
    splitter = "given" if "split" in settings else "grouped" if "group" in settings else "stratified"
    return Layout("image_table", f"table {named[0].name}", splitter, settings)


def _header(path: Path) -> list[str]:
    if path.suffix.lower() != ".csv":
        return parquet_columns(path)
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        try:
            return next(csv.reader(file), [])
        except csv.Error:
            return []
