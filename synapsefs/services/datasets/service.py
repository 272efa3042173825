"""The datasets service as a filesystem."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from synapsefs import limits
from synapsefs.config import Endpoint
from synapsefs.errors import (
    AlreadyExistsError,
    ChangedError,
    FolderError,
    InvalidRequestError,
    NotFoundError,
    SynapseError,
    UnsupportedError,
)
from synapsefs.location import Location, Root
from synapsefs.objects import Content, object_size
from synapsefs.services.base import (
    Entry,
    Staged,
    measured_as,
    none_of_them,
    write_options,
)
from synapsefs.services.datasets.annotations import EntryAnnotations
from synapsefs.services.datasets.api import DatasetsApi
from synapsefs.services.datasets.history import EntryHistory
from synapsefs.services.datasets.indexes import Indexes
from synapsefs.services.datasets.listing import Listing
from synapsefs.services.datasets.notes import Notes
from synapsefs.services.datasets.pending import PendingEntries
from synapsefs.services.datasets.places import checked_place
from synapsefs.services.datasets.publish import EntryPublisher
from synapsefs.services.datasets.records import EntryRecord
from synapsefs.services.datasets.references import EntryReferences
from synapsefs.services.datasets.registry import DatasetRecord, DatasetRegistry
from synapsefs.services.datasets.search import EntrySearch
from synapsefs.services.datasets.sources import EXTERNAL, instead
from synapsefs.services.datasets.upload import DatasetUpload
from synapsefs.services.shared import SharedChanges
from synapsefs.transport import Transport

logger = logging.getLogger("synapsefs")
INLINE_SECONDS = 1.0
"""For how long text that came with a listing is served without asking again."""


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
        self.present = self.send_together = none_of_them
        self._transport = transport
        self.api = DatasetsApi(transport, endpoint)
        self._changes = SharedChanges(self.root, endpoint)
        self._registry = DatasetRegistry(
            self.api, named, expiry, chosen_expiry=chosen_expiry, changes=self._changes
        )
        self._indexes = Indexes(
            self.api, expiry, chosen_expiry=chosen_expiry, changes=self._changes
        )
        self._listing = Listing(
            self.api, self._registry, self._indexes, transport.options.max_concurrency
        )
        self.entry, self.children = self._listing.entry, self._listing.children
        self.descendants = self._listing.descendants
        self._publisher = EntryPublisher(self.api, self._registry, self._indexes)
        self.annotations = EntryAnnotations(self.api, self._indexes)
        self.history = EntryHistory(self.api, self._indexes)
        self.searching = EntrySearch(self.api, self._registry, self._indexes)
        self.references = EntryReferences(self.api, self._registry, self._indexes, self._publisher)

    # --- reading ---------------------------------------------------------------------------

    async def measured(self, entries: Sequence[Entry]) -> list[Entry]:
        """Fill in sizes, one look per entry where the dataset's list has none."""
        unknown = [e for e in entries if e.kind == "file" and e.size is None]
        work = (self._measure(entry) for entry in unknown)
        sizes = await limits.gather(work, self._transport.options.max_concurrency)
        known = dict(zip((entry.location for entry in unknown), sizes, strict=True))
        return [measured_as(e, known.get(e.location, e.size)) for e in entries]

    async def _measure(self, entry: Entry) -> int | None:
        record: EntryRecord = entry.record
        if record.size is None and not record.looked:
            record = await self._indexes.look(record, entry.location.path)
        if record.size is None and record.url:
            record.size = await object_size(self._transport, _content(entry, record, self))
        return record.size

    async def content(self, entry: Entry) -> Content:
        """Open an entry's bytes: its inline text, or the object behind its signed URL."""
        if entry.kind != "file":
            raise FolderError("this is a directory", entry.location.path)
        record: EntryRecord = entry.record
        about = entry.location.path
        recent = time.monotonic() - record.seen < INLINE_SECONDS
        if not (record.url or (record.text is not None and recent)):
            record = await self._indexes.look(record, about)
        if record.text is None and not record.url:
            raise _unreadable(record, about)
        return _content(entry, record, self)

    async def looked(self, record: EntryRecord, about: str) -> EntryRecord:
        """Look closer at a file, for another URL of the version that was opened."""
        if record.revision is None or record.piece is not None:
            return await self._indexes.look(record, about)
        return await self._indexes.look_back(record, {"revision_id": record.revision}, about)

    # --- writing ---------------------------------------------------------------------------

    async def validate(
        self,
        locations: Sequence[Location],
        *,
        complete: bool,  # noqa: ARG002 - each file is whole by itself
        options: Mapping[Location, Mapping[str, Any]] | None = None,  # noqa: ARG002 - asked apart
    ) -> None:
        """Check the paths, that their datasets are there, and that no directory has their names."""
        for location in locations:
            checked_place(location)
        for location in locations:
            dataset = await self._registry.find(location)
            await self._publisher.require_free(dataset, location)

    def require_options(self, location: Location, options: Mapping[str, Any]) -> None:
        """Refuse what an entry cannot say."""
        Notes.of(options, location.path)

    async def upload(
        self,
        location: Location,
        *,
        size: int | None,  # noqa: ARG002 - every part is hashed before the first is sent
        exclusive: bool,
        options: Mapping[str, Any],
    ) -> DatasetUpload:
        """Begin to write a file."""
        checked_place(location)
        notes = Notes.of(options, location.path)
        dataset = await self._registry.find(location)
        await self._publisher.require_own(dataset, location, notes)
        if exclusive:
            await self._refuse_existing(location)
        return DatasetUpload(
            self.api,
            self._transport,
            location,
            part_size=self._transport.options.block_size,
            exclusive=exclusive,
            notes=notes,
            base=options.get("base_version"),
            pending=PendingEntries(
                self.api, self._publisher, self._indexes, dataset, location, notes
            ),
        )

    async def _refuse_existing(self, location: Location) -> None:
        try:
            await self.entry(location, refresh=True)
        except NotFoundError:
            return
        raise AlreadyExistsError("there is a file already", location.path)

    async def publish(
        self, staged: Sequence[Staged], then: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        """Make files visible, each new or as the next revision of what is there."""
        for item in staged:
            if item.exclusive:
                await self._refuse_existing(item.location)
        if then is not None:
            await then()
        work = (self._publisher.publish(item) for item in staged)
        try:
            await limits.gather(work, self._transport.options.max_concurrency)
        finally:
            self._note([item.location for item in staged])

    def _note(self, locations: Sequence[Location]) -> None:
        """Tell the other instances of this process what was changed."""
        for container in {location.container for location in locations}:
            dataset = self._registry.known(container)
            if dataset is not None:
                self._changes.note(dataset.identifier)

    async def copy(self, pairs: Sequence[tuple[Entry, Location]]) -> list[tuple[Entry, Location]]:
        """Note links and other sources without bytes anew; the service binds no bytes twice."""
        left = []
        for source, target in pairs:
            if isinstance(source.record, EntryRecord) and source.kind == "file":
                record = await self._indexes.told(source.record, source.location.path)
                if record.connection is not None and record.storage_type in EXTERNAL:
                    await self.references.repeat(record, target)
                    continue
            left.append((source, target))
        return [(source, target) for source, target in left if source.location != target]

    async def make_directory(
        self, location: Location, *, exist_ok: bool, parents: bool, options: Mapping[str, Any]
    ) -> None:
        """Create a dataset or a directory entry.

        A new dataset may be found late, so it is looked for a while where it may be there already.
        """
        if not location.container:
            raise AlreadyExistsError("the root is always there", location.path)
        patient = exist_ok or bool(location.inner)
        try:
            dataset = await self._registry.find(location, patient=patient)
        except NotFoundError:
            if location.inner and not parents:
                raise
            own = {} if location.inner else options
            dataset = await self._registry.create(Location(location.segments[:2]), own)
            if not location.inner:
                return
        if not location.inner:
            if not exist_ok:
                raise AlreadyExistsError("the dataset is there already", location.path)
            return
        checked_place(location)
        notes = Notes.of(write_options(options), location.path)
        try:
            await self._make_folder(dataset, location, notes, exist_ok=exist_ok, parents=parents)
        finally:
            self._note([location])

    async def _make_folder(
        self,
        dataset: DatasetRecord,
        location: Location,
        notes: Notes,
        *,
        exist_ok: bool,
        parents: bool,
    ) -> None:
        try:
            found = await self.entry(location)
        except NotFoundError:
            found = None
        if found is not None and (found.kind == "file" or not exist_ok):
            raise AlreadyExistsError("something is there already", location.path)
        if found is not None:
            return
        if not parents and len(location.inner) > 1:
            await self.entry(location.parent)
        await self._publisher.ensure_folder(dataset, location.inner, location.path, notes)

    async def rename(self, entry: Entry, target: Location) -> bool:  # noqa: ARG002
        """Say no: the service cannot."""
        return False

    async def remove(self, entries: Sequence[Entry]) -> None:
        """Delete entries, deepest first: what a directory holds goes before the directory."""
        for entry in entries:
            if not entry.location.container:
                raise UnsupportedError("a service's root cannot be removed", entry.location.path)
        datasets = [entry for entry in entries if isinstance(entry.record, DatasetRecord)]
        for entry in datasets:
            record: DatasetRecord = entry.record
            await self._registry.delete(record)
            self._indexes.drop(record.identifier)
        gone = {entry.location.container for entry in datasets}
        left = _owned([entry for entry in entries if entry.location.container not in gone])
        by_depth: dict[int, list[Entry]] = {}
        for entry in left:
            by_depth.setdefault(len(entry.location.segments), []).append(entry)
        try:
            for depth in sorted(by_depth, reverse=True):
                work = (self._delete(entry) for entry in by_depth[depth])
                await limits.gather(work, self._transport.options.max_concurrency)
        finally:
            for identifier in {entry.record.dataset for entry in left}:
                self._changes.note(identifier)
        gone_now = [r for entry in left for r in _with_doubles(entry.record, self._indexes)]
        self._indexes.removed(gone_now)

    async def _delete(self, entry: Entry) -> None:
        for record in _with_doubles(entry.record, self._indexes):
            try:
                await self.api.delete_entry(record.identifier, entry.location.path)
            except NotFoundError:
                logger.info("%s: gone already", entry.location.path)

    async def aclose(self) -> None:
        """Do nothing: no work is deferred."""

    async def renewed(self, location: Location, since: float) -> bool:
        """List anew what shows a place; of the root, the datasets."""
        if not location.container:
            if self._registry.as_of < since:
                await self._registry.all(refresh=True)
                return True
            return False
        dataset = self._registry.known(location.container)
        if dataset is None or self._indexes.as_of(dataset.identifier) >= since:
            return False
        try:
            await self._indexes.get(dataset, refresh=True)
        except NotFoundError as error:
            return error.status == 404
        return True

    def expire(self) -> None:
        """Let what is known be listed anew at its next use."""
        self._changes.expire()

    def invalidate(self, location: Location | None) -> None:  # noqa: ARG002 - listings are whole
        """Forget listings."""
        self._registry.forget()
        self._indexes.forget()


def _with_doubles(record: EntryRecord, indexes: Indexes) -> list[EntryRecord]:
    return [record, *indexes.holding(record).doubles(record)]


def _owned(entries: Sequence[Entry]) -> list[Entry]:
    """Give what is an entry of its own; objects of a registered source go with its entry.

    Raises
    ------
    UnsupportedError
        For such an object alone.
    """
    found = [e for e in entries if e.record is not None and e.record.piece is None]
    going = {entry.record.identifier for entry in found}
    for entry in entries:
        if entry.record is not None and entry.record.identifier not in going:
            raise UnsupportedError(
                "this object lies in a registered source: only the whole entry can be removed",
                entry.location.path,
            )
    return found


def _content(entry: Entry, record: EntryRecord, service: DatasetsService) -> Content:
    about = entry.location.path

    async def locate(renew: bool) -> str:
        if renew or not record.url:
            fresh = await service.looked(record, about)
            if record.revision and fresh.revision != record.revision:
                raise ChangedError("the file was replaced while it was read", about)
            record.url = fresh.url
        if not record.url:
            raise _unreadable(record, about)
        return record.url

    inline = record.text.encode() if record.text is not None and not record.url else None
    return Content(
        path=about,
        version=record.version,
        size=len(inline) if inline is not None else record.size if record.size_certain else None,
        checksum=None if inline is not None else record.md5,
        locate=locate,
        inline=inline,
    )


def _unreadable(record: EntryRecord, about: str) -> SynapseError:
    if record.connection is not None and record.storage_type in EXTERNAL:
        return UnsupportedError(instead(record.connection), about)
    if record.piece is not None:
        return NotFoundError("the object is no longer in the registered source", about)
    return InvalidRequestError("the service gives neither content nor a URL", about)
