"""Files and bytes on their way to a service."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from functools import partial
from stat import S_ISREG
from typing import IO

from synapsefs import concurrency, sync
from synapsefs.checkpoint import TransferKey, UploadCheckpoint
from synapsefs.download import Progress
from synapsefs.local.files import look, require_unchanged
from synapsefs.local.streams import LocalReader
from synapsefs.remote_object import RemoteObject
from synapsefs.services.base import NewFile, Service, Source, Staged, Upload


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


async def copy_bytes(remote: RemoteObject, service: Service, file: NewFile) -> Staged:
    """Send a file's bytes on to another place, verified on the way, with bounded memory."""
    size = await remote.learn_size()
    upload = await service.start_upload(replace(file, size=size))
    try:
        async with (
            concurrency.shared().buffered.hold(min(2 * upload.part_size, size)),
            contextlib.aclosing(remote.cut(upload.part_size)) as parts,
        ):
            async for part, last in parts:
                await upload.write(part, last=last)
            return await upload.finish()
    except BaseException:
        await asyncio.shield(upload.abort())
        raise
