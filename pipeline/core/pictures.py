"""Pictures for people: one look for every stage, and the same bytes for the same numbers.

No pyplot and so no global figure; fonts are the ones that matplotlib brings; nothing of a name is read as mathematics.
matplotlib is imported when a figure is made, so that a stage without one does not pay for it: a sheet of images is drawn by
Pillow, in a tenth of the time.
"""

import importlib.util
import math
import textwrap
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, GREY, GREEN, RED = "#2563a8", "#d97706", "#6b7280", "#2e8b57", "#c0392b"
INK = "#1f2937"
TITLE, GAP = 7.0, 0.06  # of a sheet: points of a title; share of a tile between images
SMALL = 64  # pixels; an image of a sheet that is no larger is enlarged without smoothing
PALETTE = (BLUE, ORANGE, GREEN, RED, "#7c5cbf", "#0e8f9e", "#a0522d", "#c2528b", "#84851f", GREY)
STYLE: dict[str, Any] = {
    "text.parse_math": False,
    "font.family": ["DejaVu Sans"],
    "font.size": 9.0,
    "axes.titlesize": 10.0,
    "axes.labelcolor": INK,
    "axes.edgecolor": "#9ca3af",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "lines.linewidth": 1.8,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "figure.facecolor": "white",
    "svg.hashsalt": "pipeline",
}


def figure(width: float, height: float) -> "Figure":
    """An empty white figure with the house style.

    Args:
        width: inches.
        height: inches.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    mpl.rcParams.update(cast("Any", STYLE))
    made = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(made)
    return made


def save(fig: "Figure", path: Path, dpi: int) -> Path:
    """Write a PNG whose bytes depend on the picture alone; return its path."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        fig.savefig(path, dpi=dpi, metadata={"Software": None})
    return path


def grid(axes: "Axes", axis: str = "both") -> None:
    """Faint lines behind the data; `axis` is x, y or both."""
    axes.set_axisbelow(True)
    axes.grid(visible=True, axis=axis, color="#e5e7eb", linewidth=0.7)  # type: ignore[arg-type]


def shorten(text: str, width: int = 26) -> str:
    """Cut a name in the middle, so that a long one does not spoil a picture."""
    text = " ".join(text.split())
    if len(text) <= width:
        return text
    head = (width - 1) // 2
    return f"{text[:head]}…{text[len(text) - (width - 1 - head) :]}"


def sheet(
    images_HWC: Sequence[NDArray[Any]], titles: Sequence[str], path: Path, *, columns: int = 6, dpi: int = 110, tile: float = 1.55
) -> Path:
    """Write a grid of images, each with its title above it (at most three lines).

    Args:
        images_HWC: uint8 in [0, 255] or float in [0, 1]; one channel is shown as grey; shapes may differ.
        titles: one for each image; may hold line breaks; "" for none.
        path: the PNG to write.
        columns: images in a row.
        dpi: dots an inch.
        tile: side of one image in inches.

    Raises:
        ValueError: the numbers of images and titles differ, or there is no image.
    """
    if len(images_HWC) != len(titles) or not images_HWC:
        received = f"{len(images_HWC)} images and {len(titles)} titles"
        raise ValueError(f"a sheet needs one title for each of at least one image: received {received}")
    columns = max(1, min(columns, len(images_HWC)))
    wrapped = [_wrap(title) for title in titles]
    lines = max(text.count("\n") + 1 if text else 0 for text in wrapped)
    across, above = round(tile * dpi), round((0.13 * lines + 0.06) * dpi)
    size = columns * across, math.ceil(len(images_HWC) / columns) * (across + above)
    font = ImageFont.truetype(str(_font()), TITLE * dpi / 72, layout_engine=ImageFont.Layout.BASIC)
    page = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(page)
    for number, (image_HWC, text) in enumerate(zip(images_HWC, wrapped, strict=True)):
        left, top = number % columns * across, number // columns * (across + above)
        shown = _fitted(image_HWC, round(across * (1 - GAP)))
        corner = left + (across - shown.width) // 2, top + above + (across - shown.height) // 2
        page.paste(shown, corner)
        if text:
            pen.multiline_text(
                (left + across / 2, corner[1] - 0.03 * dpi), text, fill=INK, font=font, anchor="md", align="center", spacing=1
            )
    page.save(path, "PNG")
    return path


def _font() -> Path:
    """The regular font that matplotlib brings, which is not imported for it."""
    found = importlib.util.find_spec("matplotlib")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent / "mpl-data/fonts/ttf/DejaVuSans.ttf"


def _fitted(image_HWC: NDArray[Any], side: int) -> Image.Image:
    """An image of a sheet, RGB, whose longer side is `side` pixels; the pixels of small ones stay squares."""
    values = np.asarray(image_HWC)
    values = values[..., 0] if values.ndim == 3 and values.shape[-1] == 1 else values
    if values.dtype != np.uint8:
        values = np.rint(np.clip(np.nan_to_num(values), 0, 1) * 255).astype(np.uint8)
    image = Image.fromarray(values).convert("RGB")
    longer = max(image.size)
    smooth = Image.Resampling.LANCZOS if longer > side else Image.Resampling.BICUBIC
    width, height = (max(1, round(length * side / longer)) for length in image.size)
    return image.resize((width, height), smooth if longer > SMALL else Image.Resampling.NEAREST)


def _wrap(title: str) -> str:
    lines = [piece for line in title.splitlines() for piece in textwrap.wrap(line, width=24)]
    return "\n".join(shorten(line, 24) for line in lines[:3])


def placard(text: str, path: Path, *, dpi: int = 110) -> Path:
    """Write a small picture that says why there is nothing to see, such as an option `none`."""
    fig = figure(4.0, 0.8)
    fig.text(0.5, 0.5, text, ha="center", va="center", color=GREY)
    return save(fig, path, dpi)
