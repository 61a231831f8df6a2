"""Row G: what can be wrong with an image file. Each stands beside twelve good ones."""

import struct
import zlib
from collections.abc import Callable

import numpy as np
from PIL import Image

from tests.bad_inputs.case import QUARANTINE, REPAIR, Case, Result, after, beside, encoded, file, picture, pixels

SIDE = (40, 30)


def bad(identity: str, name: str, data: bytes | Callable[[], bytes], reason: str, **more: object) -> Case:
    """A file that goes into quarantine, and stops the run where none may."""
    return Case(identity, beside(f"cat/{name}", data), reason, kind=QUARANTINE, **more)


def fine(identity: str, name: str, data: bytes, then: Callable[[Result], object], **more: object) -> Case:
    """A file that is repaired as documented."""
    return Case(identity, beside(f"cat/{name}", data), kind=REPAIR, then=then, **more)


def cut(data: bytes, share: float) -> bytes:
    return data[: int(len(data) * share)]


def png(width: int, height: int, *, depth: int = 8, colour: int = 0, rows: bytes = b"") -> bytes:
    """A PNG from its chunks, so that the header may say anything."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")


def bmp(width: int, height: int) -> bytes:
    return b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)


def gif(width: int, height: int) -> bytes:
    return b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff" + b"," + struct.pack(
        "<HHHHB", 0, 0, width, height, 0) + b"\x02\x02D\x01\0;"  # fmt: skip


def tiff(values: np.ndarray, mode: str) -> bytes:
    return encoded(Image.fromarray(values) if mode != "LAB" else Image.new("LAB", (12, 10)), "TIFF")


def frames(form: str, **how: object) -> bytes:
    first, *others = [Image.fromarray(pixels(seed, size=SIDE)) for seed in (71, 72, 73)]
    return encoded(first, form, save_all=True, append_images=others, **how)


def flipped(data: bytes, start: int, count: int) -> bytes:
    return data[:start] + bytes(byte ^ 0x5A for byte in data[start : start + count]) + data[start + count :]


def turned(orientation: int) -> bytes:
    image = Image.fromarray(pixels(80, size=SIDE))
    exif = image.getexif()
    exif[0x0112] = orientation
    return encoded(image, "PNG", exif=exif)


def clear(mode: str) -> bytes:
    """Black, and wholly transparent in its left half."""
    image = Image.new("RGBA", (12, 10), (0, 0, 0, 255))
    image.paste((10, 20, 30, 0), (0, 0, 6, 10))
    if mode == "P":
        palette = Image.fromarray(np.repeat(np.array([[0] * 6 + [1] * 6], dtype=np.uint8), 10, axis=0), "P")
        palette.putpalette([10, 20, 30, 0, 0, 0])
        return encoded(palette, "PNG", transparency=0)
    return encoded(image.convert(mode), "PNG")


def on_background(result: Result) -> None:
    shown = result.samples.pixels(result.named("x.png"))
    assert shown[:, :3].min() == 255
    assert shown[:, -3:].max() == 0


def level(position: tuple[int, int], low: int, high: int) -> Callable[[Result], None]:
    def check(result: Result) -> None:
        assert low <= int(result.samples.pixels(result.named("x.png"))[position].min()) <= high

    return check


def passes(result: Result) -> None:
    assert result.quarantine == {}
    assert result.card["samples"] == 13


def upright(result: Result) -> None:
    shown = result.samples.pixels(result.named("x.png"))
    flat = np.asarray(Image.fromarray(pixels(80, size=SIDE)).transpose(Image.Transpose.ROTATE_270))
    assert np.abs(shown.astype(int).mean((0, 1)) - flat.astype(int).mean((0, 1))).max() < 3
    corners = [place[row, column].astype(int) for place in (shown, flat) for row in (0, -1) for column in (0, -1)]
    assert all(np.abs(one - other).max() < 60 for one, other in zip(corners[:4], corners[4:], strict=True))


def one_shape(result: Result) -> None:
    assert {result.samples.pixels(place).shape for place in range(len(result.samples))} == {(16, 16, 3)}


def damaged_scan(result: Result) -> None:
    """It cannot be proven: it loads. But it is another image than the whole one, and says so by its id."""
    names = result.samples.columns["name"].tolist()
    ids = dict(zip(names, result.samples.ids, strict=True))
    assert ids["cat/x.jpg"] != ids["cat/whole.jpg"]


def photograph() -> bytes:
    noise = np.random.default_rng(3).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    return encoded(noise, "JPEG", quality=95)


def grey16(low: int = 1000, high: int = 5000) -> bytes:
    return encoded(Image.fromarray(np.linspace(low, high, 120).astype(np.uint16).reshape(10, 12)), "PNG")


BIG = picture(1, "PNG", size=SIDE)
JPEG = photograph()
FORMS = {"JPEG": "jpg", "PNG": "png", "GIF": "gif", "BMP": "bmp", "TIFF": "tif", "WEBP": "webp"}
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\nshowpage\n"
FAKES = {
    "empty file": (b"", "empty file"),
    "text": (b"see the other folder\n", "not an image but text"),
    "web page": (b"<!DOCTYPE html><html><body>404 Not Found</body></html>", "not an image but a web page"),
    "JSON": (b'{"error": "quota exceeded"}', "not an image but text"),
    "PDF": (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n\0\0", "not an image of an accepted format"),
    "zip": (b"PK\x03\x04" + bytes(60), "not an image of an accepted format"),
    "HEIC": (struct.pack(">I", 24) + b"ftypheic" + bytes(60), "not an image of an accepted format"),
    "git-lfs pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "not an image but text"),
}
STRANGE = {
    "EPS": (EPS, "not an image but text"),
    "PSD": (b"8BPS\0\x01" + bytes(30), "not an image of an accepted format"),
    "FITS": (b"SIMPLE  =                    T" + b" " * 2850, "not an image but text"),
    "PPM": (b"P6\n2 2\n255\n" + bytes(12), "not an image of an accepted format"),
    "SVG": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not an image but text"),
    "ICO": (encoded(pixels(1, size=(16, 16)), "ICO"), "not an image of an accepted format"),
}


CASES = [
    *[bad(f"G1 truncated {form}", f"x.{ending}", cut(picture(9, form, size=(200, 150)), 0.6), r"cat/x\.\w+: .*(truncated|damaged|unreadable)",
          cli=form == "JPEG") for form, ending in FORMS.items()],
    bad("G1 progressive JPEG without its last scans", "x.jpg", cut(picture(9, "JPEG", size=(200, 150), progressive=True), 0.4),
        r"cat/x\.jpg: .*(truncated|damaged)"),
    bad("G1 JPEG of its header alone", "x.jpg", JPEG[:20], r"cat/x\.jpg: .*(damaged|truncated|unreadable)"),
    bad("G1 PNG without its last bytes", "x.png", cut(BIG, 0.9), r"cat/x\.png: .*(truncated|damaged)"),
    Case("G2 JPEG with a damaged scan", after(file("cat/whole.jpg", JPEG), file("cat/x.jpg", flipped(JPEG, len(JPEG) // 2, 40))),
         kind=REPAIR, then=damaged_scan),
    bad("G2 PNG with a damaged chunk", "x.png", flipped(BIG, len(BIG) // 2, 30), r"cat/x\.png: .*damaged"),
    bad("G2 TIFF with damaged LZW data", "x.tif", flipped(picture(5, "TIFF", size=(90, 90), compression="tiff_lzw"), 400, 60),
        r"cat/x\.tif: .*(damaged|truncated|unreadable)"),
    *[bad(f"G3 {name} named .jpg", "x.jpg", data, rf"cat/x\.jpg: {reason}", cli=name == "web page")
      for name, (data, reason) in FAKES.items()],
    fine("G4 GIF named .png", "x.png", picture(5, "GIF"), passes),
    fine("G4 WebP named .jpg", "x.jpg", picture(5, "WEBP", lossless=True), passes),
    fine("G4 JPEG named .png", "x.png", picture(5, "JPEG"), passes),
    *[bad(f"G4 {name} named .png", "x.png", data, rf"cat/x\.png: {reason}") for name, (data, reason) in STRANGE.items()],
    bad("G5 animated GIF", "x.gif", frames("GIF"), r"cat/x\.gif: 3 frames or pages: save the one to use"),
    bad("G5 TIFF of three pages", "x.tif", frames("TIFF"), r"cat/x\.tif: 3 frames or pages"),
    bad("G5 animated PNG", "x.png", frames("PNG"), r"cat/x\.png: 3 frames or pages"),
    bad("G5 animated WebP", "x.webp", frames("WEBP"), r"cat/x\.webp: 3 frames or pages"),
    bad("G6 16-bit grey PNG", "x.png", grey16(), r"cat/x\.png: 16-bit grey: convert it to 8 bit, or set ingest\.sixteen_bit", cli=True),
    bad("G6 16-bit colour PNG", "x.png", png(12, 10, depth=16, colour=2, rows=(b"\0" + bytes(range(72))) * 10),
        r"cat/x\.png: 16-bit colour: convert it"),
    bad("G6 16-bit grey TIFF", "x.tif", tiff(np.full((10, 12), 900, dtype=np.uint16), "I;16"), r"cat/x\.tif: 16-bit grey"),
    bad("G6 32-bit TIFF", "x.tif", tiff(np.full((10, 12), 90_000, dtype=np.int32), "I"), r"cat/x\.tif: 32-bit integer pixels: convert"),
    bad("G6 floating point TIFF", "x.tif", tiff(np.full((10, 12), 0.5, dtype=np.float32), "F"),
        r"cat/x\.tif: floating point pixels: convert"),
    bad("G6 LAB TIFF", "x.tif", tiff(np.zeros((10, 12)), "LAB"), r"cat/x\.tif: colour mode LAB pixels: convert"),
    fine("G6 16-bit grey, scaled on request", "x.png", grey16(), level((-1, -1), 200, 255), ingest={"sixteen_bit": "scale"}),
    fine("G6 CMYK JPEG", "x.jpg", encoded(Image.new("CMYK", (12, 10), (0, 200, 0, 0)), "JPEG"), passes),
    fine("G7 RGBA with hidden pixels", "x.png", clear("RGBA"), on_background),
    fine("G7 grey with alpha", "x.png", clear("LA"), on_background),
    fine("G7 palette with a transparent colour", "x.png", clear("P"), on_background),
    fine("G8 orientation in EXIF", "x.png", turned(6), upright, ingest={"height": 40, "width": 30}),
    fine("G8 orientation that does not exist", "x.png", turned(99), passes),
    fine("G8 broken EXIF", "x.jpg", JPEG[:2] + b"\xff\xe1\x00\x10Exif\0\0MM\0*\xff\xff\xff\xff" + JPEG[2:], passes),
    bad("G9 20,000 x 20,000 pixels in the header", "x.png", png(20_000, 20_000), r"cat/x\.png: oversized: 400000000 pixels, max_pixels", cli=True),
    bad("G9 12,000 x 12,000, at which Pillow only warns", "x.png", png(12_000, 12_000), r"cat/x\.png: oversized: 144000000 pixels"),
    bad("G9 a PNG of 2 KB that holds 64 megapixels", "x.png", png(8_000, 8_000, depth=1, rows=bytes(1001 * 8000)),
        r"cat/x\.png: oversized: 64000000 pixels"),
    bad("G9 2,147,483,647 pixels wide", "x.png", png(2**31 - 1, 2**31 - 1), r"cat/x\.png: .*(oversized|unreadable|damaged)"),
    bad("G9 GIF of 65,535 x 65,535", "x.gif", gif(65_535, 65_535), r"cat/x\.gif: oversized"),
    bad("G9 BMP of 60,000 x 60,000", "x.bmp", bmp(60_000, 60_000), r"cat/x\.bmp: oversized"),
    bad("G10 one pixel", "x.png", picture(5, size=(1, 1)), r"cat/x\.png: too small: 1 x 1 pixels, min_side"),
    bad("G10 400 x 8", "x.png", picture(5, size=(400, 8)), r"cat/x\.png: extreme shape: 400 x 8 pixels, max_aspect"),
    bad("G10 BMP of no width", "x.bmp", bmp(0, 10), r"cat/x\.bmp: .*(too small|damaged|unreadable|not an image|truncated)"),
    bad("G10 PNG of no height", "x.png", png(10, 0), r"cat/x\.png: .*(too small|damaged|unreadable|truncated)"),
    Case("G11 all black", after(file("cat/x.png", encoded(Image.new("RGB", (12, 10)), "PNG"))), "1 images? .* one single colour", kind=REPAIR),
    Case("G11 constant grey", after(file("dog/x.png", encoded(Image.new("L", (12, 10), 99), "PNG"))), "1 images? .* one single colour",
         kind=REPAIR),
    Case("G12 sizes and channels mixed", after(
        file("cat/x.png", encoded(pixels(5, size=(33, 17))[..., 0])), file("dog/y.jpg", picture(6, "JPEG", size=(64, 20)))),
        kind=REPAIR, then=one_shape),
    Case("G12 a loose file in no class folder", after(file("loose.png", picture(77))), r"loose\.png: lies in no class folder",
         kind=QUARANTINE),
]  # fmt: skip
