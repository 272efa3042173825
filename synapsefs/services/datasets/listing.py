"""What is where: datasets, directories and entries, by path or by id."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from synapsefs import concurrency
from synapsefs.errors import NotFoundError
from synapsefs.location import Location, Root, id_of
from synapsefs.services.base import Entry, directory
from synapsefs.services.datasets.catalog import ROOT, Dataset, DatasetCatalog
from synapsefs.services.datasets.client import DatasetsClient
from synapsefs.services.datasets.entry import StoredEntry, from_response
from synapsefs.services.datasets.index import DatasetIndex
from synapsefs.services.datasets.index_cache import Indexes
from synapsefs.services.resolver import PathResolver
from synapsefs.services.tree import DirectoryNode, is_empty


class EntryResolver(PathResolver):
    """Looks up paths.

    Parameters
    ----------
    api
        The service.
    registry
        Which datasets there are.
    indexes
        What is in them.
    at_a_time
        How many entries are looked at at once.
    """

    def __init__(
        self, api: DatasetsClient, registry: DatasetCatalog, indexes: Indexes, at_a_time: int
    ) -> None:
        self._api = api
        self._registry = registry
        self._indexes = indexes
        self._at_a_time = at_a_time

    async def _find(self, location: Location, *, refresh: bool = False) -> Entry:
        """Find a dataset, directory or file."""
        if not location.container:
            return directory(ROOT)
        try:
            dataset = await self._registry.find(location, refresh=refresh)
        except NotFoundError:
            if not id_of(location.container, Root.DATASETS):
                raise
            return await self._by_id(location)
        if not location.inner:
            return dataset.entry()
        try:
            return await self._within(dataset, location, refresh=refresh)
        except NotFoundError as error:
            gone = error.status == 404 and not refresh
            if not gone or not await self._registry.replaced(dataset, location):
                raise
        return await self._find(location)

    async def resolve_many(
        self, locations: Sequence[Location], *, refresh: bool = False
    ) -> Sequence[Entry | None]:
        """Resolve many paths from one listing of each dataset; None for what is not there."""
        found: dict[Location, Entry | None] = dict.fromkeys(locations)
        for container in {Location(location.segments[:2]) for location in found}:
            inside = [place for place in found if place.segments[:2] == container.segments]
            found |= await self._entries_in(container, inside, refresh=refresh)
        return [found[location] for location in locations]

    async def _entries_in(
        self, container: Location, inside: Sequence[Location], *, refresh: bool
    ) -> dict[Location, Entry | None]:
        if not container.container:
            return {container: directory(ROOT)}
        try:
            dataset = await self._registry.find(container, refresh=refresh, patient=False)
        except NotFoundError:
            by_id = inside if id_of(container.container) else ()
            return {place: await self._one(place, refresh=refresh) for place in by_id}
        found: dict[Location, Entry | None] = {}
        index = None
        for location in inside:
            if not location.inner:
                found[location] = dataset.entry()
                continue
            try:
                index = index or await self._indexes.get(dataset, refresh=refresh)
            except NotFoundError:  # another dataset may have the name by now
                return {place: await self._one(place, refresh=refresh) for place in inside}
            found[location] = await self.at(index, dataset.location.child(*location.inner))
        return found

    async def _one(self, location: Location, *, refresh: bool) -> Entry | None:
        try:
            return await self._find(location, refresh=refresh)
        except NotFoundError:
            return None

    async def _within(self, dataset: Dataset, location: Location, *, refresh: bool) -> Entry:
        began = time.monotonic()
        place = dataset.location.child(*location.inner)
        index = await self._indexes.get(dataset, refresh=refresh)
        found = await self.at(index, place)
        if found is None and not refresh and self._indexes.as_of(dataset.identifier) < began:
            index = await self._indexes.get(dataset, refresh=True)
            found = await self.at(index, place)
        if found is None:
            raise NotFoundError("no such file or directory", location.path)
        return found

    async def _by_id(self, location: Location) -> Entry:
        """Find an entry, or what is below it, by its id or short alias alone."""
        found = await self._identified(location)
        if found.entry.dataset_id is None:
            below = found.tree()
            part = below.file(location.inner) if location.inner else found
            if part is None and below.folder(location.inner) is None:
                raise NotFoundError("no such file or directory", location.path)
            return _entry(location, part)
        place = ROOT.child(f"@{found.entry.dataset_id}", f"@{found.identifier}")
        dataset = await self._registry.find(place)
        index = await self._indexes.get(dataset)
        if found.identifier not in index.paths:
            index = await self._indexes.get(dataset, refresh=True)
        segments = index.paths.get(found.identifier, place.inner)
        place = dataset.location.child(*segments, *location.inner)
        return await self._find(place) if location.inner else found.entry_at(place)

    async def _identified(self, location: Location) -> StoredEntry:
        identifier = id_of(location.container, Root.DATASETS) or ""
        return from_response(await self._api.entry(identifier, location.path))

    async def at(self, index: DatasetIndex, place: Location) -> Entry | None:
        """Give what an index has at a place."""
        by_id = place.name.startswith("@")
        place = Location((*place.segments[:2], *index.canonical(place.inner)))
        for depth in range(1, len(place.inner) + 1):
            above = index.at(place.inner[:depth])
            if isinstance(above, StoredEntry):
                await self._indexes.decided(above, place.path)
        found = index.at(place.inner)
        if isinstance(found, StoredEntry):
            return _entry(place, replace(found, by_id=True) if by_id else found)
        if found is None:
            return None
        return _entry(place, found.record) if found.record else directory(place)

    async def _children(self, location: Location, *, refresh: bool = False) -> Sequence[Entry]:
        """List the root, a dataset, or a directory in it."""
        if not location.container:
            return [record.entry() for record in await self._registry.all(refresh=refresh)]
        found = await self._find(location, refresh=refresh)
        if found.kind == "file":
            return [found]
        folder = await self._folder(found.location, refresh=refresh and not location.inner)
        return [
            _entry(found.location.child(name), record)
            for name, record in (
                *((name, below.record) for name, below in folder.folders.items()),
                *folder.files.items(),
            )
        ]

    async def _descendants(self, location: Location, *, refresh: bool = False) -> Sequence[Entry]:
        """List all that a dataset or directory holds; below the root, all datasets."""
        if not location.container:
            found: list[Entry] = []
            for record in await self._registry.all(refresh=refresh):
                below = await self._descendants(record.location, refresh=refresh)
                found += [record.entry(), *below]
            return found
        above = await self._find(location, refresh=refresh)
        if above.kind == "file":
            return []
        folder = await self._folder(above.location, refresh=refresh and not location.inner)
        return [
            _entry(above.location.child(*segments), record if below is None else below.record)
            for segments, below, record in folder.walk()
        ]

    async def _folder(self, location: Location, *, refresh: bool) -> DirectoryNode[StoredEntry]:
        """Give the tree below a directory that is known to exist, every kind decided.

        That it is empty is not believed from an earlier listing.
        """
        try:
            dataset = await self._registry.find(location)
        except NotFoundError:
            return (await self._identified(location)).tree().folder(
                location.inner
            ) or DirectoryNode()
        try:
            index = await self._index(dataset, location, refresh=refresh)
        except NotFoundError as error:
            if error.status != 404 or not await self._registry.replaced(dataset, location):
                raise
            return await self._folder(location, refresh=False)
        unsure = [record for record in index.records.values() if record.kind is None]
        work = (self._indexes.look(record, location.path) for record in unsure)
        await concurrency.gather(work, self._at_a_time)
        found = index.at(location.inner)
        return found if isinstance(found, DirectoryNode) else DirectoryNode()

    async def _index(self, dataset: Dataset, location: Location, *, refresh: bool) -> DatasetIndex:
        began = time.monotonic()
        index = await self._indexes.get(dataset, refresh=refresh)
        seen_before = self._indexes.as_of(dataset.identifier) < began
        if is_empty(index.at(location.inner)) and seen_before:
            index = await self._indexes.get(dataset, refresh=True)
        return index


def _entry(place: Location, record: StoredEntry | None) -> Entry:
    return directory(place) if record is None else record.entry_at(place)
