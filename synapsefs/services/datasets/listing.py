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


class EntryResolver(PathResolver[Dataset, DatasetIndex]):
    """Looks up paths of datasets."""

    _indexes: Indexes

    def __init__(
        self, api: DatasetsClient, registry: DatasetCatalog, indexes: Indexes, at_a_time: int
    ) -> None:
        super().__init__(registry, indexes)
        self._api = api
        self._at_a_time = at_a_time

    def _is_implied(self, container: Dataset, location: Location) -> bool:  # noqa: ARG002
        return not location.inner

    def _name(self, container: Dataset, index: DatasetIndex, location: Location) -> Location:
        inner = index.canonical(location.inner)
        return location if inner == location.inner else container.location.child(*inner)

    async def _item(
        self, index: DatasetIndex, location: Location, *, below: bool
    ) -> StoredEntry | DirectoryNode[StoredEntry] | None:
        if index.undecided:
            await self._decide(index, location, below=below)
        return index.at(location.inner)

    async def _decide(self, index: DatasetIndex, location: Location, *, below: bool) -> None:
        """Ask whether entries are files or directories where the listing does not tell."""
        if below:
            work = (self._indexes.look(one, location.path) for one in index.undecided.values())
            await concurrency.gather(work, self._at_a_time)
            return
        inner = index.canonical(location.inner)
        for depth in range(1, len(inner) + 1):
            above = index.at(inner[:depth])
            if isinstance(above, StoredEntry):
                await self._indexes.decided(above, location.path)

    def _entry(
        self, item: StoredEntry | DirectoryNode[StoredEntry], name: Location, asked: Location
    ) -> Entry:
        if isinstance(item, DirectoryNode):
            return item.record.entry_at(name) if item.record else directory(name)
        return (replace(item, by_id=True) if asked.name.startswith("@") else item).entry_at(name)

    def _below(
        self,
        node: DirectoryNode[StoredEntry],
        container: Dataset | None,  # noqa: ARG002
        location: Location,
        *,
        recursive: bool,
    ) -> Sequence[Entry]:
        entries = []
        for segments, below, file in node.walk() if recursive else node.children():
            record, place = (file if below is None else below.record), location.child(*segments)
            entries.append(directory(place) if record is None else record.entry_at(place))
        return entries

    async def _resolve_elsewhere(self, location: Location, error: NotFoundError) -> Entry:
        """Find an entry, or what is below it, by its id or short alias alone."""
        if id_of(location.container, Root.DATASETS) is None:
            raise error
        record = await self._identified(location)
        if record.entry.dataset_id is None:
            part, node = record.tree().at(location.inner)
            item = record if not location.inner else part or node
            if item is None:
                raise NotFoundError("no such file or directory", location.path)
            return self._entry(item, location, location)
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

    async def _list_elsewhere(
        self, location: Location, error: NotFoundError, *, recursive: bool
    ) -> Sequence[Entry]:
        above = await self._resolve_elsewhere(location, error)
        if above.kind == "file":
            return [replace(above, location=location)]
        if above.location != location:
            below = await self.list(above.location, recursive=recursive)
            return rebase(location, above.location, below)
        node = (await self._identified(location)).tree().folder(location.inner)
        return self._below(node or DirectoryNode(), None, location, recursive=recursive)
