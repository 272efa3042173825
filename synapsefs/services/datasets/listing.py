"""What is where in datasets: directories and entries, by path or by id."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from synapsefs import concurrency
from synapsefs.errors import NotFoundError
from synapsefs.location import Location, Root, id_of
from synapsefs.services.base import Entry, directory, rebase
from synapsefs.services.datasets.catalog import ROOT, Dataset, DatasetCatalog
from synapsefs.services.datasets.client import DatasetsClient
from synapsefs.services.datasets.entry import StoredEntry, from_response
from synapsefs.services.datasets.index import DatasetIndex
from synapsefs.services.datasets.index_cache import Indexes
from synapsefs.services.resolver import PathResolver
from synapsefs.services.tree import DirectoryNode

_Item = DirectoryNode[StoredEntry] | StoredEntry


class EntryResolver(PathResolver[Dataset, DatasetIndex]):
    """Looks up paths of datasets."""

    _indexes: Indexes

    def __init__(
        self, api: DatasetsClient, catalog: DatasetCatalog, indexes: Indexes, at_a_time: int
    ) -> None:
        super().__init__(catalog, indexes)
        self._api = api
        self._at_a_time = at_a_time

    async def _decide(self, index: DatasetIndex, location: Location, *, below: bool) -> None:
        """Ask whether entries are files or directories where the listing does not tell."""
        if below:
            work = (self._indexes.fetch(one, location.path) for one in [*index.undecided.values()])
            await concurrency.gather(work, self._at_a_time)
            return
        inner = index.canonical(location.inner)
        for depth in range(1, len(inner) + 1):
            above = index.at(inner[:depth])
            if isinstance(above, StoredEntry):
                await self._indexes.resolve_kind(above, location.path)

    def _entry(
        self, container: Dataset, index: DatasetIndex, item: _Item, location: Location
    ) -> Entry:
        inner = index.canonical(location.inner)
        place = location if inner == location.inner else container.location.child(*inner)
        if isinstance(item, StoredEntry) and location.name.startswith("@"):
            item = replace(item, by_id=True)
        return self._described(item, place)

    def _described(self, item: _Item, place: Location) -> Entry:
        record = item.record if isinstance(item, DirectoryNode) else item
        return directory(place) if record is None else record.entry_at(place)

    async def _resolve_by_id(self, location: Location, error: NotFoundError) -> Entry:
        """Find an entry, or what is below it, by its id or short alias alone."""
        if id_of(location.container, Root.DATASETS) is None:
            raise error
        record = await self._identified(location)
        if record.entry.dataset_id is None:
            part, node = record.tree().at(location.inner)
            item = record if not location.inner else part or node
            if item is None:
                raise NotFoundError("no such file or directory", location.path)
            return self._described(item, location)
        place = ROOT.child(f"@{record.entry.dataset_id}", f"@{record.identifier}")
        dataset = await self._catalog.find(place)
        index = await self._indexes.get(dataset)
        if record.identifier not in index.paths:
            index = await self._indexes.latest(dataset)
        segments = index.paths.get(record.identifier, place.inner)
        place = dataset.location.child(*segments, *location.inner)
        return await self.resolve(place) if location.inner else record.entry_at(place)

    async def _identified(self, location: Location) -> StoredEntry:
        identifier = id_of(location.container, Root.DATASETS) or ""
        return from_response(await self._api.entry(identifier, location.path))

    async def _list_by_id(
        self, location: Location, error: NotFoundError, *, recursive: bool
    ) -> Sequence[Entry]:
        above = await self._resolve_by_id(location, error)
        if above.kind == "file":
            return [replace(above, location=location)]
        if above.location != location:
            below = await self.list(above.location, recursive=recursive)
            return rebase(location, above.location, below)
        node = (await self._identified(location)).tree().folder(location.inner)
        return self._below(node or DirectoryNode(), location, recursive=recursive)
