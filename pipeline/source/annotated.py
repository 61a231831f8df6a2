"""Pictures with boxes around objects, as samples: each object a crop, or each picture whole with its boxes.

Used by the datasets that read annotations (COCO, Pascal VOC). Boxes are (x0, y0, x1, y1) in pixels from the upper left corner
of the picture; x1 and y1 are the outer edges, so that a box of one pixel has a width of 1.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.core.errors import PersonError, near_match
from pipeline.core.record import Entry, Rejected
from pipeline.source.folder import class_names, files_below, is_image, listed

OBJECTS = ("crops", "whole")
SLACK = 1.0  # pixels that a box may reach out of its picture: rounding, and counting from 0 or 1; it is cut there
SMALLEST = 1.0  # pixels: width and height of a box


@dataclass(frozen=True)
class Thing:
    """One object of a picture.

    Attributes:
        key: names it in its picture.
        category: its class.
        box: (x0, y0, x1, y1), pixels.
        keypoints: (x, y) of each, pixels; (-1, -1) out of sight.
    """

    key: str
    category: str
    box: tuple[float, float, float, float]
    keypoints: tuple[tuple[float, float], ...] = ()

    @property
    def area(self) -> float:
        """Of the box, in square pixels."""
        return (self.box[2] - self.box[0]) * (self.box[3] - self.box[1])


@dataclass
class Photo:
    """One annotated picture.

    Attributes:
        name: its path, for people.
        path: where it lies.
        size: width and height, pixels, or None where the annotation does not say.
        given: the split that its annotation names, or "".
        things: objects that can be used.
        refused: objects that cannot, with the reason.
    """

    name: str
    path: Path
    size: tuple[float, float] | None = None
    given: str = ""
    things: list[Thing] = field(default_factory=list)
    refused: list[Rejected] = field(default_factory=list)

    def add(self, thing: Thing) -> None:
        """Keep an object, its box cut at the borders of the picture, or the reason against it."""
        x0, y0, x1, y1 = thing.box
        width, height = self.size or (math.inf, math.inf)
        if 0 <= x0 <= x1 - SMALLEST and 0 <= y0 <= y1 - SMALLEST and x1 <= width and y1 <= height:
            self.things.append(thing)
            return
        cut = (max(x0, 0.0), max(y0, 0.0), min(x1, width), min(y1, height))
        if max(abs(one - other) for one, other in zip(thing.box, cut, strict=True)) > SLACK:
            inside = f"of {width:g} x {height:g} pixels" if self.size else "(a negative corner)"
            self.refuse(thing.key, f"the box ({x0:g}, {y0:g}) to ({x1:g}, {y1:g}) reaches outside the picture {inside}")
        elif cut[2] - cut[0] < SMALLEST or cut[3] - cut[1] < SMALLEST:
            self.refuse(thing.key, f"the box ({x0:g}, {y0:g}) to ({x1:g}, {y1:g}) is thinner than a pixel")
        else:
            self.things.append(Thing(thing.key, thing.category, cut, thing.keypoints))

    def refuse(self, key: str, reason: str) -> None:
        """Put an object aside."""
        self.refused.append(Rejected(f"{self.name}#{key}", reason))


@dataclass(frozen=True)
class Reading:
    """How annotated pictures become samples.

    Attributes:
        objects: crops (one sample a box, grouped by picture) or whole (one a picture, labelled by the category whose boxes have
            the largest total area, the first of equal ones).
        background: class of a whole picture without objects; None rejects it. Crops have none.
        unlisted: stop, or ignore pictures that nothing names.

    Raises:
        PersonError: `objects` is neither crops nor whole.
    """

    objects: str
    background: str | None
    unlisted: str

    def __post_init__(self) -> None:
        if self.objects not in OBJECTS:
            raise PersonError(
                f"dataset.objects must be crops (each box a sample) or whole (each picture one): received {self.objects!r}"
            )
        if self.objects != "whole":
            object.__setattr__(self, "background", None)

    def check_images(self, folder: Path, named: Mapping[str, str], *, by: str) -> None:
        """Hold the pictures that annotations name against those that lie in a folder.

        Args:
            folder: of the pictures.
            named: path of a picture, relative to `folder` -> what names it, for the error.
            by: what names them all, for the error.

        Raises:
            PersonError: pictures are missing, or nothing names them; with counts and the first ten.
        """
        if self.unlisted not in ("stop", "ignore"):
            raise PersonError(f"dataset.unlisted must be stop or ignore: received {self.unlisted!r}")
        if not folder.is_dir():
            raise PersonError(f"the folder of images {folder} does not exist: set dataset.images")
        there = {str(path) for path in files_below(folder) if is_image(path)}
        missing = [f"{name} ({place})" for name, place in named.items() if name not in there]
        if missing:
            raise PersonError(
                f"{len(missing)} of {len(named)} images that {by} names are missing in {folder}: {listed(missing)}; "
                f"add them, or remove their annotations"
            )
        unnamed = sorted(there - named.keys(), key=str.encode)
        if unnamed and self.unlisted == "stop":
            raise PersonError(
                f"{len(unnamed)} images in {folder} are not named by {by}: {listed(unnamed)}; "
                f"annotate them, or set dataset.unlisted=ignore"
            )

    def classes(self, photos: Iterable[Photo]) -> list[str]:
        """Sorted classes of these pictures; empty where no object can be used and there is no background.

        Raises:
            PersonError: names that differ only by case, spaces or Unicode form.
        """
        used = {thing.category for photo in photos for thing in photo.things}
        empty = any(not photo.things and not photo.refused for photo in photos)
        return categories({*used, *([self.background] if empty and self.background else [])}, None)

    def count(self, photos: Iterable[Photo]) -> int:
        """How many entries `entries` will yield."""
        return sum(len(photo.refused) + (len(photo.things) if self.objects == "crops" else 1) for photo in photos)

    def entries(self, photos: Iterable[Photo], classes: Sequence[str]) -> Iterator[Entry | Rejected]:
        """Samples of annotated pictures.

        Args:
            photos: in the order of the source.
            classes: of the card, as `classes` gives them.
        """
        number = {name: place for place, name in enumerate(classes)}
        for photo in photos:
            yield from photo.refused
            if self.objects == "crops":
                for thing in photo.things:
                    yield Entry(
                        f"{photo.name}#{thing.key}", photo.path.read_bytes, label=number[thing.category], group=photo.name,
                        given=photo.given, crop=thing.box, keypoints=thing.keypoints,
                    )  # fmt: skip
            elif photo.things or (self.background is not None and not photo.refused):
                yield _whole(photo, number, self.background or "")
            else:
                yield Rejected(photo.name, "none of its boxes can be used" if photo.refused else "it has no box")


def categories(names: Iterable[str], wanted: Sequence[str] | None) -> list[str]:
    """Sorted classes of the objects: all that occur, or those that a person asked for.

    Raises:
        PersonError: names that differ only by case, spaces or Unicode form; one that does not occur (near match).
    """
    found = class_names(names)
    for name in wanted or ():
        if name not in found:
            raise PersonError(f"dataset.categories names {name!r}, which no object has: {near_match(name, found)}")
    return found if wanted is None else sorted(set(wanted), key=str.encode)


def _whole(photo: Photo, number: Mapping[str, int], background: str) -> Entry:
    areas: dict[int, float] = {}
    for thing in photo.things:
        place = number[thing.category]
        areas[place] = areas.get(place, 0.0) + thing.area
    label = min(areas, key=lambda place: (-areas[place], place)) if areas else number[background]
    ours = [thing for thing in photo.things if number[thing.category] == label]
    return Entry(
        photo.name,
        photo.path.read_bytes,
        label=label,
        given=photo.given,
        boxes=tuple((*thing.box, number[thing.category]) for thing in photo.things),
        keypoints=max(ours, key=lambda thing: thing.area).keypoints if ours else (),
    )
