"""Bytes on their way into the datasets service.

Small text goes inline with the entry. Everything else is a pending entry whose parts travel in
parallel to signed URLs. The service wants the MD5 of every part before the first byte, so parts
of a file that is still being written wait in a temporary file.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import tempfile
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import IO, Any

from synapsefs import limits
from synapsefs.errors import ChecksumError, SynapseError, concerning
from synapsefs.location import Location, split_suffix, unescape
from synapsefs.services.base import Staged
from synapsefs.services.datasets.api import DatasetsApi
from synapsefs.services.datasets.notes import HIDDEN_TAG, Notes
from synapsefs.transport import SLICE, Body, Transport, body_of
from synapsefs.wire import datasets as wire

PARTS_AT_A_TIME = 4
READ = 4 * SLICE


class StagedText:
    """Content that will travel inside the entry."""

    def __init__(self, text: str, notes: Notes) -> None:
        self.text = text
        self.notes = notes


class StagedObject:
    """A pending entry whose bytes are in the storage.

    Attributes
    ----------
    revision
        The id that a revision with this content gets: the entry's metadata names it.
    hidden
        Whether it carries the tag that keeps it out of listings, as the source of a revision.
    """

    def __init__(self, response: wire.EntryResponse, md5: str, revision: str, notes: Notes) -> None:
        self.response = response
        self.md5 = md5
        self.revision = revision
        self.notes = notes
        self.hidden = HIDDEN_TAG in (response.data_storage.tags or ())


PendingEntry = Callable[[dict[str, Any]], Awaitable[wire.EntryResponse]]
"""Creates the pending entry, given what this package notes of its content."""


class DatasetUpload:
    """One file on its way.

    Parameters
    ----------
    api, transport
        The service and the storage.
    location
        Where the file will appear.
    part_size
        Bytes of each part but the last.
    exclusive
        Whether publishing may replace nothing.
    notes
        What the file shall say besides its content.
    base
        The version that it shall replace, and no other; None for whatever is there.
    pending
        Creates the entry that the parts belong to.
    """

    smallest_part = wire.MIN_PART_SIZE

    def __init__(
        self,
        api: DatasetsApi,
        transport: Transport,
        location: Location,
        *,
        part_size: int,
        exclusive: bool,
        notes: Notes,
        base: str | int | None,
        pending: PendingEntry,
    ) -> None:
        self.part_size = max(part_size, self.smallest_part)
        self._api = api
        self._transport = transport
        self._location = location
        self._exclusive = exclusive
        self._notes = notes
        self._base = base
        self._pending = pending
        self._size = 0
        self._whole = hashlib.md5(usedforsecurity=False)
        self._part_hashes: list[str] = []
        self._single: bytes | memoryview | None = None
        self._file: IO[bytes] | None = None
        self._entry: wire.EntryResponse | None = None

    async def write(self, part: bytes | memoryview, *, last: bool) -> None:
        """Take the next part: hashed, and kept in memory if it is the only one, else on disk."""
        only = last and not self._part_hashes
        if only and len(part) <= READ:
            self._note(part)
        else:
            await asyncio.to_thread(self._note, part)
        if only:
            self._single = part
            return
        if self._file is None:
            self._file = tempfile.TemporaryFile(prefix="synapsefs-")  # noqa: SIM115 - closed below
        await asyncio.to_thread(self._file.write, part)
        if last:
            await asyncio.to_thread(self._file.flush)

    def _note(self, part: bytes | memoryview) -> None:
        digest = hashlib.md5(part, usedforsecurity=False).digest()
        self._part_hashes.append(base64.b64encode(digest).decode())
        self._whole.update(part)
        self._size += len(part)

    async def adopt(self, path: str, size: int) -> bool:
        """Take a local file of more than one part as it lies: it needs no second copy on disk."""
        if size <= self.part_size:
            return False
        self.part_size = max(self.part_size, -(-size // wire.MAX_PARTS))
        self._file = await asyncio.to_thread(open, path, "rb")
        await asyncio.to_thread(self._hash_file)
        return True

    def _hash_file(self) -> None:
        assert self._file is not None  # noqa: S101 - adopt opened it
        buffer = memoryview(bytearray(READ))
        part, left = hashlib.md5(usedforsecurity=False), self.part_size
        while count := self._file.readinto(buffer[: min(READ, left)]):  # type: ignore[attr-defined]
            part.update(buffer[:count])
            self._whole.update(buffer[:count])
            self._size, left = self._size + count, left - count
            if not left:
                self._part_hashes.append(base64.b64encode(part.digest()).decode())
                part, left = hashlib.md5(usedforsecurity=False), self.part_size
        if left < self.part_size:
            self._part_hashes.append(base64.b64encode(part.digest()).decode())

    async def finish(self) -> Staged:
        """Send the parts, unless the content is small text."""
        text = await self._small_text()
        handle: StagedText | StagedObject
        if text is not None:
            handle = StagedText(text, self._notes)
        else:
            handle = await self._send()
        self._close()
        return Staged(self._location, self._size, self._exclusive, handle, self._base)

    async def abort(self) -> None:
        """Give up: the pending entry, which nobody sees, is deleted."""
        self._close()
        entry, self._entry = self._entry, None
        if entry is not None:
            try:
                await self._api.delete_entry(entry.data_storage.id, self._location.path)
            except SynapseError:
                return

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
        self._file = self._single = None

    async def _small_text(self) -> str | None:
        name = unescape(self._location.name)
        if not may_be_text(name, self._size):
            return None
        if self._single is not None:
            return as_text(self._single)
        assert self._file is not None  # noqa: S101 - there are parts
        await asyncio.to_thread(self._file.seek, 0)
        return as_text(await asyncio.to_thread(self._file.read))

    async def _send(self) -> StagedObject:
        about = self._location.path
        md5, revision = self._whole.hexdigest(), str(uuid.uuid4())
        with concerning(about):
            marks = {"size": self._size, "md5": md5, "revision": revision}
            self._entry = await self._pending(marks)
        identifier = self._entry.data_storage.id
        upload = await self._api.initiate(identifier, self._part_hashes, about)
        if len(upload.part_urls) != len(self._part_hashes):
            raise ChecksumError("the service answers another number of parts than asked", about)
        work = (self._put(number, url) for number, url in enumerate(upload.part_urls))
        parts = await limits.gather(work, PARTS_AT_A_TIME)
        done = wire.UploadComplete(upload_id=upload.upload_id, parts=parts)
        await self._api.complete(identifier, done, about)
        return StagedObject(self._entry, md5, revision, self._notes)

    async def _put(self, number: int, url: str) -> wire.PartDone:
        start = number * self.part_size
        size = min(self.part_size, self._size - start)
        checksum = self._part_hashes[number]
        body = body_of(self._single) if self._single is not None else self._slice(start, size)
        headers = {wire.CONTENT_MD5_HEADER: checksum}
        reply = await self._transport.put_object(url, body, headers, self._location.path)
        return wire.PartDone(
            part_number=number + 1, etag=reply.headers.get("ETag", ""), checksum=checksum
        )

    def _slice(self, start: int, size: int) -> Body:
        assert self._file is not None  # noqa: S101 - there are parts
        descriptor = self._file.fileno()

        async def chunks() -> AsyncIterator[bytes]:
            position, end = start, start + size
            while position < end:
                data = await asyncio.to_thread(
                    os.pread, descriptor, min(READ, end - position), position
                )
                if not data:
                    raise ChecksumError("the file became shorter", self._location.path)
                position += len(data)
                yield data

        return Body(size, chunks)


def may_be_text(name: str, size: int) -> bool:
    """Say whether a file's name and size (bytes) allow it to be stored inline."""
    return (
        split_suffix(name)[1].lower() in wire.SMALL_TEXT_SUFFIXES and size < wire.SMALL_TEXT_LIMIT
    )


def as_text(content: bytes | memoryview) -> str | None:
    """Decode content that survives the way through JSON and a database byte for byte."""
    try:
        text = str(content, "utf-8", "strict")
    except UnicodeDecodeError:
        return None
    return None if "\0" in text else text
