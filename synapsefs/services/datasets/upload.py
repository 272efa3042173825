"""Bytes on their way into the datasets service.

Small text goes inline with the entry. Everything else is a pending entry, which nobody sees until
it is active, and whose parts travel in parallel to signed URLs.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from pydantic import BaseModel, Field, ValidationError

from synapsefs import concurrency
from synapsefs.checkpoint import UploadCheckpoint
from synapsefs.errors import (
    ChecksumError,
    SynapseError,
    error_path,
)
from synapsefs.http import Transport
from synapsefs.integrity import PartDigests
from synapsefs.location import split_suffix, unescape
from synapsefs.services.base import UNKNOWN_SIZE, NewFile, Staged
from synapsefs.services.datasets.client import DatasetsClient
from synapsefs.services.datasets.metadata import (
    HIDDEN_TAG,
    EntryAttributes,
    digest_marks,
)
from synapsefs.services.datasets.parts import FileParts, part_size
from synapsefs.services.datasets.pending import PendingEntries, Purpose, Target
from synapsefs.wire.datasets import answers, constants

logger = logging.getLogger("synapsefs")
PARTS_AT_A_TIME = 4
"""How many parts travel at first; more where that is faster."""
ABORT_SECONDS = 3.0
"""How long giving up may take: a service that is gone is not waited for."""


@dataclass(slots=True)
class StagedText:
    """Content that will travel inside the entry."""

    text: str
    notes: EntryAttributes


@dataclass(slots=True)
class StagedObject:
    """A pending entry whose bytes are in the storage.

    Attributes
    ----------
    digest
        What sums up the content.
    revision
        The id that a revision with this content gets: the entry's metadata names it.
    hidden
        Whether it carries the tag that keeps it out of listings, as the source of a revision.
    """

    response: answers.EntryResponse
    digest: str | PartDigests
    revision: str
    notes: EntryAttributes
    purpose: Purpose
    hidden: bool


class _Earlier(BaseModel):
    """What an earlier process noted: where the parts go, and the ETags of those that arrived."""

    entry: str = Field(pattern=r"^[\w-]+$")
    upload: str = ""
    marks: dict[str, Any]
    part_size: int
    etags: dict[int, str] = {}

    @classmethod
    def read(cls, noted: Mapping[str, Any]) -> _Earlier | None:
        """Read what was noted; None where that is of no use."""
        try:
            return cls.model_validate(noted) if noted else None
        except ValidationError:
            return None

    def holds(self, content: Mapping[str, Any], part_size: int) -> bool:
        """Say whether it is about this content, in such parts."""
        same = all(self.marks.get(name) == value for name, value in content.items())
        return same and isinstance(self.marks.get("revision"), str) and self.part_size == part_size


class DatasetUpload:
    """One file on its way.

    Parameters
    ----------
    api, transport
        The service and the storage.
    pending
        Makes and finds the entry that the parts belong to.
    file
        What is sent.
    target
        Where to.
    """

    smallest_part = constants.MIN_PART_SIZE

    def __init__(
        self,
        api: DatasetsClient,
        transport: Transport,
        pending: PendingEntries,
        file: NewFile,
        target: Target,
    ) -> None:
        size = None if file.size == UNKNOWN_SIZE else file.size
        whole = file.source if isinstance(file.source, memoryview) else None
        self.parts = FileParts(
            part_size(size, transport.options.block_size),
            file.location.path,
            whole if whole is not None and len(whole) == size else None,
        )
        self._api = api
        self._transport = transport
        self._pending = pending
        self._file = file
        self._target = target
        self._path = file.location.path
        self._entry: answers.EntryResponse | None = None
        self._purpose = Purpose()
        self._checkpoint: UploadCheckpoint | None = None
        self._report: Callable[[int], None] = lambda _: None
        self._marks: dict[str, Any] = {}
        self._upload_id = ""
        self._etags: dict[int, str] = {}

    @property
    def part_size(self) -> int:
        """Bytes of each part but the last."""
        return self.parts.part_size

    @part_size.setter
    def part_size(self, size: int) -> None:
        self.parts.part_size = size

    async def write(self, part: bytes | memoryview, *, last: bool) -> None:
        """Take the next part, which must not change any more."""
        await self.parts.append(part, last=last)

    async def resume(self, checkpoint: UploadCheckpoint, report: Callable[[int], None]) -> int:
        """Take a local file of more than one part as it lies: it needs no second copy on disk."""
        if self._file.size <= self.part_size:
            return 0
        await self.parts.scan(str(self._file.source), self._file.size)
        self._checkpoint, self._report = checkpoint, report
        return self._file.size

    async def finish(self) -> Staged:
        """Send the parts, unless the content is small text."""
        await self.parts.settle()
        text = await self._small_text()
        handle = await self._send() if text is None else StagedText(text, self._target.notes)
        await self.parts.aclose()
        base = self._file.options.get("base_version")
        staged = Staged(self._file.location, self.parts.total, self._file.exclusive, handle, base)
        if self._entry is not None:
            identifier = self._entry.data_storage.id
            staged.abandon = partial(self._pending.abandon, identifier, self._path)
        return staged

    async def abort(self) -> None:
        """Give up: the pending entry, which nobody sees, is deleted."""
        await self.parts.aclose()
        entry, self._entry = self._entry, None
        if entry is not None:
            with contextlib.suppress(SynapseError, TimeoutError):
                async with asyncio.timeout(ABORT_SECONDS):
                    await self._api.delete_entry(entry.data_storage.id, self._path)

    async def suspend(self) -> None:
        """Stop; the service keeps the pending entry and its parts, for a day or so."""
        await self.parts.aclose()

    async def _small_text(self) -> str | None:
        fits = may_be_text(unescape(self._file.location.name), self.parts.total)
        return as_text(await self.parts.content()) if fits else None

    async def _send(self) -> StagedObject:
        path, digest = self._path, self.parts.digest()
        content = digest_marks(self.parts.total, digest)
        with error_path(path):
            found = await self._resumed(content)
            if found is None:
                self._marks = {**content, "revision": str(uuid.uuid4())}
                found = await self._pending.create(self._target, self._marks)
        self._entry, self._purpose = found
        identifier, hashes = self._entry.data_storage.id, self.parts.hashes()
        await self._remember(identifier, etags=self._etags or None)
        if len(self._etags) < len(hashes):
            await self._send_parts(identifier, hashes)
        else:
            self._report(self.parts.total)
        done = [(self._etags[number], checksum) for number, checksum in enumerate(hashes)]
        await self._api.complete(identifier, self._upload_id, done, path)
        hidden = HIDDEN_TAG in (self._entry.data_storage.tags or ())
        revision, notes = self._marks["revision"], self._target.notes
        return StagedObject(self._entry, digest, revision, notes, self._purpose, hidden)

    async def _send_parts(self, identifier: str, hashes: list[str]) -> None:
        """Send the parts that are missing, to URLs signed anew.

        Asked again about the same parts a service may go on with the upload it has, or begin
        another. Parts that went to that one do not count then.
        """
        path = self._path
        upload = await self._api.initiate(identifier, hashes, path)
        if len(upload.part_urls) != len(hashes):
            raise ChecksumError("the service answers another number of parts than asked", path)
        if self._etags and upload.upload_id != self._upload_id:
            logger.info("%s: starting over: the service began another upload", path)
            self._etags = {}
            await self._remember(identifier, etags=None)
        self._upload_id = upload.upload_id
        await self._remember(identifier)
        self._report(sum(map(self.parts.length, self._etags)))

        async def send(number: int) -> None:
            headers = {constants.CONTENT_MD5_HEADER: hashes[number]}
            body, url = self.parts.body(number), upload.part_urls[number]
            reply = await self._transport.put_object(url, body, headers, path)
            self._etags[number] = etag = reply.headers.get("ETag", "")
            await self._remember(identifier, etags={number: etag})
            self._report(self.parts.length(number))

        if len(hashes) == 1:
            await send(0)
            return
        missing = (send(number) for number in range(len(hashes)) if number not in self._etags)
        most = self._transport.options.max_concurrency
        first = min(PARTS_AT_A_TIME, most)
        await concurrency.gather_growing(missing, lambda: self.parts.moved, first, most)

    async def _resumed(
        self, content: Mapping[str, Any]
    ) -> tuple[answers.EntryResponse, Purpose] | None:
        """Find the entry and the parts of an earlier process, where they are of this content."""
        if self._checkpoint is None:
            return None
        earlier = _Earlier.read(self._checkpoint.saved)
        if earlier is not None and earlier.holds(content, self.part_size):
            found = await self._pending.find(self._target, earlier.entry, earlier.marks)
            if found is not None:
                known = range(len(self.parts))
                self._etags = {n: etag for n, etag in earlier.etags.items() if n in known}
                self._upload_id, self._marks = earlier.upload, earlier.marks
                return found
        stale = earlier or _Earlier.read(self._checkpoint.stale)
        if stale is not None:
            logger.info("%s: starting over: the earlier upload is gone", self._path)
            await self._pending.abandon(stale.entry, self._path)
        return None

    async def _remember(self, identifier: str, **facts: Any) -> None:
        if self._checkpoint is not None:
            await self._checkpoint.note(
                entry=identifier,
                upload=self._upload_id,
                marks=self._marks,
                part_size=self.part_size,
                **facts,
            )


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
