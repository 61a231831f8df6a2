"""Row J: what can be wrong with an archive. Each holds a good class folder and one thing more."""

import gzip
import io
import struct
import tarfile
import warnings
import zipfile
import zlib
from collections.abc import Callable, Mapping
from typing import Any

from tests.bad_inputs.case import QUARANTINE, REPAIR, STOP, Build, Case, Result, only, picture, put

GOOD = {
    f"{kind}/{number:02d}.png": picture(10 * place + number) for place, kind in enumerate(("cat", "dog")) for number in range(6)
}
LIMITS = {"archive_members": 60, "archive_mb": 3, "archive_file_mb": 2, "archive_ratio": 50}
HOSTILE = picture(500)


def zipped(*more: tuple[str, bytes], change: Callable[[zipfile.ZipInfo], object] | None = None, method: int = zipfile.ZIP_DEFLATED,
           ) -> bytes:  # fmt: skip
    """A zip of the good files and of these; `change` may forge the entries of the latter."""
    buffer = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        warnings.simplefilter("ignore", UserWarning)  # a name twice is what some of them are made for
        for name, data in GOOD.items():
            file.writestr(name, data)
        for name, data in more:
            info = zipfile.ZipInfo(name)
            info.filename = name  # as it stands: the constructor cleans it
            info.compress_type = method
            if change is not None:
                change(info)
            file.writestr(info, data)
    return buffer.getvalue()


def tarred(*more: tarfile.TarInfo, data: bytes = HOSTILE, form: str = "", files: Mapping[str, bytes] = GOOD) -> bytes:
    """A tar of the good files and of these members."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=f"w:{form}") as file:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
        for info in more:
            if info.isreg():
                info.size = len(data)
            file.addfile(info, io.BytesIO(data) if info.isreg() else None)
    return buffer.getvalue()


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "", mode: int = 0o644) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, target, mode
    return info


def overlapped() -> bytes:
    """Every entry of the directory names the same packed bytes (Fifield 2019)."""
    packed = zlib.compress(bytes(900_000), 9)[2:-4]
    crc = zlib.crc32(bytes(900_000))
    local = struct.pack("<4sHHHHHLLLHH", b"PK\3\4", 20, 0, 8, 0, 33, crc, len(packed), 900_000, 5, 0) + b"0.png" + packed
    entries = b"".join(
        struct.pack("<4sHHHHHHLLLHHHHHLL", b"PK\1\2", 20, 20, 0, 8, 0, 33, crc, len(packed), 900_000, 5, 0, 0, 0, 0, 0, 0)
        + f"{number}.png".encode() for number in range(9)
    )  # fmt: skip
    return local + entries + struct.pack("<4sHHHHLLH", b"PK\5\6", 0, 0, 9, 9, len(entries), len(local), 0)


def forged_size() -> bytes:
    """A member whose header promises 10 bytes and whose data unpacks to a megabyte."""
    data = zipped(("cat/x.png", bytes(1_000_000)))
    size = struct.pack("<L", 1_000_000)
    assert data.count(size) == 2
    return data.replace(size, struct.pack("<L", 10))


def encrypted() -> bytes:
    data = bytearray(zipped(("cat/x.png", HOSTILE)))
    for magic, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        data[data.rfind(magic) + offset] |= 1
    return bytes(data)


def mode(value: int) -> Callable[[zipfile.ZipInfo], None]:
    def change(info: zipfile.ZipInfo) -> None:
        info.create_system, info.external_attr = 3, value << 16

    return change


def archive(data: bytes | Callable[[], bytes], name: str = "photos.zip") -> Build:
    return only(lambda folder: put(folder, name, data() if callable(data) else data))


def twelve(result: Result) -> None:
    assert result.card["samples"] == 12


def case(identity: str, name: str, data: bytes | Callable[[], bytes], expect: str = "", *, kind: str = STOP, **more: Any) -> Case:
    """An archive that is all that the source holds, with small limits."""
    return Case(identity, archive(data, name), expect, ingest=LIMITS, kind=kind, then=twelve if kind == REPAIR else None, **more)


UNSAFE = r"is not a path below the archive's folder"
LINK = r"photos\.tar: .* is (a|a hard) (link|device|pipe).*: only files and folders are unpacked"
ZIP = zipped()
TAR = tarred()
CASES = [
    case("J1 .. in a zip", "photos.zip", lambda: zipped(("../../evil.png", HOSTILE)), rf"photos\.zip: '\.\./\.\./evil\.png' {UNSAFE}", cli=True),
    case("J1 .. in the middle", "photos.zip", lambda: zipped(("cat/../../evil.png", HOSTILE)), UNSAFE),
    case("J1 absolute name in a zip", "photos.zip", lambda: zipped(("/tmp/evil.png", HOSTILE)), UNSAFE),
    case("J1 backslashes", "photos.zip", lambda: zipped(("..\\evil.png", HOSTILE)), UNSAFE),
    case("J1 a drive", "photos.zip", lambda: zipped(("C:/evil.png", HOSTILE)), UNSAFE),
    case("J2 .. in a tar", "photos.tar", lambda: tarred(member("../evil.png")), rf"photos\.tar: '\.\./evil\.png' {UNSAFE}", cli=True),
    case("J2 absolute name in a tar", "photos.tar", lambda: tarred(member("/tmp/evil.png")), UNSAFE),
    case("J2 .. in a pax header", "photos.tar", lambda: tarred(member("cat/" + "x" * 120 + "/../../../evil.png")), UNSAFE),
    case("J3 link in a tar", "photos.tar", lambda: tarred(member("cat/x.png", tarfile.SYMTYPE, "/etc/passwd")), LINK, cli=True),
    case("J3 link and a file through it", "photos.tar",
         lambda: tarred(member("up", tarfile.SYMTYPE, ".."), member("up/evil.png")), LINK),
    case("J3 hard link", "photos.tar", lambda: tarred(member("cat/x.png", tarfile.LNKTYPE, "cat/00.png")), LINK),
    case("J3 link in a zip", "photos.zip", lambda: zipped(("cat/x.png", b"/etc/passwd"), change=mode(0o120777)),
         r"photos\.zip: 'cat/x\.png' is a link or a device"),
    case("J4 device", "photos.tar", lambda: tarred(member("cat/x.png", tarfile.CHRTYPE)), LINK),
    case("J4 pipe", "photos.tar", lambda: tarred(member("cat/x.png", tarfile.FIFOTYPE)), LINK),
    case("J4 device in a zip", "photos.zip", lambda: zipped(("cat/x.png", b""), change=mode(0o020666)), r"is a link or a device"),
    case("J4 setuid", "photos.tar", lambda: tarred(member("cat/notes.txt", mode=0o4777), data=b"x"), kind=REPAIR),
    case("J5 a file of zeros", "photos.zip", lambda: zipped(("cat/x.png", bytes(1_900_000))), r"'cat/x\.png' .*looks like a bomb", cli=True),
    case("J5 one file above its limit", "photos.zip", lambda: zipped(("cat/x.png", bytes(2_200_000)), method=zipfile.ZIP_STORED),
         r"'cat/x\.png' unpacks to more than 2,097,152 bytes"),
    case("J5 all files above their limit", "photos.zip",
         lambda: zipped(*[(f"cat/x{n}.png", bytes(1_500_000)) for n in range(3)], method=zipfile.ZIP_STORED),
         r"brings the total above 3,145,728 bytes"),
    case("J5 too many members", "photos.zip", lambda: zipped(*[(f"cat/n{n}.txt", b"x") for n in range(60)]), r"holds more than 60 members"),
    case("J5 too many members in a tar", "photos.tar", lambda: tarred(*[member(f"cat/n{n}.txt") for n in range(60)]),
         r"holds more than 60 members"),
    case("J5 overlapping members", "photos.zip", overlapped, r"overlaps another member, which looks like a bomb"),
    case("J5 a size that is forged", "photos.zip", forged_size, r"photos\.zip.*(damaged|bomb|truncated)"),
    case("J5 tar.gz of zeros", "photos.tar.gz", lambda: tarred(member("cat/x.png"), data=bytes(1_900_000), form="gz"),
         r"'cat/x\.png' .*looks like a bomb"),
    case("J5 an archive in the archive", "photos.zip", lambda: zipped(("cat/inner.zip", ZIP)), kind=REPAIR),
    case("J6 a name twice in a zip", "photos.zip", lambda: zipped(("cat/00.png", HOSTILE)), r"'cat/00\.png' is there twice"),
    case("J6 a name twice in a tar", "photos.tar", lambda: tarred(member("cat/00.png")), r"'cat/00\.png' is there twice"),
    case("J6 a file and a folder of one name", "photos.tar", lambda: tarred(member("cat/00.png/x.png")), r"is both a file and a folder"),
    case("J6 names that differ by case", "photos.zip", lambda: zipped(("cat/A.png", HOSTILE), ("cat/a.png", picture(501))),
         r"'cat/a\.png' and 'cat/A\.png' differ only by case"),
    case("J7 encrypted", "photos.zip", encrypted, r"'cat/x\.png' is encrypted: pack it again without a password", cli=True),
    case("J7 half a zip", "photos.zip", ZIP[: len(ZIP) // 2], r"photos\.zip is damaged or truncated"),
    case("J7 half a tar", "photos.tar", TAR[: 512 * 5 + 100], r"photos\.tar is damaged or truncated"),
    case("J7 half a tar.gz", "photos.tar.gz", gzip.compress(TAR)[:1500], r"photos\.tar\.gz is damaged or truncated"),
    case("J7 a damaged member", "photos.zip", lambda: ZIP.replace(GOOD["cat/03.png"][40:60], bytes(20))
         if GOOD["cat/03.png"][40:60] in ZIP else ZIP[:400] + bytes(40) + ZIP[440:], r"photos\.zip.*(damaged|truncated|overlaps)"),
    case("J7 text named .zip", "photos.zip", b"see the other server\n", r"photos\.zip is not an archive of an accepted kind \(zip, tar"),
    case("J7 a 7z archive", "photos.7z", b"7z\xbc\xaf\x27\x1c" + bytes(200), r"no images in \S+ \(found 1 \.7z; accepted endings:"),
    case("J7 a tar named .zip", "photos.zip", TAR, kind=REPAIR),
    case("J7 a tar.xz", "photos.tar.xz", lambda: tarred(form="xz"), kind=REPAIR),
    case("J7 an empty zip", "photos.zip", b"PK\5\6" + bytes(18), r"photos\.zip holds no file"),
    case("J7 another method than deflate", "photos.zip", lambda: zipped(("cat/x.png", HOSTILE), method=zipfile.ZIP_LZMA),
         r"'cat/x\.png' is packed by method 14: pack it again with deflate"),
    case("J8 modified in 1979", "photos.tar", lambda: tarred(_dated("cat/notes.txt", -1_000_000)), kind=REPAIR),
    case("J8 modified in 2107", "photos.zip", lambda: zipped(("cat/notes.txt", b"x"), change=lambda info: setattr(info, "date_time", (2107, 12, 31, 23, 59, 58))), kind=REPAIR),
    case("K3 a name that is not UTF-8", "photos.tar", lambda: tarred(member("cat/caf\udce9.png")), r"is not UTF-8: rename it"),
    case("K6 a name of 300 bytes", "photos.tar", lambda: tarred(member("cat/" + "n" * 300 + ".png")), r"is too long"),
    case("G3 a web page inside", "photos.zip", lambda: zipped(("cat/x.png", b"<html></html>")), r"cat/x\.png: not an image", kind=QUARANTINE),
]  # fmt: skip


def _dated(name: str, when: float) -> tarfile.TarInfo:
    info = member(name)
    info.mtime = when
    return info
