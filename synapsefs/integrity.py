"""Checksums, computed beside the transfer and never on the event loop for long."""

from __future__ import annotations

import asyncio
import hashlib
import math
import os
import threading
from collections import deque
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
        """Take the bytes that were read from ``start`` on; give what is to be hashed now."""
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


@dataclass(slots=True, eq=False)
class _Part:
    """A part of a file that is being hashed: how far, and what that came to."""

    end: float
    position: int
    digest: Any
    seen: Any
    busy: bool = False


class FileDigest:
    """The checksum of a file on disk, hashed in threads as far as the file has arrived.

    Parameters
    ----------
    checksum
        Hexadecimal, its algorithm told by its length; None where there is nothing to compare.
    parts
        The checksum by parts, two of which are hashed at a time; used instead where it is known.
    step
        Bytes that are worth a visit to a thread; one visit takes twice as many at most.

    Attributes
    ----------
    hashed
        Bytes from the file's start that were hashed.
    """

    def __init__(
        self, checksum: str | None, parts: PartDigests | None = None, step: int = BATCH
    ) -> None:
        self.hashed = 0
        checksum = parts.md5 if parts else checksum
        self._checksum = checksum if hasher(checksum) else None
        self._part_size = parts.part_size if parts else math.inf
        self._step = step
        self._joined = hashlib.md5(usedforsecurity=False) if parts else None
        self._parts: deque[_Part] = deque()
        self._lock = threading.Lock()

    def next(self, descriptor: int, arrived: int, size: int) -> Callable[[], None] | None:
        """Give the next work for a thread; None where nothing is worth it yet."""
        with self._lock:
            begun = self._parts[-1].end if self._parts else self.hashed
            if len(self._parts) < PARTS_AT_A_TIME and begun < arrived:
                self._parts.append(self._part(int(begun)))
            for part in self._parts:
                end = int(min(part.end, arrived, part.position + 2 * self._step))
                enough = end - part.position >= self._step or end in {part.end, size}
                if enough and end > part.position and not part.busy:
                    part.busy = True
                    return partial(self._hash, descriptor, part, end)
        return None

    def _part(self, start: int) -> _Part:
        digest = hashlib.md5(usedforsecurity=False)
        if self._joined is None:
            digest = hasher(self._checksum) or hashlib.sha1(usedforsecurity=False)
        return _Part(start + self._part_size, start, digest, digest.copy())

    def _hash(self, descriptor: int, part: _Part, end: int) -> None:
        _hash_stored(descriptor, part.digest, part.position, end)
        with self._lock:
            part.position, part.seen, part.busy = end, part.digest.copy(), False
            while self._parts and self._parts[0].position == self._parts[0].end:
                self.hashed = self._parts[0].position
                done = self._parts.popleft()
                if self._joined is not None:
                    self._joined.update(done.digest.digest())
            if self._parts:
                self.hashed = self._parts[0].position

    def catch_up(self, descriptor: int, arrived: int) -> None:
        """Hash what has arrived, in this thread."""
        while (work := self.next(descriptor, arrived, arrived)) is not None:
            work()

    def state(self) -> tuple[int, str]:
        """Give how many bytes were hashed, and their digest."""
        with self._lock:
            return self.hashed, str(self._value().hexdigest())

    def _value(self) -> Any:
        first = self._parts[0].seen if self._parts else None
        if self._joined is None:
            return first or self._part(0).digest
        value = self._joined.copy()
        if first is not None:
            value.update(first.digest())
        return value

    def compare(self, path: str) -> None:
        """Compare the checksum of the whole file.

        Raises
        ------
        ChecksumError
            Naming the path and both checksums.
        """
        if self._checksum:
            compare(self._value(), self._checksum, path)


def _hash_stored(descriptor: int, digest: Any, start: int, end: int) -> None:
    view = memoryview(bytearray(min(BATCH, end - start)))
    while start < end:
        read = os.preadv(descriptor, [view[: end - start]], start)
        if not read:
            raise ValueError("the file is shorter than it was")
        digest.update(view[:read])
        start += read
