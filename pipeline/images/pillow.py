"""Pillow with its traps closed: only some formats, no truncated or oversized file, one line for whatever goes wrong."""

import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, UnidentifiedImageError

from pipeline.core.errors import BadSampleError

FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP", "GIF")
MAGIC: dict[str, tuple[bytes, ...]] = {
    "PNG": (b"\x89PNG",),
    "JPEG": (b"\xff\xd8\xff",),
    "TIFF": (b"II*\0", b"MM\0*"),
    "WEBP or other RIFF": (b"RIFF",),
    "GIF": (b"GIF8",),
}
FAULTS = (
    OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, EOFError, OverflowError, MemoryError, RuntimeError,
    AttributeError, ZeroDivisionError, struct.error, zlib.error,
)  # fmt: skip
ALPHA = ("LA", "La", "PA", "RGBA", "RGBa")
PLAIN = ("1", "L", "P", "RGB", "CMYK", "YCbCr", *ALPHA)
OUT_OF_MEMORY = "decoding needs more memory than ingest.decode_memory_mb: make the image smaller, or raise the limit"
ORIENTATION = 0x0112
BITS_PER_SAMPLE = 258
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_90,
}  # fmt: skip


@contextmanager
def strict(max_pixels: int) -> Iterator[None]:
    """Set Pillow's switches, which are global: refuse truncated and oversized files inside, and leave them as they were."""
    before = ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS
    ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS = False, max_pixels
    try:
        yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS = before


def opened(data: bytes, max_pixels: int) -> Any:
    """Open a file of an accepted format; nothing is decoded yet.

    Raises:
        BadSampleError: with the reason.
    """
    try:
        return Image.open(BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError as error:
        raise BadSampleError(_what_else(data)) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        pixels = re.search(r"\((\d+) pixels\)", str(error))
        raise BadSampleError(f"oversized: {pixels[1] if pixels else 'too many'} pixels, max_pixels = {max_pixels}") from error
    except FAULTS as error:
        raise BadSampleError(f"unreadable header: {_line(error)}") from error


def loaded(image: Any) -> Any:
    """The image, decoded whole.

    Raises:
        BadSampleError: with the reason.
    """
    try:
        image.load()
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise BadSampleError("oversized: a frame is larger than max_pixels") from error
    except MemoryError as error:
        raise BadSampleError(OUT_OF_MEMORY) from error
    except FAULTS as error:
        kind = "truncated" if "truncated" in str(error) else "damaged"
        raise BadSampleError(f"{kind}: {_line(error)}") from error
    return image


def frames(image: Any) -> int:
    """How many frames or pages it has.

    Raises:
        BadSampleError: with the reason.
    """
    try:
        return int(getattr(image, "n_frames", 1))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise BadSampleError("oversized: a frame is larger than max_pixels") from error
    except FAULTS as error:
        raise BadSampleError(f"damaged: {_line(error)}") from error


def upright(image: Any) -> Any:
    """The image as its EXIF orientation wants it shown; broken EXIF is ignored."""
    try:
        orientation = image.getexif().get(ORIENTATION, 1)
    except FAULTS:
        return image
    turn = TURNS.get(orientation) if isinstance(orientation, int) else None
    return image if turn is None else _keep_transparency(image, image.transpose(turn))


def _keep_transparency(image: Any, turned: Any) -> Any:
    if "transparency" in image.info:
        turned.info["transparency"] = image.info["transparency"]
    return turned


def is_sixteen_bit(image: Any) -> bool:
    """Whether the file has 16 bit a channel; Pillow opens colour ones as 8 bit without a word."""
    if image.mode.startswith("I;16"):
        return True
    if image.format == "PNG":
        return any(";16" in str(tile[3]) for tile in image.tile)
    return image.format == "TIFF" and 16 in tuple(image.tag_v2.get(BITS_PER_SAMPLE, ()))


def scaled(values: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Grey levels by the range of the image itself, 0 to 255."""
    low, high = int(values.min()), int(values.max())
    span = max(high - low, 1)
    return (((values - low) * 255 + span // 2) // span).astype(np.uint8)


def resized(image: Any, width: int, height: int) -> Any:
    """Average over areas along the axes that shrink, then interpolate linearly along those that grow."""
    shrunk = (min(width, image.width), min(height, image.height))
    if shrunk != image.size:
        image = image.resize(shrunk, Image.Resampling.BOX)
    return image if image.size == (width, height) else image.resize((width, height), Image.Resampling.BILINEAR)


def _what_else(data: bytes) -> str:
    for kind, magic in MAGIC.items():
        if data.startswith(magic):
            return f"damaged or truncated: it begins like a {kind} image and cannot be read"
    start = data[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    accepted = ", ".join(FORMATS)
    if start.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
        return f"not an image but a web page (accepted: {accepted})"
    if b"\0" not in data[:512] and all(byte >= 32 or byte in b"\t\r\n\f" for byte in data[:512]):
        return f"not an image but text (accepted: {accepted})"
    return f"not an image of an accepted format ({accepted})"


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__
