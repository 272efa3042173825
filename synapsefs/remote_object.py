"""Reading bytes behind signed URLs: every length checked, one version, continued after faults."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from synapsefs.errors import (
    ChangedError,
    IntegrityError,
    RangeNotSatisfiableError,
    SynapseError,
    UnreachableError,
    from_status,
    service_words,
)
from synapsefs.integrity import PartDigests
from synapsefs.transport import Transport, worth_retrying

if TYPE_CHECKING:
    import aiohttp

_CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)")
REFUSED = frozenset({400, 401, 403, 404, 410})
"""Statuses after which a signed URL is asked for again, once until bytes arrive."""


@dataclass(slots=True)
class Content:
    """The bytes of one version of a file, and how to reach them.

    Attributes
    ----------
    path
        Path that errors name.
    version
        Equal versions have equal bytes.
    size
        Bytes, or None until the first answer tells.
    checksum
        Hexadecimal checksum, its algorithm told by its length; None where the service has none.
    locate
        Gives a signed URL; with True a new one, after the last was refused. Raises
        ``ChangedError`` when the version is gone.
    inline
        The bytes themselves, where the service gives them with the entry.
    etag
        Tag of the object behind the URL, once seen: every later answer must carry the same.
    parts
        Digest of the parts, where the file was hashed so.
    """

    path: str
    version: str
    size: int | None
    checksum: str | None
    locate: Callable[[bool], Awaitable[str]]
    inline: bytes | None = None
    etag: str | None = None
    parts: PartDigests | None = None

    @property
    def expected(self) -> str | PartDigests | None:
        """What the whole is compared with."""
        return self.parts or self.checksum


class Sink(Protocol):
    """Where bytes go, in order."""

    async def write(self, data: bytes) -> None:
        """Take the next bytes."""


async def object_size(transport: Transport, content: Content) -> int:
    """Learn a file's size in bytes from a read of its first byte.

    Signed URLs are bound to their method, so that HEAD does not work.
    """
    if content.size is None:
        await fetch(transport, content, 0, 1, Discarding())
    if content.size is None:
        raise IntegrityError("the storage does not tell the file's size", content.path)
    return content.size


async def fetch(
    transport: Transport, content: Content, start: int, end: int | None, sink: Sink
) -> None:
    """Send the bytes from ``start`` up to ``end`` (exclusive; None for the file's end) to a sink.

    A fault in the middle, an expired URL among them, is followed by a request for the rest.

    Raises
    ------
    ChangedError
        When the file is no longer the version that was opened.
    IntegrityError
        When the storage sends more, less or other bytes than it announced.
    Exception
        What the sink raises; nothing is tried again then.
    """
    if content.inline is not None:
        await sink.write(content.inline[start:end])
        return
    failed: Exception
    try:
        await _Fetch(transport, content, start, end, sink).run()
        return
    except _SinkError as error:
        failed = error.error
    raise failed


class _SinkError(Exception):
    """Carries an error of a sink past those who judge errors of the storage."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


class _Fetch:
    def __init__(
        self, transport: Transport, content: Content, start: int, end: int | None, sink: Sink
    ) -> None:
        self._transport = transport
        self._content = content
        self._sink = sink
        self._position = self._mark = start
        self._end = end if end is not None else content.size
        self._open_end = end is None
        self._renew = False
        self._renewed_at = -1

    async def run(self) -> None:
        if self._end is not None and self._position >= self._end:
            return
        while True:
            self._mark = self._position
            await self._transport.retrying(self._attempt, replay=True)
            if self._done():
                return

    def _done(self) -> bool:
        return self._end is not None and self._position >= self._end

    async def _attempt(self) -> None:
        """Make one request; an error after progress ends the attempt without using up a retry."""
        try:
            await self._request()
        except SynapseError as error:
            progressed = self._position > self._mark and not isinstance(error, IntegrityError)
            if error.status in REFUSED and self._renewed_at != self._position:
                self._renew, self._renewed_at = True, self._position
            elif not (progressed and worth_retrying(error, replay=True)):
                raise

    async def _request(self) -> None:
        content = self._content
        url = await content.locate(self._renew)
        self._renew = False
        async with self._transport.get_object(url, self._headers(), content.path) as response:
            if response.status >= 400:
                await self._refuse(response)
                return
            await self._receive(response, self._judge(response))
        if not self._done():
            raise UnreachableError(
                f"the answer ended at byte {self._position}, not {self._end}", content.path
            )

    def _headers(self) -> dict[str, str]:
        if self._position == 0 and self._open_end:
            return {}
        last = "" if self._end is None else self._end - 1
        return {"Range": f"bytes={self._position}-{last}"}

    async def _refuse(self, response: aiohttp.ClientResponse) -> None:
        if response.status == 416:
            size = self._size_refused(response)
            if size is not None:
                self._learn_size(size)
                if self._position >= size:
                    self._end = self._position
                    return
            raise RangeNotSatisfiableError(
                f"byte range from {self._position} not satisfiable", self._content.path, status=416
            )
        words = service_words(await response.content.read(4096))
        origin = self._transport.origin(str(response.url))
        raise from_status(response.status, words, self._content.path, origin)

    def _size_refused(self, response: aiohttp.ClientResponse) -> int | None:
        """Give the size that a refused range tells: only an empty file has no first byte."""
        found = _CONTENT_RANGE.match(response.headers.get("Content-Range", ""))
        if found and found[3] != "*":
            return int(found[3])
        return 0 if self._position == 0 else None

    def _judge(self, response: aiohttp.ClientResponse) -> int:
        """Check an answer's headers; give the bytes to skip in front."""
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise IntegrityError("the storage sends an encoding of the file", self._content.path)
        self._pin(response.headers.get("ETag"))
        length = response.content_length
        if response.status != 206:
            if length is not None:
                self._learn_size(length)
            elif self._content.size is None:
                raise IntegrityError(
                    "the storage does not tell the file's size", self._content.path
                )
            return self._position
        found = _CONTENT_RANGE.match(response.headers.get("Content-Range", ""))
        if found is None or found[1] is None or int(found[1]) != self._position:
            raise IntegrityError("the storage answers another range than asked", self._content.path)
        if found[3] != "*":
            self._learn_size(int(found[3]))
        return 0

    def _pin(self, etag: str | None) -> None:
        if etag is None or etag.startswith("W/"):
            return
        if self._content.etag not in {None, etag}:
            raise ChangedError("the file was replaced while it was read", self._content.path)
        self._content.etag = etag

    def _learn_size(self, size: int) -> None:
        if self._content.size is None:
            self._content.size = size
        elif self._content.size != size:
            raise ChangedError(
                f"the storage holds {size} bytes, the service says {self._content.size}",
                self._content.path,
            )
        self._end = size if self._end is None else min(self._end, size)

    async def _receive(self, response: aiohttp.ClientResponse, skip: int) -> None:
        received = 0
        async for chunk in response.content.iter_any():
            received += len(chunk)
            self._transport.counts["bytes_received"] += len(chunk)
            data = chunk[skip:] if skip else chunk
            skip = max(skip - len(chunk), 0)
            if self._end is not None and self._position + len(data) > self._end:
                if response.status == 206:
                    raise IntegrityError("the storage sends too many bytes", self._content.path)
                data = data[: self._end - self._position]
            if data:
                self._position += len(data)
                try:
                    await self._sink.write(data)
                except Exception as error:
                    raise _SinkError(error) from error
            if self._done():
                return


class Pieces:
    """A sink in memory."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    async def write(self, data: bytes) -> None:
        """Keep the next bytes."""
        self._pieces.append(data)

    def value(self) -> bytes:
        """Give what arrived."""
        return self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)


class Discarding:
    """A sink that keeps nothing."""

    async def write(self, data: bytes) -> None:
        """Drop the bytes."""


class Parts:
    """A sink that hands bytes on in parts of one size.

    Parameters
    ----------
    size
        Bytes of each part but the last.
    take
        Is given each part, and whether it is the last.
    """

    def __init__(self, size: int, take: Callable[..., Awaitable[None]]) -> None:
        self._size = size
        self._take = take
        self._part = bytearray()

    async def write(self, data: bytes) -> None:
        """Fill parts, and hand on those that are followed by more."""
        view = memoryview(data)
        while view:
            room = self._size - len(self._part)
            if not room:
                await self._send(last=False)
                continue
            self._part += view[:room]
            view = view[room:]

    async def end(self) -> None:
        """Hand on the last part."""
        await self._send(last=True)

    async def _send(self, *, last: bool) -> None:
        part, self._part = self._part, bytearray()
        await self._take(memoryview(part), last=last)
