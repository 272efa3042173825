"""Reading bytes behind signed URLs: every length checked, one version, continued after faults."""

from __future__ import annotations

import io
import re
from bisect import bisect_right
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from synapsefs import concurrency
from synapsefs.errors import (
    ChangedError,
    IntegrityError,
    RangeNotSatisfiableError,
    SynapseError,
    UnreachableError,
    from_status,
    service_words,
)
from synapsefs.http import Transport, worth_retrying
from synapsefs.integrity import Checksum, PartDigests

if TYPE_CHECKING:
    import aiohttp

_CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)")
REFUSED = frozenset({400, 401, 403, 404, 410})
"""Statuses after which a signed URL is asked for again, once until bytes arrive."""

HEAD = 64 * 2**10
"""Bytes that are read to open a file of unknown size; a small one is there then."""

MAX_GAP = 64 * 2**10
MAX_MERGED = 64 * 2**20


@dataclass(frozen=True, slots=True)
class ByteRange:
    """A slice of a file as Python means it: negative counts from the end, None is open."""

    start: int | None = None
    end: int | None = None

    @property
    def whole(self) -> bool:
        """Whether it is the whole file."""
        return not self.start and self.end is None

    @property
    def needs_size(self) -> bool:
        """Whether the file's size decides where it lies."""
        return self.end is None or self.end < 0 or (self.start or 0) < 0

    def within(self, size: int) -> tuple[int, int]:
        """Give first byte and end (exclusive) in a file of ``size`` bytes."""
        start, end, _ = slice(self.start, self.end).indices(size)
        return start, max(start, end)


WHOLE = ByteRange()


@dataclass(slots=True)
class RemoteObject:
    """The bytes of one version of a file, and how to reach them.

    Attributes
    ----------
    http
        Sends the requests.
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
    parts
        The checksum by parts, where it is known.
    etag
        Strong tag of the object behind the URL, once seen: every later answer must carry the same.
    ranged
        Whether the storage gives ranges, once seen.
    head
        The first bytes, where they were read to learn the size.
    learned
        Is told the size when an answer tells it.
    """

    http: Transport
    path: str
    version: str
    size: int | None
    checksum: str | None
    locate: Callable[[bool], Awaitable[str]]
    inline: bytes | None = None
    parts: PartDigests | None = None
    etag: str | None = None
    ranged: bool = False
    head: bytes = b""
    learned: Callable[[int], None] | None = None

    @property
    def expected(self) -> str | PartDigests | None:
        """What the whole is compared with."""
        return self.parts or self.checksum

    async def chunks(self, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes, None]:
        """Give the bytes from ``start`` up to ``end`` (exclusive; None for the file's end).

        A fault in the middle, an expired URL among them, is followed by a request for the rest.
        What goes wrong with a chunk that was given is nothing that is tried again. Close it
        (:func:`contextlib.aclosing`) where it may not come to its end.

        Raises
        ------
        ChangedError
            When the file is no longer the version that was opened.
        IntegrityError
            When the storage sends more, less or other bytes than it announced.
        """
        if self.inline is not None:
            yield self.inline[start:end]
            return
        position, renewed_at, renew = start, -1, False
        delays: Iterator[float] | None = None
        while (last := _earlier(end, self.size)) is None or position < last:
            began = position
            try:
                url = await self.locate(renew)
                renew = False
                headers = _range_header(position, last if end is not None or position else None)
                async with self.http.stream(url, headers, self.path) as response:
                    skip = await self._accept(response, position)
                    if skip is None:
                        return
                    last = _earlier(end, self.size)
                    async for chunk in response.content.iter_any():
                        data = self._wanted(response, chunk, skip, position, last)
                        skip = max(skip - len(chunk), 0)
                        if data:
                            position += len(data)
                            yield data
                        if position == last:
                            return
                if last is None or position < last:
                    words = f"the answer ended at byte {position}, not {last}"
                    raise UnreachableError(words, self.path)
                return
            except SynapseError as error:
                if error.status in REFUSED and renewed_at != position:
                    renew, renewed_at = True, position
                elif not worth_retrying(error, replay=True):
                    raise
                elif position > began:
                    delays = None
                else:
                    delays = delays or self.http.backoff()
                    await self.http.wait(delays, error)

    async def read(self, span: ByteRange = WHOLE) -> bytes:
        """Read the file or a slice of it into memory; a whole file is verified."""
        if span.whole:
            return await self._read_whole()
        if span.needs_size or self.size is not None:
            return await self.read_range(*span.within(await self.learn_size()))
        return await self.read_range(span.start or 0, span.end or 0)

    async def _read_whole(self) -> bytes:
        checksum = Checksum(self.expected, self.path)
        buffer: io.BytesIO | None = None
        data = b""
        async with aclosing(self.chunks()) as chunks:
            async for chunk in chunks:
                await checksum.update(chunk)
                if not data:
                    data = chunk
                    continue
                if buffer is None:
                    buffer = io.BytesIO()
                    buffer.write(data)
                buffer.write(chunk)
        await checksum.verify()
        return data if buffer is None else buffer.getvalue()

    async def read_range(self, start: int, end: int) -> bytes:
        """Read the bytes from ``start`` to ``end`` (exclusive), fewer only at the file's end."""
        if end <= start:
            return b""
        if end <= len(self.head):
            return self.head[start:end]
        try:
            pieces = [data async for data in self.chunks(start, end)]
        except RangeNotSatisfiableError:
            if start < await self.learn_size():
                raise
            return b""
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def read_ranges(self, spans: Sequence[ByteRange], max_gap: int | None) -> list[bytes]:
        """Read several slices, neighbours in one request.

        Parameters
        ----------
        max_gap
            Bytes between two slices that are fetched along rather than asked for apart.
        """
        if any(span.needs_size for span in spans):
            size = await self.learn_size()
            bounds = [span.within(size) for span in spans]
        else:
            bounds = [(span.start or 0, span.end or 0) for span in spans]
        merged = _merged(bounds, MAX_GAP if max_gap is None else max_gap)
        reads = [self.read_range(start, end) for start, end in merged]
        blocks = await concurrency.gather(reads, self.http.options.max_concurrency)
        starts = [start for start, _ in merged]
        return [_slice_of(bound, starts, blocks) for bound in bounds]

    async def cut(self, part_size: int) -> AsyncGenerator[tuple[memoryview, bool], None]:
        """Give the whole file in parts, and with each whether it is the last.

        The last comes after the checksum was compared.
        """
        checksum = Checksum(self.expected, self.path)
        part = bytearray()
        async with aclosing(self.chunks()) as chunks:
            async for chunk in chunks:
                await checksum.update(chunk)
                view = memoryview(chunk)
                while view:
                    if len(part) == part_size:
                        yield memoryview(part), False
                        part = bytearray()
                    room = part_size - len(part)
                    part += view[:room]
                    view = view[room:]
        await checksum.verify()
        yield memoryview(part), True

    async def probe(self) -> int:
        """Learn the size, where it is not known from a read of the first bytes, which are kept."""
        if self.size is None:
            self.head = await self.read_range(0, HEAD)
        return await self.learn_size()

    async def learn_size(self) -> int:
        """Learn the size in bytes from a read of the first byte, where it is not known.

        Signed URLs are bound to their method, so that HEAD does not work.
        """
        if self.size is None:
            await self.read_range(0, 1)
        if self.size is None:
            raise IntegrityError("the storage does not tell the file's size", self.path)
        return self.size

    def _wanted(
        self,
        response: aiohttp.ClientResponse,
        chunk: bytes,
        skip: int,
        position: int,
        end: int | None,
    ) -> bytes:
        """Give a chunk without its first ``skip`` bytes and without those past ``end``."""
        self.http.counts["bytes_received"] += len(chunk)
        data = chunk[skip:] if skip else chunk
        if end is not None and position + len(data) > end:
            if response.status == 206:
                raise IntegrityError("the storage sends too many bytes", self.path)
            return data[: end - position]
        return data

    async def _accept(self, response: aiohttp.ClientResponse, position: int) -> int | None:
        """Check an answer's head; give the bytes to skip in front, None for the file's end."""
        if response.status >= 400:
            await self._refuse(response, position)
            return None
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise IntegrityError("the storage sends an encoding of the file", self.path)
        self._pin(response.headers.get("ETag"))
        if response.status != 206:
            self.ranged = not position and response.headers.get("Accept-Ranges") == "bytes"
            if response.content_length is not None:
                self._note_size(response.content_length)
            elif self.size is None:
                raise IntegrityError("the storage does not tell the file's size", self.path)
            return position
        span = _CONTENT_RANGE.match(response.headers.get("Content-Range", ""))
        if span is None or span[1] is None or int(span[1]) != position:
            raise IntegrityError("the storage answers another range than asked", self.path)
        if span[3] != "*":
            self._note_size(int(span[3]))
        self.ranged = True
        return 0

    async def _refuse(self, response: aiohttp.ClientResponse, position: int) -> None:
        """Raise the error of a refusal, unless it tells that the file ends here."""
        if response.status == 416:
            size = _size_refused(response, position)
            if size is not None:
                self._note_size(size, refused=True)
                if position >= size:
                    return
            words = f"byte range from {position} not satisfiable"
            raise RangeNotSatisfiableError(words, self.path, status=416)
        words = service_words(await response.content.read(4096))
        raise from_status(response.status, words, self.path, self.http.origin(str(response.url)))

    def _pin(self, etag: str | None) -> None:
        if etag is None or etag.startswith("W/"):
            return
        if self.etag not in {None, etag}:
            raise ChangedError("the file was replaced while it was read", self.path)
        self.etag = etag

    def _note_size(self, size: int, *, refused: bool = False) -> None:
        if self.size is None:
            self.size = size
            if self.learned is not None and not refused:
                self.learned(size)
        elif self.size != size:
            raise ChangedError(
                f"the storage holds {size} bytes, the service says {self.size}", self.path
            )


def _earlier(end: int | None, size: int | None) -> int | None:
    """Give where reading ends, as far as that is known."""
    return size if end is None else end if size is None else min(end, size)


def _range_header(position: int, end: int | None) -> dict[str, str]:
    if position == 0 and end is None:
        return {}
    return {"Range": f"bytes={position}-{'' if end is None else end - 1}"}


def _size_refused(response: aiohttp.ClientResponse, position: int) -> int | None:
    """Give the size that a refused range tells: only an empty file has no first byte."""
    span = _CONTENT_RANGE.match(response.headers.get("Content-Range", ""))
    if span and span[3] != "*":
        return int(span[3])
    return 0 if position == 0 else None


def _merged(bounds: Sequence[tuple[int, int]], max_gap: int) -> list[tuple[int, int]]:
    """Give the ranges to ask for, in order: each slice lies in the last one that begins before."""
    merged: list[tuple[int, int]] = []
    for start, end in sorted(bound for bound in bounds if bound[0] < bound[1]):
        first, last = merged[-1] if merged else (start, start)
        if merged and end <= last:
            continue
        if merged and start - last <= max_gap and end - first <= MAX_MERGED:
            merged[-1] = (first, end)
        else:
            merged.append((start, end))
    return merged


def _slice_of(bound: tuple[int, int], starts: Sequence[int], blocks: Sequence[bytes]) -> bytes:
    """Take a slice out of the block that it lies in."""
    start, end = bound
    if start >= end:
        return b""
    number = bisect_right(starts, start) - 1
    return blocks[number][start - starts[number] : end - starts[number]]
