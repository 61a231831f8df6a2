"""Bytes of an image file to pixels of one fixed shape, or one line that says why not. Used by every dataset.

The policy, case by case:

unreadable, truncated, empty    quarantine; the whole image is decoded, because Pillow's `verify()` accepts truncated files
not an image by content         quarantine; the name's ending is not looked at, and only FORMATS are opened
larger than `max_pixels`        quarantine, from the header, before anything is decoded (Pillow's own limit, made an error)
16 bit a channel                quarantine, or grey ones scaled by their own range to 8 bit; colour is always refused,
                                because Pillow would silently drop the low byte
32-bit integer, floating point  quarantine
CMYK, YCbCr                     converted to RGB by Pillow's fixed formulas, without the colour profile
transparency (alpha, palette)   composited on a grey `background`
EXIF orientation                applied; broken EXIF is ignored
several frames                  quarantine (a JPEG with an embedded preview, MPO, gives its first picture)
too small, too long and narrow  quarantine
colour where grey is asked      ITU-R 601-2 luma; grey where colour is asked is repeated
other sizes                     `fit`; shrinking averages over areas, enlarging is bilinear
"""

import hashlib
import re
import struct
import warnings
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
FITS = ("stretch", "crop", "pad")
FAULTS = (
    OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, EOFError, OverflowError, MemoryError, RuntimeError,
    AttributeError, ZeroDivisionError, struct.error, zlib.error,
)  # fmt: skip
ALPHA = ("LA", "La", "PA", "RGBA", "RGBa")
PLAIN = ("1", "L", "P", "RGB", "CMYK", "YCbCr", *ALPHA)
ORIENTATION = 0x0112
BITS_PER_SAMPLE = 258
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_90,
}  # fmt: skip


def sample_id(pixels_HWC: NDArray[np.uint8]) -> str:
    """Identity of an image: the first 20 hexadecimal digits of SHA-256 over its shape and bytes."""
    shape = "x".join(str(side) for side in pixels_HWC.shape)
    return hashlib.sha256(shape.encode() + b"\n" + np.ascontiguousarray(pixels_HWC).tobytes()).hexdigest()[:20]


class Decoder:
    """Decodes image files to uint8 pixels of one shape. See the module for the policy of each case.

    Args:
        height: of the result, pixels.
        width: of the result, pixels.
        channels: 1 (grey) or 3 (RGB).
        fit: stretch (each axis by itself), crop (the centre, aspect kept) or pad (with `background`, aspect kept).
        min_side: pixels; an image with a shorter side is refused.
        max_aspect: an image whose longer side is more than this many times the shorter one is refused.
        max_pixels: an image with more is refused before it is decoded.
        sixteen_bit: reject, or scale grey ones by their own range.
        background: grey level under transparent pixels and beside padded ones, 0 to 255.

    Raises:
        ValueError: an argument is outside its range.
    """

    def __init__(  # noqa: PLR0913
        self, *, height: int, width: int, channels: int, fit: str, min_side: int, max_pixels: int, sixteen_bit: str,
        background: int, max_aspect: float = 20.0,
    ) -> None:  # fmt: skip
        if channels not in (1, 3) or fit not in FITS or sixteen_bit not in ("reject", "scale"):
            raise ValueError(
                f"channels must be 1 or 3, fit one of {', '.join(FITS)}, sixteen_bit reject or scale: "
                f"received {channels}, {fit}, {sixteen_bit}"
            )
        if min(height, width, min_side, max_pixels) < 1 or not 0 <= background <= 255 or max_aspect < 1:
            raise ValueError(
                f"sizes must be positive, background 0 to 255, max_aspect at least 1: received height {height}, "
                f"width {width}, min_side {min_side}, max_pixels {max_pixels}, background {background}, "
                f"max_aspect {max_aspect}"
            )
        self.height, self.width, self.channels, self.fit = height, width, channels, fit
        self.min_side, self.max_aspect, self.max_pixels = min_side, max_aspect, max_pixels
        self.sixteen_bit, self.background = sixteen_bit, background

    def decode(self, data: bytes) -> NDArray[np.uint8]:
        """Decode one file.

        Returns:
            (height, width, channels), uint8.

        Raises:
            BadSampleError: the file cannot be used; the message is the reason, one line.
        """
        if not data:
            raise BadSampleError("empty file (0 bytes)")
        with _strict(self.max_pixels), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with _opened(data, self.max_pixels) as image:
                self._check_header(image)
                flat = self._flat(_loaded(image))
        pixels = np.asarray(self._fitted(flat), dtype=np.uint8)
        return pixels.reshape(self.height, self.width, self.channels)

    def _check_header(self, image: Any) -> None:
        width, height = image.size
        if min(width, height) < self.min_side:
            raise BadSampleError(f"too small: {width} x {height} pixels, min_side = {self.min_side}")
        if max(width, height) > self.max_aspect * min(width, height):
            raise BadSampleError(f"extreme shape: {width} x {height} pixels, max_aspect = {self.max_aspect:g}")
        frames = 1 if image.format == "MPO" else _frames(image)
        if frames > 1:
            raise BadSampleError(f"{frames} frames or pages: save the one to use as a file of its own")
        deep = image.mode.startswith("I;16")
        if _is_sixteen_bit(image) and not deep:
            raise BadSampleError("16-bit colour: convert it to 8 bit a channel")
        if deep and self.sixteen_bit == "reject":
            raise BadSampleError("16-bit grey: convert it to 8 bit, or set ingest.sixteen_bit=scale")
        if image.mode not in PLAIN and not deep:
            kinds = {"I": "32-bit integer", "F": "floating point"}
            raise BadSampleError(f"{kinds.get(image.mode, 'colour mode ' + image.mode)} pixels: convert it to 8 bit RGB or grey")

    def _flat(self, image: Any) -> Any:
        """Upright, opaque, 8 bit, and of the asked number of channels."""
        image = _upright(image)
        if image.mode.startswith("I;16"):
            image = Image.fromarray(_scaled(np.asarray(image).astype(np.int64)))
        elif image.mode in ALPHA or "transparency" in image.info:
            image = image.convert("LA") if image.mode == "La" else image
            image = image.convert("RGBA")
            ground = Image.new("RGBA", image.size, (self.background,) * 3 + (255,))
            image = Image.alpha_composite(ground, image).convert("RGB")
        wanted = "L" if self.channels == 1 else "RGB"
        if image.mode not in ("1", "L", "RGB"):
            image = image.convert("RGB")
        return image if image.mode == wanted else image.convert(wanted)

    def _fitted(self, image: Any) -> Any:
        width, height = image.size
        if self.fit == "stretch":
            return _resized(image, self.width, self.height)
        if self.fit == "crop":
            scale = min(width / self.width, height / self.height)
            across, down = max(1, round(self.width * scale)), max(1, round(self.height * scale))
            left, top = (width - across) // 2, (height - down) // 2
            return _resized(image.crop((left, top, left + across, top + down)), self.width, self.height)
        scale = min(self.width / width, self.height / height)
        across, down = max(1, round(width * scale)), max(1, round(height * scale))
        colour = self.background if self.channels == 1 else (self.background,) * 3
        ground = Image.new(image.mode, (self.width, self.height), colour)
        ground.paste(_resized(image, across, down), ((self.width - across) // 2, (self.height - down) // 2))
        return ground


@contextmanager
def _strict(max_pixels: int) -> Iterator[None]:
    """Pillow's switches, which are global: refuse truncated and oversized files inside, and leave them as they were."""
    before = ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS
    ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS = False, max_pixels
    try:
        yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS = before


def _opened(data: bytes, max_pixels: int) -> Any:
    try:
        return Image.open(BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError as error:
        raise BadSampleError(_what_else(data)) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        pixels = re.search(r"\((\d+) pixels\)", str(error))
        raise BadSampleError(f"oversized: {pixels[1] if pixels else 'too many'} pixels, max_pixels = {max_pixels}") from error
    except FAULTS as error:
        raise BadSampleError(f"unreadable header: {_line(error)}") from error


def _loaded(image: Any) -> Any:
    try:
        image.load()
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise BadSampleError("oversized: a frame is larger than max_pixels") from error
    except FAULTS as error:
        kind = "truncated" if "truncated" in str(error) else "damaged"
        raise BadSampleError(f"{kind}: {_line(error)}") from error
    return image


def _frames(image: Any) -> int:
    try:
        return int(getattr(image, "n_frames", 1))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise BadSampleError("oversized: a frame is larger than max_pixels") from error
    except FAULTS as error:
        raise BadSampleError(f"damaged: {_line(error)}") from error


def _upright(image: Any) -> Any:
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


def _is_sixteen_bit(image: Any) -> bool:
    """Whether the file has 16 bit a channel: Pillow opens colour ones as 8 bit without a word."""
    if image.mode.startswith("I;16"):
        return True
    if image.format == "PNG":
        return any(";16" in str(tile[3]) for tile in image.tile)
    return image.format == "TIFF" and 16 in tuple(image.tag_v2.get(BITS_PER_SAMPLE, ()))


def _scaled(values: NDArray[np.int64]) -> NDArray[np.uint8]:
    low, high = int(values.min()), int(values.max())
    span = max(high - low, 1)
    return (((values - low) * 255 + span // 2) // span).astype(np.uint8)


def _resized(image: Any, width: int, height: int) -> Any:
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
