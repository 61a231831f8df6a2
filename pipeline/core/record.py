"""The record of one sample, and of a file of which ingest makes one.

Letters in names: B batch, C channels, H height, W width, N samples, D features.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]
Box = tuple[float, float, float, float, int]
PIECE = 1 << 16  # bytes that are read at a time


@dataclass(slots=True)
class Sample:
    """One labelled image. Nobody changes one; it is not frozen because a frozen record takes three times as long to make.

    Attributes:
        id: hash of the decoded pixels, 20 hexadecimal digits; equal content has an equal id wherever it came from.
        pixels_HWC: uint8, grey levels 0 to 255, one shape for all samples of an artifact.
        label: class index, or -1 where the data has no classes.
        target: real-valued target in the card's unit, or NaN.
        weight: confidence of the label, in (0, 1].
        group: samples of one group never stand on both sides of a split; "" for none.
        order: position in the source, for data whose neighbours belong together. It is not stored: the store keeps samples in
            this order, and reading numbers them anew.
        name: where it came from, for people.
        origin: real, augmented or synthetic.
        parent: what it was made from: a sample's id (augmented) or a generator's digest (synthetic); "" for real ones.
        given: the split that the person named for it: train, val, test, or "" for none.
        source_bytes: size of the file that it was decoded from; 0 where there was none.
        source_height, source_width: of that file's upright image, pixels, before it was cut or resized; 0 where unknown.
        mask_HW: uint8 class of each pixel (0 background, 255 ignore), the height and width of the pixels; None for none.
        boxes: (x0, y0, x1, y1, class index) of each object, in pixels from the upper left corner.
        keypoints: (x, y) of each point, in pixels; always in one order, and (-1, -1) for one that is out of sight.
    """

    id: str
    pixels_HWC: Pixels
    label: int = -1
    target: float = float("nan")
    weight: float = 1.0
    group: str = ""
    order: int = 0
    name: str = ""
    origin: str = "real"
    parent: str = ""
    given: str = ""
    source_bytes: int = 0
    source_height: int = 0
    source_width: int = 0
    mask_HW: Pixels | None = None
    boxes: tuple[Box, ...] = ()
    keypoints: tuple[tuple[float, float], ...] = ()


@dataclass(slots=True)
class OnDisk:
    """Reads a file when it is called. Whoever holds it can look at the file's size and times first."""

    path: str

    def __call__(self) -> bytes:
        """All bytes; plain system calls, in half the time of `Path.read_bytes`."""
        return self.with_facts()[1] or b""

    def with_facts(self, most: int | None = None) -> tuple[os.stat_result, bytes | None]:
        """Size and times of the file, and its bytes; None in their place for a file of more than `most` bytes."""
        handle = os.open(self.path, os.O_RDONLY)
        try:
            facts = os.fstat(handle)
            if most is not None and facts.st_size > most:
                return facts, None
            parts = [os.read(handle, facts.st_size + 1)]  # one more than there are, so that this size says: it ended here
            if len(parts[0]) != facts.st_size:
                while part := os.read(handle, PIECE):
                    parts.append(part)
        finally:
            os.close(handle)
        return facts, parts[0] if len(parts) == 1 else b"".join(parts)


@dataclass(slots=True)
class Entry:
    """One labelled file of a source before it is decoded. Ingest reads, hashes and decodes it, or knows its content already.

    Attributes:
        name: where it came from, for people; unique in the source.
        read: gives the bytes of the image file (an `OnDisk`, or the `read_bytes` of a path, lets a known file rest unread), or
            decoded pixels (uint8, H, W, C) where a package holds them so.
        crop: (x0, y0, x1, y1) of the part to use, in pixels of the file's upright image; None for all of it.
        read_mask: gives the bytes of an image file of class indices, of the same size; None for none.
        boxes: as in Sample, in pixels of the file's upright image.
        keypoints: as in Sample, in pixels of the file's upright image.
        label, target, weight, group, given: as in Sample.
    """

    name: str
    read: Callable[[], bytes | Pixels]
    label: int = -1
    target: float = float("nan")
    weight: float = 1.0
    group: str = ""
    given: str = ""
    crop: tuple[float, float, float, float] | None = None
    read_mask: Callable[[], bytes] | None = None
    boxes: tuple[Box, ...] = ()
    keypoints: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class Rejected:
    """A file that ingest could not use, and why."""

    name: str
    reason: str
