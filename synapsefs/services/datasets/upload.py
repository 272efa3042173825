"""Bytes on their way into the datasets service.

Small text goes inline with the entry. Everything else is a pending entry whose parts travel in
parallel to signed URLs. The service wants the MD5 of every part before the first byte, so parts
of a file that is still being written wait in a temporary file.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import logging
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import IO, Any, Protocol

from pydantic import BaseModel, Field, ValidationError

from synapsefs import concurrency, integrity, sync
from synapsefs.errors import ChecksumError, SynapseError, error_path
from synapsefs.http import Body, Transport, body_of
from synapsefs.local.files import Spool
from synapsefs.location import Location, split_suffix, unescape
from synapsefs.services.base import Source, Staged
from synapsefs.services.datasets.client import DatasetsClient
from synapsefs.services.datasets.metadata import HIDDEN_TAG, EntryAttributes
from synapsefs.services.wireio import slice_of
from synapsefs.sessions import SLICE
from synapsefs.wire.datasets import answers, constants, requests

logger = logging.getLogger("synapsefs")
PARTS_AT_A_TIME = 4
ABORT_SECONDS = 3.0
"""How long giving up may take: a service that is gone is not waited for."""
READ = 4 * SLICE


class StagedText:
    """Content that will travel inside the entry."""

    def __init__(self, text: str, notes: EntryAttributes) -> None:
        self.text = text
        self.notes = notes


@dataclass(frozen=True, slots=True)
class Purpose:
    """What a pending entry was made for.

    Attributes
    ----------
    source
        Whether it only brings the content of a revision, under a name of its own.
    parent
        Id of the directory in which it becomes a file; None at the top.
    metadata
        The metadata of the file that it replaces, which it has, too; None where others were given.
    """

    source: bool = False
    parent: str | None = None
    metadata: Mapping[str, Any] | None = None


class StagedObject:
    """A pending entry whose bytes are in the storage.

    Attributes
    ----------
    revision
        The id that a revision with this content gets: the entry's metadata names it.
    purpose
        What the entry was made for.
    hidden
        Whether it carries the tag that keeps it out of listings, as the source of a revision.
    """

    def __init__(
        self,
        response: answers.EntryResponse,
        md5: str,
        revision: str,
        notes: EntryAttributes,
        purpose: Purpose,
    ) -> None:
        self.response = response
        self.md5 = md5
        self.revision = revision
        self.notes = notes
        self.purpose = purpose
        self.hidden = HIDDEN_TAG in (response.data_storage.tags or ())


class Pending(Protocol):
    """The entries that wait for the bytes of one file."""

    purpose: Purpose

    async def create(self, marks: dict[str, Any]) -> answers.EntryResponse:
        """Create one, given what this package notes of its content."""

    async def again(self, identifier: str, marks: dict[str, Any]) -> answers.EntryResponse | None:
        """Find one of an earlier process again; None where it is not what would be made now."""

    async def abandon(self, identifier: str) -> None:
        """Delete one, provided that it is still waiting."""


class _Earlier(BaseModel):
    """What an earlier process noted: where the parts go, and the ETags of those that arrived."""

    entry: str = Field(pattern=r"^[\w-]+$")
    upload: str = ""
    marks: dict[str, Any]
    part_size: int
    etags: dict[int, str] = {}


def _earlier(noted: Mapping[str, Any]) -> _Earlier | None:
    try:
        return _Earlier.model_validate(noted) if noted else None
    except ValidationError:
        return None


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
        Makes and finds the entry that the parts belong to.
    """

    smallest_part = constants.MIN_PART_SIZE

    def __init__(
        self,
        api: DatasetsClient,
        transport: Transport,
        location: Location,
        *,
        part_size: int,
        exclusive: bool,
        notes: EntryAttributes,
        base: str | int | None,
        pending: Pending,
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
        self._entry: answers.EntryResponse | None = None
        self._source: Source | None = None
        self._marks: dict[str, Any] = {}
        self._upload_id = ""
        self._etags: dict[int, str] = {}

    async def write(self, part: bytes | memoryview, *, last: bool) -> None:
        """Take the next part: hashed, and kept in memory if it is the only one, else on disk."""
        only = last and not self._part_hashes
        await self._note(part)
        if only:
            self._single = part
            return
        if self._file is None:
            self._file = Spool()
        await asyncio.to_thread(self._file.write, part)
        if last:
            await asyncio.to_thread(self._file.flush)

    async def _note(self, part: bytes | memoryview) -> None:
        """Hash a part, and the whole so far; beside each other where that takes time."""
        if len(part) <= READ:
            digest = hashlib.md5(part, usedforsecurity=False)
            self._whole.update(part)
        else:
            whole = asyncio.ensure_future(asyncio.to_thread(self._whole.update, part))
            try:
                digest = await asyncio.to_thread(hashlib.md5, part, usedforsecurity=False)
            finally:
                await whole
        self._part_hashes.append(base64.b64encode(digest.digest()).decode())
        self._size += len(part)

    async def adopt(self, source: Source) -> int:
        """Take a local file of more than one part as it lies: it needs no second copy on disk."""
        if source.size <= self.part_size:
            return 0
        self.part_size = max(self.part_size, -(-source.size // constants.MAX_PARTS))
        await sync.in_thread(self._open, source.path)
        whole = asyncio.ensure_future(asyncio.to_thread(self._hash_whole, source))
        try:
            self._part_hashes = await asyncio.to_thread(self._hash_parts, source)
        finally:
            await whole
        self._source, self._size = source, source.size
        return source.size

    def _open(self, path: str) -> None:
        self._file = open(path, "rb")  # noqa: SIM115 - closed with the upload

    def _hash_whole(self, source: Source) -> None:
        with open(source.path, "rb") as file:
            integrity.hash_range(file, self._whole, 0, source.size)

    def _hash_parts(self, source: Source) -> list[str]:
        found = []
        with open(source.path, "rb") as file:
            for start in range(0, source.size, self.part_size):
                digest = hashlib.md5(usedforsecurity=False)
                end = min(start + self.part_size, source.size)
                integrity.hash_range(file, digest, start, end)
                found.append(base64.b64encode(digest.digest()).decode())
        return found

    async def finish(self) -> Staged:
        """Send the parts, unless the content is small text."""
        text = await self._small_text()
        handle: StagedText | StagedObject
        if text is not None:
            handle = StagedText(text, self._notes)
        else:
            handle = await self._send()
        self._close()
        staged = Staged(self._location, self._size, self._exclusive, handle, self._base)
        if self._entry is not None:
            staged.abandon = partial(self._pending.abandon, self._entry.data_storage.id)
        return staged

    async def abort(self) -> None:
        """Give up: the pending entry, which nobody sees, is deleted."""
        self._close()
        entry, self._entry = self._entry, None
        if entry is not None:
            with contextlib.suppress(SynapseError, TimeoutError):
                async with asyncio.timeout(ABORT_SECONDS):
                    await self._api.delete_entry(entry.data_storage.id, self._location.path)

    async def pause(self) -> None:
        """Stop; the service keeps the pending entry and its parts, for a day or so."""
        self._close()

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
        with error_path(about):
            self._entry = await self._taken_up() or await self._begun()
        identifier = self._entry.data_storage.id
        await self._remember(identifier)
        if len(self._etags) < len(self._part_hashes):
            await self._send_parts(identifier)
        else:
            self._report(self._size)
        parts = [
            requests.PartDone(part_number=number + 1, etag=self._etags[number], checksum=checksum)
            for number, checksum in enumerate(self._part_hashes)
        ]
        done = requests.UploadComplete(upload_id=self._upload_id, parts=parts)
        await self._api.complete(identifier, done, about)
        return StagedObject(
            self._entry,
            self._marks["md5"],
            self._marks["revision"],
            self._notes,
            self._pending.purpose,
        )

    async def _begun(self) -> answers.EntryResponse:
        self._marks = {**self._content_marks(), "revision": str(uuid.uuid4())}
        return await self._pending.create(self._marks)

    def _content_marks(self) -> dict[str, Any]:
        return {"size": self._size, "md5": self._whole.hexdigest()}

    async def _send_parts(self, identifier: str) -> None:
        """Send the parts that are missing, to URLs signed anew.

        Asked again about the same parts a service may go on with the upload it has, or begin
        another. Parts that went to that one do not count then.
        """
        about = self._location.path
        upload = await self._api.initiate(identifier, self._part_hashes, about)
        if len(upload.part_urls) != len(self._part_hashes):
            raise ChecksumError("the service answers another number of parts than asked", about)
        if self._etags and upload.upload_id != self._upload_id:
            logger.info("%s: starting over: the service began another upload", about)
            self._etags = {}
        self._upload_id = upload.upload_id
        await self._remember(identifier)
        self._report(sum(self._length(number) for number in self._etags))

        async def send(number: int, url: str) -> None:
            self._etags[number] = await self._put(number, url)
            await self._remember(identifier)
            self._report(self._length(number))

        missing = [n for n in range(len(self._part_hashes)) if n not in self._etags]
        work = (send(number, upload.part_urls[number]) for number in missing)
        await concurrency.gather(work, PARTS_AT_A_TIME)

    async def _taken_up(self) -> answers.EntryResponse | None:
        """Find the entry and the parts of an earlier process, where they are of this content."""
        memory = self._source.memory if self._source else None
        if memory is None:
            return None
        earlier = _earlier(memory.noted)
        if earlier is not None and self._is_ours(earlier):
            found = await self._pending.again(earlier.entry, earlier.marks)
            if found is not None:
                known = range(len(self._part_hashes))
                self._etags = {n: etag for n, etag in earlier.etags.items() if n in known}
                self._upload_id, self._marks = earlier.upload, earlier.marks
                return found
        stale = earlier or _earlier(memory.stale)
        if stale is not None:
            logger.info("%s: starting over: the earlier upload is gone", self._location.path)
            await self._pending.abandon(stale.entry)
        return None

    def _is_ours(self, earlier: _Earlier) -> bool:
        marks = {**earlier.marks, **self._content_marks()}
        complete = isinstance(marks.get("revision"), str)
        return complete and marks == earlier.marks and earlier.part_size == self.part_size

    async def _remember(self, identifier: str) -> None:
        if self._source is not None and self._source.memory is not None:
            await self._source.memory.note(
                entry=identifier,
                upload=self._upload_id,
                marks=self._marks,
                part_size=self.part_size,
                etags=dict(self._etags),
            )

    def _report(self, amount: int) -> None:
        if self._source is not None:
            self._source.progress(amount)

    def _length(self, number: int) -> int:
        return min(self.part_size, self._size - number * self.part_size)

    async def _put(self, number: int, url: str) -> str:
        """Send one part; give its ETag."""
        start, size = number * self.part_size, self._length(number)
        body = body_of(self._single) if self._single is not None else self._slice(start, size)
        headers = {constants.CONTENT_MD5_HEADER: self._part_hashes[number]}
        reply = await self._transport.put_object(url, body, headers, self._location.path)
        return reply.headers.get("ETag", "")

    def _slice(self, start: int, size: int) -> Body:
        assert self._file is not None  # noqa: S101 - there are parts
        return slice_of(self._file.fileno(), start, size, self._location.path)


def may_be_text(name: str, size: int) -> bool:
    """Say whether a file's name and size (bytes) allow it to be stored inline."""
    return (
        split_suffix(name)[1].lower() in constants.SMALL_TEXT_SUFFIXES
        and size < constants.SMALL_TEXT_LIMIT
    )


def as_text(content: bytes | memoryview) -> str | None:
    """Decode content that survives the way through JSON and a database byte for byte."""
    try:
        text = str(content, "utf-8", "strict")
    except UnicodeDecodeError:
        return None
    return None if "\0" in text else text
