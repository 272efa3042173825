"""Bytes on their way into the datasets service.

Small text goes inline with the entry. Everything else is a pending entry, which nobody sees until
it is active, and whose parts travel in parallel to signed URLs.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
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
    ConflictError,
    InvalidRequestError,
    NotFoundError,
    SynapseError,
    error_path,
)
from synapsefs.http import Transport
from synapsefs.integrity import PartDigests
from synapsefs.local.zip import SUFFIX
from synapsefs.location import Location, split_suffix, unescape
from synapsefs.services.base import UNKNOWN_SIZE, NewFile, Staged
from synapsefs.services.datasets.catalog import Dataset, DatasetCatalog
from synapsefs.services.datasets.cleanup import SECONDS, delete_quietly, finished, remove_source
from synapsefs.services.datasets.client import DatasetsClient
from synapsefs.services.datasets.entry import StoredEntry
from synapsefs.services.datasets.folders import Folders, is_outdated
from synapsefs.services.datasets.index_cache import Indexes
from synapsefs.services.datasets.metadata import (
    HELPER_NAME,
    HIDDEN_TAG,
    TARGET,
    EntryAttributes,
    digest_marks,
    marked,
    marks_in,
    unmarked,
)
from synapsefs.services.datasets.parts import FileParts, part_size
from synapsefs.services.datasets.sources import told_by
from synapsefs.wire.datasets import answers, constants, requests

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


class PendingEntries:
    """The pending entries for one place: each a new file, or the source of a revision.

    Parameters
    ----------
    api
        The service.
    folders
        Makes the directories above.
    registry, indexes
        What is there.
    location
        Where the file will appear.
    notes
        What it shall say besides its content.
    new
        Whether it becomes a file of its own whatever is there.
    since
        As :meth:`Indexes.get` takes it.
    """

    def __init__(
        self,
        api: DatasetsClient,
        folders: Folders,
        registry: DatasetCatalog,
        indexes: Indexes,
        location: Location,
        notes: EntryAttributes,
        *,
        new: bool = False,
        since: float | None = None,
    ) -> None:
        self._api = api
        self._folders = folders
        self._registry = registry
        self._indexes = indexes
        self._location = location
        self._notes = notes
        self._new = new
        self._since = since
        self.purpose = Purpose()

    async def create(self, marks: dict[str, Any]) -> answers.EntryResponse:
        """Create one, given what this package notes of its content."""

        async def make(dataset: Dataset) -> answers.EntryResponse:
            try:
                return await self._create(dataset, marks)
            except (NotFoundError, InvalidRequestError, ConflictError) as error:
                if self.purpose.parent is None or not is_outdated(error):
                    raise
            self._since = time.monotonic()
            return await self._create(dataset, marks)

        return await self._folders.in_dataset(self._location, make)

    async def _create(self, dataset: Dataset, marks: dict[str, Any]) -> answers.EntryResponse:
        about = self._location.path
        wanted = await self._wanted(dataset, marks)

        async def undo(made: answers.EntryResponse) -> None:
            await delete_quietly(self._api, made.data_storage.id, about)

        return await finished(self._api.create_entry(wanted, about, replay=True), undo)

    async def again(self, identifier: str, marks: dict[str, Any]) -> answers.EntryResponse | None:
        """Find one of an earlier process again; None where it is not what would be made now."""
        try:
            found = await self._api.entry(identifier, self._location.path)
        except (NotFoundError, InvalidRequestError):
            return None
        dataset = await self._registry.find(self._location)
        entry, wanted = found.data_storage, await self._wanted(dataset, marks)
        told = _told_metadata(found)
        same = (
            entry.status == constants.Status.PENDING
            and (entry.name, entry.dataset_id, entry.parent_id, bool(entry.is_collection))
            == (wanted.name, wanted.dataset_id, wanted.parent_id, bool(wanted.is_collection))
            and (entry.description or "", sorted(entry.tags or ()))
            == (wanted.description or "", sorted(wanted.tags or ()))
            and (told is None or _alike(told, wanted.metadata))
        )
        return found if same else None

    async def abandon(self, identifier: str) -> None:
        """Delete one, if that can be; what has become visible stays."""
        about = self._location.path
        with contextlib.suppress(SynapseError, TimeoutError):
            async with asyncio.timeout(SECONDS):
                found = await self._api.entry(identifier, about)
                entry = found.data_storage
                hidden = HIDDEN_TAG in (entry.tags or ())
                if entry.status == constants.Status.PENDING or (
                    entry.status == constants.Status.ACTIVE and hidden
                ):
                    await remove_source(self._api, found, about)

    async def _wanted(self, dataset: Dataset, marks: dict[str, Any]) -> requests.EntryCreate:
        location, notes = self._location, self._notes
        replaced = None if self._new else await self._replaced(dataset)
        own_name = unescape(location.name)
        tags = notes.tag_list()
        if replaced is not None:
            tags = [HIDDEN_TAG]
            marks = {**marks, TARGET: replaced.identifier}
            notes = notes.over(replaced.said())
        self.purpose = await self._decided(dataset, replaced)
        archive = notes.archive and not own_name.endswith(SUFFIX)
        return requests.EntryCreate(
            name=HELPER_NAME if self.purpose.source else own_name,
            file_path=f"{own_name}{SUFFIX}" if archive else own_name,
            is_collection=notes.archive,
            description=notes.description,
            embedding=None if notes.embedding is None else list(notes.embedding),
            dataset_id=dataset.identifier,
            parent_id=self.purpose.parent,
            metadata=marked(notes.metadata, marks),
            tags=tags,
        )

    async def _replaced(self, dataset: Dataset) -> StoredEntry | None:
        """Give the file that is there, with all that it says."""
        index = await self._indexes.get(dataset, newer_than=self._since)
        found = index.at(self._location.inner)
        if not isinstance(found, StoredEntry):
            return None
        try:
            return await self._indexes.told(found, self._location.path)
        except NotFoundError:
            self._indexes.removed([found])
            return await self._replaced(dataset)

    async def _decided(self, dataset: Dataset, replaced: StoredEntry | None) -> Purpose:
        """Decide between a file of its own and the source of a revision, which lies at the top.

        Only a service that has revisions can give a source's content another name.
        """
        metadata: dict[str, Any] | None = None
        if self._notes.metadata is None:
            metadata = {} if replaced is None else dict(replaced.metadata or {})
        if replaced is not None and replaced.revision is not None:
            becomes_archive = self._notes.archive and not replaced.entry.is_collection
            if not becomes_archive:
                return Purpose(source=True, metadata=metadata)
        segments, about = self._location.inner[:-1], self._location.path
        parent = await self._folders.ensure(dataset, segments, about, since=self._since)
        return Purpose(parent=parent, metadata=metadata)


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
    notes
        What the file shall say besides its content.
    """

    smallest_part = constants.MIN_PART_SIZE

    def __init__(
        self,
        api: DatasetsClient,
        transport: Transport,
        pending: PendingEntries,
        file: NewFile,
        notes: EntryAttributes,
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
        self._location = file.location
        self._notes = notes
        self._entry: answers.EntryResponse | None = None
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
        handle = await self._send() if text is None else StagedText(text, self._notes)
        await self.parts.aclose()
        base = self._file.options.get("base_version")
        staged = Staged(self._location, self.parts.total, self._file.exclusive, handle, base)
        if self._entry is not None:
            staged.abandon = partial(self._pending.abandon, self._entry.data_storage.id)
        return staged

    async def abort(self) -> None:
        """Give up: the pending entry, which nobody sees, is deleted."""
        await self.parts.aclose()
        entry, self._entry = self._entry, None
        if entry is not None:
            with contextlib.suppress(SynapseError, TimeoutError):
                async with asyncio.timeout(ABORT_SECONDS):
                    await self._api.delete_entry(entry.data_storage.id, self._location.path)

    async def suspend(self) -> None:
        """Stop; the service keeps the pending entry and its parts, for a day or so."""
        await self.parts.aclose()

    async def _small_text(self) -> str | None:
        fits = may_be_text(unescape(self._location.name), self.parts.total)
        return as_text(await self.parts.content()) if fits else None

    async def _send(self) -> StagedObject:
        path, digest = self._location.path, self.parts.digest()
        content = digest_marks(self.parts.total, digest)
        with error_path(path):
            self._entry = await self._resumed(content)
            if self._entry is None:
                self._marks = {**content, "revision": str(uuid.uuid4())}
                self._entry = await self._pending.create(self._marks)
        identifier, hashes = self._entry.data_storage.id, self.parts.hashes()
        await self._remember(identifier, etags=self._etags or None)
        if len(self._etags) < len(hashes):
            await self._send_parts(identifier, hashes)
        else:
            self._report(self.parts.total)
        done = [(self._etags[number], checksum) for number, checksum in enumerate(hashes)]
        await self._api.complete(identifier, self._upload_id, done, path)
        hidden = HIDDEN_TAG in (self._entry.data_storage.tags or ())
        revision, purpose = self._marks["revision"], self._pending.purpose
        return StagedObject(self._entry, digest, revision, self._notes, purpose, hidden)

    async def _send_parts(self, identifier: str, hashes: list[str]) -> None:
        """Send the parts that are missing, to URLs signed anew.

        Asked again about the same parts a service may go on with the upload it has, or begin
        another. Parts that went to that one do not count then.
        """
        path = self._location.path
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

    async def _resumed(self, content: Mapping[str, Any]) -> answers.EntryResponse | None:
        """Find the entry and the parts of an earlier process, where they are of this content."""
        if self._checkpoint is None:
            return None
        earlier = _Earlier.read(self._checkpoint.saved)
        if earlier is not None and earlier.holds(content, self.part_size):
            found = await self._pending.again(earlier.entry, earlier.marks)
            if found is not None:
                known = range(len(self.parts))
                self._etags = {n: etag for n, etag in earlier.etags.items() if n in known}
                self._upload_id, self._marks = earlier.upload, earlier.marks
                return found
        stale = earlier or _Earlier.read(self._checkpoint.stale)
        if stale is not None:
            logger.info("%s: starting over: the earlier upload is gone", self._location.path)
            await self._pending.abandon(stale.entry)
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


def _told_metadata(found: answers.EntryResponse) -> Any:
    """Give an entry's metadata, where the answer tells it; the location may tell its size alone."""
    if found.data_storage.metadata is not None:
        return found.data_storage.metadata
    configs = [location.storage_config for location in found.storage_locations]
    told = told_by(configs[0]) if configs else {}
    return told if marks_in(told) else None


def _alike(told: Any, wanted: Any) -> bool:
    return (marks_in(told), unmarked(told, stored=True)) == (
        marks_in(wanted),
        unmarked(wanted, stored=True),
    )
