"""Where a file goes: its dataset as it is now, and the directories above it."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
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
from synapsefs.services.tree import DirectoryNode
from synapsefs.wire.datasets import requests

T = TypeVar("T")


class Folders:
    """Datasets and directories that files are written into.

    Parameters
    ----------
    api
        The service.
    registry, indexes
        What is there.
    """

    def __init__(self, api: DatasetsClient, registry: DatasetCatalog, indexes: Indexes) -> None:
        self._api = api
        self._registry = registry
        self._indexes = indexes
        self._making: Locks[str] = Locks()

    async def index(
        self, location: Location, since: float | None = None
    ) -> tuple[Dataset, DatasetIndex]:
        """Give the dataset that a path lies in, and what it holds.

        Parameters
        ----------
        location
            The path.
        since
            As :meth:`Indexes.get` takes it.
        """

        async def read(dataset: Dataset) -> tuple[Dataset, DatasetIndex]:
            return dataset, await self._indexes.get(dataset, newer_than=since)

        return await self.in_dataset(location, read)

    async def in_dataset(self, location: Location, work: Callable[[Dataset], Awaitable[T]]) -> T:
        """Do something in a dataset; once more when another one has its name by now.

        Another process may have deleted the dataset, and made another of its name.
        """
        dataset = await self._registry.find(location)
        try:
            return await work(dataset)
        except NotFoundError as error:
            if error.status != 404 or not await self._registry.is_replaced(dataset, location):
                raise
        return await work(await self._registry.find(location))

    async def require_free(self, index: DatasetIndex, location: Location) -> None:
        """Refuse a place where no file can be written.

        Raises
        ------
        FolderError
            When a directory is there: a file would take its name from it.
        NotAFolderError
            When a file is in the way.
        """
        if isinstance(index.at(location.inner), DirectoryNode):
            raise FolderError("there is a directory already", location.path)
        for depth in range(1, len(location.inner)):
            found = index.at(location.inner[:depth])
            if isinstance(found, StoredEntry):
                found = await self._indexes.decided(found, location.path)
                if found.kind == "file":
                    raise NotAFolderError("a file is in the way of a directory", location.path)

    async def ensure(
        self,
        dataset: Dataset,
        segments: tuple[str, ...],
        about: str,
        *,
        notes: EntryAttributes | None = None,
        since: float | None = None,
    ) -> str | None:
        """Give the id of a directory, creating what is missing of it; None for the dataset.

        Parameters
        ----------
        dataset, segments
            Which directory.
        about
            The path that errors name.
        notes
            What the directory shall say, if it is created.
        since
            As :meth:`Indexes.get` takes it.

        Raises
        ------
        NotAFolderError
            When a file is in the way.
        """
        if not segments:
            return None
        try:
            return await self._ensure(dataset, segments, about, notes, since)
        except (NotFoundError, InvalidRequestError, ConflictError) as error:
            if not is_outdated(error):
                raise
        except NotAFolderError:
            if since is not None:
                raise
        return await self._ensure(dataset, segments, about, notes, time.monotonic())

    async def _ensure(
        self,
        dataset: Dataset,
        segments: tuple[str, ...],
        about: str,
        notes: EntryAttributes | None,
        since: float | None,
    ) -> str | None:
        began = time.monotonic()
        async with self._making.get(dataset.identifier):
            index = await self._indexes.get(dataset, newer_than=since)
            if since is None and index.at(segments) is None and index.read_at < began:
                index = await self._indexes.get(dataset, newer_than=began)
            parent: str | None = None
            for depth in range(1, len(segments) + 1):
                place = segments[:depth]
                found = await self._at(index, place, about)
                said = notes if notes and place == segments else EntryAttributes()
                parent = found or await self._create(dataset, place, parent, about, said)
            return parent

    async def _at(self, index: DatasetIndex, segments: tuple[str, ...], about: str) -> str | None:
        """Give the id of a directory that is there."""
        found = index.at(segments)
        if isinstance(found, StoredEntry):
            found = await self._indexes.decided(found, about)
            if found.kind != "directory":
                raise NotAFolderError("a file is in the way of a directory", about)
            return found.identifier
        if found is None or found.record is None:
            return None
        if found.record.pieces is not None:
            raise NotAFolderError("a registered source holds no other files", about)
        return found.record.identifier

    async def _create(
        self,
        dataset: Dataset,
        segments: tuple[str, ...],
        parent: str | None,
        about: str,
        notes: EntryAttributes,
    ) -> str:
        entry = requests.EntryCreate(
            name=unescape(segments[-1]),
            dataset_id=dataset.identifier,
            parent_id=parent,
            **notes.sent(),
        )

        async def create() -> str:
            made = from_response(await self._api.create_entry(entry, about, replay=False))
            made.kind, made.dataset = "directory", dataset.identifier
            self._indexes.holding(made).put(made)
            return made.identifier

        async def look() -> str | None:
            index = await self._indexes.latest(dataset)
            return await self._at(index, segments, about)

        return await self._api.once(create, look)


def is_outdated(error: SynapseError) -> bool:
    """Say whether the service may refuse an id that another process has made invalid."""
    return error.status in {400, 404, 409, 422}
