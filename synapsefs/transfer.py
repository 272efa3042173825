"""Files and bytes on their way to a service."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from functools import partial
from stat import S_ISREG

from synapsefs import concurrency, sync
from synapsefs.checkpoint import TransferKey, UploadCheckpoint
from synapsefs.download import Progress
from synapsefs.errors import InvalidRequestError
from synapsefs.local.files import CHANGED, look, open_binary, require_unchanged
from synapsefs.local.streams import LocalReader
from synapsefs.remote_object import RemoteObject
from synapsefs.services.base import NewFile, Service, Staged, Upload


async def stage_file(
    service: Service, file: NewFile, report: Progress, key: TransferKey | None = None
) -> Staged:
    """Send a local file; it is not visible before it is published.

    A device or FIFO is read to its end.

    Parameters
    ----------
    key
        Names the transfer for a later process that resumes it after a failure.

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
        report(len(data))
        return staged
    if not S_ISREG(before.st_mode):
        return await _stage_stream(await service.start_upload(file), path, report)
    file = replace(file, size=before.st_size)
    checkpoint = UploadCheckpoint(key, before, path)
    while True:
        upload = await service.start_upload(file)
        sent = _Sent(report)
        try:
            if file.size > upload.part_size:
                await sync.in_thread(checkpoint.claim)
            staged = await _send_file(upload, file, checkpoint, sent)
            await asyncio.to_thread(require_unchanged, before, path)
            staged.checkpoint = checkpoint.checkpoint
            return staged
        except BaseException as error:
            restarts = checkpoint.should_restart(error)
            await asyncio.shield(_stop(upload, checkpoint, error))
            if not restarts:
                raise
            sent(-sent.total)


class _Sent:
    """Reports the bytes that have arrived, and sums them up."""

    def __init__(self, report: Progress) -> None:
        self._report = report
        self.total = 0

    def __call__(self, amount: int) -> None:
        self.total += amount
        self._report(amount)


async def _send_file(
    upload: Upload, file: NewFile, checkpoint: UploadCheckpoint, report: Progress
) -> Staged:
    """Send a file; the upload may keep its last part in memory until it is finished."""
    sent = await upload.resume(checkpoint, report)
    if sent >= file.size > 0:
        return await upload.finish()
    size = upload.part_size
    async with concurrency.shared().buffered.hold(min(2 * size, file.size - sent)):
        with await sync.in_thread(open_binary, str(file.source)) as opened:
            opened.seek(sent)
            last = False
            while not last:
                part = await asyncio.to_thread(opened.read, size)
                if not part:
                    raise InvalidRequestError(CHANGED, str(file.source))
                sent += len(part)
                last = sent >= file.size
                await upload.write(part, last=last)
                report(len(part))
        return await upload.finish()


async def _stop(upload: Upload, checkpoint: UploadCheckpoint, error: BaseException) -> None:
    """End an upload that failed: what is of use to a later process stays."""
    await (upload.suspend() if checkpoint.is_resumable(error) else upload.abort())
    await sync.in_thread(checkpoint.end, error)


async def _stage_stream(upload: Upload, path: str, report: Progress) -> Staged:
    """Send what a device or FIFO gives."""
    try:
        source = await asyncio.to_thread(LocalReader, path)
        try:
            async with concurrency.shared().buffered.hold(3 * upload.part_size):
                read = partial(source.read, upload.part_size)
                part: bytes | None = await sync.stoppable(read)
                while part is not None:
                    full = len(part) == upload.part_size
                    following = (await sync.stoppable(read) if full else None) or None
                    await upload.write(part, last=following is None)
                    report(len(part))
                    part = following
                return await upload.finish()
        finally:
            source.close()
    except BaseException:
        await asyncio.shield(upload.abort())
        raise


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
            concurrency.shared().buffered.hold(min(3 * upload.part_size, size)),
            contextlib.aclosing(remote.cut(upload.part_size)) as parts,
        ):
            async for part, last in parts:
                await upload.write(part, last=last)
            return await upload.finish()
    except BaseException:
        await asyncio.shield(upload.abort())
        raise
