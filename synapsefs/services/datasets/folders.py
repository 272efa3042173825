"""Where a file goes: its dataset as it is now, and the directories above it."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from typing import TypeVar

from synapsefs.concurrency import Locks
from synapsefs.errors import (
    ConflictError,
    FolderError,
    InvalidRequestError,
    NotAFolderError,
    NotFoundError,
    SynapseError,
)
from synapsefs.location import Location, unescape
from synapsefs.services.datasets.catalog import Dataset, DatasetCatalog
from synapsefs.services.datasets.client import DatasetsClient
from synapsefs.services.datasets.entry import StoredEntry, from_response
from synapsefs.services.datasets.index import DatasetIndex
from synapsefs.services.datasets.index_cache import Indexes
from synapsefs.services.datasets.metadata import EntryAttributes
from synapsefs.services.datasets.paths import TOP
from synapsefs.services.paths import directories_of
from synapsefs.services.tree import DirectoryNode
from synapsefs.wire.datasets import requests

T = TypeVar("T")


class Folders:
    """Datasets and directories that files are written into."""

    def __init__(self, api: DatasetsClient, catalog: DatasetCatalog, indexes: Indexes) -> None:
        self._api = api
        self._catalog = catalog
        self._indexes = indexes
        self._making: Locks[str] = Locks()

    async def index(
        self, location: Location, since: float | None = None
    ) -> tuple[Dataset, DatasetIndex]:
        """Give the dataset that a path lies in, and what it holds as of ``since``."""

        async def read(dataset: Dataset) -> tuple[Dataset, DatasetIndex]:
            return dataset, await self._indexes.get(dataset, newer_than=since)

        return await self.in_dataset(location, read)

    async def in_dataset(self, location: Location, work: Callable[[Dataset], Awaitable[T]]) -> T:
        """Do something in a dataset; once more when another one has its name by now.

        Another process may have deleted the dataset, and made another of its name.
        """
        dataset = await self._catalog.find(location)
        try:
            return await work(dataset)
        except NotFoundError as error:
            if error.status != 404 or not await self._catalog.is_replaced(dataset, location):
                raise
        return await work(await self._catalog.find(location))

    async def check(
        self, locations: Iterable[Location], since: float
    ) -> dict[str, tuple[Dataset, DatasetIndex]]:
        """Refuse paths where no file can be written; give the datasets by their segment.

        Raises
        ------
        FolderError
            When a directory is there: a file would take its name from it.
        NotAFolderError
            When a file is in the way.
        """
        by_container: dict[str, list[Location]] = {}
        for location in locations:
            by_container.setdefault(location.container, []).append(location)
        datasets = {}
        for container, inside in by_container.items():
            _, index = datasets[container] = await self.index(inside[0], since)
            for location in inside:
                if isinstance(index.at(location.inner), DirectoryNode):
                    raise FolderError("there is a directory already", location.path)
            for above, location in directories_of(inside, TOP).items():
                entry = index.at(above[2:])
                if isinstance(entry, StoredEntry):
                    entry = await self._indexes.resolve_kind(entry, location.path)
                    if entry.kind == "file":
                        raise NotAFolderError("a file is in the way of a directory", location.path)
        return datasets

    async def ensure(
        self,
        dataset: Dataset,
        segments: tuple[str, ...],
        path: str,
        *,
        attributes: EntryAttributes | None = None,
        since: float | None = None,
    ) -> str | None:
        """Give the id of a directory, creating what is missing of it; None for the dataset.

        ``attributes`` are those of the directory, if it is created. What was read since ``since``
        (monotonic seconds) is new enough.

        Raises
        ------
        NotAFolderError
            When a file is in the way.
        """
        if not segments:
            return None
        for attempt in range(2):
            began = time.monotonic()
            try:
                async with self._making.get(dataset.identifier):
                    index = await self._indexes.get(dataset, newer_than=since)
                    of_any_age = since is None or since == float("-inf")
                    if of_any_age and index.at(segments) is None and index.read_at < began:
                        index = await self._indexes.get(dataset, newer_than=began)
                    parent: str | None = None
                    for depth in range(1, len(segments) + 1):
                        above = segments[:depth]
                        given = attributes if above == segments else None
                        parent = await self._existing(index, above, path) or await self._create(
                            dataset, above, parent, path, given or EntryAttributes()
                        )
                    return parent
            except (NotFoundError, InvalidRequestError, ConflictError, NotAFolderError) as error:
                stale = since is None if isinstance(error, NotAFolderError) else is_outdated(error)
                if attempt or not stale:
                    raise
                since = time.monotonic()
        raise ConflictError("somebody else keeps removing the directory", path)

    async def _existing(
        self, index: DatasetIndex, segments: tuple[str, ...], path: str
    ) -> str | None:
        """Give the id of a directory that is there."""
        entry = index.at(segments)
        if isinstance(entry, StoredEntry):
            entry = await self._indexes.resolve_kind(entry, path)
            if entry.kind != "directory":
                raise NotAFolderError("a file is in the way of a directory", path)
            return entry.identifier
        if entry is None or entry.record is None:
            return None
        if entry.record.pieces is not None:
            raise NotAFolderError("a registered source holds no other files", path)
        return entry.record.identifier

    async def _create(
        self,
        dataset: Dataset,
        segments: tuple[str, ...],
        parent: str | None,
        path: str,
        attributes: EntryAttributes,
    ) -> str:
        entry = requests.EntryCreate(
            name=unescape(segments[-1]),
            dataset_id=dataset.identifier,
            parent_id=parent,
            **attributes.sent(),
        )

        async def create() -> str:
            response = await self._api.create_entry(entry, path, replay=False)
            made = replace(from_response(response, dataset.identifier), kind="directory")
            self._indexes.holding(made).put(made)
            return made.identifier

        async def look() -> str | None:
            index = await self._indexes.latest(dataset)
            return await self._existing(index, segments, path)

        return await self._api.once(create, look)


def is_outdated(error: SynapseError) -> bool:
    """Say whether the service may refuse an id that another process has made invalid."""
    return error.status in {400, 404, 409, 422}
