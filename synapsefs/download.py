"""Whole files to disk: fetched under a temporary name, verified, then put in place.

A large file comes in several ranges at a time where that is faster. They are written where they
belong, and the file is hashed in threads from its start, as far as it has arrived without a gap.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Any

from synapsefs import concurrency, integrity, sync
from synapsefs.checkpoint import HOPELESS, TransferKey, checkpoints
from synapsefs.errors import UnreachableError
from synapsefs.local.files import SMALL, LocalTarget, place, resolve_target
from synapsefs.local.streams import LocalWriter
from synapsefs.partial_file import PartialFile, is_resumable
from synapsefs.remote_object import RemoteObject

logger = logging.getLogger("synapsefs")
Progress = Callable[[int], None]

LARGE = 32 * 2**20
"""Bytes from which on a file may come in several ranges at a time."""

RANGE = 8 * 2**20
"""Bytes of one range."""

RANGE_MEMORY = 8 * 2**20
"""Bytes that a range on its way may hold in memory."""

BATCH = 4 * 2**20
"""Bytes that are written in one visit to a thread."""


async def download(
    remote: RemoteObject, target: str, report: Progress, key: TransferKey | None = None
) -> None:
    """Fetch a whole file to disk: verified under a temporary name, then put in place.

    What was at ``target`` stays until then, and for good when anything fails. Symbolic links are
    followed. Devices and FIFOs are written through, and an error comes after what they have got.

    Parameters
    ----------
    report
        Is given the bytes that arrive, as a number; a negative one where they come again.
    key
        Names the transfer for a later process that continues it after a failure.

    Raises
    ------
    ChecksumError
        When the bytes are not what the service says.
    """
    if _left_behind(remote, target, key):
        local = await asyncio.to_thread(resolve_target, target)
        if not local.through:
            await _save(remote, local, report, key)
            return
    async with aclosing(remote.chunks()) as chunks:
        first = await anext(chunks, b"")
        if _size_of(remote) <= SMALL:
            data = b"".join([first, *[chunk async for chunk in chunks]])
            await _save_small(remote, data, target, report)
            return
        local = await asyncio.to_thread(resolve_target, target)
        if local.through:
            await _write_through(remote, first, chunks, local, report)
        else:
            await _save(remote, local, report, key, (first, chunks))


def _left_behind(remote: RemoteObject, target: str, key: TransferKey | None) -> bool:
    """Say whether an earlier process may have fetched a part of a file."""
    if key is None or not is_resumable(remote, remote.http.options.block_size):
        return False
    return checkpoints().has(key.download(target))


def _size_of(remote: RemoteObject) -> int:
    return len(remote.inline) if remote.inline is not None else remote.size or 0


async def _save_small(remote: RemoteObject, data: bytes, target: str, report: Progress) -> None:
    def verify_and_place() -> LocalTarget | None:
        digest = integrity.hasher(remote.expected)
        if digest is not None:
            digest.update(data)
            integrity.compare(digest, remote.expected, remote.path)
        return place(data, target)

    report(len(data))
    through = await concurrency.shared().files.run(verify_and_place)
    if through is not None:
        await _hand_on([data], through)


async def _hand_on(pieces: list[bytes], target: LocalTarget) -> None:
    """Write a device or FIFO."""
    writer = LocalWriter(target.path)
    try:
        await sync.stoppable(partial(writer.write, pieces))
    finally:
        await sync.in_thread(writer.close)


async def _write_through(
    remote: RemoteObject,
    first: bytes,
    chunks: AsyncGenerator[bytes, None],
    target: LocalTarget,
    report: Progress,
) -> None:
    """Write a file's bytes through to a device or FIFO as they come, and verify them then."""
    checksum = integrity.Checksum(remote.expected, remote.path)
    writer = LocalWriter(target.path)
    try:
        async for pieces in _batches(first, chunks):
            for piece in pieces:
                await checksum.update(piece)
            await sync.stoppable(partial(writer.write, pieces))
            report(sum(map(len, pieces)))
    finally:
        await sync.in_thread(writer.close)
    await checksum.verify()


async def _batches(
    first: bytes, chunks: AsyncGenerator[bytes, None]
) -> AsyncGenerator[list[bytes], None]:
    """Put chunks together to what is worth a visit to a thread."""
    pieces, held = [first], len(first)
    async for chunk in chunks:
        if held >= integrity.BATCH:
            yield pieces
            pieces, held = [], 0
        pieces.append(chunk)
        held += len(chunk)
    yield pieces


async def _save(
    remote: RemoteObject,
    target: LocalTarget,
    report: Progress,
    key: TransferKey | None,
    opened: tuple[bytes, AsyncGenerator[bytes, None]] | None = None,
) -> None:
    """Fetch a file to a regular file, from an opened stream or from where an earlier one ended."""
    size = remote.size
    while True:
        file = PartialFile(remote, target, remote.http.options.block_size, key)
        ranges = _Ranges(remote, file, report)
        try:
            await sync.in_thread(partial(file.begin, anew=opened is not None))
            report(file.offset)
            await ranges.run(opened)
            await sync.in_thread(file.settle)
            return
        except BaseException as error:
            await sync.in_thread(file.fail, error, ranges.arrived)
            if not (file.offset and isinstance(error, HOPELESS)):
                raise
            logger.info("%s: starting over: %s", target.path, error)
            report(-file.offset)
            remote.size, remote.etag, opened = size, None, None


@dataclass(slots=True, eq=False)
class _Span:
    """Bytes that one request fetches: those before ``position`` are written."""

    position: int
    end: int


class _Ranges:
    """Fetches one file, by one request or by several at a time.

    The first asks for all that is missing. Where the link proves slow, and faster with a second
    one, it is cut short, and the rest is divided.
    """

    def __init__(self, remote: RemoteObject, file: PartialFile, report: Progress) -> None:
        self._remote = remote
        self._file = file
        self._report = report
        self._size = self._next = 0
        self._spans: list[_Span] = []
        self._received = self._begun = 0
        self._hashing: set[asyncio.Future[None]] = set()
        self._failure: BaseException | None = None

    async def run(self, opened: tuple[bytes, AsyncGenerator[bytes, None]] | None) -> None:
        offset = self._file.offset
        async with aclosing(self._remote.chunks(offset)) as own:
            first, chunks = opened or (await anext(own, b""), own)
            self._size = self._next = _size_of(self._remote)
            whole = _Span(offset, self._size)
            self._spans.append(whole)
            try:
                if self._size - offset < LARGE:
                    await self._receive(whole, first, chunks)
                else:
                    await self._side_by_side(self._work(whole, first, chunks))
                await self._hashed_up()
            finally:
                await asyncio.gather(*self._hashing, return_exceptions=True)

    async def _side_by_side(self, first: Any) -> None:
        """Add ranges while that makes it faster; the first failure ends all."""
        pace = concurrency.Pace(self._remote.http.options.max_concurrency)
        pace.growing = self._remote.ranged and self._remote.etag is not None
        working = {asyncio.ensure_future(first)}
        try:
            while working:
                done, working = await asyncio.wait(
                    working,
                    timeout=concurrency.WINDOW / 4 if pace.growing else None,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                for worker in done:
                    worker.result()
                pace.growing = pace.growing and self._remote.ranged and not done
                if pace.growing and self._begun == len(working):
                    for _ in range(pace.more(len(working), self._received)):
                        self._divide()
                        working.add(asyncio.ensure_future(self._work()))
        finally:
            for worker in working:
                worker.cancel()
            await asyncio.gather(*working, return_exceptions=True)

    async def _work(
        self,
        span: _Span | None = None,
        first: bytes = b"",
        chunks: AsyncGenerator[bytes, None] | None = None,
    ) -> None:
        if span is not None and chunks is not None:
            self._begun += 1
            await self._receive(span, first, chunks)
            await chunks.aclose()
        fresh = span is None
        while (span := self._claim()) is not None:
            async with (
                concurrency.shared().buffered.hold(RANGE_MEMORY),
                aclosing(self._remote.chunks(span.position, span.end)) as part,
            ):
                data = await anext(part, b"")
                self._begun += fresh
                fresh = False
                await self._receive(span, data, part)

    def _divide(self) -> None:
        """Cut the first request short, so that there is something to claim."""
        if self._next == self._size and self._spans:
            last = max(self._spans, key=lambda span: span.end)
            last.end = self._next = min(last.end, last.position + RANGE)

    def _claim(self) -> _Span | None:
        if self._next >= self._size:
            return None
        end = self._next + RANGE if self._remote.ranged else self._size
        span = _Span(self._next, min(end, self._size))
        self._next = span.end
        self._spans.append(span)
        return span

    async def _receive(
        self, span: _Span, first: bytes, chunks: AsyncGenerator[bytes, None]
    ) -> None:
        self._received += len(first)
        pieces, held = [first], len(first)
        while span.position < span.end:
            if held < BATCH and span.position + held < span.end:
                chunk = await anext(chunks, b"")
                if chunk:
                    self._received += len(chunk)
                    pieces.append(chunk)
                    held += len(chunk)
                    continue
                if not held:
                    raise UnreachableError("the answer ended early", self._remote.path)
            await self._write(span, pieces, held)
            pieces, held = [], 0
        self._spans.remove(span)

    async def _write(self, span: _Span, pieces: list[bytes], held: int) -> None:
        while (excess := span.position + held - span.end) > 0:
            last = pieces.pop()
            held -= min(excess, len(last))
            if excess < len(last):
                pieces.append(last[: len(last) - excess])
        await sync.in_thread(self._file.write, pieces, span.position)
        span.position += held
        self._hash()
        while self._hashing and self._file.is_ahead(self.arrived):
            await asyncio.wait(self._hashing, return_when=asyncio.FIRST_COMPLETED)
        self._report(held)
        self._raise_failure()

    @property
    def arrived(self) -> int:
        """Bytes from the file's start that are written without a gap."""
        return min((span.position for span in self._spans), default=self._next)

    def _hash(self) -> None:
        while (work := self._file.next_hash(self.arrived, self._size)) is not None:
            running = asyncio.get_running_loop().run_in_executor(None, work)
            self._hashing.add(running)
            running.add_done_callback(self._hashed)

    def _hashed(self, running: asyncio.Future[None]) -> None:
        self._hashing.discard(running)
        error = None if running.cancelled() else running.exception()
        if error is not None:
            self._failure = error
        elif self._failure is None:
            self._hash()

    async def _hashed_up(self) -> None:
        """Wait until everything is hashed."""
        self._hash()
        while self._hashing:
            await asyncio.wait(self._hashing)
        self._raise_failure()

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure
