"""Checksums, computed beside the transfer and never on the event loop for long."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Any, Self

from synapsefs.errors import ChecksumError, InvalidRequestError

ALGORITHMS = {32: "md5", 40: "sha1", 64: "sha256"}
BATCH = 2**20
INLINE = 2**16


@dataclass(frozen=True, slots=True)
class PartDigests:
    """What sums up a file that was hashed in parts, as S3's ETag of several parts does.

    Attributes
    ----------
    part_size
        Bytes of each part but the last.
    md5
        Hexadecimal MD5 over the concatenated binary MD5s of all parts.
    """

    part_size: int
    md5: str


class PartsHash:
    """A hash object for bytes in order that gives what :class:`PartDigests` holds.

    Parameters
    ----------
    part_size
        Bytes of each part but the last.
    """

    name = "MD5 of the parts' MD5s"

    def __init__(self, part_size: int) -> None:
        self._part_size = self._left = part_size
        self._whole = hashlib.md5(usedforsecurity=False)
        self._part = hashlib.md5(usedforsecurity=False)

    def update(self, data: bytes | memoryview) -> None:
        """Take the next bytes."""
        view = memoryview(data)
        while view:
            if not self._left:
                self._whole.update(self._part.digest())
                self._part, self._left = hashlib.md5(usedforsecurity=False), self._part_size
            piece, view = view[: self._left], view[self._left :]
            self._part.update(piece)
            self._left -= len(piece)

    def hexdigest(self) -> str:
        """Give the hexadecimal digest."""
        whole = self._whole.copy()
        whole.update(self._part.digest())
        return whole.hexdigest()

    def copy(self) -> Self:
        """Give another one that goes on from here."""
        other = type(self)(self._part_size)
        other._whole, other._part = self._whole.copy(), self._part.copy()  # noqa: SLF001
        other._left = self._left  # noqa: SLF001
        return other


def hasher(checksum: str | PartDigests | None) -> Any:
    """Make the hash object that a hexadecimal checksum asks for, by its length; None for none."""
    if isinstance(checksum, PartDigests):
        return PartsHash(checksum.part_size)
    algorithm = ALGORITHMS.get(len(checksum or ""))
    return hashlib.new(algorithm, usedforsecurity=False) if algorithm else None


def compare(digest: Any, checksum: str | PartDigests | None, path: str) -> None:
    """Compare a finished hash object with the checksum it was made for.

    Raises
    ------
    ChecksumError
        Naming the path and both checksums.
    """
    if isinstance(checksum, PartDigests):
        checksum = checksum.md5
    if digest is not None and checksum and digest.hexdigest() != checksum.lower():
        raise ChecksumError(
            f"the bytes have {digest.name} {digest.hexdigest()}, the service says {checksum}", path
        )


def hash_range(file: IO[bytes], digest: Any, start: int, end: int) -> None:
    """Feed a part of a file to a hash object.

    Raises
    ------
    InvalidRequestError
        When the file is shorter.
    """
    file.seek(start)
    while start < end:
        block = file.read(min(2**20, end - start))
        if not block:
            raise InvalidRequestError("the local file is shorter than it was", str(file.name))
        digest.update(block)
        start += len(block)


class SequentialCheck:
    """Verifies a file that is read in pieces, if they come in order from its start to its end.

    Parameters
    ----------
    checksum
        Hexadecimal; None for no verification.
    size
        Bytes of the file.
    path
        Path that an error names.
    """

    def __init__(self, checksum: str | PartDigests | None, size: int, path: str) -> None:
        self._digest = hasher(checksum)
        self._checksum = checksum
        self._size = size
        self._path = path
        self._verified = 0

    def take(self, start: int, data: bytes) -> None:
        """Take the bytes that were read from ``start`` on.

        Raises
        ------
        ChecksumError
            With the last ones, when the bytes are not what the service says.
        """
        end = start + len(data)
        if self._digest is None or end < self._verified:
            return
        if start > self._verified:
            self._digest = None
            return
        self._digest.update(memoryview(data)[self._verified - start :])
        self._verified = end
        if end == self._size:
            digest, self._digest = self._digest, None
            compare(digest, self._checksum, self._path)


class Pipeline:
    """Feeds bytes to blocking consumers in a thread, while more bytes arrive.

    Parameters
    ----------
    consumers
        Called in order for each piece: a file's ``write``, a hash object's ``update``.
    """

    def __init__(self, *consumers: Callable[[bytes], Any]) -> None:
        self._consumers = consumers
        self._pieces: list[bytes] = []
        self._held = 0
        self._running: asyncio.Future[None] | None = None

    async def write(self, data: bytes) -> None:
        """Take the next bytes."""
        self._pieces.append(data)
        self._held += len(data)
        if self._held >= BATCH:
            await self._settle()
            pieces, self._pieces, self._held = self._pieces, [], 0
            self._running = asyncio.ensure_future(asyncio.to_thread(self._consume, pieces))

    async def finish(self) -> None:
        """Wait until everything has been consumed."""
        await self._settle()
        if self._held <= INLINE:
            self._consume(self._pieces)
        else:
            await asyncio.to_thread(self._consume, self._pieces)
        self._pieces, self._held = [], 0

    async def stop(self) -> None:
        """Wait for the thread after a failure, so that nobody writes behind our back."""
        if self._running is not None:
            await asyncio.gather(self._running, return_exceptions=True)

    async def _settle(self) -> None:
        """Wait for the thread; cancelled meanwhile, it is still known and waited for at the end."""
        if self._running is not None:
            await asyncio.shield(self._running)
            self._running = None

    def _consume(self, pieces: list[bytes]) -> None:
        for piece in pieces:
            for consumer in self._consumers:
                consumer(piece)
