"""Local files: looked at, small ones read or put in place in one visit to a thread, and spools."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import secrets
import tempfile
from typing import ClassVar

from synapsefs.errors import InvalidRequestError

SMALL = 2**18
"""Bytes up to which a file is read or written at once, rather than piece by piece."""

CHANGED = "the local file changed while it was sent"


def look(path: str) -> tuple[os.stat_result, bytes | None]:
    """Describe a readable file, and give its content where it is small. It blocks.

    Raises
    ------
    OSError
        When it cannot be read, or is no file.
    InvalidRequestError
        When it changes meanwhile.
    """
    with open(path, "rb") as file:
        found = os.fstat(file.fileno())
        if os.path.isdir(path):
            raise IsADirectoryError(errno.EISDIR, "a file is wanted", path)
        if found.st_size > SMALL:
            return found, None
        data = file.read(SMALL + 1)
        if len(data) != found.st_size or not _same(found, os.fstat(file.fileno())):
            raise InvalidRequestError(CHANGED, path)
    return found, data


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


def place(data: bytes, target: str) -> None:
    """Write a whole file under a temporary name, then put it in place. It blocks."""
    temporary = temporary_beside(target)
    try:
        with open(temporary, "xb") as file:
            file.write(data)
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


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
