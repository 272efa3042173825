"""Local files: looked at, small ones read or put in place in one visit to a thread, and spools."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import secrets
import stat
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO, ClassVar

from synapsefs.errors import FolderError, InvalidRequestError, UnsupportedError

SMALL = 2**18
"""Bytes up to which a file is read or written at once, rather than piece by piece."""

MAX_VECTORS = 512

CHANGED = "the local file changed while it was sent"


def look(path: str) -> tuple[os.stat_result, bytes | None]:
    """Describe a readable file, and give its content where it is small. It blocks.

    FIFOs and devices are not opened: their size is not known before their end.

    Raises
    ------
    OSError
        When it cannot be read, or is no file.
    InvalidRequestError
        When it changes meanwhile.
    """
    status = os.stat(path)
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, "a file is wanted", path)
    if not stat.S_ISREG(status.st_mode):
        return status, None
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        if status.st_size > SMALL:
            return status, None
        data = os.read(descriptor, SMALL + 1)
        if len(data) != status.st_size or not _same(status, os.fstat(descriptor)):
            raise InvalidRequestError(CHANGED, path)
    finally:
        os.close(descriptor)
    return status, data


def open_binary(path: str) -> IO[bytes]:
    """Open a file to read its bytes."""
    return open(path, "rb")


def local_size(path: str) -> int | None:
    """Give the bytes of a file; None for devices and FIFOs, which tell only by their end."""
    found = os.stat(path)
    return found.st_size if stat.S_ISREG(found.st_mode) else None


def require_unchanged(before: os.stat_result, path: str) -> None:
    """Refuse a file that is not what it was. It blocks.

    Raises
    ------
    InvalidRequestError
        Naming it.
    """
    if not _same(before, os.stat(path)):
        raise InvalidRequestError(CHANGED, path)


def _same(before: os.stat_result, after: os.stat_result) -> bool:
    return (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)


def temporary_beside(target: str) -> str:
    """Name a file beside another that nobody else has."""
    directory, name = os.path.split(target)
    return os.path.join(directory, f".{name[:64]}.{secrets.token_hex(6)}.part")


@dataclass(frozen=True, slots=True)
class LocalTarget:
    """A local path to write to, symbolic links followed.

    Attributes
    ----------
    path
        The file itself, or a device or FIFO.
    through
        Whether it is written through, since it is a device, a FIFO or an open descriptor. Any
        other file is replaced.
    replaced
        Attributes of the file that is replaced; None where there is none.
    """

    path: str
    through: bool = False
    replaced: os.stat_result | None = None

    def create(self, temporary: str) -> int:
        """Create the file that will take the target's place; until then it is no more readable.

        Gives its descriptor, to write and read.
        """
        mode = 0o666 if self.replaced is None else 0o600
        return os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)

    def replace(self, temporary: str) -> None:
        """Put a file in the target's place, with the owner and mode of what was there."""
        if self.replaced is not None:
            owner = self.replaced.st_uid, self.replaced.st_gid
            own = os.stat(temporary)
            if owner != (own.st_uid, own.st_gid):
                with contextlib.suppress(OSError):
                    os.chown(temporary, *owner)
            os.chmod(temporary, stat.S_IMODE(self.replaced.st_mode) & 0o777)
        os.replace(temporary, self.path)


def resolve_target(path: str) -> LocalTarget:
    """Find out what is written at a local path. It blocks.

    Raises
    ------
    FolderError
        When a directory is there.
    UnsupportedError
        When a socket is there.
    OSError
        When links go in a circle.
    """
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return LocalTarget(os.path.realpath(path) if os.path.islink(path) else path)
    if stat.S_ISDIR(found.st_mode):
        raise FolderError("the local target is a directory", path)
    if stat.S_ISSOCK(found.st_mode):
        raise UnsupportedError("the local target is a socket", path)
    if not stat.S_ISREG(found.st_mode) or descriptor_link(path) is not None:
        return LocalTarget(path, through=True)
    return LocalTarget(os.path.realpath(path) if os.path.islink(path) else path, False, found)


def descriptor_link(path: str) -> tuple[int, int] | None:
    """Give process and number of the descriptor that a path such as ``/dev/stdin`` leads to."""
    for _ in range(40):
        if not os.path.islink(path):
            return None
        directory = os.path.realpath(os.path.dirname(path) or ".")
        parts = directory.split("/")
        name = os.path.basename(path)
        if parts[:2] == ["", "proc"] and parts[-1] == "fd" and parts[2].isdecimal():
            return (int(parts[2]), int(name)) if name.isdecimal() else None
        path = os.path.join(directory, os.readlink(path))
    return None


def place(data: bytes, path: str) -> LocalTarget | None:
    """Write a whole file under a temporary name, then put it in place. It blocks.

    Returns
    -------
    LocalTarget or None
        Where the data is still to be written through; None when it was put in place.
    """
    target = resolve_target(path)
    if target.through:
        return target
    temporary = temporary_beside(target.path)
    try:
        descriptor = target.create(temporary)
        try:
            write_at(descriptor, [data], 0)
        finally:
            os.close(descriptor)
        target.replace(temporary)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    return None


def write_at(descriptor: int, pieces: Sequence[bytes | memoryview], position: int) -> None:
    """Write pieces in a row, beginning at a place of an open file. It blocks."""
    left = [memoryview(piece) for piece in pieces if piece]
    while left:
        written = os.pwritev(descriptor, left[:MAX_VECTORS], position)
        position += written
        while left and written >= len(left[0]):
            written -= len(left.pop(0))
        if written:
            left[0] = left[0][written:]


class Spool(io.BufferedRandom):
    """A nameless temporary file for bytes on their way; close it when they have gone.

    While it is open the garbage collector leaves it alone: an abandoned writer closes it after its
    traffic has stopped.
    """

    _open: ClassVar[set[Spool]] = set()

    def __init__(self) -> None:
        super().__init__(tempfile.TemporaryFile(prefix="synapsefs-", buffering=0))  # noqa: SIM115 - closed with it
        self._open.add(self)

    def close(self) -> None:
        """Close it; its bytes are gone."""
        self._open.discard(self)
        super().close()
