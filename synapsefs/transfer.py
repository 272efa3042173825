"""Whole files and byte ranges between a service and memory or disk, verified."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from stat import S_ISREG
from typing import IO, Any

from synapsefs import concurrency, integrity, sync
from synapsefs.checkpoint import HOPELESS, TransferKey, UploadCheckpoint
from synapsefs.errors import RangeNotSatisfiableError
from synapsefs.local.files import SMALL, LocalTarget, look, place, require_unchanged, resolve_target
from synapsefs.local.streams import LocalReader, LocalWriter
from synapsefs.partial import PartialDownload
from synapsefs.remote_object import Content, Parts, Pieces, fetch, object_size
from synapsefs.services.base import NewFile, Service, Source, Staged, Upload
from synapsefs.transport import Transport

logger = logging.getLogger("synapsefs")
Progress = Callable[[int], None]
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


async def read(transport: Transport, content: Content, span: ByteRange) -> bytes:
    """Read a file or a slice of it into memory; a whole file is verified."""
    if span.whole:
        return await read_whole(transport, content)
    if span.needs_size or content.size is not None:
        start, end = span.within(await object_size(transport, content))
    else:
        start, end = span.start or 0, span.end or 0
    return await read_range(transport, content, start, end)


async def read_whole(transport: Transport, content: Content) -> bytes:
    """Read all bytes and compare their checksum."""
    sink = Pieces()
    digest = integrity.hasher(content.checksum)
    hashing = integrity.Pipeline(*([digest.update] if digest else []))
    try:
        await fetch(transport, content, 0, None, _Tee(sink, hashing))
        await hashing.finish()
    finally:
        await hashing.stop()
    integrity.compare(digest, content.checksum, content.path)
    return sink.value()


async def read_range(transport: Transport, content: Content, start: int, end: int) -> bytes:
    """Read the bytes from ``start`` to ``end`` (exclusive), fewer only at the file's end."""
    if end <= start:
        return b""
    sink = Pieces()
    try:
        await fetch(transport, content, start, end, sink)
    except RangeNotSatisfiableError:
        if start < await object_size(transport, content):
            raise
    return sink.value()


async def read_ranges(
    transport: Transport, content: Content, spans: Sequence[ByteRange], max_gap: int | None
) -> list[bytes]:
    """Read several slices of one file, neighbours in one request.

    Parameters
    ----------
    max_gap
        Bytes between two slices that are fetched along rather than asked for apart.
    """
    if any(span.needs_size for span in spans):
        size = await object_size(transport, content)
        bounds = [span.within(size) for span in spans]
    else:
        bounds = [(span.start or 0, span.end or 0) for span in spans]
    merged = _merged(bounds, MAX_GAP if max_gap is None else max_gap)
    reads = [read_range(transport, content, start, end) for start, end in merged]
    blocks = await concurrency.gather(reads, transport.options.max_concurrency)
    starts = [start for start, _ in merged]
    return [_cut(bound, starts, blocks) for bound in bounds]


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


def _cut(bound: tuple[int, int], starts: Sequence[int], blocks: Sequence[bytes]) -> bytes:
    """Take a slice out of the block that it lies in."""
    start, end = bound
    if start >= end:
        return b""
    number = bisect_right(starts, start) - 1
    return blocks[number][start - starts[number] : end - starts[number]]


class _Tee:
    def __init__(self, *sinks: Any) -> None:
        self._sinks = sinks

    async def write(self, data: bytes) -> None:
        for sink in self._sinks:
            await sink.write(data)


async def download(
    transport: Transport,
    content: Content,
    target: str,
    progress: Progress,
    keeping: TransferKey | None = None,
) -> None:
    """Fetch a whole file to disk: verified under a temporary name, then put in place.

    What was at ``target`` stays until then, and for good when anything fails. Symbolic links are
    followed. Devices and FIFOs are written through, and an error comes after what they have got.

    Parameters
    ----------
    keeping
        Names the transfer for a later process that continues it after a failure.

    Raises
    ------
    ChecksumError
        When the bytes are not what the service says.
    """
    if content.size is not None and content.size <= SMALL:
        data = await read_whole(transport, content)
        progress(len(data))
        through = await sync.in_thread(place, data, target)
        if through is not None:
            verified = replace(content, inline=data, checksum=None)
            await _stream(transport, verified, through, lambda _: None)
        return
    resolved = await asyncio.to_thread(resolve_target, target)
    if resolved.through:
        await _stream(transport, content, resolved, progress)
        return
    while True:
        arrival = PartialDownload(content, resolved, transport.options.block_size, keeping)
        try:
            await sync.in_thread(arrival.begin)
            progress(arrival.offset)
            await _receive(transport, content, arrival, progress)
            await sync.in_thread(arrival.settle)
            return
        except BaseException as error:
            await sync.in_thread(arrival.give_up, error)
            if not (arrival.continued and isinstance(error, HOPELESS)):
                raise
            logger.info("%s: starting over: %s", target, error)
            progress(-arrival.offset)
            content.etag = None


async def _receive(
    transport: Transport, content: Content, arrival: PartialDownload, progress: Progress
) -> None:
    pipeline = integrity.Pipeline(arrival.take)
    try:
        await fetch(transport, content, arrival.offset, None, _Tee(pipeline, _Reporting(progress)))
        await pipeline.finish()
    finally:
        await pipeline.stop()


async def _stream(
    transport: Transport, content: Content, target: LocalTarget, progress: Progress
) -> None:
    """Write a file's bytes through to a device or FIFO as they come, and verify them then."""
    digest = integrity.hasher(content.checksum)
    hashing = integrity.Pipeline(*([digest.update] if digest else []))
    outlet = _Outlet(LocalWriter(target.path))
    try:
        await fetch(transport, content, 0, None, _Tee(hashing, outlet, _Reporting(progress)))
        await outlet.flush()
        await hashing.finish()
    finally:
        await hashing.stop()
        await sync.in_thread(outlet.writer.close)
    integrity.compare(digest, content.checksum, content.path)


class _Outlet:
    """A sink that hands its bytes to a blocking writer, a batch at a time."""

    def __init__(self, writer: LocalWriter) -> None:
        self.writer = writer
        self._held: list[bytes] = []
        self._size = 0

    async def write(self, data: bytes) -> None:
        self._held.append(data)
        self._size += len(data)
        if self._size >= integrity.BATCH:
            await self.flush()

    async def flush(self) -> None:
        """Write what is held; opens the target even where that is nothing."""
        held, self._held, self._size = self._held, [], 0
        await sync.stoppable(partial(self.writer.write, held))


class _Reporting:
    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    async def write(self, data: bytes) -> None:
        self._progress(len(data))


async def stage_file(
    service: Service, file: NewFile, progress: Progress, keeping: TransferKey | None = None
) -> Staged:
    """Send a local file; it is not visible before it is published.

    A device or FIFO is read to its end.

    Parameters
    ----------
    keeping
        Names the transfer for a later process that continues it after a failure.

    Raises
    ------
    InvalidRequestError
        When the local file changes while it is read.
    OSError
        When it cannot be read.
    """
    path = str(file.source)
    before, data = await asyncio.to_thread(look, path)
    if data is not None:
        staged = await stage_bytes(service, file, data)
        progress(len(data))
        return staged
    if not S_ISREG(before.st_mode):
        return await _stage_stream(await service.start_upload(file), path, progress)
    file = replace(file, size=before.st_size)
    counted = _Counted(progress)
    memory = UploadCheckpoint(keeping, before, path)
    while True:
        upload = await service.start_upload(file)
        try:
            if before.st_size > upload.part_size:
                await sync.in_thread(memory.claim)
            source = Source(path, before.st_size, counted, memory)
            staged = await _send_file(upload, source)
            await asyncio.to_thread(require_unchanged, before, path)
            staged.journal = memory.checkpoint
            return staged
        except BaseException as error:
            anew = memory.should_restart(error)
            await asyncio.shield(_stop(upload, memory, error))
            if not anew:
                raise
            counted.take_back()


async def _stage_stream(upload: Upload, path: str, progress: Progress) -> Staged:
    try:
        source = await asyncio.to_thread(LocalReader, path)
        try:
            async with concurrency.shared().buffered.hold(2 * upload.part_size):
                read = partial(source.read, upload.part_size)
                part = await sync.stoppable(read)
                while True:
                    full = len(part) == upload.part_size
                    following = await sync.stoppable(read) if full else b""
                    await upload.write(part, last=not following)
                    progress(len(part))
                    if not following:
                        return await upload.finish()
                    part = following
        finally:
            source.close()
    except BaseException:
        await asyncio.shield(upload.abort())
        raise


async def _send_file(upload: Upload, source: Source) -> Staged:
    """Send a file; the upload may keep its last part in memory until it is finished."""
    start = await upload.adopt(source)
    if start >= source.size > 0:
        return await upload.finish()
    async with concurrency.shared().buffered.hold(min(2 * upload.part_size, source.size - start)):
        await _send_parts(upload, source, start)
        return await upload.finish()


async def _stop(upload: Upload, memory: UploadCheckpoint, error: BaseException) -> None:
    """End an upload that failed: what is of use to a later process stays."""
    if memory.is_resumable(error):
        await upload.pause()
    else:
        await upload.abort()
    await sync.in_thread(memory.end, error)


async def _send_parts(upload: Upload, source: Source, start: int) -> None:
    with contextlib.ExitStack() as closed_at_the_end:

        def opened() -> IO[bytes]:
            return closed_at_the_end.enter_context(open(source.path, "rb"))

        file = await sync.in_thread(opened)
        file.seek(start)
        sent = start
        while True:
            part = await asyncio.to_thread(file.read, upload.part_size)
            last = sent + len(part) >= source.size
            await upload.write(part, last=last)
            sent += len(part)
            source.progress(len(part))
            if last or not part:
                return


class _Counted:
    """Reports progress, and takes it back when all begins anew."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._total = 0

    def __call__(self, amount: int) -> None:
        self._total += amount
        self._progress(amount)

    def take_back(self) -> None:
        self(-self._total)


async def stage_bytes(service: Service, file: NewFile, value: bytes | memoryview) -> Staged:
    """Send bytes from memory; they are not visible before they are published."""
    view = memoryview(value).cast("B")
    upload = await service.start_upload(replace(file, size=len(view)))
    try:
        for start in range(0, max(len(view), 1), upload.part_size):
            part = view[start : start + upload.part_size]
            await upload.write(part, last=start + upload.part_size >= len(view))
        return await upload.finish()
    except BaseException:
        await asyncio.shield(upload.abort())
        raise


async def copy_bytes(
    transport: Transport, content: Content, service: Service, file: NewFile
) -> Staged:
    """Send a file's bytes on to another place, verified on the way, with bounded memory."""
    size = await object_size(transport, content)
    upload = await service.start_upload(replace(file, size=size))
    relay = Parts(upload.part_size, upload.write)
    digest = integrity.hasher(content.checksum)
    pipeline = integrity.Pipeline(*([digest.update] if digest else []))
    try:
        async with concurrency.shared().buffered.hold(min(2 * upload.part_size, size)):
            await fetch(transport, content, 0, None, _Tee(relay, pipeline))
            await pipeline.finish()
            integrity.compare(digest, content.checksum, content.path)
            await relay.end()
            return await upload.finish()
    except BaseException:
        await pipeline.stop()
        await asyncio.shield(upload.abort())
        raise
