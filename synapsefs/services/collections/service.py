"""The collections service as a filesystem."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, cast

from synapsefs.config import Endpoint
from synapsefs.errors import (
    AlreadyExistsError,
    ChangedError,
    FolderError,
    InvalidRequestError,
    MissingContentError,
    NotFoundError,
    SynapseError,
    UnsupportedError,
)
from synapsefs.http import Transport
from synapsefs.location import Location, Root, id_of, unescape
from synapsefs.remote_object import RemoteObject
from synapsefs.services.base import ARCHIVE, Entry, NewFile, Report, Staged
from synapsefs.services.collections.attributes import UnitAttributes
from synapsefs.services.collections.bulk import BulkUploader
from synapsefs.services.collections.catalog import (
    ROOT,
    Collection,
    CollectionCatalog,
)
from synapsefs.services.collections.client import CollectionsClient
from synapsefs.services.collections.composition import UNIT, PlannedFile, StagedFile, UnitOptions
from synapsefs.services.collections.editing import NO_SUCH_ROUTE
from synapsefs.services.collections.groups import own_groups
from synapsefs.services.collections.index_cache import Indexes
from synapsefs.services.collections.listing import UnitResolver, version_of
from synapsefs.services.collections.paths import require_free, specification_of
from synapsefs.services.collections.presigned import PresignedUploader
from synapsefs.services.collections.publish import Groups, UnitPublisher
from synapsefs.services.collections.schema import NAMING_KEYS, settable_problems
from synapsefs.services.collections.sizes import Sizes
from synapsefs.services.collections.unit import UnitFile, record_of
from synapsefs.services.collections.units import Units
from synapsefs.services.collections.upload import CollectionUpload
from synapsefs.services.shared import Expiry, SharedChanges

logger = logging.getLogger("synapsefs")

METADATA = "metadata"
FOLDERS_LAST = 5.0
"""Seconds for which it is believed what folders there are, where one more is not refused."""


class CollectionsService:
    """Collections, specifications and units as directories and files.

    Parameters
    ----------
    transport
        Sends the requests.
    endpoint
        The service.
    expiry, chosen_expiry
        Seconds for which a listing is used; longer where it took long, unless the caller chose.
    """

    root = Root.COLLECTIONS

    def __init__(
        self, transport: Transport, endpoint: Endpoint, expiry: float, *, chosen_expiry: bool
    ) -> None:
        self._transport = transport
        self.api = CollectionsClient(transport, endpoint)
        self._changes = SharedChanges(self.root, endpoint)
        rule = Expiry(expiry, chosen_expiry, self._changes)
        self._catalog = CollectionCatalog(self.api, rule)
        self._indexes = Indexes(self.api, rule)
        self._listing = UnitResolver(self._catalog, self._indexes)
        self.resolve, self.list = self._listing.resolve, self._listing.list
        self.resolve_many = self._listing.resolve_many
        self._sizes = Sizes(transport, self.api, self._catalog)
        self._presigned = PresignedUploader(self.api, transport)
        self._bulk = BulkUploader(self.api, transport, self._presigned)
        units = Units(self.api, self._catalog, self._indexes)
        self.plan_unit, self.unit_info, self.unit_batches = units.plan, units.info, units.batches
        self._publisher = UnitPublisher(
            self.api,
            self._catalog,
            self._indexes,
            self._changes,
            transport.options.max_concurrency,
        )
        attributes = UnitAttributes(self._catalog, self._publisher, self._changes)
        self.attributes, self.set_attributes = attributes.read, attributes.change
        self.copy_options = attributes.copy_options

    # --- reading ---------------------------------------------------------------------------

    async def with_sizes(self, entries: Sequence[Entry]) -> list[Entry]:
        """Fill in sizes: from the service's list of stored files, else from a one-byte read."""
        await self._sizes.learn(entries, self.open)
        return [
            replace(entry, size=entry.record.size) if entry.kind == "file" else entry
            for entry in entries
        ]

    async def open(self, entry: Entry) -> RemoteObject:
        """Open a data file: its URL comes from the unit, and again from it when refused."""
        if entry.kind != "file":
            raise FolderError("this is a directory", entry.location.path)
        file: UnitFile = entry.record

        async def locate(renew: bool) -> str:
            if renew or not file.url:
                file.url = await self._fresh_url(file, entry.location.path)
            return file.url

        return RemoteObject(
            http=self._transport,
            path=entry.location.path,
            version=version_of(file),
            size=self._sizes.of(file),
            checksum=file.checksum or None,
            locate=locate,
            learned=partial(self._sizes.note, file),
        )

    async def _fresh_url(self, file: UnitFile, about: str) -> str:
        unit = record_of(await self.api.unit(file.unit.identifier, about))
        now = unit.files.get(file.specification)
        if now is None or now.checksum != file.checksum:
            raise ChangedError("the file was replaced while it was read", about)
        return now.url

    # --- writing ---------------------------------------------------------------------------

    async def check(self, files: Sequence[NewFile], *, complete: bool) -> None:
        """Check options and paths, and with ``complete`` that the files make whole units."""
        checked: set[int] = set()
        for file in files:
            if file.options and id(file.options) not in checked:
                checked.add(id(file.options))
                self.check_options(file.location, file.options)
        planned = [PlannedFile(file.location, options=_wish(file.options)) for file in files]
        await self._publisher.check(planned, complete=complete)
        await self._check_absent([file.location for file in files if file.exclusive])

    def check_options(self, location: Location, options: Mapping[str, Any]) -> None:
        """Refuse what a unit cannot say; a zip archive is a file like any other here."""
        taken = {ARCHIVE, METADATA, UNIT}
        wrong = [f"{name} is not taken by collections" for name in options if name not in taken]
        wrong += settable_problems(options.get(METADATA, {}))
        if wrong:
            raise InvalidRequestError("; ".join(wrong), location.path)

    async def start_upload(self, file: NewFile) -> CollectionUpload:
        """Begin to write a data file."""
        size = self._transport.options.block_size
        return CollectionUpload(self.api, self._presigned, file, size, _wish(file.options))

    async def upload_many(
        self, files: Sequence[NewFile], report: Report, *, deferred: bool = False
    ) -> dict[Location, Staged]:
        """Bring local files to the service with few requests; a lone file goes by itself.

        What the service has under whichever name is not sent, unless publishing is deferred.
        """
        local = [file for file in files if isinstance(file.source, str) and file.size >= 0]
        if len(local) < 2:
            return {}
        staged = {}
        arrived = await self._bulk.upload(local, report, deferred=deferred)
        for file, checksum, origin in arrived:
            handle = StagedFile(checksum, _wish(file.options), origin)
            staged[file.location] = Staged(file.location, file.size, file.exclusive, handle)
        return staged

    async def publish(
        self, staged: Sequence[Staged], then: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        """Make units of data files, of all or of none; what they replace is deleted afterwards.

        Raises
        ------
        MissingContentError
            Where content is gone that was not sent, as the service had it.
        """
        try:
            await self._publish(staged, time.monotonic(), then)
        except InvalidRequestError as error:
            unsent = [item for item in staged if item.handle.origin != "sent"]
            missing = await self._bulk.missing(unsent, error) if unsent else []
            if not missing:
                raise
            lost = MissingContentError(error.strerror or "", error.filename, status=error.status)
            lost.locations = frozenset(missing)
            raise lost from error

    async def _publish(
        self,
        staged: Sequence[Staged],
        began: float,
        then: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        await self._check_absent([item.location for item in staged if item.exclusive])
        files = [
            PlannedFile(item.location, item.handle.checksum, item.size, item.handle.options)
            for item in staged
        ]
        await self._publisher.publish(files, then, began)

    async def _check_absent(self, locations: Sequence[Location]) -> None:
        """Refuse files that may replace nothing where something is."""
        for collection, files in await self._publisher.by_collection(map(PlannedFile, locations)):
            index = await self._indexes.latest(collection)
            for location in [file.location for file in files]:
                if self._listing.at(index, collection.location.child(*location.inner)) is not None:
                    raise AlreadyExistsError("there is a file already", location.path)

    async def copy(self, pairs: Sequence[tuple[Entry, Location]]) -> list[tuple[Entry, Location]]:
        """Bind the same data files again under other names; no byte moves."""
        began = time.monotonic()
        pairs = [(source, target) for source, target in pairs if source.location != target]
        now: dict[Location, Entry] = {}
        sources = {source.location: source for source, _ in pairs if _is_own(source)}

        async def look(groups: Groups[Entry]) -> None:
            for collection, entries in groups:
                places = [entry.location for entry in entries]
                now.update(await self._listing.current(collection, places, began))

        await self._publisher.in_collections(list(sources.values()), look)
        pairs = [(now.get(source.location, source), target) for source, target in pairs]
        copies = await self._copies(pairs)
        asked = {target: copy.options for target, copy in copies.items()}
        planned = [PlannedFile(target, options=asked.get(target)) for _, target in pairs]
        await self._publisher.check(planned, complete=True)
        staged = [
            Staged(target, source.record.size, exclusive=False, handle=copies[target])
            for source, target in pairs
            if target in copies and copies[target].checksum
        ]
        await self._publish(staged, began)
        bound = {item.location for item in staged}
        return [(source, target) for source, target in pairs if target not in bound]

    async def _copies(self, pairs: Sequence[tuple[Entry, Location]]) -> dict[Location, StagedFile]:
        """Give files of this service again, with their units' metadata and groups."""
        own = [pair for pair in pairs if _is_own(pair[0])]
        groups: dict[int, tuple[str, ...]] = {}
        for collection, entries in await self._publisher.by_collection([one for one, _ in own]):
            units = [entry.record.unit for entry in entries]
            groups |= await own_groups(self.api, collection, units)
        return {target: _copy_of(source.record, groups) for source, target in own}

    async def with_details(self, entry: Entry) -> Entry:
        """Give the entry: listings lack nothing."""
        return entry

    async def make_directory(
        self, location: Location, *, exist_ok: bool, parents: bool, options: Mapping[str, Any]
    ) -> None:
        """Create a collection; folders below a specification exist as soon as a file does."""
        if not location.container:
            raise AlreadyExistsError("the root is always there", location.path)
        try:
            collection = await self._catalog.find(location)
        except NotFoundError:
            if location.inner and not parents:
                raise
            await self._catalog.create(location, options)
            return
        if location.inner:
            await self._make_folder(collection, location, exist_ok=exist_ok)
        elif not exist_ok:
            raise AlreadyExistsError("the collection is there already", location.path)

    async def _make_folder(
        self, collection: Collection, location: Location, *, exist_ok: bool
    ) -> None:
        """See that there can be a folder; it is there as soon as a file in it is.

        Raises
        ------
        AlreadyExistsError
            Without ``exist_ok`` when it is there; with it, when a file is.
        NotAFolderError
            When a file is above it.
        """
        specification_of(location, collection.specifications)
        there: Entry | None = None
        if len(location.inner) > 1:
            place = collection.location.child(*location.inner)
            lately = time.monotonic() - FOLDERS_LAST if exist_ok else None
            index = await self._indexes.glimpse(collection, lately)
            there = self._listing.at(index, place)
            if there is None:
                require_free([place], index)
                return
        if there is not None and there.kind == "file":
            raise AlreadyExistsError("there is a file already", location.path)
        if not exist_ok:
            raise AlreadyExistsError("the directory is there already", location.path)

    async def rename(self, entry: Entry, target: Location) -> bool:
        """Give a collection another name, where it can be changed; its units stay what they are."""
        if id_of(target.container, Root.COLLECTIONS) is not None:
            return False
        name = unescape(target.container)
        try:
            await self._catalog.change(entry.record, {"name": name}, target.path)
        except (InvalidRequestError, NotFoundError) as error:
            if error.status not in {404, *NO_SUCH_ROUTE}:
                raise
            return False
        return True

    async def remove(self, entries: Sequence[Entry], *, unchanged: bool = False) -> None:
        """Delete collections, and units all of whose files are to go.

        A unit keeps the files that stay; taking a required one from it is refused. What is at the
        place of a file now is removed, with all that it replaced.

        Parameters
        ----------
        unchanged
            Leave files alone that are not the same any more; others are removed nevertheless.

        Raises
        ------
        ChangedError
            Naming the first file that was left alone.
        """
        for entry in entries:
            if entry.kind == "directory" and not entry.location.inner:
                await self._remove_collection(entry)
        files = {entry.location: entry for entry in entries if entry.kind == "file"}
        for entry in entries:
            if entry.kind == "directory" and len(entry.location.inner) > 1:
                files |= await self._listing.file_named_as(entry)
        await self._publisher.remove(files.values(), unchanged=unchanged)

    async def _remove_collection(self, entry: Entry) -> None:
        if not entry.location.container:
            raise UnsupportedError("a service's root cannot be removed", entry.location.path)
        record: Collection = entry.record
        await self._catalog.delete(record)
        self._indexes.drop(record.identifier)

    async def aclose(self) -> None:
        """Delete units that were replaced without having been listed."""
        for identifier in self._indexes.unreconciled():
            about = f"{ROOT.path}/@{identifier}"
            try:
                collection = await self._catalog.find(Location.parse(about))
                await self._indexes.get(collection)
                await self._publisher.delete_superseded(collection, about)
            except SynapseError as error:
                logger.warning("%s: replaced units could not be deleted yet: %s", about, error)

    async def refresh(self, location: Location, newer_than: float) -> bool:
        """List anew what shows a place; of the root, the collections."""
        return await self._listing.refresh(location, newer_than)

    def invalidate(self) -> None:
        """List everything anew at its next use; what was written and is not listed yet is kept."""
        self._changes.invalidate()


def _wish(options: Mapping[str, Any]) -> UnitOptions | None:
    """Read what the options of a write ask of the unit."""
    if UNIT in options:
        return cast("UnitOptions", options[UNIT])
    given = options.get(METADATA)
    if not given:
        return None
    return UnitOptions({name: value for name, value in given.items() if name not in NAMING_KEYS})


def _is_own(entry: Entry) -> bool:
    return entry.location.root is Root.COLLECTIONS


def _copy_of(file: UnitFile, groups: Mapping[int, tuple[str, ...]]) -> StagedFile:
    """Give the file again, with its unit's metadata and groups."""
    meta = {name: value for name, value in file.unit.own_meta.items() if name not in NAMING_KEYS}
    return StagedFile(file.checksum, UnitOptions(meta, groups.get(file.unit.identifier)))
