"""The collections service as a filesystem."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

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
from synapsefs.http import Transport
from synapsefs.location import Location, Root, id_of, unescape
from synapsefs.remote_object import RemoteObject
from synapsefs.services.base import ARCHIVE, Entry, LocalSource, Staged, measured_as
from synapsefs.services.collections.attributes import UnitAnnotations
from synapsefs.services.collections.catalog import (
    ROOT,
    Collection,
    CollectionCatalog,
)
from synapsefs.services.collections.client import CollectionsClient
from synapsefs.services.collections.composition import (
    NewFile,
    StagedFile,
    UnitOptions,
    check_place,
    require_free,
    specification_of,
)
from synapsefs.services.collections.dedup import ContentLookup, LocalContent
from synapsefs.services.collections.editing import NO_SUCH_ROUTE
from synapsefs.services.collections.groups import own_groups
from synapsefs.services.collections.index_cache import Indexes
from synapsefs.services.collections.listing import PathResolver, version_of
from synapsefs.services.collections.presigned import Outgoing, PresignedUploader
from synapsefs.services.collections.publish import UnitPublisher
from synapsefs.services.collections.schema import NAMING_KEYS, settable_problems
from synapsefs.services.collections.sizes import Sizes
from synapsefs.services.collections.unit import UnitFile, record_of
from synapsefs.services.collections.units import Units
from synapsefs.services.collections.upload import CollectionUpload
from synapsefs.services.shared import SharedChanges

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
    expiry
        Seconds for which a listing is believed; longer where it took long, unless the
        caller chose the expiry.
    chosen_expiry
        True when the caller chose it.
    """

    root = Root.COLLECTIONS

    def __init__(
        self, transport: Transport, endpoint: Endpoint, expiry: float, *, chosen_expiry: bool
    ) -> None:
        self._transport = transport
        self.api = CollectionsClient(transport, endpoint)
        self.history = self.references = self.searching = None
        self._changes = changes = SharedChanges(self.root, endpoint)
        self._directory = CollectionCatalog(
            self.api, expiry, chosen_expiry=chosen_expiry, changes=changes
        )
        self._indexes = Indexes(self.api, expiry, chosen_expiry=chosen_expiry, changes=changes)
        self._listing = PathResolver(self._directory, self._indexes)
        self.entry, self.children = self._listing.entry, self._listing.children
        self.entries, self.descendants = self._listing.entries, self._listing.descendants
        self._sizes = Sizes(transport, self.api, self._directory)
        self._direct = PresignedUploader(self.api, transport)
        self._known = ContentLookup(self.api)
        self.units = Units(self.api, self._directory, self._indexes)
        self._publisher = UnitPublisher(self.api, self._indexes, transport.options.max_concurrency)
        self.annotations = UnitAnnotations(self._directory, self._publisher, changes)

    # --- reading ---------------------------------------------------------------------------

    async def measured(self, entries: Sequence[Entry]) -> list[Entry]:
        """Fill in sizes: from the service's list of stored files, else from a one-byte read."""
        await self._sizes.learn(entries, self.content)
        return [
            measured_as(entry, entry.record.size) if entry.kind == "file" else entry
            for entry in entries
        ]

    async def content(self, entry: Entry) -> RemoteObject:
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
        )

    async def _fresh_url(self, file: UnitFile, about: str) -> str:
        unit = record_of(await self.api.unit(file.unit.identifier, about))
        now = unit.files.get(file.specification)
        if now is None or now.checksum != file.checksum:
            raise ChangedError("the file was replaced while it was read", about)
        return now.url

    # --- writing ---------------------------------------------------------------------------

    async def validate(
        self,
        locations: Sequence[Location],
        *,
        complete: bool,
        options: Mapping[Location, Mapping[str, Any]] | None = None,
    ) -> None:
        """Check paths, and with ``complete`` that they make whole units, before any byte goes."""
        wishes = {place: _wish(given) for place, given in (options or {}).items()}
        files = [NewFile(location, wish=wishes.get(location)) for location in locations]
        await self._with_known_collections(locations, lambda: self._check(files, complete=complete))

    async def _check(self, files: Sequence[NewFile], *, complete: bool) -> None:
        by_place = {file.location: file for file in files}
        for collection, group in await self._by_collection(list(by_place)):
            for location in group:
                check_place(location, collection.specifications)
            wanted = [by_place[location] for location in group]
            require_free(wanted)
            if complete:
                await self._publisher.check(collection, wanted)

    def check_options(self, location: Location, options: Mapping[str, Any]) -> None:
        """Refuse what a unit cannot say; a zip archive is a file like any other here."""
        taken = {ARCHIVE, METADATA}
        wrong = [f"{name} is not taken by collections" for name in options if name not in taken]
        given = options.get(METADATA, {})
        wrong += settable_problems(given) if isinstance(given, Mapping) else ["metadata: a mapping"]
        if wrong:
            raise InvalidRequestError("; ".join(wrong), location.path)

    async def upload(
        self, location: Location, *, size: int | None, exclusive: bool, options: Mapping[str, Any]
    ) -> CollectionUpload:
        """Begin to write a data file."""
        self.check_options(location, options)
        collection = await self._directory.find(location)
        check_place(location, collection.specifications)
        if exclusive:
            await self.check_absent([location])
        return CollectionUpload(
            self.api,
            location,
            part_size=self._transport.options.block_size,
            size=size,
            exclusive=exclusive,
            wish=_wish(options),
            direct=self._direct,
        )

    async def present(self, sources: Sequence[LocalSource]) -> dict[Location, Staged]:
        """Give the files whose content the service has under whichever name, ready to publish.

        A lone file is sent without asking.
        """
        if len(sources) < 2:
            return {}
        return await self._known.staged(
            [
                LocalContent(
                    source.path,
                    source.location,
                    source.size,
                    source.exclusive,
                    _wish(source.options),
                )
                for source in sources
            ]
        )

    async def upload_many(
        self,
        sources: Sequence[LocalSource],
        progress: Callable[[int], None],
        counter: Callable[[int], None],
    ) -> dict[Location, Staged]:
        """Send files straight to the storage where they are more than go at a time otherwise.

        A file that is larger than a part, or empty, goes alone.
        """
        options = self._transport.options
        if len(sources) <= options.max_concurrency:
            return {}
        chosen = [source for source in sources if 0 < source.size <= options.block_size]
        await self.check_absent([source.location for source in chosen if source.exclusive])
        files = [
            Outgoing(
                item.path, item.size, item.location.name, item.location.path, progress, counter
            )
            for item in chosen
        ]
        sent = await self._direct.send(files) if files else []
        return {
            item.location: Staged(
                item.location,
                item.size,
                item.exclusive,
                StagedFile(file.checksum, _wish(item.options)),
            )
            for item, file in zip(chosen, sent, strict=True)
            if file is not None
        }

    async def publish(
        self, staged: Sequence[Staged], then: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        """Make units of data files, of all or of none; what they replace is deleted afterwards."""
        await self._publish(staged, then, time.monotonic())

    async def _publish(
        self,
        staged: Sequence[Staged],
        then: Callable[[], Awaitable[None]] | None,
        began: float,
    ) -> None:
        await self.check_absent([item.location for item in staged if item.exclusive])
        files = {
            item.location: NewFile(item.location, item.handle.checksum, item.size, item.handle.wish)
            for item in staged
        }

        async def bind() -> None:
            groups = await self._by_collection(list(files))
            wanted = [
                (collection, [files[place] for place in group]) for collection, group in groups
            ]
            await self._publisher.bind(wanted, then, began)

        await self._with_known_collections(list(files), bind)

    async def _with_known_collections(
        self, locations: Sequence[Location], work: Callable[[], Awaitable[None]]
    ) -> None:
        """Do something, and once more when it failed for a collection that was made anew."""
        changed = await self._identifiers(locations)
        try:
            try:
                await work()
            except (InvalidRequestError, NotFoundError):
                self._directory.forget()
                now = await self._identifiers(locations)
                if now == changed:
                    raise
                changed = [*changed, *now]
                await work()
        finally:
            for identifier in changed:
                self._changes.note(identifier)

    async def _identifiers(self, locations: Sequence[Location]) -> list[int]:
        return [collection.identifier for collection, _ in await self._by_collection(locations)]

    async def check_absent(self, locations: Sequence[Location]) -> None:
        """Raise an error where a file is already."""
        for collection, group in await self._by_collection(locations):
            index = await self._indexes.get(collection, newest=True)
            for location in group:
                if self._listing.at(index, collection.location.child(*location.inner)) is not None:
                    raise AlreadyExistsError("there is a file already", location.path)

    async def copy(self, pairs: Sequence[tuple[Entry, Location]]) -> list[tuple[Entry, Location]]:
        """Bind the same data files again under other names; no byte moves."""
        began = time.monotonic()
        pairs = [(source, target) for source, target in pairs if source.location != target]
        now: dict[Location, Entry] = {}
        sources = list({source.location: None for source, _ in pairs if _is_own(source)})

        async def look() -> None:
            for collection, places in await self._by_collection(sources):
                now.update(await self._listing.current(collection, places, began))

        await self._with_known_collections(sources, look)
        pairs = [(now.get(source.location, source), target) for source, target in pairs]
        copies = await self._copies(pairs)
        wishes = {target: copy.wish for target, copy in copies.items()}
        planned = [NewFile(target, wish=wishes.get(target)) for _, target in pairs]
        await self._check(planned, complete=True)
        staged = [
            Staged(target, source.record.size, exclusive=False, handle=copies[target])
            for source, target in pairs
            if target in copies and copies[target].checksum
        ]
        await self._publish(staged, None, began)
        bound = {item.location for item in staged}
        return [(source, target) for source, target in pairs if target not in bound]

    async def _copies(self, pairs: Sequence[tuple[Entry, Location]]) -> dict[Location, StagedFile]:
        """Give files of this service again, with their units' metadata and groups."""
        own = [pair for pair in pairs if _is_own(pair[0])]
        units = {source.location: source.record.unit for source, _ in own}
        groups: dict[int, tuple[str, ...]] = {}
        for collection, places in await self._by_collection(list(units)):
            groups |= await own_groups(self.api, collection, [units[place] for place in places])
        return {target: _copy_of(source.record, groups) for source, target in own}

    async def make_directory(
        self, location: Location, *, exist_ok: bool, parents: bool, options: Mapping[str, Any]
    ) -> None:
        """Create a collection; folders below a specification exist as soon as a file does."""
        if not location.container:
            raise AlreadyExistsError("the root is always there", location.path)
        try:
            collection = await self._directory.find(location)
        except NotFoundError:
            if location.inner and not parents:
                raise
            await self._directory.create(location, options)
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
                require_free([NewFile(place)], index)
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
            await self._directory.change(entry.record, {"name": name}, target.path)
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
        changed: ChangedError | None = None
        for _, group in await self._by_collection(list(files)):
            try:
                await self._unbind([files[location] for location in group], unchanged=unchanged)
            except ChangedError as error:
                changed = changed or error
        if changed is not None:
            raise changed

    async def _unbind(self, entries: Sequence[Entry], *, unchanged: bool) -> None:
        async def unbind() -> None:
            collection = await self._directory.for_writing(entries[0].location)
            await self._publisher.unbind(collection, entries, unchanged=unchanged)

        await self._with_known_collections([entry.location for entry in entries], unbind)

    async def _remove_collection(self, entry: Entry) -> None:
        if not entry.location.container:
            raise UnsupportedError("a service's root cannot be removed", entry.location.path)
        record: Collection = entry.record
        await self._directory.delete(record)
        self._indexes.drop(record.identifier)

    async def aclose(self) -> None:
        """Delete units that were replaced without having been listed."""
        for identifier in self._indexes.unreconciled():
            about = f"{ROOT.path}/@{identifier}"
            try:
                collection = await self._directory.find(Location.parse(about))
                await self._indexes.get(collection)
                await self._publisher.delete_superseded(collection, about)
            except SynapseError as error:
                logger.warning("%s: replaced units could not be deleted yet: %s", about, error)

    async def renewed(self, location: Location, since: float) -> bool:
        """List anew what shows a place; of the root, the collections."""
        if not location.container:
            if self._directory.as_of < since:
                await self._directory.all(refresh=True)
                return True
            return False
        collection = self._directory.known(location.container)
        if collection is None or self._indexes.as_of(collection.identifier) >= since:
            return False
        await self._indexes.get(collection, refresh=True)
        return True

    def expire(self) -> None:
        """Let what is known be listed anew at its next use."""
        self._changes.expire()

    def invalidate(self, location: Location | None) -> None:  # noqa: ARG002 - listings are whole
        """Forget listings; what was written here and not yet listed is kept."""
        self._directory.forget()
        self._indexes.forget()

    async def _by_collection(
        self, locations: Sequence[Location]
    ) -> list[tuple[Collection, list[Location]]]:
        grouped: dict[int, tuple[Collection, list[Location]]] = {}
        for location in locations:
            if not location.container:
                raise FolderError("a file needs a collection", location.path)
            collection = await self._directory.for_writing(location)
            grouped.setdefault(collection.identifier, (collection, []))[1].append(location)
        return list(grouped.values())


def _wish(options: Mapping[str, Any]) -> UnitOptions | None:
    """Read what the options of a write ask of the unit."""
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
