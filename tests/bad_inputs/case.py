"""What one bad input is: how its folder is made, which option reads it, and what must come of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

STOP = "stop"  # the run ends with one line, and publishes nothing
QUARANTINE = "quarantine"  # the same with the default limit; with a higher one the file is put aside with that reason
REPAIR = "repair"  # documented: the run goes on, and `then` says what must stand in the artifact

Build = Callable[[Path], object]
Then = Callable[["Result"], object]


@dataclass(frozen=True)
class Result:
    """What ingest, and split where it ran, published: for the checks of a repair."""

    out: Path
    card: dict[str, Any]
    section: dict[str, Any]
    quarantine: dict[str, str]
    samples: Any
    split: dict[str, list[str]] = field(default_factory=dict)

    def named(self, ending: str) -> int:
        """Position of the sample whose name ends so."""
        names = self.samples.columns["name"].tolist()
        return next(place for place, name in enumerate(names) if name.endswith(ending))

    @property
    def warned(self) -> str:
        return " ".join(self.section["warnings"])


@dataclass(frozen=True)
class Case:
    """One line of the table.

    Attributes:
        id: row of the list of faults, then what it is: `G1 truncated JPEG`.
        build: fills the folder `source`.
        expect: regular expression of the line, or of the reason in quarantine; for a repair, of quarantine and warnings.
        dataset: option of conf/dataset.
        options: changes of its arguments.
        ingest: changes of conf/config.yaml's `ingest`.
        kind: STOP, QUARANTINE or REPAIR.
        then: further checks of a repair.
        splitter: option of conf/splitter; where it is given, the split runs after ingest.
        parting: changes of its arguments.
        splitting: changes of conf/config.yaml's `split`.
        clusters: names of samples that quality found to be near duplicates of each other.
        cli: also run through the command line, in a workspace of its own.
    """

    id: str
    build: Build
    expect: str = ""
    dataset: str = "image_folder"
    options: Mapping[str, Any] = field(default_factory=dict)
    ingest: Mapping[str, Any] = field(default_factory=dict)
    kind: str = STOP
    then: Then | None = None
    splitter: str = ""
    parting: Mapping[str, Any] = field(default_factory=dict)
    splitting: Mapping[str, Any] = field(default_factory=dict)
    clusters: tuple[tuple[str, ...], ...] = ()
    cli: bool = False

    @property
    def row(self) -> str:
        """Row of the list of faults."""
        return self.id.split()[0]


def pixels(seed: int, *, size: tuple[int, int] = (12, 10), channels: int = 3) -> np.ndarray:
    """Smooth pictures that no two seeds share: (height, width, channels) uint8 of `size` = (width, height)."""
    small = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    made = np.asarray(Image.fromarray(small).resize(size, Image.Resampling.BICUBIC))
    return made if channels == 3 else made[..., :1]


def encoded(image: Image.Image | np.ndarray, form: str = "PNG", **how: Any) -> bytes:
    """An image as a file of a format."""
    buffer = BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(buffer, form, **how)
    return buffer.getvalue()


def picture(seed: int, form: str = "PNG", *, size: tuple[int, int] = (12, 10), **how: Any) -> bytes:
    """A small good picture as a file."""
    return encoded(pixels(seed, size=size), form, **how)


def put(folder: Path, name: str | bytes, data: bytes | str) -> Path:
    """Write a file, and the folders above it."""
    path = Path(folder, name if isinstance(name, str) else name.decode("utf-8", "surrogateescape"))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def good(folder: Path, classes: tuple[str, ...] = ("cat", "dog"), each: int = 6) -> None:
    """A folder without a fault: `each` pictures of each class."""
    for kind, name in enumerate(classes):
        for number in range(each):
            put(folder, f"{name}/{number:02d}.png", picture(100_000 + 1000 * kind + number))


def beside(name: str | bytes, data: bytes | Callable[[], bytes]) -> Build:
    """A good folder and one file more."""

    def build(folder: Path) -> None:
        good(folder)
        put(folder, name, data() if callable(data) else data)

    return build


def after(*steps: Build) -> Build:
    """A good folder, and then these steps on it."""

    def build(folder: Path) -> None:
        good(folder)
        for step in steps:
            step(folder)

    return build


def only(*steps: Build) -> Build:
    """These steps on an empty folder."""

    def build(folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for step in steps:
            step(folder)

    return build


def file(name: str | bytes, data: bytes | str) -> Build:
    """A step: write one file."""
    return lambda folder: put(folder, name, data)


def table(*rows: str, name: str = "labels.csv", header: str = "path,label", images: int = 8) -> Build:
    """Eight pictures below `img/` with a row each, and these rows more."""

    def build(folder: Path) -> None:
        width = header.count(",") - 1
        lines = [header]
        for number in range(images):
            put(folder, f"img/{number}.png", picture(number))
            lines.append(f"img/{number}.png,{'ab'[number % 2]}" + ",0" * width)
        put(folder, name, "\n".join([*lines, *rows]) + "\n")

    return build
