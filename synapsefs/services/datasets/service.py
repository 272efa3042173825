"""The datasets service as a filesystem."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from synapsefs import limits
from synapsefs.config import Endpoint
from synapsefs.errors import (
    AlreadyExistsError,
    ChangedError,
    ConflictError,
    FolderError,
    InvalidPathError,
    InvalidRequestError,
    NotAFolderError,
    NotFoundError,
    SynapseError,
    UnsupportedError,
)
from synapsefs.location import Location, Root, unescape
from synapsefs.objects import Content, object_size
from synapsefs.services.base import Entry, Staged, aware, directory, measured_as
from synapsefs.services.datasets.api import DatasetsApi
from synapsefs.services.datasets.index import (
    EXTERNAL,
    HIDDEN_TAG,
    DatasetIndex,
    EntryRecord,
    looked_at,
)
from synapsefs.services.datasets.registry import ROOT, DatasetRecord, DatasetRegistry
from synapsefs.services.datasets.upload import DatasetUpload, StagedObject, StagedText
from synapsefs.services.tree import Folder
from synapsefs.transport import Transport, outcome_unknown
from synapsefs.wire import datasets as wire

logger = logging.getLogger("synapsefs")
INLINE_SECONDS = 1.0
"""For how long text that came with a listing is served without asking again."""
REVISION_ATTEMPTS = 5
NAME_MAX = 255


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
        Seconds for which a listing is believed.
    """

    root = Root.DATASETS

    def __init__(
        self, transport: Transport, endpoint: Endpoint, named: Mapping[str, str], expiry: float
    ) -> None:
        self._transport = transport
        self.api = DatasetsApi(transport, endpoint)
        self._expiry = expiry
        self._registry = DatasetRegistry(self.api, named, expiry)
        self._indexes: dict[str, DatasetIndex] = {}
        self._reading: limits.Locks[str] = limits.Locks()
        self._writing: limits.Locks[str] = limits.Locks()

    # --- looking ---------------------------------------------------------------------------

    async def entry(self, location: Location, *, refresh: bool = False) -> Entry:
        """Find a dataset, directory or file."""
        if not location.container:
            return directory(ROOT)
        dataset = await self._registry.find(location, refresh=refresh)
        if not location.inner:
            return dataset.entry()
        place = dataset.location.child(*location.inner)
        index = await self._index(dataset, refresh=refresh)
        found = await self._at(index, place)
        if found is None and not refresh:
            index = await self._index(dataset, refresh=True)
            found = await self._at(index, place)
        if found is None:
            raise NotFoundError("no such file or directory", location.path)
        return found

    async def _at(self, index: DatasetIndex, place: Location) -> Entry | None:
        found = index.at(place.inner)
        if isinstance(found, EntryRecord):
            return _entry(place, await self._decided(index, found, place.path))
        if found is None:
            return None
        return _entry(place, found.record) if found.record else directory(place)

    async def _decided(self, index: DatasetIndex, record: EntryRecord, about: str) -> EntryRecord:
        """Look closer at an entry of which the listing does not say what it is."""
        return record if record.kind else await self._look(index, record, about)

    async def _look(self, index: DatasetIndex, record: EntryRecord, about: str) -> EntryRecord:
        fresh = looked_at(await self.api.entry(record.identifier, about))
        index.put(fresh)
        return fresh

    async def children(self, location: Location, *, refresh: bool = False) -> list[Entry]:
        """List the root, a dataset, or a directory in it."""
        if not location.container:
            return [record.entry() for record in await self._registry.all(refresh=refresh)]
        found = await self.entry(location, refresh=refresh)
        if found.kind == "file":
            return [found]
        folder = await self._folder(location, refresh=refresh and not location.inner)
        return [
            _entry(found.location.child(name), record)
            for name, record in (
                *((name, below.record) for name, below in folder.folders.items()),
                *folder.files.items(),
            )
        ]

    async def descendants(self, location: Location, *, refresh: bool = False) -> list[Entry]:
        """List all that a dataset or directory holds; below the root, all datasets."""
        if not location.container:
            found: list[Entry] = []
            for record in await self._registry.all(refresh=refresh):
                found += [record.entry(), *await self.descendants(record.location)]
            return found
        above = await self.entry(location, refresh=refresh)
        if above.kind == "file":
            return []
        folder = await self._folder(location, refresh=refresh and not location.inner)
        return [
            _entry(above.location.child(*segments), record if below is None else below.record)
            for segments, below, record in folder.walk()
        ]

    async def _folder(self, location: Location, *, refresh: bool) -> Folder[EntryRecord]:
        """Give the tree below a directory that is known to exist, every kind decided."""
        dataset = await self._registry.find(location)
        index = await self._index(dataset, refresh=refresh)
        unsure = [record for record in index.records.values() if record.kind is None]
        work = (self._look(index, record, location.path) for record in unsure)
        await limits.gather(work, self._transport.options.max_concurrency)
        found = index.at(location.inner)
        return found if isinstance(found, Folder) else Folder()

    async def measured(self, entries: Sequence[Entry]) -> list[Entry]:
        """Fill in sizes, one look per entry where the dataset's list has none."""
        unknown = [e for e in entries if e.kind == "file" and e.size is None]
        work = (self._measure(entry) for entry in unknown)
        sizes = await limits.gather(work, self._transport.options.max_concurrency)
        known = dict(zip((entry.location for entry in unknown), sizes, strict=True))
        return [measured_as(e, known.get(e.location, e.size)) for e in entries]

    async def _measure(self, entry: Entry) -> int | None:
        record: EntryRecord = entry.record
        if record.size is None:
            record = await self._look(self._held(record), record, entry.location.path)
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
            record = await self._look(self._held(record), record, about)
        if record.text is None and not record.url:
            raise _unreadable(record, about)
        return _content(entry, record, self)

    # --- writing ---------------------------------------------------------------------------

    async def validate(self, locations: Sequence[Location], *, complete: bool) -> None:  # noqa: ARG002
        """Check the paths and that their datasets are there."""
        for location in locations:
            _check_place(location)
        for container in {location.segments[:2] for location in locations}:
            await self._registry.find(Location(container))

    async def upload(
        self, location: Location, *, size: int | None, exclusive: bool  # noqa: ARG002
    ) -> DatasetUpload:
        """Begin to write a file."""
        _check_place(location)
        dataset = await self._registry.find(location)
        if exclusive:
            await self._refuse_existing(location)

        async def pending(metadata: dict[str, Any]) -> wire.EntryResponse:
            return await self._pending(dataset, location, metadata)

        return DatasetUpload(
            self.api,
            self._transport,
            location,
            part_size=self._transport.options.block_size,
            exclusive=exclusive,
            pending=pending,
        )

    async def _refuse_existing(self, location: Location) -> None:
        try:
            await self.entry(location, refresh=True)
        except NotFoundError:
            return
        raise AlreadyExistsError("there is a file already", location.path)

    async def _pending(
        self, dataset: DatasetRecord, location: Location, metadata: dict[str, Any]
    ) -> wire.EntryResponse:
        """Create the entry that parts go to: the new file, or the source of a revision."""
        index = await self._index(dataset)
        name = unescape(location.name)
        replaced = isinstance(index.at(location.inner), EntryRecord)
        tags: list[str] | None = None
        if replaced:
            metadata = {**metadata, "revision": str(uuid.uuid4())}
            tags = [HIDDEN_TAG]
        entry = wire.EntryCreate(
            name=name,
            file_path=name,
            dataset_id=dataset.identifier,
            parent_id=await self._parent(dataset, location),
            metadata=metadata,
            tags=tags,
        )
        return await self.api.create_entry(entry, location.path, replay=True)

    async def _parent(self, dataset: DatasetRecord, location: Location) -> str | None:
        """Give the id of a file's directory, creating what is missing of it."""
        return await self._ensure_folder(dataset, location.inner[:-1], location.path)

    async def _ensure_folder(
        self, dataset: DatasetRecord, segments: tuple[str, ...], about: str
    ) -> str | None:
        if not segments:
            return None
        async with self._writing.get(dataset.identifier):
            index = await self._index(dataset)
            parent: str | None = None
            for depth in range(1, len(segments) + 1):
                found = index.at(segments[:depth])
                if isinstance(found, EntryRecord):
                    found = await self._decided(index, found, about)
                    if found.kind != "directory":
                        raise NotAFolderError("a file is in the way of a directory", about)
                    parent = found.identifier
                elif found is not None and found.record is not None:
                    parent = found.record.identifier
                else:
                    parent = await self._create_folder(
                        dataset, index, segments[depth - 1], parent, about
                    )
            return parent

    async def _create_folder(
        self,
        dataset: DatasetRecord,
        index: DatasetIndex,
        segment: str,
        parent: str | None,
        about: str,
    ) -> str:
        entry = wire.EntryCreate(
            name=unescape(segment), dataset_id=dataset.identifier, parent_id=parent
        )
        made = looked_at(await self.api.create_entry(entry, about, replay=False))
        made.kind = "directory"
        index.put(made)
        return made.identifier

    async def publish(self, staged: Sequence[Staged]) -> None:
        """Make files visible, each new or as the next revision of what is there."""
        work = (self._publish(item) for item in staged)
        await limits.gather(work, self._transport.options.max_concurrency)

    async def _publish(self, staged: Staged) -> None:
        location = staged.location
        dataset = await self._registry.find(location)
        if staged.exclusive:
            await self._refuse_existing(location)
        parent = await self._parent(dataset, location)
        index = await self._index(dataset)
        found = index.at(location.inner)
        if isinstance(found, EntryRecord):
            made = await self._replace(index, found, staged)
        else:
            made = await self._appear(dataset, index, staged, parent)
        made.size, made.size_certain = staged.size, True
        if isinstance(staged.handle, StagedObject):
            made.md5 = staged.handle.md5
        index.put(made)

    async def _appear(
        self, dataset: DatasetRecord, index: DatasetIndex, staged: Staged, parent: str | None
    ) -> EntryRecord:
        about = staged.location.path
        handle = staged.handle
        if isinstance(handle, StagedObject):
            changes: dict[str, Any] = {"status": wire.Status.ACTIVE.value}
            response = handle.response.data_storage
            if HIDDEN_TAG in (response.tags or ()):
                await self.api.patch_entry(response.id, {"tags": []}, about)
            return looked_at(await self.api.patch_entry(response.id, changes, about))
        name = unescape(staged.location.name)
        entry = wire.EntryCreate(
            name=name,
            content=handle.text,
            file_path=name,
            dataset_id=dataset.identifier,
            parent_id=parent,
        )
        try:
            return looked_at(await self.api.create_entry(entry, about, replay=False))
        except SynapseError as error:
            if not outcome_unknown(error):
                raise
            found = await self._appeared_after_all(dataset, index, staged, handle.text)
        if found is not None:
            return found
        return looked_at(await self.api.create_entry(entry, about, replay=False))

    async def _appeared_after_all(
        self, dataset: DatasetRecord, index: DatasetIndex, staged: Staged, text: str
    ) -> EntryRecord | None:
        """Look whether an entry exists although the answer to its creation was lost."""
        known = set(index.records)
        found = (await self._index(dataset, refresh=True)).at(staged.location.inner)
        if not isinstance(found, EntryRecord) or found.identifier in known:
            return None
        fresh = await self._look(index, found, staged.location.path)
        return fresh if fresh.text == text else None

    async def _replace(
        self, index: DatasetIndex, record: EntryRecord, staged: Staged
    ) -> EntryRecord:
        """Publish a revision. Somebody else's in between becomes the base: the last writer wins."""
        about = staged.location.path
        record = await self._decided(index, record, about)
        if record.kind == "directory":
            raise FolderError("there is a directory already", about)
        changes = await self._revision(staged)
        base = record.revision
        for attempt in range(REVISION_ATTEMPTS):
            if base is None or attempt:
                base = (await self._look(index, record, about)).revision
            try:
                response = await self.api.patch_entry(
                    record.identifier, {**changes, "base_revision_id": base}, about
                )
                break
            except ConflictError:
                if attempt == REVISION_ATTEMPTS - 1:
                    raise
        await self._retire_source(staged)
        return looked_at(response)

    async def _revision(self, staged: Staged) -> dict[str, Any]:
        handle = staged.handle
        if isinstance(handle, StagedText):
            return {"revision_id": str(uuid.uuid4()), "content": handle.text, "publish": True}
        source = handle.response.data_storage
        active = {"status": wire.Status.ACTIVE.value}
        await self.api.patch_entry(source.id, active, staged.location.path)
        noted = (source.metadata or {}).get("revision") or str(uuid.uuid4())
        return {"revision_id": noted, "source_entry_id": source.id, "publish": True}

    async def _retire_source(self, staged: Staged) -> None:
        """Take the source of a published revision out of service; it stays hidden either way."""
        if isinstance(staged.handle, StagedObject):
            source = staged.handle.response.data_storage.id
            try:
                await self.api.patch_entry(
                    source, {"status": wire.Status.DISABLED.value}, staged.location.path
                )
            except SynapseError as error:
                logger.info("%s: source %s stays: %s", staged.location.path, source, error)

    async def copy(self, pairs: Sequence[tuple[Entry, Location]]) -> list[tuple[Entry, Location]]:
        """Leave every copy to bytes: the service cannot bind content a second time."""
        return [(source, target) for source, target in pairs if source.location != target]

    async def make_directory(
        self, location: Location, *, exist_ok: bool, parents: bool, options: Mapping[str, Any]
    ) -> None:
        """Create a dataset or a directory entry."""
        if not location.container:
            raise AlreadyExistsError("the root is always there", location.path)
        try:
            dataset = await self._registry.find(location, patient=bool(location.inner))
        except NotFoundError:
            if location.inner and not parents:
                raise
            dataset = await self._registry.create(Location(location.segments[:2]), options)
            if not location.inner:
                return
        if not location.inner:
            if not exist_ok:
                raise AlreadyExistsError("the dataset is there already", location.path)
            return
        _check_place(location)
        await self._make_folder(dataset, location, exist_ok=exist_ok, parents=parents)

    async def _make_folder(
        self, dataset: DatasetRecord, location: Location, *, exist_ok: bool, parents: bool
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
        await self._ensure_folder(dataset, location.inner, location.path)

    async def remove(self, entries: Sequence[Entry]) -> None:
        """Delete entries, deepest first: what a directory holds goes before the directory."""
        for entry in entries:
            if not entry.location.container:
                raise UnsupportedError("a service's root cannot be removed", entry.location.path)
        datasets = [entry for entry in entries if not entry.location.inner]
        for entry in datasets:
            record: DatasetRecord = entry.record
            await self._registry.delete(record)
            self._indexes.pop(record.identifier, None)
        gone = {entry.location.container for entry in datasets}
        left = [entry for entry in entries if entry.location.container not in gone]
        by_depth: dict[int, list[Entry]] = {}
        for entry in left:
            by_depth.setdefault(len(entry.location.segments), []).append(entry)
        for depth in sorted(by_depth, reverse=True):
            work = (self._delete(entry) for entry in by_depth[depth])
            await limits.gather(work, self._transport.options.max_concurrency)
        self._forget_removed(left)

    async def _delete(self, entry: Entry) -> None:
        try:
            await self.api.delete_entry(entry.record.identifier, entry.location.path)
        except NotFoundError:
            logger.info("%s: gone already", entry.location.path)

    def _forget_removed(self, entries: Iterable[Entry]) -> None:
        by_dataset: dict[str, list[str]] = {}
        for entry in entries:
            record: EntryRecord = entry.record
            by_dataset.setdefault(record.dataset, []).append(record.identifier)
        for identifier, removed in by_dataset.items():
            if identifier in self._indexes:
                self._indexes[identifier].remove(removed)

    async def aclose(self) -> None:
        """Do nothing: no work is deferred."""

    def invalidate(self, location: Location | None) -> None:  # noqa: ARG002 - listings are whole
        """Forget listings."""
        self._registry.forget()
        for index in self._indexes.values():
            index.loaded_at = None

    def _held(self, record: EntryRecord) -> DatasetIndex:
        return self._indexes.setdefault(record.dataset, DatasetIndex(record.dataset))

    async def _index(self, dataset: DatasetRecord, *, refresh: bool = False) -> DatasetIndex:
        """Give the dataset's index, read again when it is too old or not believed."""
        began = time.monotonic()
        async with self._reading.get(dataset.identifier):
            index = self._indexes.setdefault(
                dataset.identifier, DatasetIndex(dataset.identifier)
            )
            if index.loaded_at is not None and index.loaded_at > began:
                return index
            if refresh or index.age() > self._expiry:
                reading = time.monotonic()
                about = dataset.location.path
                answer = await self.api.dataset(dataset.identifier, about)
                index.fill(answer.data_storage_entries, reading)
        return index


def _check_place(location: Location) -> None:
    """Refuse a path where no file can be.

    Raises
    ------
    InvalidPathError
        Naming the path and every rule that it breaks.
    """
    if not location.inner:
        raise InvalidPathError("a file needs a name below its dataset", location.path, 21)
    broken = []
    if any(len(unescape(segment)) > NAME_MAX for segment in location.inner):
        broken.append(f"each name has at most {NAME_MAX} characters")
    if any(segment.startswith("@") for segment in location.inner):
        broken.append("'@' in front of a name addresses by id; write it %40")
    if broken:
        raise InvalidPathError("; ".join(broken), location.path)


def _entry(place: Location, record: EntryRecord | None) -> Entry:
    if record is None:
        return directory(place)
    is_file = record.kind != "directory"
    return Entry(
        location=place,
        kind="file" if is_file else "directory",
        size=record.size if is_file else 0,
        checksum=record.md5 if is_file else None,
        version=record.version if is_file else None,
        created=aware(record.entry.created_at),
        modified=aware(record.entry.modified_at),
        record=record,
        details=record.details(),
    )


def _content(entry: Entry, record: EntryRecord, service: DatasetsService) -> Content:
    about = entry.location.path

    async def locate(renew: bool) -> str:  # noqa: FBT001
        if renew or not record.url:
            fresh = looked_at(await service.api.entry(record.identifier, about))
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
    if record.storage_type in EXTERNAL:
        return UnsupportedError(
            f"this entry points to {record.storage_type}; its details are in info()", about
        )
    return InvalidRequestError("the service gives neither content nor a URL", about)
