"""The parts of one file on its way: each read and hashed once, in parallel, then sent in parallel.

The service wants the MD5 of every part before the first byte travels. Until then the bytes stay
where they are, in a local file or in memory; those of a file that is still being written are
spooled to disk while they are hashed.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
from collections.abc import AsyncIterator, Callable
from typing import IO, Any

from synapsefs import sync
from synapsefs.errors import InvalidRequestError
from synapsefs.http import Body, body_of
from synapsefs.integrity import PartDigests
from synapsefs.local.files import Spool
from synapsefs.services.wireio import slice_of
from synapsefs.sessions import SLICE
from synapsefs.wire.datasets import constants

HASHERS = min(4, max(2, os.cpu_count() or 1))
"""Threads that hash the parts of one file."""
APPENDED_AT_A_TIME = 2
"""Parts in memory that are hashed and spooled while the next one fills."""
INLINE = 2**16
"""Bytes that are hashed faster than a thread is asked to."""
PREFERRED = ((2**30, 10 * 2**20), (10 * 2**30, 50 * 2**20))
"""Below how many bytes of a file its parts have how many bytes."""
LARGEST_PREFERRED = 100 * 2**20


def part_size(size: int | None, at_most: int) -> int:
    """Choose the bytes of each part but the last, as the official client does.

    Parameters
    ----------
    size
        Bytes of the file; None while unknown.
    at_most
        Bytes that the user allows a part to have.
    """
    known = size or 0
    preferred = next((part for limit, part in PREFERRED if known < limit), LARGEST_PREFERRED)
    most = max(min(at_most, preferred), constants.MIN_PART_SIZE)
    return max(most, -(-known // constants.MAX_PARTS))


class FileParts:
    """The parts of one file.

    Parameters
    ----------
    size
        Bytes of each part but the last.
    path
        Path that errors name.
    data
        The content, where it is in memory before it is appended.

    Attributes
    ----------
    total
        Bytes of the whole.
    moved
        Bytes that were handed to connections.
    """

    def __init__(self, size: int, path: str, data: memoryview | None = None) -> None:
        self.part_size = size
        self.total = 0
        self.moved = 0
        self._path = path
        self._digests: list[bytes] = []
        self._data = data
        self._file: IO[bytes] | None = None
        self._hashing: set[asyncio.Future[None]] = set()
        self._stopped = False

    def __len__(self) -> int:
        return len(self._digests)

    async def append(self, part: bytes | memoryview, *, last: bool) -> None:
        """Take the next part, which is hashed and spooled meanwhile; an only one stays in memory.

        Raises
        ------
        OSError
            When an earlier part cannot be spooled.
        """
        number, start = len(self), self.total
        self.total += len(part)
        self._digests.append(b"")
        if last and not number:
            self._data = memoryview(part)
            if len(part) <= INLINE:
                self._digests[0] = _md5(part).digest()
                return
        if self._data is None and self._file is None:
            self._file = Spool()
        if len(self._hashing) >= APPENDED_AT_A_TIME:
            await self._settle(asyncio.FIRST_COMPLETED)
        work = asyncio.to_thread(self._take, number, start, memoryview(part))
        self._hashing.add(asyncio.ensure_future(work))

    def _take(self, number: int, start: int, part: memoryview) -> None:
        self._digests[number] = _md5(part).digest()
        if self._file is not None:
            while part:
                written = os.pwrite(self._file.fileno(), part, start)
                part, start = part[written:], start + written

    def put(self, data: bytes | memoryview, digest: bytes) -> None:
        """Take a whole file of one part whose MD5 is known."""
        self._data, self._digests, self.total = memoryview(data), [digest], len(data)

    async def scan(self, path: str, size: int) -> None:
        """Take a local file as it lies, and hash it.

        Raises
        ------
        InvalidRequestError
            When it is shorter than ``size``.
        """
        self._file = await sync.in_thread(_open, path)
        self.total = size
        await self._hash_all(path)

    async def _hash_all(self, name: str) -> None:
        count = -(-self.total // self.part_size)
        self._digests = [b""] * count
        for first in range(min(HASHERS, count)):
            work = asyncio.to_thread(self._hash_some, range(first, count, HASHERS), name)
            self._hashing.add(asyncio.ensure_future(work))
        await self.settle()

    def _hash_some(self, numbers: range, name: str) -> None:
        """Hash every so many-th part of the file, through one buffer that stays warm."""
        assert self._file is not None  # noqa: S101 - opened before
        descriptor, buffer = self._file.fileno(), memoryview(bytearray(SLICE))
        for number in numbers:
            start, length = self._span(number)
            digest = _md5()
            while length:
                read = os.preadv(descriptor, [buffer[:length]], start)
                if self._stopped:
                    return
                if not read:
                    raise InvalidRequestError("the local file is shorter than it was", name)
                digest.update(buffer[:read])
                start, length = start + read, length - read
            self._digests[number] = digest.digest()

    async def settle(self) -> None:
        """Wait until all parts are hashed; larger parts are made of what is too many."""
        while self._hashing:
            await self._settle(asyncio.FIRST_EXCEPTION)
        if len(self) > constants.MAX_PARTS:
            self.part_size = -(-self.total // constants.MAX_PARTS)
            await self._hash_all(self._path)

    async def _settle(self, when: str) -> None:
        done, self._hashing = await asyncio.wait(self._hashing, return_when=when)
        for error in [running.exception() for running in done]:
            if error is not None:
                raise error

    async def aclose(self) -> None:
        """Wait for the threads, then let go of the bytes."""
        self._stopped = True
        await asyncio.gather(*self._hashing, return_exceptions=True)
        if self._file is not None:
            self._file.close()
        self._file = self._data = None

    def digest(self) -> str | PartDigests:
        """Give what sums up the whole: the hexadecimal MD5 of a file of one part."""
        if len(self) == 1:
            return self._digests[0].hex()
        return PartDigests(self.part_size, _md5(b"".join(self._digests)).hexdigest())

    def hashes(self) -> list[str]:
        """Give the MD5 of each part in base64, as the service wants them."""
        return [base64.b64encode(digest).decode() for digest in self._digests]

    def _span(self, number: int) -> tuple[int, int]:
        start = number * self.part_size
        return start, min(self.part_size, self.total - start)

    def length(self, number: int) -> int:
        """Give the bytes of a part."""
        return self._span(number)[1]

    def body(self, number: int) -> Body:
        """Give a part as it is sent."""
        start, length = self._span(number)
        if self._data is not None:
            part = body_of(self._data[start : start + length])
        else:
            assert self._file is not None  # noqa: S101 - there are parts
            part = slice_of(self._file.fileno(), start, length, self._path)
        return part if len(self) == 1 else Body(part.size, self._counted(part.chunks))

    def _counted(
        self, chunks: Callable[[], AsyncIterator[bytes | memoryview]]
    ) -> Callable[[], AsyncIterator[bytes | memoryview]]:
        async def counted() -> AsyncIterator[bytes | memoryview]:
            async for chunk in chunks():
                yield chunk
                self.moved += len(chunk)

        return counted

    async def content(self) -> bytes | memoryview:
        """Give all bytes at once."""
        if self._data is not None:
            return self._data
        assert self._file is not None  # noqa: S101 - there are parts
        return await asyncio.to_thread(os.pread, self._file.fileno(), self.total, 0)


def _md5(data: bytes | memoryview = b"") -> Any:
    return hashlib.md5(data, usedforsecurity=False)


def _open(path: str) -> IO[bytes]:
    return open(path, "rb")
