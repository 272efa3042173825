"""Small files on their way together: read and hashed in one visit to a thread for many of them."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from synapsefs import concurrency
from synapsefs.errors import SynapseError
from synapsefs.local.files import SMALL, look
from synapsefs.location import Location
from synapsefs.services.base import NewFile, Report, Staged
from synapsefs.services.datasets.upload import DatasetUpload

BATCH_BYTES = 4 * 2**20
BATCH_FILES = 64


@dataclass(slots=True)
class _Content:
    data: bytes | memoryview
    md5: bytes


class _Batch:
    """Some files, read when the first of them is wanted."""

    def __init__(self, files: Sequence[NewFile]) -> None:
        self._files = files
        self._reading: asyncio.Future[list[_Content | None]] | None = None

    async def content(self, number: int) -> _Content | None:
        """Give the content of a file, once; None for one that has to be read by itself."""
        if self._reading is None:
            self._reading = asyncio.ensure_future(asyncio.to_thread(self._read))
        contents = await asyncio.shield(self._reading)
        content, contents[number] = contents[number], None
        return content

    def _read(self) -> list[_Content | None]:
        return [_read(file) for file in self._files]


def _read(file: NewFile) -> _Content | None:
    """Read and hash a file; what is no longer small or readable is left to others."""
    data: bytes | memoryview | None = None
    if isinstance(file.source, str):
        try:
            _, data = look(file.source)
        except OSError:
            return None
    else:
        data = file.source
    return (
        data if data is None else _Content(data, hashlib.md5(data, usedforsecurity=False).digest())
    )


async def upload_many(
    files: Sequence[NewFile],
    start: Callable[[NewFile], DatasetUpload],
    report: Report,
    at_a_time: int,
) -> dict[Location, Staged]:
    """Send small files; give those that have arrived.

    The first that cannot be sent ends it: whoever sends the rest one by one finds out why.

    Parameters
    ----------
    start
        Begins to send a file.
    report
        Is told bytes and files that have arrived.
    at_a_time
        Files in flight at a time.
    """
    small = [file for file in files if 0 <= file.size <= SMALL]
    staged: dict[Location, Staged] = {}

    async def send(file: NewFile, batch: _Batch, number: int) -> None:
        content = await batch.content(number)
        if content is None:
            return
        upload = start(file)
        try:
            upload.parts.put(content.data, content.md5)
            staged[file.location] = await upload.finish()
        except BaseException:
            await asyncio.shield(upload.abort())
            raise
        report(len(content.data), 1)

    batches = concurrency.batched(
        small, lambda file: file.size, most=BATCH_BYTES, count=BATCH_FILES
    )
    work = (
        send(file, batch, number)
        for held in batches
        for batch in [_Batch(held)]
        for number, file in enumerate(held)
    )
    try:
        await concurrency.gather(work, at_a_time)
    except (SynapseError, OSError):
        return staged
    except BaseException:
        await asyncio.shield(_abandon(staged.values()))
        raise
    return staged


async def _abandon(staged: Iterable[Staged]) -> None:
    for item in staged:
        if item.abandon is not None:
            await item.abandon()
