"""What a person looks at when a gate stops the run: an artifact that fails is not published, but its findings are kept."""

import os
import shutil
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pipeline.core import figures
from pipeline.core.section import read_section

BUDGET = 7_500_000  # characters of all pictures in the page
WIDTH = 1600  # pixels of the widest one
PAGE = "stopped.html.j2"


def keep(out: Path, folder: Path, why: str) -> str:
    """Copy what would have been published, and make one page of it.

    Args:
        out: where the stage wrote; its section is there.
        folder: that survives the failure; what it held before is replaced.
        why: the line that stops the run.

    Returns:
        Path of the page, relative to where the person stands.
    """
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(out, folder)
    section = read_section(folder)
    shown = figures.encode([folder / picture.file for picture in section.pictures], budget=BUDGET, width=WIDTH)
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["number"] = figures.number
    pictures = [(picture.caption, shown[folder / picture.file].uri) for picture in section.pictures]
    files = sorted(path.name for path in folder.iterdir() if path.suffix == ".csv")
    page = environment.get_template(PAGE).render(section=section, pictures=pictures, files=files, why=why)
    (folder / "index.html").write_text(page, encoding="utf-8")
    return os.path.relpath(folder / "index.html")
