"""A person's photos with a mask each: `images/a.jpg` and `masks/a.png`, whose pixels hold the number of their class."""

import warnings
from collections import Counter
from collections.abc import Iterator
from functools import cached_property, partial
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.core.errors import BadSampleError, PersonError
from pipeline.core.record import Entry, OnDisk, Rejected
from pipeline.images.pillow import loaded, opened, strict, upright
from pipeline.source.folder import check_path, check_source, class_names, files_below, is_image, listed

FORMATS = ("PNG", "BMP")  # JPEG would blur class numbers; TIFF needs a library that this process shall not trust
MODES = ("1", "L", "P")  # one small number a pixel
IGNORE = 255
PIXEL_BYTES = 4  # of the largest pixel that BMP can hold
HEADER_BYTES = 4 << 20  # what a file may hold beside its pixels


class MasksFolder:
    """Photos whose label is the class with the largest area in their mask, or the background where the mask is empty.

    Photo and mask have one path below their folders but for the ending. A mask is as large as its photo. Listing reads the masks
    (they are the labels), never the photos. A mask that cannot be used is rejected with a reason. Classes of the card are those
    that a photo has as its label, in the order of `names`; `mask_classes` are all names, and the pixels of a mask number those.

    Args:
        source: the folder that holds everything.
        images: folder of the photos, relative to `source`.
        masks: folder of the masks, relative to `source`.
        names: class of each number in a mask; the first is the background. 255 is ignored wherever it stands.
        values: grey level of each name in the mask files, for masks that are not numbered from 0 (as 0 and 255); None for those
            that are. Then 255 is a class if it is listed.
        max_pixels: a larger mask is refused before it is decoded.
        title: name of the data, for the card and the report.
        licence: of the data.
        citation: of the data.

    Raises:
        PersonError: names or values are too few, twice there, or out of range.
    """

    def __init__(
        self, *, source: Path, images: str, masks: str, names: list[str], values: list[int] | None, max_pixels: int, title: str,
        licence: str, citation: str,
    ) -> None:  # fmt: skip
        levels = list(range(len(names))) if values is None else values
        if len(names) < 2 or len(set(names)) < len(names) or len(names) > IGNORE:
            raise PersonError(f"dataset.names must be 2 to {IGNORE} different classes, the background first: received {names}")
        if len(set(levels)) < len(levels) or len(levels) != len(names) or not all(0 <= level <= 255 for level in levels):
            raise PersonError(
                f"dataset.values must be {len(names)} different grey levels, 0 to 255, one for each of names: received {values}"
            )
        class_names(names)
        self.source, self.images, self.masks, self.max_pixels = source, images, masks, max_pixels
        self.names, self.renumbered = names, values is not None
        self.number = np.full(256, -1, dtype=np.int16)
        self.number[IGNORE] = IGNORE
        self.number[levels] = np.arange(len(names))
        self.title, self.licence, self.citation = title, licence, citation

    def card(self) -> dict[str, Any]:
        """Name, licence, classes of the labels and of the masks.

        Raises:
            PersonError: photos and masks do not agree.
        """
        return {
            "name": self.title,
            "source": f"photos and masks in {self.source.resolve().name}",
            "license": self.licence,
            "citation": self.citation,
            "classes": self._classes,
            "target": None,
            "mask_classes": self.names,
        }

    def __len__(self) -> int:
        return len(self._pairs)

    def entries(self) -> Iterator[Entry | Rejected]:
        """The photos, sorted by the bytes of their names."""
        label = {name: number for number, name in enumerate(self._classes)}
        for (photo, mask), found in zip(self._pairs, self._labels, strict=True):
            if isinstance(found, str):
                yield Rejected(str(photo), f"its mask {mask}: {found}")
            else:
                path = self.source / self.masks / mask
                yield Entry(
                    str(photo),
                    (self.source / self.images / photo).read_bytes,
                    label=label[self.names[found]],
                    read_mask=partial(self._numbered, path) if self.renumbered else path.read_bytes,
                )

    @cached_property
    def _classes(self) -> list[str]:
        used = {found for found in self._labels if isinstance(found, int)}
        return [name for number, name in enumerate(self.names) if number in used]

    @cached_property
    def _labels(self) -> list[int | str]:
        """Number of each photo's class among `names`, or why its mask cannot be used."""
        found: list[int | str] = []
        for _, mask in self._pairs:
            try:
                found.append(self._label(self.source / self.masks / mask))
            except BadSampleError as error:
                found.append(str(error))
        return found

    def _label(self, path: Path) -> int:
        numbers = self._read(path)
        areas = np.bincount(numbers.ravel(), minlength=256)[: len(self.names)]
        if not areas.sum():
            raise BadSampleError(f"every pixel is {IGNORE} (ignore)")
        return int(areas[1:].argmax()) + 1 if areas[1:].any() else 0

    def _numbered(self, path: Path) -> bytes:
        """The mask as a PNG whose pixels number the names."""
        buffer = BytesIO()
        Image.fromarray(self._read(path)).save(buffer, "PNG", compress_level=1)
        return buffer.getvalue()

    def _read(self, path: Path) -> NDArray[np.uint8]:
        """Number of the class of each pixel, (H, W)."""
        levels = _levels(_limited(path, self.max_pixels), self.max_pixels)
        numbers = self.number[levels]
        unknown = np.unique(levels[numbers < 0])
        if len(unknown):
            known = np.flatnonzero((self.number >= 0) & (self.number != IGNORE)).tolist()
            raise BadSampleError(
                f"it holds {listed([str(level) for level in unknown])}, expected {listed([str(level) for level in known])} "
                f"(dataset.names, dataset.values) or {IGNORE} (ignore)"
            )
        return numbers.astype(np.uint8)

    @cached_property
    def _pairs(self) -> list[tuple[PurePosixPath, PurePosixPath]]:
        check_source(self.source)
        photos, masks = (self._stems(key) for key in ("images", "masks"))
        for key, alone, other in (("images", photos, masks), ("masks", masks, photos)):
            lost = [str(path) for stem, path in alone.items() if stem not in other]
            if lost:
                missing, kind = ("mask", "images") if key == "images" else ("image", "masks")
                raise PersonError(
                    f"{len(lost)} of {len(alone)} {kind} have no {missing} of the same name but for the ending: {listed(lost)}; "
                    f"add the {missing}s, or remove them from {self.source / getattr(self, key)}"
                )
        return [(photo, masks[stem]) for stem, photo in photos.items()]

    def _stems(self, key: str) -> dict[str, PurePosixPath]:
        name = getattr(self, key)
        check_path(self.source, name, where=f"dataset.{key}")
        folder = self.source / name
        if not folder.is_dir():
            raise PersonError(f"the folder {folder} does not exist: set dataset.{key}")
        paths = [path for path in files_below(folder) if is_image(path)]
        if not paths:
            raise PersonError(f"no image in {folder}: set dataset.{key}")
        counts = Counter(str(path.with_suffix("")) for path in paths)
        twice = [str(path) for path in paths if counts[str(path.with_suffix(""))] > 1]
        if twice:
            raise PersonError(f"files in {folder} have one name but for the ending: {listed(twice)}; rename or remove one")
        return {str(path.with_suffix("")): path for path in paths}


def _limited(path: Path, max_pixels: int) -> bytes:
    """The bytes of a mask's file, unless it is larger than any mask that is accepted."""
    most = max_pixels * PIXEL_BYTES + HEADER_BYTES
    try:
        facts, data = OnDisk(str(path)).with_facts(most)
    except OSError as error:
        raise BadSampleError(f"cannot be read: {error.strerror or type(error).__name__}") from error
    if data is None:
        raise BadSampleError(f"too large: {facts.st_size} bytes, and a mask of max_pixels has at most {most}")
    return data


def _levels(data: bytes, max_pixels: int) -> NDArray[np.uint8]:
    """Grey levels, or palette numbers, of a mask file, (H, W)."""
    if not data:
        raise BadSampleError("empty file (0 bytes)")
    with strict(max_pixels), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with opened(data, max_pixels) as image:
            if image.format not in FORMATS:
                raise BadSampleError(f"a {image.format} file: expected {' or '.join(FORMATS)}")
            if image.mode not in MODES:
                raise BadSampleError(f"colour mode {image.mode}: expected one number of 8 bit a pixel (grey or palette)")
            return np.asarray(upright(loaded(image))).astype(np.uint8)
