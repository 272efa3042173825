"""The collections service as a filesystem."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from synapsefs import limits
from synapsefs.config import Endpoint
from synapsefs.errors import (
    AlreadyExistsError,
    ChangedError,
    FolderError,
    InvalidPathError,
    NotEmptyError,
    NotFoundError,
    SynapseError,
    UnsupportedError,
)
from synapsefs.location import Location, Root, escape
from synapsefs.objects import Content, object_size
from synapsefs.services.base import Entry, Staged, directory, measured_as
from synapsefs.services.collections.api import CollectionsApi
from synapsefs.services.collections.directory import (
    ROOT,
    CollectionDirectory,
    CollectionRecord,
)
from synapsefs.services.collections.index import (
    BoundFile,
    CollectionIndex,
    UnitRecord,
    record_of,
)
from synapsefs.services.collections.plan import (
    Draft,
    NewFile,
    check_place,
    compose,
    require_complete,
)
from synapsefs.services.collections.upload import CollectionUpload
from synapsefs.services.tree import Folder
from synapsefs.transport import Transport, outcome_unknown
from synapsefs.wire import collections as wire

logger = logging.getLogger("synapsefs")
EXPIRY_PER_LOAD = 10.0
LISTING_ATTEMPTS = 3


class CollectionsService:
    """Collections, specifications and units as directories and files.

    Parameters
    ----------
    transport
        Sends the requests.
    endpoint
        The service.
    expiry
        Seconds for which a listing is believed. A collection that took long to list is believed
        ten times as long as that took, unless the caller chose the expiry.
    chosen_expiry
        True when the caller chose it.
    """

    root = Root.COLLECTIONS

    def __init__(
        self, transport: Transport, endpoint: Endpoint, expiry: float, *, chosen_expiry: bool
    ) -> None:
        self._transport = transport
        self.api = CollectionsApi(transport, endpoint)
        self._expiry = expiry
        self._chosen_expiry = chosen_expiry
        self._directory = CollectionDirectory(self.api, expiry)
        self._indexes: dict[int, CollectionIndex] = {}
        self._reading: limits.Locks[int] = limits.Locks()
        self._writing: limits.Locks[int] = limits.Locks()

    # --- looking ---------------------------------------------------------------------------

    async def entry(self, location: Location, *, refresh: bool = False) -> Entry:
        """Find a collection, specification folder, folder or file."""
        if not location.container:
            return directory(ROOT)
        collection = await self._directory.find(location, refresh=refresh)
        place = collection.location.child(*location.inner)
        if not location.inner:
            return collection.entry()
        if len(location.inner) == 1 and _specification(collection, location):
            return _folder_entry(place)
        index = await self._index(collection, refresh=refresh)
        found = self._at(index, place)
        if found is None and index.age() > 0 and not refresh:
            index = await self._index(collection, refresh=True)
            found = self._at(index, place)
        if found is None:
            raise NotFoundError("no such file or directory", location.path)
        return found

    def _at(self, index: CollectionIndex, place: Location) -> Entry | None:
        file = index.at(place.inner)
        if file is not None:
            return _file_entry(place, file)
        folder = index.tree.folder(place.inner)
        return _folder_entry(place) if folder is not None else None

    async def children(self, location: Location, *, refresh: bool = False) -> list[Entry]:
        """List the root, a collection, or a folder in it."""
        if not location.container:
            records = await self._directory.all(refresh=refresh)
            return [record.entry() for record in records]
        collection = await self._directory.find(location, refresh=refresh)
        place = collection.location.child(*location.inner)
        if not location.inner:
            return [
                _folder_entry(place.child(escape(spec.name)))
                for spec in collection.specifications
            ]
        found = await self.entry(location, refresh=refresh)
        if found.kind == "file":
            return [found]
        folder = self._folder(collection, place)
        folders = [_folder_entry(place.child(name)) for name in folder.folders]
        return folders + [
            _file_entry(place.child(name), file) for name, file in folder.files.items()
        ]

    async def descendants(self, location: Location, *, refresh: bool = False) -> list[Entry]:
        """List all that a collection or folder holds; below the root, all collections."""
        if not location.container:
            found: list[Entry] = []
            for record in await self._directory.all(refresh=refresh):
                found += [record.entry(), *await self.descendants(record.location)]
            return found
        collection = await self._directory.find(location, refresh=refresh)
        place = collection.location.child(*location.inner)
        if location.inner:
            await self.entry(location, refresh=refresh)
            return self._below(self._folder(collection, place), place)
        await self._index(collection, refresh=refresh)
        found = []
        for spec in collection.specifications:
            below = place.child(escape(spec.name))
            found += [_folder_entry(below), *self._below(self._folder(collection, below), below)]
        return found

    def _folder(self, collection: CollectionRecord, place: Location) -> Folder[BoundFile]:
        index = self._indexes.get(collection.identifier)
        found = index.tree.folder(place.inner) if index else None
        return found if found is not None else Folder()

    def _below(self, folder: Folder[BoundFile], place: Location) -> list[Entry]:
        return [
            _file_entry(place.child(*segments), file)
            if file is not None
            else _folder_entry(place.child(*segments))
            for segments, _, file in folder.walk()
        ]

    async def measured(self, entries: Sequence[Entry]) -> list[Entry]:
        """Fill in sizes: from the service's list of stored files, else from a one-byte read."""
        unknown = [entry for entry in entries if entry.kind == "file" and entry.size is None]
        for collection in {entry.location.container for entry in unknown}:
            await self._learn_sizes([e for e in unknown if e.location.container == collection])
        return [
            measured_as(entry, entry.record.size) if entry.kind == "file" else entry
            for entry in entries
        ]

    async def _learn_sizes(self, entries: Sequence[Entry]) -> None:
        collection = await self._directory.find(entries[0].location)
        about = collection.location.path
        sizes: dict[str, int] = {}
        if len(entries) > 1:
            try:
                sizes = await self.api.stored_sizes(collection.identifier, about)
            except SynapseError as error:
                logger.info("%s: no list of stored files: %s", about, error)
        for entry in entries:
            entry.record.size = sizes.get(entry.record.checksum)
        left = [entry for entry in entries if entry.record.size is None]
        await limits.gather(map(self._probe, left), self._transport.options.max_concurrency)

    async def _probe(self, entry: Entry) -> None:
        entry.record.size = await object_size(self._transport, await self.content(entry))

    async def content(self, entry: Entry) -> Content:
        """Open a data file: its URL comes from the unit, and again from it when refused."""
        if entry.kind != "file":
            raise FolderError("this is a directory", entry.location.path)
        file: BoundFile = entry.record

        async def locate(renew: bool) -> str:  # noqa: FBT001
            if renew or not file.url:
                file.url = await self._fresh_url(file, entry.location.path)
            return file.url

        return Content(
            path=entry.location.path,
            version=_version(file),
            size=file.size,
            checksum=file.checksum or None,
            locate=locate,
        )

    async def _fresh_url(self, file: BoundFile, about: str) -> str:
        unit = record_of(await self.api.unit(file.unit.identifier, about))
        now = unit.files.get(file.specification)
        if now is None or now.checksum != file.checksum:
            raise ChangedError("the file was replaced while it was read", about)
        return now.url

    # --- writing ---------------------------------------------------------------------------

    async def validate(self, locations: Sequence[Location], *, complete: bool) -> None:
        """Check paths, and with ``complete`` that they make whole units, before any byte goes."""
        for collection, group in await self._by_collection(locations):
            for location in group:
                check_place(location, collection.specifications)
            if complete and _needs_index(collection):
                index = await self._index(collection)
                drafts = compose([NewFile(location) for location in group], index.with_stem)
                require_complete(drafts, collection.specifications, group[0].path)

    async def upload(
        self, location: Location, *, size: int | None, exclusive: bool
    ) -> CollectionUpload:
        """Begin to write a data file."""
        collection = await self._directory.find(location)
        check_place(location, collection.specifications)
        if exclusive:
            await self._refuse_existing([location])
        return CollectionUpload(
            self.api,
            location,
            part_size=self._transport.options.block_size,
            size=size,
            exclusive=exclusive,
        )

    async def publish(self, staged: Sequence[Staged]) -> None:
        """Make units of data files; what they replace is deleted afterwards."""
        await self._refuse_existing([item.location for item in staged if item.exclusive])
        files = {
            item.location: NewFile(item.location, item.handle.checksum, item.size)
            for item in staged
        }
        for collection, group in await self._by_collection(list(files)):
            async with self._writing.get(collection.identifier):
                await self._bind(collection, [files[location] for location in group])

    async def _bind(self, collection: CollectionRecord, files: Sequence[NewFile]) -> None:
        index = self._held(collection)
        if _needs_index(collection):
            index = await self._index(collection)
        drafts = compose(files, index.with_stem)
        about = files[0].location.path
        require_complete(drafts, collection.specifications, about)
        made = await self._create(collection, drafts, about)
        sizes = {(file.specification, file.name): file.size for file in files}
        for unit in made:
            for bound in unit.files.values():
                if bound.size is None:
                    bound.size = sizes.get((bound.specification, bound.name))
            index.insert(unit)
        await self._delete_superseded(index, about)

    async def _create(
        self, collection: CollectionRecord, drafts: Sequence[Draft], about: str
    ) -> list[UnitRecord]:
        """Create units batch by batch; a batch that fails takes the earlier ones back."""
        made: list[UnitRecord] = []
        try:
            for start in range(0, len(drafts), wire.UNIT_BATCH):
                batch = drafts[start : start + wire.UNIT_BATCH]
                made += await self._create_batch(collection, batch, about)
        except (SynapseError, asyncio.CancelledError):
            await asyncio.shield(self._delete_units(made, about))
            raise
        return made

    async def _create_batch(
        self, collection: CollectionRecord, drafts: Sequence[Draft], about: str
    ) -> list[UnitRecord]:
        units = [draft.request(collection.identifier, collection.primary) for draft in drafts]
        try:
            answer = await self.api.create_units(units, about)
            made = [record_of(unit) for unit in answer]
        except SynapseError as error:
            if not outcome_unknown(error):
                raise
            made = await self._created_after_all(collection, drafts)
            if not made:
                answer = await self.api.create_units(units, about)
                made = [record_of(unit) for unit in answer]
        for unit, draft, request in zip(made, drafts, units, strict=True):
            _complete(unit, draft, request)
        return made

    async def _created_after_all(
        self, collection: CollectionRecord, drafts: Sequence[Draft]
    ) -> list[UnitRecord]:
        """Look whether units exist although the answer to their creation was lost."""
        logger.info("%s: the answer was lost; looking", collection.location.path)
        index = await self._index(collection, refresh=True)
        by_write = {unit.mark.get("write"): unit for unit in index.units.values()}
        found = [by_write[draft.write] for draft in drafts if draft.write in by_write]
        return found if len(found) == len(drafts) else []

    async def _delete_superseded(self, index: CollectionIndex, about: str) -> None:
        """Delete replaced units. A failure leaves them hidden; the next write tries again."""
        try:
            await self._delete_units(list(index.superseded.values()), about, index)
        except SynapseError as error:
            logger.warning("%s: replaced units could not be deleted yet: %s", about, error)

    async def _delete_units(
        self, units: Iterable[UnitRecord], about: str, index: CollectionIndex | None = None
    ) -> None:
        async def delete(unit: UnitRecord) -> None:
            await self.api.delete_unit(unit.identifier, about)
            if index is not None:
                index.remove(unit)

        await limits.gather(map(delete, units), self._transport.options.max_concurrency)

    async def copy(self, pairs: Sequence[tuple[Entry, Location]]) -> list[tuple[Entry, Location]]:
        """Bind the same data files again under other names; no byte moves."""
        pairs = [(source, target) for source, target in pairs if source.location != target]
        await self.validate([target for _, target in pairs], complete=True)
        staged = [
            Staged(target, source.record.size, exclusive=False, handle=source.record)
            for source, target in pairs
            if source.location.root is Root.COLLECTIONS and source.record.checksum
        ]
        await self.publish(staged)
        bound = {item.location for item in staged}
        return [(source, target) for source, target in pairs if target not in bound]

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
            collection = await self._directory.create(location, options)
            if not location.inner:
                return
        if not location.inner and not exist_ok:
            raise AlreadyExistsError("the collection is there already", location.path)
        if location.inner and not _specification(collection, location):
            check_place(location.child("any"), collection.specifications)

    async def remove(self, entries: Sequence[Entry]) -> None:
        """Delete collections, and units all of whose files are to go.

        A unit keeps the files that stay; taking a required one from it is refused.
        """
        for entry in entries:
            if entry.kind == "directory" and not entry.location.inner:
                await self._remove_collection(entry)
        files = [entry for entry in entries if entry.kind == "file"]
        for collection, group in await self._by_collection([entry.location for entry in files]):
            places = set(group)
            bound = [entry.record for entry in files if entry.location in places]
            async with self._writing.get(collection.identifier):
                await self._unbind(collection, bound, group[0].path)

    async def _remove_collection(self, entry: Entry) -> None:
        if not entry.location.container:
            raise UnsupportedError("a service's root cannot be removed", entry.location.path)
        record: CollectionRecord = entry.record
        await self._directory.delete(record)
        self._indexes.pop(record.identifier, None)

    async def _unbind(
        self, collection: CollectionRecord, files: Sequence[BoundFile], about: str
    ) -> None:
        index = await self._index(collection)
        doomed, drafts = _without(files, index, collection, about)
        made = await self._create(collection, drafts, about)
        hidden = [unit for unit in doomed.values() if unit.identifier in index.superseded]
        await self._delete_units(hidden, about, index)
        shown = [unit for unit in doomed.values() if unit.identifier in index.units]
        await self._delete_units(shown, about, index)
        for unit in made:
            index.insert(unit)

    async def aclose(self) -> None:
        """Delete units that were replaced without having been listed."""
        for identifier, index in list(self._indexes.items()):
            if index.unreconciled:
                about = f"{ROOT.path}/@{identifier}"
                collection = await self._directory.find(Location.parse(about))
                loaded = await self._index(collection)
                await self._delete_superseded(loaded, about)

    def invalidate(self, location: Location | None) -> None:
        """Forget listings; what was written here and not yet listed is kept."""
        self._directory.forget()
        for index in self._indexes.values():
            index.loaded_at = None

    async def _refuse_existing(self, locations: Sequence[Location]) -> None:
        for location in locations:
            try:
                await self.entry(location, refresh=True)
            except NotFoundError:
                continue
            raise AlreadyExistsError("there is a file already", location.path)

    async def _by_collection(
        self, locations: Sequence[Location]
    ) -> list[tuple[CollectionRecord, list[Location]]]:
        grouped: dict[int, tuple[CollectionRecord, list[Location]]] = {}
        for location in locations:
            if not location.container:
                raise InvalidPathError("a file needs a collection", location.path)
            collection = await self._directory.find(location)
            grouped.setdefault(collection.identifier, (collection, []))[1].append(location)
        return list(grouped.values())

    def _held(self, collection: CollectionRecord) -> CollectionIndex:
        return self._indexes.setdefault(collection.identifier, CollectionIndex())

    async def _index(
        self, collection: CollectionRecord, *, refresh: bool = False
    ) -> CollectionIndex:
        """Give the collection's index, read again when it is too old or not believed."""
        began = time.monotonic()
        async with self._reading.get(collection.identifier):
            index = self._held(collection)
            if index.loaded_at is not None and index.loaded_at > began:
                return index
            if refresh or index.age() > self._expiry_of(index):
                await self._load(collection, index)
        return index

    def _expiry_of(self, index: CollectionIndex) -> float:
        if self._chosen_expiry:
            return self._expiry
        return max(self._expiry, EXPIRY_PER_LOAD * index.load_seconds)

    async def _load(self, collection: CollectionRecord, index: CollectionIndex) -> None:
        began = time.monotonic()
        about = collection.location.path
        for _ in range(LISTING_ATTEMPTS):
            units: dict[int, UnitRecord] = {}
            count = 0
            async for page in self.api.unit_pages(collection.identifier, about):
                count = page.count or 0
                units.update((unit.id, record_of(unit)) for unit in page.results)
            if len(units) >= count:
                break
        index.fill(units, began)


def _specification(
    collection: CollectionRecord, location: Location
) -> wire.FileSpecification | None:
    name = location.specification
    return next((spec for spec in collection.specifications if spec.name == name), None)


def _needs_index(collection: CollectionRecord) -> bool:
    """Say whether writing needs the listing: a lone specification has nothing to join."""
    return len(collection.specifications) != 1


def _folder_entry(place: Location) -> Entry:
    return directory(place)


def _file_entry(place: Location, file: BoundFile) -> Entry:
    return Entry(
        location=place,
        kind="file",
        size=file.size,
        checksum=file.checksum or None,
        version=_version(file),
        created=file.unit.created,
        record=file,
        details={"unit": file.unit.identifier, "specification": file.specification},
    )


def _version(file: BoundFile) -> str:
    return file.checksum or f"unit-{file.unit.identifier}"


def _complete(unit: UnitRecord, draft: Draft, request: wire.UnitToCreate) -> None:
    """Fill in what a creation's answer may leave out, from what was asked for."""
    if not unit.meta:
        unit.meta = request.meta or {}
    for specification, name in draft.names.items():
        file = unit.files.get(specification)
        if file is None:
            checksum = draft.checksums[specification]
            unit.files[specification] = BoundFile(unit, specification, name, checksum, "", None)
        else:
            file.name = name


def _without(
    files: Sequence[BoundFile],
    index: CollectionIndex,
    collection: CollectionRecord,
    about: str,
) -> tuple[dict[int, UnitRecord], list[Draft]]:
    """Decide which units go and which are made anew without some of their files."""
    leaving: dict[int, set[str]] = {}
    units: dict[int, UnitRecord] = {}
    for file in files:
        holders = [unit for unit in index.versions(file) if unit.mark or unit is file.unit]
        for unit in holders or [file.unit]:
            units[unit.identifier] = unit
            leaving.setdefault(unit.identifier, set()).add(file.specification)
    required = {spec.name for spec in collection.specifications if spec.is_required}
    drafts: list[Draft] = []
    for identifier, unit in units.items():
        staying = unit.files.keys() - leaving[identifier]
        if not staying or identifier in index.superseded:
            continue
        if required & leaving[identifier]:
            raise NotEmptyError(
                f"{', '.join(sorted(required & leaving[identifier]))} is required by unit "
                f"{identifier}, which also holds {', '.join(sorted(staying))}: remove them together",
                about,
            )
        draft = Draft.of(unit)
        for specification in leaving[identifier]:
            del draft.names[specification], draft.checksums[specification]
        drafts.append(draft)
    return units, drafts
