"""Zipped directories: packed so that equal trees give equal bytes, unpacked without trust.

Nothing is extracted before the whole archive has been looked through: no name leads out of the
folder or to a device, none stands twice, nothing is a link, and it does not grow beyond limits.
"""

from __future__ import annotations

import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import IO

from synapsefs.errors import (
    IntegrityError,
    InvalidRequestError,
    SynapseError,
    TooLargeError,
    UnsupportedError,
    enumerated,
)
from synapsefs.local.names import escaping
from synapsefs.local.walk import LocalItem

SUFFIX = ".zip"
COPIED = 2**20
_TIME = (1980, 1, 1, 0, 0, 0)
_UNIX = 3
_ENCRYPTED = 0x1
_FREE = 64 * 2**20
_TAIL = 2**16 + 2**10
_IN_ZIP64 = 2**32 - 1
_LISTED_BYTES = 512
"""What the list of files holds of each, at most on average: its name and some numbers."""

Check = Callable[[], None]
"""Called now and then during long work; raises to end it."""


@dataclass(frozen=True, slots=True)
class UnpackLimits:
    """How far an archive may grow.

    Attributes
    ----------
    size
        Bytes of all files together.
    ratio
        Times the archive's size; archives that unpack to no more than 64 MiB may have any.
    files
        Files and directories.
    """

    size: int = 64 * 2**30
    ratio: float = 200.0
    files: int = 200_000


def pack(items: Sequence[LocalItem], target: IO[bytes], check: Check) -> None:
    """Write a local tree as a zip archive, with bounded memory.

    Times are left out, of permissions only the right to execute is kept: the bytes depend on
    names and contents alone.

    Raises
    ------
    InvalidRequestError
        When a file changes meanwhile, or a name could not be unpacked everywhere.
    OSError
        When a file cannot be read.
    """
    root, *below = items
    wrong = [
        f"{'/'.join(item.parts)!r} {rule}" for item in below if (rule := escaping(item.parts[-1]))
    ]
    if wrong:
        raise InvalidRequestError(enumerated(wrong), root.path)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for item in below:
            if item.folder:
                archive.writestr(_member(item), b"")
            else:
                _pack_file(archive, item, check)


def _member(item: LocalItem) -> zipfile.ZipInfo:
    name = "/".join(item.parts) + ("/" if item.folder else "")
    member = zipfile.ZipInfo(name, _TIME)
    member.create_system = _UNIX
    if item.folder:
        mode = stat.S_IFDIR | 0o755
        member.external_attr = mode << 16 | 0x10
    else:
        mode = stat.S_IFREG | (0o755 if item.status.st_mode & stat.S_IXUSR else 0o644)
        member.external_attr = mode << 16
        member.compress_type = zipfile.ZIP_DEFLATED
        member.file_size = item.status.st_size
    return member


def _pack_file(archive: zipfile.ZipFile, item: LocalItem, check: Check) -> None:
    size = 0
    with open(item.path, "rb") as source, archive.open(_member(item), "w") as member:
        while size <= item.status.st_size and (piece := source.read(COPIED)):
            check()
            member.write(piece)
            size += len(piece)
    now = os.stat(item.path)
    if (size, now.st_mtime_ns) != (item.status.st_size, item.status.st_mtime_ns):
        raise InvalidRequestError("the local file changed while it was packed", item.path)


def unpack(archive: str, target: str, limits: UnpackLimits, path: str, check: Check) -> None:
    """Unpack a zip archive into a directory that is not there yet.

    After an error the directory may hold a part of the files: the caller puts it in place or
    takes it away. Errors name ``path``.

    Raises
    ------
    InvalidRequestError
        For what is no zip archive, and for one that is not safe to unpack: one error that names
        every rule broken. Nothing was extracted.
    TooLargeError
        For an archive beyond the limits.
    UnsupportedError
        For encrypted files, and for ways to compress that Python does not know.
    IntegrityError
        When the archive is damaged.
    """
    try:
        _require_short_directory(archive, limits, path)
        with zipfile.ZipFile(archive) as opened:
            members = _checked(opened, os.path.getsize(archive), limits, path)
            os.mkdir(target)
            left = limits.size
            for member in members:
                left -= _unpack_member(opened, member, target, left, check)
    except zipfile.BadZipFile as error:
        kind = IntegrityError if zipfile.is_zipfile(archive) else InvalidRequestError
        raise kind(f"not a sound zip archive: {error}", path) from error
    except (zlib.error, EOFError) as error:
        raise IntegrityError(f"the zip archive is damaged: {error}", path) from error
    except NotImplementedError as error:
        raise UnsupportedError(f"the zip archive cannot be read: {error}", path) from error
    except SynapseError as error:
        error.filename = error.filename or path
        raise


def _require_short_directory(archive: str, limits: UnpackLimits, path: str) -> None:
    """Refuse an archive whose list of files alone would fill the memory.

    Where the list begins and how long it is stands at the archive's end, in one of two records
    (APPNOTE.TXT, 4.3.14 and 4.3.16).
    """
    with open(archive, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _TAIL))
        tail = file.read()
        at = tail.rfind(b"PK\x05\x06")
        if at < 0 or len(tail) < at + 22:
            return
        (length,) = struct.unpack_from("<L", tail, at + 12)
        if length == _IN_ZIP64 and tail[at - 20 : at - 16] == b"PK\x06\x07":
            (offset,) = struct.unpack_from("<Q", tail, at - 12)
            file.seek(min(offset, size))
            record = file.read(56)
            if len(record) == 56:
                (length,) = struct.unpack_from("<Q", record, 40)
    if min(length, size) > limits.files * _LISTED_BYTES:
        raise TooLargeError(f"more than the {limits.files} files that are unpacked", path)


def _checked(
    archive: zipfile.ZipFile, packed: int, limits: UnpackLimits, path: str
) -> list[zipfile.ZipInfo]:
    """Give the members, when all of them are safe to unpack."""
    members = archive.infolist()
    total = sum(member.file_size for member in members)
    if len(members) > limits.files:
        raise TooLargeError(f"{len(members)} files; at most {limits.files} are unpacked", path)
    if total > limits.size:
        raise TooLargeError(f"{total} bytes; at most {limits.size} are unpacked", path)
    if total > max(_FREE, packed * limits.ratio):
        rule = f"at most {limits.ratio:g} times its size is unpacked"
        raise TooLargeError(f"{total} bytes from an archive of {packed}; {rule}", path)
    problems = [f"{_shown(member)} {rule}" for member in members for rule in _broken(member)]
    if sum(member.compress_size for member in members) > packed:
        problems.append("files overlap")
    problems += _clashing(members)
    if problems:
        raise InvalidRequestError(f"not safe to unpack: {enumerated(problems)}", path)
    if any(member.flag_bits & _ENCRYPTED for member in members):
        raise UnsupportedError("the zip archive is encrypted", path)
    return members


def _broken(member: zipfile.ZipInfo) -> Iterable[str]:
    names = {member.orig_filename, member.filename}
    if any(name.startswith(("/", "\\")) for name in names):
        yield "is an absolute name"
    else:
        parts = [part for name in names for part in name.removesuffix("/").split("/")]
        yield from dict.fromkeys(rule for part in parts if (rule := escaping(part)))
    kind = stat.S_IFMT(member.external_attr >> 16)
    if kind == stat.S_IFLNK:
        yield "is a link"
    elif kind not in {0, stat.S_IFREG, stat.S_IFDIR} or (
        kind and (kind == stat.S_IFDIR) != member.is_dir()
    ):
        yield "is neither a file nor a folder"


def _clashing(members: Iterable[zipfile.ZipInfo]) -> Iterable[str]:
    """Name what stands twice, or as a file and a folder."""
    files: set[str] = set()
    folders: set[str] = set()
    twice: list[str] = []
    for member in members:
        name = member.filename.removesuffix("/")
        if name in files or (member.is_dir() and name in folders):
            twice.append(f"{name!r} stands twice")
        (folders if member.is_dir() else files).add(name)
    above = {name[:at] for name in files | folders for at, c in enumerate(name) if c == "/"}
    return [*twice, *(f"{name!r} is a file and a folder" for name in sorted(above & files))]


def _unpack_member(
    archive: zipfile.ZipFile, member: zipfile.ZipInfo, target: str, left: int, check: Check
) -> int:
    path = os.path.join(target, *member.filename.removesuffix("/").split("/"))
    if member.is_dir():
        os.makedirs(path, exist_ok=True)
        return 0
    os.makedirs(os.path.dirname(path), exist_ok=True)
    size = 0
    with archive.open(member) as source, open(path, "xb") as file:
        while piece := source.read(COPIED):
            check()
            size += len(piece)
            if size > min(left, member.file_size):
                raise TooLargeError(f"{_shown(member)} is longer than the archive says")
            file.write(piece)
    if member.external_attr >> 16 & stat.S_IXUSR:
        mode = os.stat(path).st_mode
        os.chmod(path, mode | (mode & 0o444) >> 2)
    return size


def _shown(member: zipfile.ZipInfo) -> str:
    return ascii(member.orig_filename)


def folder_name(name: str) -> str:
    """Give the name of the folder that an archive unpacks to: the archive's without ``.zip``."""
    stem, suffix = os.path.splitext(name)
    return stem if suffix.lower() == SUFFIX and stem else name
