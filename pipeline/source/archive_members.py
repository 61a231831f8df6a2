"""Members of a zip or tar archive in order, from a reader that trusts no header further than it must."""

import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from io import RawIOBase
from itertools import pairwise
from lzma import FORMAT_XZ, LZMADecompressor
from pathlib import Path
from stat import S_IFMT, S_ISDIR, S_ISREG
from typing import IO, Any

from pipeline.core.errors import PersonError

BLOCK = tarfile.BLOCKSIZE
CHUNK = 1 << 18
XZ_MEMORY = 256 << 20  # bytes that decoding may need; the strongest preset, xz -9, needs 65 MB
PADDING = 16 << 20  # bytes of zeros after the end marker of a tar, at most
NOTE_BYTES = 1 << 16  # of a tar header that only holds a long name or notes
ENTRY, END, END_64, LOCATOR_64 = b"PK\x01\x02", b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"
ENCRYPTED = 0x1 | 0x40  # flags of a zip member
SHOWN = 160  # characters of a member's name in an error
UTF8 = 0x800
UNIX = 3
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
NOTES = {tarfile.XHDTYPE: "x", tarfile.XGLTYPE: "g", tarfile.GNUTYPE_LONGNAME: "L"}
KINDS = {
    tarfile.LNKTYPE: "a hard link", tarfile.SYMTYPE: "a link", tarfile.CHRTYPE: "a device", tarfile.BLKTYPE: "a device",
    tarfile.FIFOTYPE: "a pipe", tarfile.GNUTYPE_SPARSE: "a sparse file", tarfile.GNUTYPE_LONGLINK: "a link",
}  # fmt: skip


@dataclass(frozen=True)
class Limits:
    """Caps of `pipeline.source.archive.unpack`."""

    members: int
    bytes: int
    file_bytes: int
    ratio: float


@dataclass(frozen=True)
class Member:
    """One file or folder of an archive.

    Attributes:
        name: as the archive has it.
        folder: whether it is a folder.
        read: its content in pieces; call it before the next member is asked for.
        packed: its size in the archive, where it has one of its own.
    """

    name: str
    folder: bool
    read: Callable[[], Iterator[bytes]]
    packed: int | None = None


def quoted(name: str) -> str:
    """A member's name for an error: in quotes, control characters escaped, the end of a long one left out."""
    return repr(name if len(name) <= SHOWN else name[:SHOWN] + "...")


def zip_members(archive: Path, limits: Limits) -> Iterator[Member]:
    """Files and folders of a zip archive.

    Raises:
        PersonError: too many members, overlapping or encrypted ones, another method than deflate, links and devices.
        zipfile.BadZipFile: the archive is damaged.
        EOFError: a member is shorter than its header says.
    """
    if _entries(archive) > limits.members:
        raise PersonError(f"{archive.name} holds more than {limits.members:,} members: split it, or raise the limit")
    with zipfile.ZipFile(archive) as file:
        infos = file.infolist()
        for info in infos:
            _check_zip_member(archive.name, info)
        _check_overlap(archive, infos, file.start_dir)
        for info in infos:
            yield Member(_zip_name(info), info.is_dir(), partial(_zip_content, file, info), info.compress_size)


def _entries(archive: Path) -> int:
    """At most how many members the directory at the end holds, counted without building them in memory."""
    with archive.open("rb") as file:
        size = file.seek(0, 2)
        start = max(0, size - (1 << 16) - 22 - 76)
        file.seek(start)
        tail = file.read()
        place = len(tail) - 22 if tail[-22:-18] == END and tail[-2:] == b"\0\0" else tail.rfind(END)
        if place < 0 or len(tail) - place < 22:
            return 0  # zipfile says what is wrong
        length = struct.unpack_from("<L", tail, place + 12)[0]
        if place >= 76 and tail[place - 20 : place - 16] == LOCATOR_64 and tail[place - 76 : place - 72] == END_64:
            place -= 76
            length = struct.unpack_from("<Q", tail, place + 40)[0]
        end = start + place
        file.seek(max(0, end - length))
        count, before = 0, b""
        while file.tell() < end and (piece := file.read(min(CHUNK, end - file.tell()))):
            count += (before + piece).count(ENTRY)
            before = piece[-3:]
    return count


def _check_zip_member(archive: str, info: zipfile.ZipInfo) -> None:
    where, mode = f"{archive}: {quoted(info.orig_filename)}", info.external_attr >> 16
    if not info.filename:
        raise zipfile.BadZipFile("a member has no name")
    if info.flag_bits & ENCRYPTED:
        raise PersonError(f"{where} is encrypted: pack it again without a password")
    if info.compress_type not in METHODS:
        raise PersonError(f"{where} is packed by method {info.compress_type}: pack it again with deflate, the usual one")
    if info.create_system == UNIX and S_IFMT(mode) and not (S_ISREG(mode) or S_ISDIR(mode)):
        raise PersonError(f"{where} is a link or a device: only files and folders are unpacked; pack the file itself")
    if info.is_dir() and info.file_size:
        raise PersonError(f"{where} is a folder with content of its own: pack it again")


def _check_overlap(archive: Path, infos: list[zipfile.ZipInfo], directory: int) -> None:
    spans = []
    with archive.open("rb") as file:
        for info in infos:
            if not 0 <= info.header_offset < directory:
                raise zipfile.BadZipFile(f"{quoted(info.orig_filename)} lies outside the file")
            file.seek(info.header_offset)
            header = file.read(30)
            if len(header) < 30:
                raise EOFError(f"no header of {quoted(info.orig_filename)}")
            spans.append((info.header_offset, 30 + sum(struct.unpack_from("<HH", header, 26)) + info.compress_size, info))
    spans.sort(key=lambda span: span[:2])
    ends = [*(after[0] for _, after in pairwise(spans)), directory]
    for (start, length, info), end in zip(spans, ends, strict=False):
        if start + length > end:
            raise PersonError(
                f"{archive.name}: {quoted(info.orig_filename)} overlaps another member, which looks like a bomb: pack it again"
            )


def _zip_name(info: zipfile.ZipInfo) -> str:
    """The name; one that a Mac wrote as UTF-8 without saying so is read as such."""
    if info.flag_bits & UTF8:
        return info.orig_filename
    try:
        return info.orig_filename.encode("cp437").decode()
    except UnicodeError:
        return info.orig_filename


def _zip_content(file: zipfile.ZipFile, info: zipfile.ZipInfo) -> Iterator[bytes]:
    size = 0
    with file.open(info) as content:
        while piece := content.read(CHUNK):
            size += len(piece)
            yield piece
    if size != info.file_size:
        raise EOFError(f"{quoted(info.orig_filename)} ends after {size} of {info.file_size} bytes")


def tar_members(stream: IO[bytes], archive: str) -> Iterator[Member]:
    """Files and folders of a tar archive, read once from front to back.

    Raises:
        PersonError: links, devices, sparse files, or headers that only a forger writes.
        tarfile.HeaderError: the archive is damaged.
        EOFError: it ends early.
    """
    notes: dict[str, bytes] = {}
    while any(block := _exactly(stream, BLOCK)):
        info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        if info.type in NOTES:
            if NOTES[info.type] in notes or not 0 <= info.size <= NOTE_BYTES:
                raise PersonError(f"{archive}: the headers before {quoted(info.name)} are malformed: pack it again")
            notes[NOTES[info.type]] = _exactly(stream, -(-info.size // BLOCK) * BLOCK)[: info.size]
            continue
        name, size = _noted(archive, info, notes)
        notes = {}
        where = f"{archive}: {quoted(name)}"
        if info.type not in (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE):
            kind = KINDS.get(info.type, f"of the unknown kind {info.type!r}")
            raise PersonError(f"{where} is {kind}: only files and folders are unpacked; pack the file itself")
        if size < 0 or (info.isdir() and size):
            raise PersonError(f"{where} has the size {size}: pack it again")
        yield Member(name, info.isdir(), partial(_tar_content, stream, size))
    _check_rest(stream, archive)


class XzStream(RawIOBase):
    """The content of an xz file; unlike `lzma.open`, with a limit on the memory that a header can demand."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.decoder = file, LZMADecompressor(FORMAT_XZ, memlimit=XZ_MEMORY)

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer, or part of it; 0 at the end."""
        while not self.decoder.eof:
            packed = self.file.read(CHUNK) if self.decoder.needs_input else b""
            if self.decoder.needs_input and not packed:
                raise EOFError("it ends early")
            if data := self.decoder.decompress(packed, len(buffer)):
                buffer[: len(data)] = data
                return len(data)
        rest = self.decoder.unused_data or self.file.read(1)
        if rest:
            raise EOFError("more stands behind its end")
        return 0


def _check_rest(stream: IO[bytes], archive: str) -> None:
    """Read to the end, where gzip and xz keep their checksums; only padding may stand there."""
    for _ in range(PADDING // CHUNK):
        piece = stream.read(CHUNK)
        if not piece:
            return
        if any(piece):
            break
    raise PersonError(f"{archive} goes on after its end marker: pack it again as one archive")


def _noted(archive: str, info: tarfile.TarInfo, notes: dict[str, bytes]) -> tuple[str, int]:
    """Name and size of a member, with what the headers before it say."""
    records = _records(archive, notes.get("x", b""))
    common = _records(archive, notes.get("g", b""))
    if common.keys() & {"path", "size"} or any(key.startswith("GNU.sparse") for key in (*records, *common)):
        raise PersonError(f"{archive}: {quoted(info.name)} is a sparse file, or its headers are malformed: pack it again")
    name, size = info.name, info.size
    if "L" in notes:
        name = notes["L"].rstrip(b"\0").decode("utf-8", "surrogateescape")
    if "path" in records:
        name = records["path"]
    if "size" in records:
        if not (records["size"].isascii() and records["size"].isdigit()):
            raise PersonError(f"{archive}: {quoted(name)} has the size {quoted(records['size'])}: pack it again")
        size = int(records["size"][:20])
    return name, size


def _records(archive: str, data: bytes) -> dict[str, str]:
    """Records of a pax header: `<length> <key>=<value>` and a newline each."""
    found = {}
    while data:
        digits = data[:6].partition(b" ")[0]
        length = int(digits) if digits.isdigit() else 0
        record = data[len(digits) + 1 : length]
        if not record.endswith(b"\n") or b"=" not in record:
            raise PersonError(f"{archive} has a malformed pax header: pack it again")
        key, _, value = record[:-1].partition(b"=")
        found[key.decode("utf-8", "surrogateescape")] = value.decode("utf-8", "surrogateescape")
        data = data[length:]
    return found


def _tar_content(stream: IO[bytes], size: int) -> Iterator[bytes]:
    left = size
    while left:
        piece = stream.read(min(CHUNK, left))
        if not piece:
            raise EOFError(f"it ends {left} bytes before the end of a file")
        left -= len(piece)
        yield piece
    _exactly(stream, -size % BLOCK)


def _exactly(stream: IO[bytes], size: int) -> bytes:
    data = stream.read(size)
    if len(data) < size:
        raise EOFError("it ends early")
    return data
