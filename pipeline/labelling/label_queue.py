"""A review queue on disk: what labelling tools import, a table, and a page to look at. N images that wait."""

import base64
import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any

from jinja2 import Environment, FileSystemLoader
from PIL import Image, ImageOps

from pipeline.core.errors import BadSampleError, PersonError
from pipeline.core.record import Pixels
from pipeline.core.table import read_csv, write_csv
from pipeline.images.decode import sample_id
from pipeline.labelling import cvat, label_studio
from pipeline.labelling.annotation import FORMULA, Answer, Proposal, Review, clean, text_of

FORMATS = ("labelstudio", "cvat", "csv")
SHOWN = 300  # images on the page
SIDE = 220  # pixels of a picture on the page
TURNED = (5, 6, 7, 8)  # EXIF orientations that swap width and height
COLUMNS = ("rank", "path", "proposed", "probability", "doubt", "stands_for", "label", "reviewer")
MOST = 256 * 2**20  # bytes of a reviewed file


@dataclass
class Waiting:
    """Files of a folder that can be labelled, in order, and why others cannot.

    Attributes:
        folder: that holds them.
        decode: bytes of a file to pixels.
        seen: ids of samples that have a label already.
        names: of the files that were yielded.
        sizes: height and width of each, pixels.
        bad: (name, reason) of files that cannot be read.
        labelled: files whose sample has a label already.
        repeated: files that equal an earlier one.
    """

    folder: Path
    decode: Any
    seen: frozenset[str]
    names: list[str] = field(default_factory=list)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    bad: list[tuple[str, str]] = field(default_factory=list)
    labelled: int = 0
    repeated: int = 0

    def images(self, files: Sequence[PurePosixPath] | Iterator[PurePosixPath]) -> Iterator[Pixels]:
        """Decode each file; yield those that are new."""
        met: set[str] = set()
        for path in files:
            data = (self.folder / path).read_bytes()
            try:
                pixels = self.decode(data)
            except BadSampleError as error:
                self.bad.append((str(path), str(error)))
                continue
            identity = sample_id(pixels)
            self.labelled += identity in self.seen
            self.repeated += identity in met
            if identity in self.seen or identity in met:
                continue
            met.add(identity)
            self.names.append(str(path))
            self.sizes.append(upright_size(data))
            yield pixels


def upright_size(data: bytes) -> tuple[int, int]:
    """Height and width of an image file as it is shown, its EXIF orientation followed."""
    with Image.open(BytesIO(data)) as image:
        width, height = image.size
        turned = image.getexif().get(0x0112) in TURNED
    return (width, height) if turned else (height, width)


def write_queue(
    out: Path, proposals: Sequence[Proposal], classes: Sequence[str], *, form: str, url: str, model: str
) -> list[str]:
    """Write the files of one format and the table; return their names.

    Args:
        out: an empty folder.
        proposals: the most wanted first.
        classes: of the project.
        form: one of FORMATS.
        url: before each path in Label Studio's tasks.
        model: which model proposes.
    """
    files = {}
    if form == "labelstudio":
        files = {"tasks.json": label_studio.tasks(proposals, url=url, model=model),
                 "labels.xml": label_studio.configuration(classes)}  # fmt: skip
    elif form == "cvat":
        files = {"annotations.xml": cvat.annotations(proposals, classes), "labels.json": cvat.labels(classes),
                 "images.txt": "".join(f"{one.path}\n" for one in proposals)}  # fmt: skip
    for name, text in files.items():
        (out / name).write_text(text, encoding="utf-8")
    rows = [
        (rank, one.path, one.label, round(one.probabilities[one.label], 6), round(one.doubt, 6), "; ".join(one.twins), None, None)
        for rank, one in enumerate(proposals, start=1)
    ]
    write_csv(out / "queue.csv", COLUMNS, rows)
    return [*files, "queue.csv"]


def write_page(path: Path, folder: Path, proposals: Sequence[Proposal], *, model: str) -> None:
    """One self-contained page with a picture of each image of the queue and what the model says of it."""
    shown = [
        {
            "rank": rank, "path": one.path, "doubt": one.doubt, "twins": len(one.twins), "picture": picture(folder / one.path),
            "bars": sorted(one.probabilities.items(), key=lambda pair: -pair[1])[:4],
        }
        for rank, one in enumerate(proposals[:SHOWN], start=1)
    ]  # fmt: skip
    loader = FileSystemLoader(Path(__file__).parent)
    template = Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True).get_template(
        "label_queue.html.j2"
    )
    path.write_text(template.render(shown=shown, total=len(proposals), model=model, folder=folder.name), encoding="utf-8")


def picture(path: Path) -> str:
    """A small JPEG of an image file, as the address of an <img>."""
    with Image.open(path) as image:
        upright = ImageOps.exif_transpose(image)
        small = upright.convert("RGB")
    scale = SIDE / max(small.size)
    size = tuple(max(1, round(side * scale)) for side in small.size)
    small = small.resize(size, Image.Resampling.NEAREST if scale > 4 else Image.Resampling.LANCZOS)  # type: ignore[arg-type]
    buffer = BytesIO()
    small.save(buffer, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def read_review(path: Path) -> Review:
    """Read a reviewed file; its content says whether it is Label Studio's JSON, CVAT's XML or the filled-in queue.csv.

    Raises:
        PersonError: it is none of them, or too large.
    """
    if not path.is_file():
        raise PersonError(f"{path} is no file: give what the labelling tool exported")
    if path.stat().st_size > MOST:
        size = path.stat().st_size >> 20
        raise PersonError(f"{path.name} has {size} MB, and a review has at most {MOST >> 20}: export the labels without images")
    data = path.read_bytes()
    start = data[:200].removeprefix(b"\xef\xbb\xbf").lstrip()
    if start.startswith(b"<"):
        return cvat.read(data, what=path.name)
    if start.startswith((b"[", b"{")):
        return label_studio.read(data, what=path.name)
    return _table(path, data)


def _table(path: Path, data: bytes) -> Review:
    if b"," not in data[:4096].split(b"\n", 1)[0]:
        raise PersonError(
            f"{path.name} is none of: JSON of Label Studio, CVAT for images 1.1, a CSV with the columns path, label"
        )
    header = next(csv.reader([text_of(data, what=path.name).split("\n", 1)[0]]))
    label = "label" if "label" in header or label_studio.CONTROL not in header else label_studio.CONTROL
    person = next((name for name in ("reviewer", "annotator") if name in header), None)
    columns = {"path": "path", "label": label} | ({"reviewer": person} if person else {})
    rows = read_csv(path, columns, encoding="utf-8")
    answers = [
        Answer(_bare(row["path"]), row[label].strip(), clean(row.get(person or "", ""))) for row in rows if row[label].strip()
    ]
    return Review(answers, len(rows) - len(answers))


def _bare(cell: str) -> str:
    """A cell without the apostrophe that `write_csv` put before what begins like a formula."""
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(FORMULA) else cell
