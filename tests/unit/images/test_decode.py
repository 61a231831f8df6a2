"""Every stated policy of the decoder, one bad or odd file each, with the line that a person reads."""

import contextlib
import random
import struct
import subprocess
import sys
import zlib
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from pipeline.core.errors import BadSampleError
from pipeline.images.decode import Decoder, sample_id
from pipeline.images.geometry import Frame, Request

RNG = np.random.default_rng(7)
COLOUR = RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8)
GREY16 = np.linspace(1000, 21000, 600).reshape(20, 30).astype(np.uint16)


def decoder(**changes):
    settings = {"height": 20, "width": 30, "channels": 3, "fit": "stretch", "min_side": 8, "max_pixels": 10_000,
                "sixteen_bit": "reject", "background": 255, **changes}  # fmt: skip
    return Decoder(**settings)


def encoded(image, kind="PNG", **options):
    buffer = BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(name, body):
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png16_colour():
    """Pillow cannot write 16-bit colour, so the chunks are put together by hand."""
    rows = b"".join(b"\0" + RNG.integers(0, 65536, 30 * 3).astype(">u2").tobytes() for _ in range(20))
    header = struct.pack(">IIBBBBB", 30, 20, 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def frames(kind):
    pictures = [Image.fromarray(np.roll(COLOUR, shift, 0)) for shift in range(3)]
    return encoded(pictures[0], kind, save_all=True, append_images=pictures[1:])


def huge_header():
    """A PNG that claims 100,000 x 100,000 pixels and holds none."""
    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


JPEG = encoded(COLOUR, "JPEG", quality=95)
PNG = encoded(COLOUR)
BAD = {
    "zero bytes": (b"", "empty file (0 bytes)"),
    "text": (b"this is not an image\n" * 40, "not an image but text (accepted: PNG, JPEG, BMP, TIFF, WEBP, GIF)"),
    "web page": (b"\n<!DOCTYPE html><html>404</html>", "not an image but a web page (accepted: PNG, JPEG, BMP, TIFF, WEBP, GIF)"),
    "noise": (bytes(range(256)) * 4, "not an image of an accepted format (PNG, JPEG, BMP, TIFF, WEBP, GIF)"),
    "format outside the list": (encoded(COLOUR, "PPM"), "not an image of an accepted format (PNG, JPEG, BMP, TIFF, WEBP, GIF)"),
    "truncated JPEG": (JPEG[: len(JPEG) // 2], "truncated: image file is truncated"),
    "truncated PNG": (PNG[: len(PNG) // 2], "truncated: "),
    "truncated BMP": (encoded(COLOUR, "BMP")[:600], "truncated: "),
    "TIFF without its end": (encoded(COLOUR, "TIFF", compression="tiff_lzw")[:900],
                             "damaged or truncated: it begins like a TIFF image and cannot be read"),
    "PNG without its start": (PNG[:12], "damaged or truncated: it begins like a PNG image and cannot be read"),
    "damaged PNG": (PNG[:60] + b"\x55" * 40 + PNG[100:], "damaged: "),
    "oversized": (encoded(np.zeros((101, 100), np.uint8)), "oversized: 10100 pixels, max_pixels = 10000"),
    "bomb": (huge_header(), "oversized: 10000000000 pixels, max_pixels = 10000"),
    "too small": (encoded(COLOUR[:7]), "too small: 30 x 7 pixels, min_side = 8"),
    "extreme shape": (encoded(np.zeros((8, 170), np.uint8)), "extreme shape: 170 x 8 pixels, max_aspect = 20"),
    "16-bit grey": (encoded(GREY16), "16-bit grey: convert it to 8 bit, or set ingest.sixteen_bit=scale"),
    "16-bit grey TIFF": (encoded(GREY16, "TIFF"), "16-bit grey: convert it to 8 bit, or set ingest.sixteen_bit=scale"),
    "16-bit colour": (png16_colour(), "16-bit colour: convert it to 8 bit a channel"),
    "32-bit": (encoded(GREY16.astype(np.int32), "TIFF"), "32-bit integer pixels: convert it to 8 bit RGB or grey"),
    "floating point": (encoded(GREY16.astype(np.float32), "TIFF"), "floating point pixels: convert it to 8 bit RGB or grey"),
    "LAB": (encoded(Image.fromarray(COLOUR).convert("LAB"), "TIFF"), "colour mode LAB pixels: convert it to 8 bit RGB or grey"),
    "animated GIF": (frames("GIF"), "3 frames or pages: save the one to use as a file of its own"),
    "animated PNG": (frames("PNG"), "3 frames or pages: save the one to use as a file of its own"),
    "pages of a TIFF": (frames("TIFF"), "3 frames or pages: save the one to use as a file of its own"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_refused_with_its_line(case):
    data, line = BAD[case]
    with pytest.raises(BadSampleError) as caught:
        decoder().decode(data)
    said = str(caught.value)
    assert said == line or (line.endswith((" ", "truncated")) and said.startswith(line))
    assert "\n" not in said


@pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("BMP", {}), ("TIFF", {}), ("WEBP", {"lossless": True})])
def test_lossless_formats_give_the_very_pixels(kind, options):
    assert np.array_equal(decoder().decode(encoded(COLOUR, kind, **options)), COLOUR)


def test_a_jpeg_is_near_and_its_type_comes_from_its_content():
    assert np.abs(decoder().decode(JPEG).astype(int) - np.asarray(Image.open(BytesIO(JPEG)), int)).max() == 0


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bit_grey_is_scaled_by_its_own_range(kind):
    found = decoder(channels=1, sixteen_bit="scale").decode(encoded(GREY16, kind))[..., 0]
    expected = np.rint((GREY16.astype(float) - 1000) / 20000 * 255)
    assert np.abs(found - expected).max() <= 1
    assert (found.min(), found.max()) == (0, 255)


def test_a_jpeg_with_an_embedded_preview_gives_its_first_picture():
    preview = Image.fromarray(COLOUR[::2, ::2])
    stored = encoded(Image.fromarray(COLOUR), "MPO", save_all=True, append_images=[preview], quality=95)
    assert Image.open(BytesIO(stored)).format == "MPO"
    assert np.array_equal(decoder().decode(stored), decoder().decode(JPEG))


def test_sixteen_bit_constant_image_does_not_divide_by_zero():
    assert (decoder(channels=1, sixteen_bit="scale").decode(encoded(np.full((20, 30), 4000, np.uint16))) == 0).all()


def test_sixteen_bit_colour_is_refused_even_when_grey_is_scaled():
    with pytest.raises(BadSampleError, match="16-bit colour"):
        decoder(sixteen_bit="scale").decode(png16_colour())


def test_alpha_is_composited_on_the_background():
    picture = np.dstack([COLOUR, np.zeros((20, 30), np.uint8)])
    picture[:10, :, 3] = 255
    found = decoder(background=40).decode(encoded(picture))
    assert np.array_equal(found[:10], COLOUR[:10])
    assert (found[10:] == 40).all()


def test_transparent_palette_entry_is_composited_on_the_background():
    indexed = Image.new("P", (30, 20), 1)
    indexed.putpalette([255, 0, 0, 0, 255, 0])
    indexed.paste(0, (0, 0, 30, 10))
    found = decoder(background=9).decode(encoded(indexed, "PNG", transparency=0))
    assert (found[:10] == 9).all()
    assert (found[10:] == [0, 255, 0]).all()


def test_transparent_grey_level_is_composited_also_after_a_turn():
    grey = np.full((20, 30), 200, np.uint8)
    grey[:, :15] = 50
    exif = Image.Exif()
    exif[0x0112] = 3
    found = decoder(channels=1, background=0).decode(encoded(grey, "PNG", transparency=50, exif=exif))[..., 0]
    assert (found[:, 15:] == 0).all()
    assert (found[:, :15] == 200).all()


def test_cmyk_is_converted_to_rgb():
    cmyk = Image.fromarray(COLOUR).convert("CMYK")
    found = decoder().decode(encoded(cmyk, "TIFF"))
    assert np.array_equal(found, np.asarray(cmyk.convert("RGB")))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_once(kind, orientation):
    steps = np.zeros((20, 20), np.uint8)
    steps[:10, :10], steps[:10, 10:], steps[10:, :10] = 250, 170, 90
    undo = {1: lambda a: a, 2: np.fliplr, 3: lambda a: np.rot90(a, 2), 4: np.flipud, 5: np.transpose,
            6: lambda a: np.rot90(a, 1), 7: lambda a: np.rot90(np.transpose(a), 2), 8: lambda a: np.rot90(a, 3)}  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = encoded(np.ascontiguousarray(undo[orientation](steps)), kind, exif=exif)
    found = decoder(channels=1, height=20, width=20).decode(stored)[..., 0]
    assert np.abs(found.astype(int) - steps).max() <= (12 if kind == "JPEG" else 0)


@pytest.mark.parametrize(
    "junk", [b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0garbage", b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x09"]
)
def test_broken_exif_is_ignored(junk):
    assert decoder().decode(JPEG[:2] + b"\xff\xe1" + struct.pack(">H", len(junk) + 2) + junk + JPEG[2:]).shape == (20, 30, 3)


def test_colour_becomes_grey_by_luma_and_grey_becomes_three_channels():
    luma = COLOUR @ np.array([0.299, 0.587, 0.114])
    assert np.abs(decoder(channels=1).decode(PNG)[..., 0] - luma).max() <= 1
    grey = COLOUR[..., 0]
    assert np.array_equal(decoder().decode(encoded(grey)), np.dstack([grey] * 3))


def test_shrinking_averages_over_areas():
    found = decoder(height=10, width=15).decode(PNG)
    expected = COLOUR.astype(float).reshape(10, 2, 15, 2, 3).mean((1, 3))
    assert np.abs(found - expected).max() <= 1  # Pillow rounds after each axis


def test_crop_takes_the_centre_and_pad_keeps_everything():
    picture = np.full((20, 60), 100, np.uint8)
    picture[:, 20:40] = 200
    assert (decoder(channels=1, height=20, width=20, fit="crop").decode(encoded(picture)) == 200).all()
    padded = decoder(channels=1, height=60, width=60, fit="pad", background=7).decode(encoded(picture))[..., 0]
    assert (padded[:20] == 7).all()
    assert (padded[40:] == 7).all()
    assert np.array_equal(padded[20:40], picture)


def test_enlarging_a_constant_image_keeps_it():
    assert (decoder(height=90, width=90).decode(encoded(np.full((20, 30, 3), 77, np.uint8))) == 77).all()


@pytest.mark.parametrize(
    "data", [JPEG, PNG, encoded(COLOUR, "GIF"), encoded(COLOUR, "TIFF"), encoded(COLOUR, "WEBP"), encoded(COLOUR, "BMP")]
)
def test_damaged_bytes_give_pixels_or_a_bad_sample_and_never_another_error(data):
    dice = random.Random(3)
    for _ in range(150):
        broken = bytearray(data)
        for _ in range(dice.randint(1, 8)):
            broken[dice.randrange(len(broken))] = dice.randrange(256)
        del broken[dice.randint(len(broken) // 2, len(broken)) :]
        with contextlib.suppress(BadSampleError):
            assert decoder().decode(bytes(broken)).shape == (20, 30, 3)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "TIFF", "WEBP", "GIF"])
def test_a_file_cut_anywhere_is_refused_or_has_lost_no_pixel(kind):
    data = encoded(COLOUR, kind)
    whole = decoder().decode(data)
    refused = 0
    for length in range(1, len(data)):
        try:
            assert np.array_equal(decoder().decode(data[:length]), whole), f"cut after {length} of {len(data)} bytes"
        except BadSampleError:
            refused += 1
    assert refused > 0.9 * len(data)


@pytest.mark.parametrize(
    "change",
    [{"channels": 2}, {"fit": "squash"}, {"sixteen_bit": "maybe"}, {"height": 0}, {"background": 256}, {"max_aspect": 0.5}],
)
def test_arguments_outside_their_range_are_refused(change):
    with pytest.raises(ValueError, match="received"):
        decoder(**change)


def test_sample_id_depends_on_shape_and_bytes_alone():
    assert sample_id(COLOUR) == sample_id(np.asfortranarray(COLOUR))
    assert sample_id(COLOUR) != sample_id(COLOUR.reshape(30, 20, 3))
    changed = COLOUR.copy()
    changed[0, 0, 0] ^= 1
    assert sample_id(changed) != sample_id(COLOUR)
    assert len(sample_id(COLOUR)) == 20


def test_decoding_imports_no_torch():
    code = "import sys, pipeline.images.decode, pipeline.stages.ingest, pipeline.stages.split; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "False"


# --- the fast way for plain JPEGs


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize(
    "options", [{"quality": 40}, {"quality": 95}, {"quality": 75, "progressive": True}, {"quality": 75, "optimize": True}]
)
@pytest.mark.parametrize("size", [(16, 16), (20, 30), (33, 17), (64, 48)])
def test_the_fast_way_gives_the_very_pixels_of_pillow(subsampling, options, size):
    picture = Image.fromarray(np.random.default_rng(sum(size)).integers(0, 256, (5, 4, 3), dtype=np.uint8)).resize(size)
    for image in (picture, picture.convert("L")):
        data = encoded(image, "JPEG", subsampling=subsampling, **options)
        plain = decoder()._plain_jpeg(data)
        assert plain is not None
        assert np.array_equal(plain, np.atleast_3d(np.asarray(Image.open(BytesIO(data)))))


@pytest.mark.parametrize("image", [COLOUR, COLOUR[..., 0]], ids=["colour", "grey"])
@pytest.mark.parametrize("crop", [None, (0.0, 0.0, 12.0, 12.0)])
def test_pixels_lie_in_the_room_that_is_lent_only_as_they_are_asked_for(image, crop):
    request = Request(encoded(Image.fromarray(image), "JPEG"), crop)
    for channels in (1, 3):
        asked = decoder(height=image.shape[0], width=image.shape[1], channels=channels)
        room_N = np.full(image.shape[0] * image.shape[1] * channels, 77, np.uint8)
        found = asked.decode_all(request, room_N).pixels_HWC
        assert np.array_equal(found, asked.decode_all(request).pixels_HWC)
        assert np.shares_memory(found, room_N) == (crop is None and (channels == 3) == (image.ndim == 3))


def turned(data, orientation=6):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(Image.open(BytesIO(data)), "JPEG", exif=exif)


@pytest.mark.parametrize(
    "data",
    [
        turned(JPEG),
        encoded(Image.fromarray(COLOUR).convert("CMYK"), "JPEG"),
        encoded(COLOUR, "JPEG", keep_rgb=True),
        encoded(COLOUR, "JPEG", xmp=b"<x xmlns='http://ns.adobe.com/xap/1.0/' tiff:Orientation='6'/>"),
        JPEG[: len(JPEG) // 2],
        JPEG[:20],
        PNG,
        encoded(np.zeros((101, 100, 3), np.uint8), "JPEG"),
    ],
    ids=["exif", "cmyk", "rgb", "xmp", "truncated", "header", "png", "oversized"],
)
def test_whatever_is_not_plain_is_left_to_pillow(data):
    assert decoder()._plain_jpeg(data) is None


def test_an_orientation_in_xmp_is_applied_as_pillow_does():
    steps = np.zeros((20, 20, 3), np.uint8)
    steps[:10, :10] = 250
    data = encoded(steps, "JPEG", xmp=b"<x xmlns='http://ns.adobe.com/xap/1.0/' tiff:Orientation=\"6\"/>")
    found = decoder(height=20, width=20).decode(data)
    assert found[:10, 10:].min() > 200
    assert found[:10, :10].max() < 50


# --- crops, masks, boxes, keypoints


MASK = np.kron(np.arange(6, dtype=np.uint8).reshape(2, 3), np.ones((10, 10), np.uint8))


def index_map(**settings):
    """Which pixel of the file each pixel of the result came from, found by decoding an image of coordinates."""
    x, y = np.meshgrid(np.arange(30), np.arange(20))
    coordinates = encoded(np.dstack([x * 8, y * 12, np.full_like(x, 255)]).astype(np.uint8))
    crop = settings.pop("crop", None)
    found = decoder(**settings).decode_all(Request(coordinates, crop)).pixels_HWC.astype(float)
    inside = found[..., 2] == 255
    return found[..., 0] / 8, found[..., 1] / 12, inside


@pytest.mark.parametrize("fit", ["stretch", "crop", "pad"])
@pytest.mark.parametrize("size", [(20, 30), (40, 60), (10, 15), (16, 16), (9, 30)])
@pytest.mark.parametrize("crop", [None, (3.0, 2.0, 27.0, 18.0), (2.4, 1.9, 14.2, 11.5)])
def test_masks_boxes_and_points_move_with_the_pixels(fit, size, crop):
    """An independent reference: an image whose colour is the coordinate says where each pixel came from."""
    settings = {"fit": fit, "height": size[0], "width": size[1], "background": 0}
    x, y, inside = index_map(crop=crop, **settings)
    request = Request(encoded(COLOUR), crop, encoded(MASK), ((4.0, 5.0, 12.0, 10.0, 2),), ((8.0, 7.0),))
    found = decoder(**settings).decode_all(request)
    assert (found.mask_HW[~inside] == 255).all()
    near = MASK[np.clip(np.rint(y[inside]), 0, 19).astype(int), np.clip(np.rint(x[inside]), 0, 29).astype(int)]
    assert (found.mask_HW[inside] == near).mean() > 0.75  # the rest are pixels at the border of two classes
    for px, py in found.keypoints:
        column, row = min(int(px), size[1] - 1), min(int(py), size[0] - 1)
        assert abs(x[row, column] + 0.5 - 8) <= 2.5
        assert abs(y[row, column] + 0.5 - 7) <= 2.5
    for x0, y0, x1, y1, kind in found.boxes:
        assert kind == 2
        assert 0 <= x0 < x1 <= size[1]
        assert 0 <= y0 < y1 <= size[0]
        middle = x[int((y0 + y1) / 2), int((x0 + x1) / 2)], y[int((y0 + y1) / 2), int((x0 + x1) / 2)]
        assert 3 <= middle[0] <= 12.5
        assert 4 <= middle[1] <= 10.5


def test_boxes_are_clipped_and_those_outside_dropped_and_points_outside_are_out_of_sight():
    frame = Frame((10, 0, 20, 10), (0, 0, 20, 20))
    boxes = [
        (0.0, 0.0, 5.0, 5.0, 0),
        (8.0, -3.0, 12.0, 4.0, 1),
        (12.0, 2.0, 14.0, 4.0, 2),
        (19.0, 9.0, 30.0, 30.0, 3),
        (10.0, 0.0, 10.0, 5.0, 4),
    ]
    assert frame.boxes(boxes) == ((0.0, 0.0, 4.0, 8.0, 1), (4.0, 4.0, 8.0, 8.0, 2), (18.0, 18.0, 20.0, 20.0, 3))
    assert frame.points([(15.0, 5.0), (9.0, 5.0), (-1.0, -1.0), (20.0, 10.0)]) == (
        (10.0, 10.0),
        (-1.0, -1.0),
        (-1.0, -1.0),
        (20.0, 20.0),
    )


def test_a_crop_is_cut_from_the_upright_image():
    steps = np.zeros((20, 40, 3), np.uint8)
    steps[:, 20:] = 250
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by 90 degrees clockwise: 40 high, 20 wide, the bright half below
    data = encoded(steps, "PNG", exif=exif)
    below = decoder(height=8, width=8).decode_all(Request(data, (0.0, 20.0, 20.0, 40.0))).pixels_HWC
    above = decoder(height=8, width=8).decode_all(Request(data, (0.0, 0.0, 20.0, 20.0))).pixels_HWC
    assert (below == 250).all()
    assert (above == 0).all()


@pytest.mark.parametrize(
    ("crop", "line"),
    [
        ((40.0, 0.0, 50.0, 10.0), "lies outside the image of 30 x 20 pixels"),
        ((5.0, 5.0, 5.0, 9.0), "lies outside"),
        ((0.0, 0.0, float("nan"), 9.0), "no finite corners"),
        ((0.0, 0.0, 5.0, 20.0), "too small: 5 x 20 pixels, min_side = 8"),
    ],
)
def test_a_crop_that_leaves_nothing_is_refused(crop, line):
    with pytest.raises(BadSampleError, match=line):
        decoder().decode_all(Request(PNG, crop))


def test_a_mask_may_be_a_palette_file_and_its_indices_count():
    palette = Image.frombytes("P", (30, 20), MASK.tobytes())
    palette.putpalette([7 * number % 256 for number in range(768)])
    found = decoder().decode_all(Request(PNG, None, encoded(palette))).mask_HW
    assert np.array_equal(found, MASK)
    binary = decoder().decode_all(Request(PNG, None, encoded(Image.fromarray(MASK > 3)))).mask_HW
    assert np.array_equal(binary, (MASK > 3).astype(np.uint8))


@pytest.mark.parametrize(
    ("mask", "line"),
    [
        (encoded(MASK[:, :29]), "its mask has 29 x 20 pixels, the image 30 x 20"),
        (encoded(COLOUR), "its mask has mode RGB: expected class indices in a palette or 8-bit grey file"),
        (encoded(GREY16), "its mask has mode I;16: expected class indices in a palette or 8-bit grey file"),
        (b"", "its mask is not an image"),
        (encoded(MASK)[:60], "its mask is truncated"),
    ],
)
def test_a_mask_that_does_not_fit_is_refused(mask, line):
    with pytest.raises(BadSampleError) as caught:
        decoder().decode_all(Request(PNG, None, mask))
    assert str(caught.value).startswith(line)


@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_that_are_decoded_already_are_fitted_as_a_file_of_them_is(channels):
    pixels = COLOUR[..., :channels]
    found = decoder(height=10, width=12, channels=3).decode_all(Request(pixels)).pixels_HWC
    assert np.array_equal(
        found, decoder(height=10, width=12, channels=3).decode(encoded(pixels if channels == 3 else pixels[..., 0]))
    )
    with pytest.raises(BadSampleError, match="too small"):
        decoder().decode_all(Request(pixels[:5]))
