"""Good files of every format, and a seeded mutator: input number n is the same bytes on every machine."""

import functools
import gzip
import io
import lzma
import struct
import tarfile
import zipfile
from collections.abc import Callable

import numpy as np
from PIL import Image

SEED = 20_240
INTERESTING = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 100_000, 1 << 20, 1 << 30)
HEADER = 64  # bytes at the start, where sizes and counts stand


def _photo(seed: int, size: tuple[int, int] = (48, 36)) -> Image.Image:
    small = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(small).resize(size, Image.Resampling.BICUBIC)


def _saved(image: Image.Image, form: str, **how: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **how)
    return buffer.getvalue()


@functools.cache
def images() -> list[bytes]:
    """One good file of each format and of each way to write it."""
    photo = _photo(1)
    grey, palette, alpha = photo.convert("L"), photo.convert("P"), photo.convert("RGBA")
    deep = Image.fromarray(np.arange(1728, dtype=np.uint16).reshape(36, 48))
    exif = photo.getexif()
    exif[0x0112], exif[0x010E] = 6, "a description"
    more = {"save_all": True, "append_images": [_photo(2), _photo(3)]}
    return [
        _saved(photo, "JPEG"), _saved(photo, "JPEG", progressive=True), _saved(grey, "JPEG", exif=exif), _saved(photo, "JPEG", exif=exif),
        _saved(photo.convert("CMYK"), "JPEG"), _saved(photo, "PNG"), _saved(grey, "PNG"), _saved(palette, "PNG", transparency=0),
        _saved(alpha, "PNG"), _saved(deep, "PNG"), _saved(photo.convert("1"), "PNG"), _saved(photo, "PNG", **more), _saved(photo, "GIF"),
        _saved(photo, "GIF", **more), _saved(photo, "BMP"), _saved(palette, "BMP"), _saved(photo, "TIFF"), _saved(deep, "TIFF"),
        _saved(photo, "TIFF", compression="tiff_lzw"), _saved(photo, "TIFF", compression="tiff_deflate"),
        _saved(photo, "TIFF", compression="jpeg"), _saved(photo.convert("1"), "TIFF", compression="group4"),
        _saved(photo, "TIFF", **more), _saved(photo, "WEBP"), _saved(photo, "WEBP", lossless=True), _saved(alpha, "WEBP"),
        _saved(photo, "WEBP", **more), _saved(photo, "MPO", **more),
    ]  # fmt: skip


def _tar(form: int, *hostile: tarfile.TarInfo, sizes: tuple[int, ...] = (600, 0, 1500)) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as file:
        folder = tarfile.TarInfo("cat")
        folder.type, folder.mode = tarfile.DIRTYPE, 0o755
        file.addfile(folder)
        for number, size in enumerate(sizes):
            long = ("long/" if form == tarfile.USTAR_FORMAT else "long-") * (30 * (number == 1))
            info = tarfile.TarInfo(f"cat/{long}{number}.png")
            info.size = size
            file.addfile(info, io.BytesIO(bytes(range(256)) * (size // 256 + 1)))
        for info in hostile:
            file.addfile(info, io.BytesIO(b"evil" * 200) if info.isreg() else None)
    return buffer.getvalue()


def _hostile(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, target, 800 if kind == tarfile.REGTYPE else 0
    return info


def _zip(method: int, *hostile: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as file:
        for number, size in enumerate((600, 0, 1500)):
            file.writestr(f"cat/{number}.png", bytes(range(256)) * (size // 256 + 1))
        file.writestr("dog/", b"")
        for name in hostile:
            info = zipfile.ZipInfo(name)
            info.filename = name
            file.writestr(info, b"evil" * 200)
    return buffer.getvalue()


@functools.cache
def archives() -> list[tuple[str, bytes]]:
    """(name, bytes) of good archives of each kind, and of hostile ones that mutations may bring past a check."""
    good = {form: _tar(form) for form in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)}
    linked = _tar(tarfile.GNU_FORMAT, _hostile("up", tarfile.SYMTYPE, ".."), _hostile("up/canary/evil.txt"))
    upwards = _tar(tarfile.PAX_FORMAT, _hostile("../canary/evil.txt"))
    hard = _tar(tarfile.USTAR_FORMAT, _hostile("mine", tarfile.LNKTYPE, "../canary/kept.txt"), _hostile("mine"))
    return [
        ("a.zip", _zip(zipfile.ZIP_STORED)), ("b.zip", _zip(zipfile.ZIP_DEFLATED)), ("c.zip", _zip(zipfile.ZIP_DEFLATED, "../canary/evil.txt")),
        *((f"{form}.tar", data) for form, data in good.items()), ("l.tar", linked), ("u.tar", upwards), ("h.tar", hard),
        ("a.tar.gz", gzip.compress(good[tarfile.PAX_FORMAT], mtime=0)), ("u.tar.gz", gzip.compress(upwards, mtime=0)),
        ("a.tar.xz", lzma.compress(good[tarfile.GNU_FORMAT])),
    ]  # fmt: skip


def mutated(number: int, seeds: list[bytes]) -> bytes:
    """Input number `number`: one of the seeds, changed one to four times."""
    rng = np.random.default_rng((SEED, number))
    data = bytearray(seeds[number % len(seeds)])
    for _ in range(int(rng.integers(1, 5))):
        CHANGES[int(rng.integers(len(CHANGES)))](data, rng)
        if len(data) < 4:
            data += seeds[number % len(seeds)][:8]
    return bytes(data)


def _flip(data: bytearray, rng: np.random.Generator) -> None:
    for place in rng.integers(0, len(data), size=int(rng.integers(1, 16))):
        data[int(place)] ^= 1 << int(rng.integers(8))


def _bytes(data: bytearray, rng: np.random.Generator) -> None:
    for place in rng.integers(0, len(data), size=int(rng.integers(1, 16))):
        data[int(place)] = int(rng.integers(256))


def _cut(data: bytearray, rng: np.random.Generator) -> None:
    del data[int(rng.integers(1, len(data))) :]


def _number(data: bytearray, rng: np.random.Generator) -> None:
    """An extreme number where the header holds sizes."""
    form = ("<H", ">H", "<I", ">I")[int(rng.integers(4))]
    value = INTERESTING[int(rng.integers(len(INTERESTING)))] & (0xFFFF if form[1] == "H" else 0xFFFFFFFF)
    place = int(rng.integers(0, max(1, min(HEADER, len(data) - 4))))
    data[place : place + struct.calcsize(form)] = struct.pack(form, value)


def _anywhere(data: bytearray, rng: np.random.Generator) -> None:
    place = int(rng.integers(0, max(1, len(data) - 4)))
    data[place : place + 4] = struct.pack("<I", INTERESTING[int(rng.integers(len(INTERESTING)))])


def _remove(data: bytearray, rng: np.random.Generator) -> None:
    place = int(rng.integers(0, len(data)))
    del data[place : place + int(rng.integers(1, 64))]


def _repeat(data: bytearray, rng: np.random.Generator) -> None:
    place, size = int(rng.integers(0, len(data))), int(rng.integers(1, 600))
    data[place:place] = data[place : place + size]


def _zero(data: bytearray, rng: np.random.Generator) -> None:
    place, size = int(rng.integers(0, len(data))), int(rng.integers(1, 64))
    data[place : place + size] = bytes(min(size, len(data) - place))


def _tar_field(data: bytearray, rng: np.random.Generator) -> None:
    """Forge a field of a tar header and mend its checksum, so that the reader gets as far as the field."""
    headers = [place for place in range(0, len(data) - 511, 512) if data[place + 257 : place + 262] == b"ustar"]
    if not headers:
        return
    start = headers[int(rng.integers(len(headers)))]
    field, size, values = TAR_FIELDS[int(rng.integers(len(TAR_FIELDS)))]
    value = values[int(rng.integers(len(values)))]
    data[start + field : start + field + size] = value.ljust(size, b"\0")[:size]
    data[start + 148 : start + 156] = b" " * 8
    data[start + 148 : start + 156] = b"%06o\0 " % sum(data[start : start + 512])


TAR_FIELDS = (
    (0, 100, (b"../canary/evil.txt", b"/", b"..", b"cat", b"", b"a\xff", b"cat/../../canary/evil.txt")),
    (124, 12, (b"00000000000", b"77777777777", b"\x80" + b"\0" * 10 + b"\x10", b"\xff" * 12, b"-1", b"00000001000")),
    (156, 1, (b"0", b"1", b"2", b"3", b"5", b"6", b"7", b"x", b"g", b"L", b"K", b"S", b"V", b"\0")),
    (157, 100, (b"..", b"/etc", b"../canary", b"cat")),
    (345, 155, (b"..", b"/", b"../canary")),
)
CHANGES: list[Callable[[bytearray, np.random.Generator], None]] = [
    _flip, _bytes, _cut, _number, _number, _anywhere, _remove, _repeat, _zero, _tar_field, _tar_field,
]  # fmt: skip
