"""A person's photos with Pascal VOC annotations: boxes around objects, one XML file a photo.

Source of the format: Everingham et al. 2010, International Journal of Computer Vision 88; its corners count pixels from 1 and
include both ends, so (1, 1, 10, 10) is a box of 10 x 10 pixels.
"""

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from pipeline.core.errors import PersonError
from pipeline.core.record import Entry, Rejected
from pipeline.source.annotated import Photo, Reading, Thing, categories
from pipeline.source.folder import check_path, check_source, files_below, is_image, listed
from pipeline.source.safe_xml import Element, read_xml

LARGEST = 10_000_000  # bytes of one annotation
CORNERS = ("xmin", "ymin", "xmax", "ymax")
SPLITS = ("train", "val", "test")
FAR = 1e9  # pixels


class Voc:
    """Objects or whole photos of Pascal VOC annotations.

    A photo and its annotation have one name but for the ending; `filename` inside the XML, which is often out of date, is not
    read. Boxes that are thinner than a pixel or reach outside their photo are rejected with a reason.

    Args:
        source: the folder that holds everything.
        annotations: folder of the XML files, relative to `source`.
        images: folder of the photos, relative to `source`.
        sets: folder of the lists train.txt, val.txt and test.txt, which name photos without their ending; None for none.
        objects: crops: each box is a sample, boxes of one photo are a group; whole: each photo is one, with its boxes.
        categories: categories to use; None uses all.
        background: class of a whole photo without a box; None rejects it.
        difficult: also use objects that are marked difficult.
        unlisted: photos without an annotation: `stop` or `ignore`.
        title: name of the data, for the card and the report.
        licence: of the data.
        citation: of the data.

    Raises:
        PersonError: `objects` is unknown.
    """

    def __init__(
        self, *, source: Path, annotations: str, images: str, sets: str | None, objects: str, categories: list[str] | None,
        background: str | None, difficult: bool, unlisted: str, title: str, licence: str, citation: str,
    ) -> None:  # fmt: skip
        self.reading = Reading(objects, background, unlisted)
        self.source, self.annotations, self.images, self.sets = source, annotations, images, sets
        self.categories, self.difficult = categories, difficult
        self.title, self.licence, self.citation = title, licence, citation

    def card(self) -> dict[str, Any]:
        """Name, licence and classes.

        Raises:
            PersonError: the annotations cannot be used, or they and the photos do not agree.
        """
        return {
            "name": self.title,
            "source": f"Pascal VOC annotations {self.annotations} in {self.source.resolve().name}",
            "license": self.licence,
            "citation": self.citation,
            "classes": self._found[1],
            "target": None,
        }

    def __len__(self) -> int:
        return self.reading.count(self._found[0])

    def entries(self) -> Iterator[Entry | Rejected]:
        """Photos sorted by the bytes of their names, their objects in the order of the annotation."""
        return self.reading.entries(*self._found)

    @cached_property
    def _found(self) -> tuple[list[Photo], list[str]]:
        """Photos with the objects that are asked for, and the classes."""
        check_source(self.source)
        photos = self._read(self._pairs())
        given = {} if self.sets is None else _splits(self.source, self.sets, {PurePosixPath(p.name).stem for p in photos})
        wanted = set(categories((thing.category for photo in photos for thing in photo.things), self.categories))
        for photo in photos:
            photo.things = [thing for thing in photo.things if thing.category in wanted]
            photo.given = given.get(PurePosixPath(photo.name).stem, "")
        if not wanted:
            raise PersonError(f"no annotation in {self.source / self.annotations} has a box that can be used: add some")
        return photos, self.reading.classes(photos)

    def _pairs(self) -> list[tuple[Path, str]]:
        """Each annotation with the path of its photo, sorted by the latter."""
        for key in ("annotations", "images"):
            check_path(self.source, getattr(self, key), where=f"dataset.{key}")
        folder, photos = self.source / self.annotations, self.source / self.images
        for key, path in (("annotations", folder), ("images", photos)):
            if not path.is_dir():
                raise PersonError(f"the folder {path} does not exist: set dataset.{key}")
        files = [path for path in files_below(folder) if path.suffix.lower() == ".xml"]
        if not files:
            raise PersonError(f"no annotation (.xml) in {folder}: set dataset.annotations")
        stems: dict[str, str] = {}
        for photo in filter(is_image, files_below(photos)):
            other = stems.setdefault(str(photo.with_suffix("")), str(photo))
            if other != str(photo):
                raise PersonError(f"{other!r} and {str(photo)!r} in {photos} have one name but for the ending: rename one")
        named = {stems.get(str(path.with_suffix("")), f"{path.with_suffix('')}.jpg"): path for path in files}
        self.reading.check_images(photos, {name: str(path) for name, path in named.items()}, by=self.annotations)
        return [(folder / named[name], name) for name in sorted(named, key=str.encode)]

    def _read(self, pairs: list[tuple[Path, str]]) -> list[Photo]:
        return [_photo(path, name, self.source / self.images / name, difficult=self.difficult) for path, name in pairs]


def _splits(source: Path, sets: str, stems: set[str]) -> dict[str, str]:
    """Stem -> split, from the lists of a person."""
    check_path(source, sets, where="dataset.sets")
    found: dict[str, str] = {}
    for split in SPLITS:
        path = source / sets / f"{split}.txt"
        if not path.is_file():
            continue
        words = [line.split() for line in path.read_text(encoding="utf-8", errors="replace").splitlines()]
        for line, cells in enumerate(words, start=1):
            if cells and found.setdefault(cells[0], split) != split:
                raise PersonError(f"{path.name} line {line}: {cells[0]!r} is in {found[cells[0]]}.txt too: remove it from one")
    if not found:
        raise PersonError(f"no train.txt, val.txt or test.txt with names in {source / sets}: set dataset.sets to null")
    lost = sorted(found.keys() - stems, key=str.encode)
    if lost:
        raise PersonError(f"{len(lost)} of {len(found)} names in {source / sets} have no annotation: {listed(lost)}; remove them")
    return found


def _photo(path: Path, name: str, file: Path, *, difficult: bool) -> Photo:
    root = _parsed(path)
    if root.name != "annotation":
        raise PersonError(f"{path.name} begins with <{root.name[:40]}>: expected a Pascal VOC <annotation>")
    size = root.first("size")
    sides = [_number(size, key) or 0.0 for key in ("width", "height")] if size is not None else [0.0, 0.0]
    photo = Photo(name, file, (sides[0], sides[1]) if min(sides) > 0 else None)
    for place, thing in enumerate(root.all("object"), start=1):
        category, box = thing.words("name"), thing.first("bndbox")
        if not category:
            raise PersonError(f"{path.name}: object {place} has no <name>: add its category")
        if not difficult and thing.words("difficult") == "1":
            continue
        corners = [None if box is None else _number(box, key) for key in CORNERS]
        if None in corners:
            raise PersonError(f"{path.name}: object {place} ({category}) must have a <bndbox> with numbers {', '.join(CORNERS)}")
        x0, y0, x1, y1 = (value for value in corners if value is not None)
        photo.add(Thing(str(place), category, (x0 - 1, y0 - 1, x1, y1)))
    return photo


def _number(element: Element, key: str) -> float | None:
    try:
        value = float(element.words(key))
    except ValueError:
        return None
    return value if abs(value) < FAR else None


def _parsed(path: Path) -> Element:
    """A small XML file that may come from a stranger; see `pipeline.source.safe_xml`."""
    size = path.stat().st_size
    if not 0 < size <= LARGEST:
        raise PersonError(f"{path.name} is {'empty' if size == 0 else 'larger than 10 MB'}: not an annotation, remove it")
    return read_xml(path.read_bytes(), what=path.name)
