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
a part of an image              whole pixels that the crop touches, cut out of the upright image before anything else is judged
masks                           class indices of a palette or grey file of the image's size; nearest neighbour; 255 beside padding
boxes, keypoints                moved with the pixels; boxes are clipped, those outside dropped; points outside become (-1, -1)

A plain JPEG (no EXIF or XMP, grey or YCbCr) is decoded by simplejpeg, which is libjpeg-turbo as in Pillow, without Pillow's
copies: equal pixels in about 0.6 of the time. Whatever it does not take without a warning goes to Pillow.
"""

import hashlib
import warnings
from typing import Any

import numpy as np
import simplejpeg  # type: ignore[import-untyped]
from numpy.typing import NDArray
from PIL import Image

from pipeline.core.errors import BadSampleError
from pipeline.images.geometry import Crop, Decoded, Frame, Request, part_of
from pipeline.images.pillow import ALPHA, MAGIC, PLAIN, frames, is_sixteen_bit, loaded, opened, resized, scaled, strict, upright

FITS = ("stretch", "crop", "pad")
SCAN, APP1 = b"\xda", b"\xe1"  # markers of a JPEG: its first scan; Exif or XMP, where an orientation could be said
PLAIN_JPEG = {"YCbCr": ("RGB", 3), "Gray": ("GRAY", 1)}  # colour space of a file -> what to decode it to, and its channels
IGNORE = 255  # class of mask pixels that nothing is known of


def sample_id(pixels_HWC: NDArray[np.uint8]) -> str:
    """Identity of an image: the first 20 hexadecimal digits of SHA-256 over its shape and bytes."""
    total = hashlib.sha256("x".join(str(side) for side in pixels_HWC.shape).encode() + b"\n")
    total.update(np.ascontiguousarray(pixels_HWC).data)
    return total.hexdigest()[:20]


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
        return self.decode_all(Request(data)).pixels_HWC

    def decode_all(self, request: Request, room_N: NDArray[np.uint8] | None = None) -> Decoded:
        """Decode a file, or take pixels that are decoded, with its crop, mask, boxes and keypoints.

        Args:
            request: what to decode.
            room_N: where the pixels may lie, if that saves a copy; whoever lends it looks whether they do.

        Raises:
            BadSampleError: the file or its mask cannot be used; the message is the reason, one line.
        """
        plain = request.data if isinstance(request.data, np.ndarray) else self._plain_jpeg(request.data, room_N)
        if plain is not None:
            size = plain.shape[1], plain.shape[0]
            self._check_size(*size)
        else:
            image = self._image(request.data)
            size = image.size
        fits = plain is not None and plain.shape == (self.height, self.width, self.channels) and request.crop is None
        if plain is not None and fits and request.mask is None and not request.boxes and not request.keypoints:
            return Decoded(plain, None, (), (), size)
        frame = self._frame(size, request.crop)
        if plain is not None and fits:
            pixels = plain
        else:
            fitted = self._fitted(image if plain is None else self._as_image(plain), frame)
            pixels = np.asarray(fitted, dtype=np.uint8).reshape(self.height, self.width, self.channels)
        mask = None if request.mask is None else self._mask(request.mask, size, frame)
        return Decoded(pixels, mask, frame.boxes(request.boxes), frame.points(request.keypoints), size)

    def _as_image(self, pixels_HWC: NDArray[np.uint8]) -> Any:
        """Plain pixels as an image of the asked number of channels."""
        image = Image.fromarray(pixels_HWC[..., 0] if pixels_HWC.shape[-1] == 1 else pixels_HWC)
        wanted = "L" if self.channels == 1 else "RGB"
        return image if image.mode == wanted else image.convert(wanted)

    def _image(self, data: Any) -> Any:
        """The image of a file by Pillow: upright, opaque, 8 bit, of the asked number of channels."""
        if not data:
            raise BadSampleError("empty file (0 bytes)")
        with strict(self.max_pixels), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with opened(data, self.max_pixels) as image:
                self._check_header(image)
                return self._flat(loaded(image))

    def _plain_jpeg(self, data: bytes, room_N: NDArray[np.uint8] | None = None) -> NDArray[np.uint8] | None:
        """Pixels of a JPEG that has nothing to watch for; None leaves it, and the reason why it is bad, to Pillow."""
        if not data.startswith(MAGIC["JPEG"]) or _may_be_turned(data):
            return None
        try:
            height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
            if colours not in PLAIN_JPEG or width * height > self.max_pixels:
                return None
            self._check_size(width, height)
            kind, channels = PLAIN_JPEG[colours]
            room_N = room_N if (height, width, channels) == (self.height, self.width, self.channels) else None
            pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(data, kind, buffer=room_N)
        except (ValueError, MemoryError, OverflowError):
            return None
        return pixels

    def _check_size(self, width: int, height: int) -> None:
        if min(width, height) < self.min_side:
            raise BadSampleError(f"too small: {width} x {height} pixels, min_side = {self.min_side}")
        if max(width, height) > self.max_aspect * min(width, height):
            raise BadSampleError(f"extreme shape: {width} x {height} pixels, max_aspect = {self.max_aspect:g}")

    def _check_header(self, image: Any) -> None:
        self._check_size(*image.size)
        count = 1 if image.format == "MPO" else frames(image)
        if count > 1:
            raise BadSampleError(f"{count} frames or pages: save the one to use as a file of its own")
        deep = image.mode.startswith("I;16")
        if is_sixteen_bit(image) and not deep:
            raise BadSampleError("16-bit colour: convert it to 8 bit a channel")
        if deep and self.sixteen_bit == "reject":
            raise BadSampleError("16-bit grey: convert it to 8 bit, or set ingest.sixteen_bit=scale")
        if image.mode not in PLAIN and not deep:
            kinds = {"I": "32-bit integer", "F": "floating point"}
            raise BadSampleError(f"{kinds.get(image.mode, 'colour mode ' + image.mode)} pixels: convert it to 8 bit RGB or grey")

    def _flat(self, image: Any) -> Any:
        """Upright, opaque, 8 bit, and of the asked number of channels."""
        image = upright(image)
        if image.mode.startswith("I;16"):
            image = Image.fromarray(scaled(np.asarray(image).astype(np.int64)))
        elif image.mode in ALPHA or "transparency" in image.info:
            image = image.convert("LA") if image.mode == "La" else image
            image = image.convert("RGBA")
            ground = Image.new("RGBA", image.size, (self.background,) * 3 + (255,))
            image = Image.alpha_composite(ground, image).convert("RGB")
        wanted = "L" if self.channels == 1 else "RGB"
        if image.mode not in ("1", "L", "RGB"):
            image = image.convert("RGB")
        return image if image.mode == wanted else image.convert(wanted)

    def _frame(self, size: tuple[int, int], crop: Crop | None) -> Frame:
        """Which part of the upright image goes where in the result."""
        left, top, right, bottom = part_of(size, crop)
        width, height = right - left, bottom - top
        if crop is not None:
            self._check_size(width, height)
        if self.fit == "stretch":
            return Frame((left, top, right, bottom), (0, 0, self.width, self.height))
        if self.fit == "crop":
            scale = min(width / self.width, height / self.height)
            across, down = max(1, round(self.width * scale)), max(1, round(self.height * scale))
            left, top = left + (width - across) // 2, top + (height - down) // 2
            return Frame((left, top, left + across, top + down), (0, 0, self.width, self.height))
        scale = min(self.width / width, self.height / height)
        across, down = max(1, round(width * scale)), max(1, round(height * scale))
        x, y = (self.width - across) // 2, (self.height - down) // 2
        return Frame((left, top, right, bottom), (x, y, x + across, y + down))

    def _fitted(self, image: Any, frame: Frame) -> Any:
        part = image if frame.source == (0, 0, *image.size) else image.crop(frame.source)
        image = resized(part, *frame.size)
        if frame.size == (self.width, self.height):
            return image
        ground = Image.new(
            image.mode, (self.width, self.height), self.background if self.channels == 1 else (self.background,) * 3
        )
        ground.paste(image, frame.target[:2])
        return ground

    def _mask(self, data: bytes, size: tuple[int, int], frame: Frame) -> NDArray[np.uint8]:
        """Class indices of each pixel, moved as the image was."""
        try:
            with strict(self.max_pixels), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                warnings.simplefilter("error", Image.DecompressionBombWarning)
                with opened(data, self.max_pixels) as image:
                    mask = upright(loaded(image))
        except BadSampleError as error:
            raise BadSampleError(f"its mask is {error}") from error
        if mask.mode not in ("1", "L", "P"):
            raise BadSampleError(f"its mask has mode {mask.mode}: expected class indices in a palette or 8-bit grey file")
        if mask.size != size:
            raise BadSampleError(f"its mask has {mask.width} x {mask.height} pixels, the image {size[0]} x {size[1]}")
        indices = Image.fromarray(np.asarray(mask).astype(np.uint8))
        moved = indices.crop(frame.source).resize(frame.size, Image.Resampling.NEAREST)
        ground = np.full((self.height, self.width), IGNORE, dtype=np.uint8)
        x0, y0, x1, y1 = frame.target
        ground[y0:y1, x0:x1] = np.asarray(moved)
        return ground


def _may_be_turned(data: bytes) -> bool:
    """Whether a JPEG has a segment that could say an orientation before its first scan, or has segments that are not in order."""
    place = 2
    while data[place : place + 1] == b"\xff":
        kind = data[place + 1 : place + 2]
        if kind in (SCAN, APP1):
            return kind == APP1
        place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    return True
