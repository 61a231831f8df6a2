"""Unpack a stranger's archive (zip, tar, tar.gz, tar.xz) member by member; the libraries' own `extractall` is never called.

Only regular files and folders come out, with mode 0644 and 0755. Refused with one line each, and nothing stays behind: links,
devices, absolute names and `..`, names that are not UTF-8, two members of one name or that differ only by case or Unicode form,
overlapping or encrypted zip members, archives that end early, and more members, bytes or expansion than the caps allow. What
is counted is what was really unpacked while it streams, never what a header promises. An archive inside stays a file.

Why: CVE-2007-4559, CVE-2024-12718, CVE-2025-4138, -4330 and -4517 (tarfile), CVE-2024-0450 and Fifield 2019 (zip bombs).
"""

import errno
import gzip
import lzma
import os
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path, PurePosixPath
from typing import Any

from pipeline.core.errors import PersonError
from pipeline.source.archive_members import BLOCK, Limits, Member, XzStream, quoted, tar_members, zip_members
from pipeline.source.folder import collision_key

MAGIC = {b"PK\x03\x04": "zip", b"PK\x05\x06": "zip", b"\x1f\x8b": "tar.gz", b"\xfd7zXZ\0": "tar.xz"}
ACCEPTED = "zip, tar, tar.gz and tar.xz"
NAME_BYTES, PATH_BYTES = 255, 1024
FLOOR = 1 << 20  # bytes below which no expansion is suspicious: a small constant picture may shrink a thousandfold
DAMAGE = (
    EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile, zipfile.BadZipFile, tarfile.HeaderError, NotImplementedError,
    UnicodeDecodeError,
)  # fmt: skip


def kind_of(archive: Path) -> str | None:
    """zip, tar, tar.gz or tar.xz by content; None for anything else."""
    with archive.open("rb") as file:
        head = file.read(BLOCK)
    for magic, kind in MAGIC.items():
        if head.startswith(magic):
            return kind
    return "tar" if head[257:262] == b"ustar" else None


def unpack(
    archive: Path, target: Path, *, max_members: int, max_bytes: int, max_file_bytes: int, max_ratio: float
) -> int:  # fmt: skip
    """Unpack into a new folder, which appears whole or not at all.

    Args:
        archive: the file.
        target: the folder to make; `<target>.partial` beside it holds the work until the end.
        max_members: files and folders.
        max_bytes: of all files together, unpacked.
        max_file_bytes: of one file, unpacked.
        max_ratio: unpacked bytes over packed bytes, of one zip member and of the whole archive.

    Returns:
        The number of files.

    Raises:
        PersonError: the archive is refused; the line names the member and the remedy.
    """
    if target.exists() or target.is_symlink():
        raise PersonError(f"{target} exists already: nothing was unpacked")
    if not archive.is_file():
        raise PersonError(f"the archive {archive} does not exist")
    kind = kind_of(archive)
    if kind is None:
        raise PersonError(f"{archive.name} is not an archive of an accepted kind ({ACCEPTED}): repack it as one of them")
    limits = Limits(max_members, max_bytes, max_file_bytes, max_ratio)
    partial = target.with_name(target.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        files = _write_all(archive, kind, partial, limits)
        partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return files


def _write_all(archive: Path, kind: str, partial: Path, limits: Limits) -> int:
    names, total, packed = Names(archive.name), 0, archive.stat().st_size
    try:
        for number, member in enumerate(_members(archive, kind, limits)):
            if number >= limits.members:
                raise PersonError(f"{archive.name} holds more than {limits.members:,} members: split it, or raise the limit")
            path = partial / names.accept(member)
            if member.folder:
                path.mkdir(mode=0o755, parents=True, exist_ok=True)
            else:
                path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
                total = _write(path, member, total, Budget(archive.name, packed, limits))
    except DAMAGE as error:
        said = " ".join(str(error).split()) or type(error).__name__
        raise PersonError(f"{archive.name} is damaged or truncated ({said}): fetch or pack it again") from error
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise PersonError(f"{archive.name}: {error.strerror} after {total / 1e6:.0f} MB: make room and run this again") from error
    if not names.files:
        raise PersonError(f"{archive.name} holds no file: put the data into it")
    return names.files


def _members(archive: Path, kind: str, limits: Limits) -> Iterator[Member]:
    if kind == "zip":
        yield from zip_members(archive, limits)
        return
    with archive.open("rb") as file:
        stream: Any = file
        if kind != "tar":
            stream = gzip.GzipFile(fileobj=file) if kind == "tar.gz" else BufferedReader(XzStream(file))
        yield from tar_members(stream, archive.name)


@dataclass(frozen=True)
class Budget:
    """What one archive may still unpack."""

    archive: str
    packed: int
    limits: Limits

    def check(self, member: Member, size: int, total: int) -> None:
        """Hold the bytes of one member and of all so far against the caps.

        Raises:
            PersonError: it names the member and the cap.
        """
        where, limits = f"{self.archive}: {quoted(member.name)}", self.limits
        if size > limits.file_bytes:
            raise PersonError(f"{where} unpacks to more than {limits.file_bytes:,} bytes, the limit of one file: remove it")
        if total > limits.bytes:
            raise PersonError(f"{where} brings the total above {limits.bytes:,} bytes, the limit of an archive: split it")
        pairs = [(total, self.packed), *([] if member.packed is None else [(size, member.packed)])]
        if any(unpacked > FLOOR and unpacked > limits.ratio * packed for unpacked, packed in pairs):
            raise PersonError(
                f"{where} unpacks to more than {limits.ratio:g} times its packed size, which looks like a bomb: "
                f"if you trust it, unpack it yourself and give the folder"
            )


def _write(path: Path, member: Member, total: int, budget: Budget) -> int:
    """Write one file, newly made, and return the total of bytes so far."""
    size = 0
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
    with os.fdopen(handle, "wb") as file:
        for piece in member.read():
            size += len(piece)
            total += len(piece)
            budget.check(member, size, total)
            file.write(piece)
        os.fchmod(file.fileno(), 0o644)
    return total


class Names:
    """The names that an archive has used so far.

    Args:
        archive: its name, for errors.

    Attributes:
        files: how many members were files.
    """

    def __init__(self, archive: str) -> None:
        self.archive, self.files = archive, 0
        self._used: dict[str, tuple[str, bool]] = {}

    def accept(self, member: Member) -> PurePosixPath:
        """The member's path below the target.

        Raises:
            PersonError: an unsafe name, one that was there already, or one that collides with another.
        """
        path = self._safe(member)
        for part in [*reversed(path.parents[:-1]), path] if path.parts else []:
            text, is_file = str(part), part == path and not member.folder
            key = collision_key(text)
            other, was_file = self._used.get(key, ("", False))
            if other and other != text:
                raise self._refused(member, f"and {quoted(other)} differ only by case or Unicode form: rename one of them")
            if other and (was_file or is_file):
                raise self._refused(member, "is there twice, or is both a file and a folder: pack it again without")
            self._used[key] = (text, is_file)
        self.files += not member.folder
        return path

    def _safe(self, member: Member) -> PurePosixPath:
        name = member.name
        try:
            size = len(name.encode())
        except UnicodeEncodeError as error:
            raise self._refused(member, "is not UTF-8: rename it") from error
        path = PurePosixPath(name)
        if "\\" in name or "\0" in name or path.is_absolute() or ".." in path.parts or name[1:2] == ":":
            raise self._refused(
                member, "is not a path below the archive's folder (absolute, '..', backslash or drive): repack it"
            )
        if size > PATH_BYTES or any(len(part.encode()) > NAME_BYTES for part in path.parts):
            raise self._refused(member, f"is too long (a name {NAME_BYTES}, a path {PATH_BYTES} bytes at most): shorten it")
        if not path.parts and not member.folder:
            raise self._refused(member, "has no name: repack it")
        return path

    def _refused(self, member: Member, why: str) -> PersonError:
        return PersonError(f"{self.archive}: {quoted(member.name)} {why}")
