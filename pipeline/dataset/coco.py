"""A person's photos with COCO annotations: boxes around objects, in one JSON file a split.

Source of the format: Lin et al. 2014, arXiv 1405.0312; https://cocodataset.org/#format-data.
"""

import json
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from pipeline.core.errors import PersonError
from pipeline.core.record import Entry, Rejected
from pipeline.source.annotated import Photo, Reading, Thing, categories
from pipeline.source.folder import check_collisions, check_path, check_source, listed, plain_path

LARGEST = 2 << 30  # bytes of a JSON file; that of COCO's 118,000 photos has 0.45 GB
FAR = 1e9  # pixels; neither NaN nor an infinity is below it
LISTS = ("images", "annotations", "categories")
KEPT = {"images": ("id", "file_name"), "annotations": ("id", "image_id", "category_id", "bbox"), "categories": ("id", "name")}


class Coco:
    """Objects or whole photos of COCO annotations. Segmentation outlines are not read.

    Crowd regions, and boxes that are thinner than a pixel or reach outside their photo, are rejected with a reason each.

    Args:
        source: the folder that holds everything.
        file: the annotations, relative to `source`.
        val_file: annotations of the validation split, or None; with it or `test_file`, all entries name their split.
        test_file: annotations of the test split, or None.
        images: the folder that `file_name` of the annotations is relative to, relative to `source`.
        objects: crops: each box is a sample, boxes of one photo are a group; whole: each photo is one, with its boxes.
        categories: categories to use; None uses all.
        background: class of a whole photo without a box; None rejects it.
        unlisted: photos that no annotation file names: `stop` or `ignore`.
        title: name of the data, for the card and the report.
        licence: of the data.
        citation: of the data.

    Raises:
        PersonError: `objects` is unknown.
    """

    def __init__(
        self, *, source: Path, file: str, val_file: str | None, test_file: str | None, images: str, objects: str,
        categories: list[str] | None, background: str | None, unlisted: str, title: str, licence: str, citation: str,
    ) -> None:  # fmt: skip
        self.reading = Reading(objects, background, unlisted)
        self.source, self.images, self.categories = source, images, categories
        named = val_file is not None or test_file is not None
        files = [(file, "train" if named else ""), (val_file, "val"), (test_file, "test")]
        self.files = [(name, given) for name, given in files if name is not None]
        self.title, self.licence, self.citation = title, licence, citation

    def card(self) -> dict[str, Any]:
        """Name, licence and classes.

        Raises:
            PersonError: the annotations cannot be used, or they and the photos do not agree.
        """
        return {
            "name": self.title,
            "source": f"COCO annotations {', '.join(name for name, _ in self.files)} in {self.source.resolve().name}",
            "license": self.licence,
            "citation": self.citation,
            "classes": self._classes,
            "target": None,
        }

    def __len__(self) -> int:
        return self.reading.count(self._photos)

    def entries(self) -> Iterator[Entry | Rejected]:
        """Photos in the order of the annotation files, their objects in that of the annotations."""
        return self.reading.entries(self._photos, self._classes)

    @cached_property
    def _classes(self) -> list[str]:
        if not any(photo.things for photo in self._photos):
            raise PersonError(f"no box of {self.files[0][0]} can be used: expected `bbox` of [x, y, width, height] in pixels")
        return self.reading.classes(self._photos)

    @cached_property
    def _photos(self) -> list[Photo]:
        check_source(self.source)
        parts = [self._read(name, given) for name, given in self.files]
        named: dict[str, str] = {}
        for (file, _), part in zip(self.files, parts, strict=True):
            for photo in part:
                other = named.setdefault(photo.name, file)
                if other != file:
                    raise PersonError(f"{photo.name!r} is in {other} and in {file}: remove it from one of them")
        check_collisions(named, what="file names of the annotations")
        by = " and ".join(name for name, _ in self.files)
        self.reading.check_images(self.source / self.images, named, by=by)
        return [photo for part in parts for photo in part]

    def _read(self, file: str, given: str) -> list[Photo]:
        check_path(self.source, file, where="dataset.file")
        found = _load(self.source / file)
        names = _keyed(file, "categories", found["categories"])
        wanted = set(categories((entry["name"] for entry in names.values()), self.categories))
        if len({entry["name"] for entry in names.values()}) < len(names):
            raise PersonError(f"{file} has two categories of one name: give each its own")
        photos = {key: self._photo(file, entry, given) for key, entry in _keyed(file, "images", found["images"]).items()}
        seen: dict[str, Any] = {}
        for key, photo in photos.items():
            if photo.name in seen:
                raise PersonError(f"{file} lists {photo.name!r} twice, as the images {seen[photo.name]} and {key}: remove one")
            seen[photo.name] = key
        _check_known(file, found["annotations"], {"image_id": photos, "category_id": names})
        for entry in _keyed(file, "annotations", found["annotations"]).values():
            category = names[entry["category_id"]]["name"]
            if category in wanted:
                _add(photos[entry["image_id"]], entry, category, file=file)
        return list(photos.values())

    def _photo(self, file: str, entry: dict[str, Any], given: str) -> Photo:
        name, width, height = entry["file_name"], entry.get("width", 0), entry.get("height", 0)
        if not _is_text(name):
            raise PersonError(f"{file}: the image {entry['id']} must have a file_name of text: received {_short(name)}")
        folder = self.source / self.images
        check_path(folder, name, where=f"{file}: the image {entry['id']}")
        size = (float(width), float(height)) if _number(width) and _number(height) and min(width, height) > 0 else None
        return Photo(plain_path(name), folder / name, size, given)


def _load(path: Path) -> dict[str, list[dict[str, Any]]]:
    """The three lists of an annotation file, each entry holding the keys that are needed."""
    if not path.is_file():
        raise PersonError(f"the annotations {path} do not exist: set dataset.file")
    if path.stat().st_size > LARGEST:
        raise PersonError(f"{path.name} is larger than {LARGEST >> 30} GB: split it")
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise PersonError(f"{path.name} is not JSON ({' '.join(str(error).split())[:120]}): export it again") from error
    kind = f"{path.name}: expected COCO annotations, an object with the lists {', '.join(LISTS)}"
    if not isinstance(found, dict):
        raise PersonError(f"{kind}: received {type(found).__name__}")
    for name in LISTS:
        if not isinstance(found.get(name), list):
            raise PersonError(f"{kind}: {name!r} is missing or no list")
        for place, entry in enumerate(found[name]):
            if not isinstance(entry, dict) or not all(key in entry for key in KEPT[name]):
                raise PersonError(
                    f"{path.name}: {name}[{place}] must have {', '.join(KEPT[name])}: received {_short(entry)}"
                )  # fmt: skip
    return {name: found[name] for name in LISTS}


def _keyed(file: str, name: str, entries: list[dict[str, Any]]) -> dict[Any, dict[str, Any]]:
    found: dict[Any, dict[str, Any]] = {}
    for place, entry in enumerate(entries):
        key = entry["id"]
        if isinstance(key, bool) or not (isinstance(key, int) or _is_text(key)):
            raise PersonError(f"{file}: {name}[{place}].id must be a whole number or a text: received {_short(key)}")
        if key in found:
            raise PersonError(f"{file}: two {name} have the id {key!r}: give each its own")
        if name == "categories" and (not _is_text(entry["name"]) or not entry["name"].strip()):
            raise PersonError(f"{file}: {name}[{place}].name must be a text: received {_short(entry['name'])}")
        found[key] = entry
    return found


def _check_known(file: str, annotations: list[dict[str, Any]], known: dict[str, Any]) -> None:
    for key, options in known.items():
        lost = [
            f"{entry['id']} ({key} {_short(entry[key])})" for entry in annotations
            if not isinstance(entry[key], int | str) or entry[key] not in options
        ]  # fmt: skip
        if lost:
            raise PersonError(
                f"{len(lost)} of {len(annotations)} annotations of {file} have an unknown {key}: {listed(lost)}; "
                f"add what is missing, or remove them"
            )


def _add(photo: Photo, entry: dict[str, Any], category: str, *, file: str) -> None:
    key = entry["id"]
    box, points = entry["bbox"], entry.get("keypoints") or []
    where = f"{file}: the annotation {key}"
    if not isinstance(box, list) or len(box) != 4 or not all(map(_number, box)):
        raise PersonError(f"{where} must have bbox = [x, y, width, height]: received {_short(box)}")
    if not isinstance(points, list) or len(points) % 3 or not all(map(_number, points)):
        raise PersonError(f"{where} must have keypoints = [x, y, visibility, ...]: received {_short(points)}")
    if entry.get("iscrowd"):
        photo.refuse(str(key), "a crowd: one box around many objects")
        return
    x, y, width, height = map(float, box)
    triples = [points[place : place + 3] for place in range(0, len(points), 3)]
    seen = tuple((float(across), float(down)) if visible else (-1.0, -1.0) for across, down, visible in triples)
    photo.add(Thing(str(key), category, (x, y, x + width, y + height), seen))


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < FAR


def _is_text(value: object) -> bool:
    """Whether it is a text that can be written; JSON also has halves of characters."""
    return isinstance(value, str) and not any(0xD800 <= ord(letter) <= 0xDFFF for letter in value)


def _short(value: object) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 80 else text[:80] + "..."
