"""Checksums, computed beside the transfer and never on the event loop for long."""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import IO, Any, Self

from synapsefs.errors import ChecksumError, InvalidRequestError

ALGORITHMS = {32: "md5", 40: "sha1", 64: "sha256"}
BATCH = 2**20
"""Bytes that are worth a visit to a thread."""
INLINE = 2**16
"""Bytes that are hashed sooner than handed to a thread."""
PARTS_AT_A_TIME = 2


@dataclass(frozen=True, slots=True)
class PartDigests:
    """The checksum of a file by its parts, which are hashed side by side.

    Attributes
    ----------
    part_size
        Bytes of each part but the last.
    md5
        Hexadecimal MD5 of the parts' binary MD5s in a row, as S3 tags what was sent in parts.
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
    if digest is None or len(checksum or "") not in ALGORITHMS:
        return  # nobody here knows what a checksum of another length is of
    if checksum and digest.hexdigest() != checksum.lower():
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


class Checksum:
    """The checksum of bytes in order, computed in a thread beside their transfer.

    Parameters
    ----------
    checksum
        Hexadecimal, its algorithm told by its length; None for no verification.
    path
        Path that an error names.
    """

    def __init__(self, checksum: str | PartDigests | None, path: str) -> None:
        self._digest = hasher(checksum)
        self._checksum = checksum
        self._path = path
        self._pieces: list[bytes | memoryview] = []
        self._held = 0
        self._running: asyncio.Future[None] | None = None

    async def update(self, data: bytes | memoryview) -> None:
        """Take the next bytes; wait where the thread is far behind."""
        if self._digest is None:
            return
        self._pieces.append(data)
        self._held += len(data)
        if self._held >= BATCH:
            await self._settle()
            pieces, self._pieces, self._held = self._pieces, [], 0
            loop = asyncio.get_running_loop()
            self._running = loop.run_in_executor(None, self._hash, pieces)

    async def verify(self) -> None:
        """Compare the checksum of all bytes.

        Raises
        ------
        ChecksumError
            When they are not what the service says.
        """
        await self._settle()
        if self._held <= INLINE:
            self._hash(self._pieces)
        else:
            await asyncio.to_thread(self._hash, self._pieces)
        self._pieces, self._held = [], 0
        compare(self._digest, self._checksum, self._path)

    async def _settle(self) -> None:
        if self._running is not None:
            running, self._running = self._running, None
            await running

    def _hash(self, pieces: Sequence[bytes | memoryview]) -> None:
        for piece in pieces:
            self._digest.update(piece)


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

    Attributes
    ----------
    ended
        Whether all bytes have come, in order.
    """

    def __init__(self, checksum: str | PartDigests | None, size: int, path: str) -> None:
        self.ended = False
        self._sum = Checksum(checksum, path)
        self._size = size
        self._seen = 0
        self._in_order = hasher(checksum) is not None
        self._pieces: list[bytes | memoryview] = []
        self._held = 0

    def take(self, start: int, data: bytes) -> list[bytes | memoryview] | None:
        """Take the bytes read from ``start`` on; give what is to be hashed now, if any."""
        end = start + len(data)
        if not self._in_order or end < self._seen:
            return None
        if start > self._seen:
            self._in_order = False
            self._pieces = []
            return None
        self._pieces.append(memoryview(data)[self._seen - start :] if start < self._seen else data)
        self._held += end - self._seen
        self._seen = end
        self.ended = end == self._size
        self._in_order = not self.ended
        if not self.ended and self._held < BATCH:
            return None
        pieces, self._pieces, self._held = self._pieces, [], 0
        return pieces

    async def hash(self, pieces: Sequence[bytes | memoryview], *, last: bool) -> None:
        """Hash pieces, in a thread; not to be called again before it returns.

        Raises
        ------
        ChecksumError
            After the last, when the bytes are not what the service says.
        """
        for piece in pieces:
            await self._sum.update(piece)
        if last:
            await self._sum.verify()


class FileDigest:
    """The checksum of a file on disk, hashed in a thread as far as the file has arrived.

    Parameters
    ----------
    checksum
        Hexadecimal, its algorithm told by its length; None where there is nothing to compare.

    Attributes
    ----------
    hashed
        Bytes from the file's start that were hashed.
    """

    def __init__(self, checksum: str | None) -> None:
        self.hashed = 0
        self._checksum = checksum
        self._digest = hasher(checksum) or hashlib.sha1(usedforsecurity=False)
        self._busy = False
        self._lock = threading.Lock()

    def next(self, descriptor: int, arrived: int, size: int) -> Callable[[], None] | None:
        """Give the next work for a thread; None where nothing is worth it yet."""
        start, end = self.hashed, min(arrived, self.hashed + 8 * BATCH)
        if self._busy or end - start < (BATCH if arrived < size else 1):
            return None
        self._busy = True
        return partial(self._hash, descriptor, end)

    def _hash(self, descriptor: int, end: int) -> None:
        with self._lock:
            _hash_stored(descriptor, self._digest, self.hashed, end)
            self.hashed = end
            self._busy = False

    def state(self) -> tuple[int, str]:
        """Give how many bytes were hashed, and their digest."""
        with self._lock:
            return self.hashed, str(self._digest.hexdigest())

    def compare(self, path: str) -> None:
        """Compare the checksum of the whole file.

        Raises
        ------
        ChecksumError
            Naming the path and both checksums.
        """
        compare(self._digest, self._checksum, path)


class PartsDigest(FileDigest):
    """The same by the file's parts, two at a time."""

    def __init__(self, parts: PartDigests) -> None:
        super().__init__(parts.md5)
        self._size = parts.part_size
        self._begun = self._joined = 0
        self._done: dict[int, tuple[int, bytes]] = {}

    def next(self, descriptor: int, arrived: int, size: int) -> Callable[[], None] | None:
        """Give the next work for a thread; None where nothing is worth it yet."""
        start = self._begun * self._size
        end = min(start + self._size, size)
        running = self._begun - self._joined - len(self._done)
        if running >= PARTS_AT_A_TIME or start >= size or end > arrived:
            return None
        self._begun += 1
        return partial(self._hash_part, descriptor, self._begun - 1, end)

    def _hash_part(self, descriptor: int, number: int, end: int) -> None:
        digest = hashlib.md5(usedforsecurity=False)
        _hash_stored(descriptor, digest, number * self._size, end)
        with self._lock:
            self._done[number] = end, digest.digest()
            while (following := self._done.pop(self._joined, None)) is not None:
                self.hashed = following[0]
                self._digest.update(following[1])
                self._joined += 1


def _hash_stored(descriptor: int, digest: Any, start: int, end: int) -> None:
    view = memoryview(bytearray(min(BATCH, end - start)))
    while start < end:
        read = os.preadv(descriptor, [view[: end - start]], start)
        if not read:
            raise ValueError("the file is shorter than it was")
        digest.update(view[:read])
        start += read
