"""The datasets service as a filesystem."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from synapsefs import concurrency
from synapsefs.config import Endpoint
from synapsefs.errors import (
    AlreadyExistsError,
    ChangedError,
    FolderError,
    InvalidRequestError,
    NotAFolderError,
    NotFoundError,
    SynapseError,
    UnsupportedError,
)
from synapsefs.http import Transport
from synapsefs.location import Location, Root
from synapsefs.remote_object import RemoteObject
from synapsefs.services.base import (
    Entry,
    NewFile,
    Report,
    Staged,
    write_options,
)
from synapsefs.services.datasets.attributes import EntryAttributeStore
from synapsefs.services.datasets.bulk import upload_many
from synapsefs.services.datasets.catalog import Dataset, DatasetCatalog
from synapsefs.services.datasets.client import DatasetsClient
from synapsefs.services.datasets.entry import StoredEntry
from synapsefs.services.datasets.external import ExternalSources
from synapsefs.services.datasets.folders import Folders
from synapsefs.services.datasets.index_cache import Indexes
from synapsefs.services.datasets.listing import EntryResolver
from synapsefs.services.datasets.metadata import EntryAttributes
from synapsefs.services.datasets.paths import TOP, validate_name, validate_path
from synapsefs.services.datasets.pending import PendingEntries, Target
from synapsefs.services.datasets.publish import EntryPublisher
from synapsefs.services.datasets.removing import EntryRemover
from synapsefs.services.datasets.revisions import Revisions
from synapsefs.services.datasets.search import Search
from synapsefs.services.datasets.sources import EXTERNAL, instead
from synapsefs.services.datasets.upload import DatasetUpload
from synapsefs.services.paths import require_distinct
from synapsefs.services.shared import Expiry, SharedChanges

logger = logging.getLogger("synapsefs")
ANY = float("-inf")
"""A listing of any age will do."""
RECENT_SECONDS = 0.2
"""For how long a listing's text or signed URL is used without asking for the entry again."""


class DatasetsService:
    """Datasets and their entries as directories and files.

    Parameters
    ----------
    transport
        Sends the requests.
    endpoint
        The service.
    named
        Dataset ids by name, as the user configured them.
    expiry
        Seconds for which a listing is believed; longer where it took long, unless the
        caller chose the expiry.
    chosen_expiry
        True when the caller chose it.
    """

    root = Root.DATASETS

    def __init__(
        self,
        transport: Transport,
        endpoint: Endpoint,
        named: Mapping[str, str],
        expiry: float,
        *,
        chosen_expiry: bool,
    ) -> None:
        self._transport = transport
        self.api = DatasetsClient(transport, endpoint)
        self._changes = SharedChanges(self.root, endpoint)
        rule = Expiry(expiry, chosen_expiry, self._changes)
        self._catalog = DatasetCatalog(self.api, named, rule)
        self._indexes = Indexes(self.api, rule)
        self._listing = EntryResolver(
            self.api, self._catalog, self._indexes, transport.options.max_concurrency
        )
        self.resolve, self.list = self._listing.resolve, self._listing.list
        self.resolve_many = self._listing.resolve_many
        self._folders = Folders(self.api, self._catalog, self._indexes)
        self._pending = PendingEntries(self.api, self._folders, self._catalog, self._indexes)
        self._publisher = EntryPublisher(
            self.api, transport, self._folders, self._indexes, self._started
        )
        self._remover = EntryRemover(
            self.api,
            self._catalog,
            self._folders,
            self._indexes,
            transport.options.max_concurrency,
        )
        attributes = EntryAttributeStore(self.api, self._indexes)
        self.attributes, self.set_attributes = attributes.read, attributes.change
        self.with_details, self.copy_options = attributes.with_details, attributes.copy_options
        self.tags, self.set_tags, self.share = (
            attributes.tags,
            attributes.set_tags,
            attributes.share,
        )
        revisions = Revisions(self.api, self._indexes)
        self.revisions, self.at_version = revisions.revisions, revisions.at
        search = Search(self.api, self._catalog, self._indexes)
        self.search, self.similar = search.search, search.similar
        self._sources = ExternalSources(self.api, self._indexes, self._folders)
        self.link, self.register = self._sources.link, self._sources.register

    # --- reading ---------------------------------------------------------------------------

    async def with_sizes(self, entries: Sequence[Entry]) -> list[Entry]:
        """Fill in sizes and checksums, one look per entry where the dataset's list has none."""
        unknown = [e for e in entries if e.kind == "file" and e.size is None]
        work = (self._measure(entry) for entry in unknown)
        measured = await concurrency.gather(work, self._transport.options.max_concurrency)
        known = {entry.location: entry for entry in measured}
        return [known.get(entry.location, entry) for entry in entries]

    async def _measure(self, entry: Entry) -> Entry:
        record: StoredEntry = entry.record
        if record.size is None and record.details is None:
            record = await self._indexes.fetch(record, entry.location.path)
        if record.size is None and record.url:
            size = await self._remote(entry, record).learn_size()
            record = record.with_size(size)
        return record.entry_at(entry.location)

    async def open(self, entry: Entry) -> RemoteObject:
        """Open an entry's bytes: its inline text, or the object behind its signed URL."""
        if entry.kind != "file":
            raise FolderError("this is a directory", entry.location.path)
        record: StoredEntry = entry.record
        about = entry.location.path
        complete = bool(record.url) or record.text is not None
        if not complete or not (record.pinned or _is_recent(record)):
            entry, record = await self._fetched(entry)
        if record.text is None and not record.url:
            raise _unreadable(record, about)
        return self._remote(entry, record)

    def _remote(self, entry: Entry, record: StoredEntry) -> RemoteObject:
        path, url = entry.location.path, record.url

        async def locate(renew: bool) -> str:
            nonlocal url
            if renew or not url:
                fresh = await self.looked(record, path)
                if _is_other(record, fresh):
                    raise ChangedError("the file was replaced while it was read", path)
                url = fresh.url
            if not url:
                raise _unreadable(record, path)
            return url

        inline = record.text.encode() if record.text is not None and not record.url else None
        size = record.size if record.is_size_certain else None
        return RemoteObject(
            http=self._transport,
            path=path,
            version=record.version,
            size=size if inline is None else len(inline),
            checksum=record.md5 if inline is None else None,
            locate=locate,
            inline=inline,
            parts=None if inline is not None else record.parts,
            learned=partial(self._indexes.holding(record).learn_size, record),
        )

    async def _fetched(self, entry: Entry) -> tuple[Entry, StoredEntry]:
        """Ask for a file by itself: another process may have replaced, renamed or removed it."""
        record: StoredEntry = entry.record
        try:
            fresh = await self._indexes.fetch(record, entry.location.path)
        except NotFoundError as error:
            if error.status != 404 or record.pinned:
                raise
            self._indexes.removed([record])
        else:
            if record.pinned or (fresh.is_active and fresh.entry.name == record.entry.name):
                return entry, fresh
        now = await self.resolve(entry.location, refresh=True)
        if now.kind != "file":
            raise FolderError("this is a directory", entry.location.path)
        again: StoredEntry = now.record
        if not again.url and again.text is None:
            again = await self._indexes.fetch(again, entry.location.path)
        return now, again

    async def looked(self, record: StoredEntry, about: str) -> StoredEntry:
        """Look closer at a file, for another URL of the version that was opened."""
        if record.revision is None or record.piece is not None:
            return await self._indexes.fetch(record, about)
        return await self._indexes.fetch_revision(record, {"revision_id": record.revision}, about)

    # --- writing ---------------------------------------------------------------------------

    async def check(
        self,
        files: Sequence[NewFile],
        *,
        complete: bool,  # noqa: ARG002 - each file is whole by itself
    ) -> None:
        """Check options and paths, that datasets are there, and what lies at the paths.

        What a remembered listing allows is checked again before it is published; what it forbids
        is listed anew.
        """
        attributes: dict[int, EntryAttributes] = {}
        for file in files:
            if id(file.options) not in attributes:
                attributes[id(file.options)] = _attributes(file)
        for file in files:
            validate_path(file.location)
        locations = [file.location for file in files]
        require_distinct(locations, TOP)
        began = time.monotonic()
        try:
            datasets = await self._folders.check(locations, ANY)
        except (FolderError, NotAFolderError):
            datasets = await self._folders.check(locations, began)
        replaced: list[tuple[StoredEntry, Location, EntryAttributes]] = []
        for file in files:
            location = file.location
            _, index = datasets[location.container]
            there = index.at(location.inner)
            if there is not None and file.exclusive:
                _, now = await self._folders.index(location, began)
                if now.at(location.inner) is not None:
                    raise AlreadyExistsError("there is a file already", location.path)
            if isinstance(there, StoredEntry):
                replaced.append((there, location, attributes[id(file.options)]))
        work = (self._require_own(*one) for one in replaced)
        await concurrency.gather(work, self._transport.options.max_concurrency)

    def check_options(self, location: Location, options: Mapping[str, Any]) -> None:
        """Refuse what an entry cannot say."""
        EntryAttributes.of(options, location.path)

    async def start_upload(self, file: NewFile) -> DatasetUpload:
        """Begin to write a file; every part is hashed before the first is sent."""
        return self._started(file)

    async def upload_many(
        self,
        files: Sequence[NewFile],
        report: Report,
        *,
        deferred: bool = False,  # noqa: ARG002 - nothing relies on content that is there
    ) -> dict[Location, Staged]:
        """Send small files, decided on one listing."""
        if len(files) < 2:
            return {}
        for container in {file.location.container: file.location for file in files}.values():
            await self._folders.index(container)
        attributes = {id(file.options): _attributes(file) for file in files}

        def start(file: NewFile) -> DatasetUpload:
            return self._started(file, attributes[id(file.options)], since=ANY)

        return await upload_many(files, start, report, self._transport.options.max_concurrency)

    def _started(
        self,
        file: NewFile,
        notes: EntryAttributes | None = None,
        *,
        new: bool = False,
        since: float | None = None,
    ) -> DatasetUpload:
        notes = _attributes(file) if notes is None else notes
        target = Target(file.location, notes, new, since)
        return DatasetUpload(self.api, self._transport, self._pending, file, target)

    async def _require_own(
        self, entry: StoredEntry, location: Location, notes: EntryAttributes
    ) -> None:
        """Refuse to write where the service would not show what was written.

        Raises
        ------
        UnsupportedError
            When a link or registered source is there, or an embedding is given to a file that is.
        """
        try:
            record = await self._indexes.ensure_details(entry, location.path)
        except NotFoundError:
            self._indexes.removed([entry])
            return
        if notes.embedding is not None:
            rule = "an embedding is taken only when a file is made: remove the old one first"
            raise UnsupportedError(rule, location.path)
        if record.connection is not None:
            rule = "nothing is written to a link or registered source: remove the entry first"
            raise UnsupportedError(rule, location.path)

    async def publish(
        self, staged: Sequence[Staged], then: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        """Make files visible, each new or as the next revision of what is there."""
        try:
            await self._publisher.publish(staged, then)
        finally:
            self._note([item.location for item in staged])

    def _note(self, locations: Sequence[Location]) -> None:
        """Tell the other instances of this process what was changed."""
        for container in {location.container for location in locations}:
            dataset = self._catalog.known(container)
            if dataset is not None:
                self._changes.note(dataset.identifier)

    async def copy(self, pairs: Sequence[tuple[Entry, Location]]) -> list[tuple[Entry, Location]]:
        """Note links and other sources without bytes anew; the service binds no bytes twice.

        What is given back are the versions that are there at this moment.
        """
        began = time.monotonic()
        work = (self._newest(source) for source, _ in pairs)
        sources = await concurrency.gather(work, self._transport.options.max_concurrency)
        left = []
        for source, (_, target) in zip(sources, pairs, strict=True):
            record = source.record
            external = isinstance(record, StoredEntry) and record.storage_type in EXTERNAL
            if external and record.connection is not None:
                await self._sources.repeat(record, target, since=began)
            else:
                left.append((source, target))
        return [(source, target) for source, target in left if source.location != target]

    async def _newest(self, entry: Entry) -> Entry:
        """Pin a file to the version that is there."""
        known = entry.record
        if entry.kind != "file" or not isinstance(known, StoredEntry) or known.piece is not None:
            return entry
        now, record = (entry, known) if known.pinned else await self._fetched(entry)
        return replace(record, pinned=record.revision is not None).entry_at(now.location)

    async def make_directory(
        self, location: Location, *, exist_ok: bool, parents: bool, options: Mapping[str, Any]
    ) -> None:
        """Create a dataset or a directory entry.

        A new dataset may be found late, so it is looked for a while where it may be there already.
        """
        if not location.container:
            raise AlreadyExistsError("the root is always there", location.path)
        validate_name(location.container, location.path)
        patient = exist_ok or bool(location.inner)
        try:
            await self._catalog.find(location, patient=patient)
        except NotFoundError:
            if location.inner and not parents:
                raise
            own = {} if location.inner else options
            await self._catalog.create(Location(location.segments[:2]), own)
            if not location.inner:
                return
        if not location.inner:
            if not exist_ok:
                raise AlreadyExistsError("the dataset is there already", location.path)
            return
        validate_path(location)
        notes = EntryAttributes.of(write_options(options), location.path)
        try:
            await self._make_folder(location, notes, exist_ok=exist_ok, parents=parents)
        except NotFoundError:
            if not parents or await self._is_there(location):
                raise
            await self._catalog.create(Location(location.segments[:2]), {})
            await self._make_folder(location, notes, exist_ok=exist_ok, parents=parents)
        finally:
            self._note([location])

    async def _is_there(self, location: Location) -> bool:
        """Say whether the dataset that a path lies in is there at this moment."""
        try:
            await self._catalog.find(location, newer_than=time.monotonic())
        except NotFoundError:
            return False
        return True

    async def _make_folder(
        self, location: Location, notes: EntryAttributes, *, exist_ok: bool, parents: bool
    ) -> None:
        try:
            found = await self.resolve(location)
            if not exist_ok:
                found = await self.resolve(location, refresh=True)
        except NotFoundError:
            found = None
        if found is not None and (found.kind == "file" or not exist_ok):
            raise AlreadyExistsError("something is there already", location.path)
        if found is not None:
            return
        if not parents and len(location.inner) > 1:
            await self.resolve(location.parent)

        async def make(dataset: Dataset) -> None:
            await self._folders.ensure(dataset, location.inner, location.path, attributes=notes)

        await self._folders.in_dataset(location, make)

    async def remove(self, entries: Sequence[Entry], *, unchanged: bool = False) -> None:
        """Delete entries, deepest first: what a directory holds goes before the directory."""
        try:
            await self._remover.remove(entries, unchanged=unchanged)
        finally:
            self._note([entry.location for entry in entries if entry.location.inner])

    async def aclose(self) -> None:
        """Do nothing: no work is deferred."""

    async def refresh(self, location: Location, newer_than: float) -> bool:
        """List anew what shows a place; of the root, the datasets."""
        return await self._listing.refresh(location, newer_than)

    def invalidate(self) -> None:
        """List everything anew at its next use; what was written and is not listed yet is kept."""
        self._changes.invalidate()


def _attributes(file: NewFile) -> EntryAttributes:
    return EntryAttributes.of(file.options, file.location.path)


def _is_recent(record: StoredEntry) -> bool:
    return time.monotonic() - record.seen < RECENT_SECONDS


def _is_other(record: StoredEntry, fresh: StoredEntry) -> bool:
    """Say whether a file is no longer what was opened, by its revision or else by its checksum."""
    if record.revision:
        return fresh.revision != record.revision
    return bool(record.md5 and fresh.md5) and fresh.md5 != record.md5


def _unreadable(record: StoredEntry, about: str) -> SynapseError:
    if record.connection is not None and record.storage_type in EXTERNAL:
        return UnsupportedError(instead(record.connection), about)
    if record.piece is not None:
        return NotFoundError("the object is no longer in the registered source", about)
    return InvalidRequestError("the service gives neither content nor a URL", about)
