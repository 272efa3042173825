"""The entries that wait for the bytes of one file, and that nobody sees until they are active."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any

from synapsefs.errors import ConflictError, InvalidRequestError, NotFoundError, SynapseError
from synapsefs.local.zip import SUFFIX
from synapsefs.location import Location, unescape
from synapsefs.services.datasets.catalog import Dataset, DatasetCatalog
from synapsefs.services.datasets.cleanup import SECONDS, delete_quietly, finished, remove_source
from synapsefs.services.datasets.client import DatasetsClient
from synapsefs.services.datasets.entry import StoredEntry
from synapsefs.services.datasets.folders import Folders, is_outdated
from synapsefs.services.datasets.index_cache import Indexes
from synapsefs.services.datasets.metadata import (
    HELPER_NAME,
    HIDDEN_TAG,
    TARGET,
    EntryAttributes,
    marked,
    marks_in,
    unmarked,
)
from synapsefs.services.datasets.sources import told_by
from synapsefs.services.datasets.upload import Purpose
from synapsefs.wire.datasets import answers, constants, requests


class PendingEntries:
    """The pending entries for one place: each a new file, or the source of a revision.

    Parameters
    ----------
    api
        The service.
    folders
        Makes the directories above.
    registry, indexes
        What is there.
    location
        Where the file will appear.
    notes
        What it shall say besides its content.
    new
        Whether it becomes a file of its own whatever is there.
    """

    def __init__(
        self,
        api: DatasetsClient,
        folders: Folders,
        registry: DatasetCatalog,
        indexes: Indexes,
        location: Location,
        notes: EntryAttributes,
        *,
        new: bool = False,
    ) -> None:
        self._api = api
        self._folders = folders
        self._registry = registry
        self._indexes = indexes
        self._location = location
        self._notes = notes
        self._new = new
        self._since: float | None = None
        self.purpose = Purpose()

    async def create(self, marks: dict[str, Any]) -> answers.EntryResponse:
        """Create one, given what this package notes of its content."""

        async def make(dataset: Dataset) -> answers.EntryResponse:
            try:
                return await self._create(dataset, marks)
            except (NotFoundError, InvalidRequestError, ConflictError) as error:
                if self.purpose.parent is None or not is_outdated(error):
                    raise
            self._since = time.monotonic()
            return await self._create(dataset, marks)

        return await self._folders.in_dataset(self._location, make)

    async def _create(self, dataset: Dataset, marks: dict[str, Any]) -> answers.EntryResponse:
        about = self._location.path
        wanted = await self._wanted(dataset, marks)

        async def undo(made: answers.EntryResponse) -> None:
            await delete_quietly(self._api, made.data_storage.id, about)

        return await finished(self._api.create_entry(wanted, about, replay=True), undo)

    async def again(self, identifier: str, marks: dict[str, Any]) -> answers.EntryResponse | None:
        """Find one of an earlier process again; None where it is not what would be made now."""
        try:
            found = await self._api.entry(identifier, self._location.path)
        except (NotFoundError, InvalidRequestError):
            return None
        dataset = await self._registry.find(self._location)
        entry, wanted = found.data_storage, await self._wanted(dataset, marks)
        told = _told_metadata(found)
        same = (
            entry.status == constants.Status.PENDING
            and (entry.name, entry.dataset_id, entry.parent_id, bool(entry.is_collection))
            == (wanted.name, wanted.dataset_id, wanted.parent_id, bool(wanted.is_collection))
            and (entry.description or "", sorted(entry.tags or ()))
            == (wanted.description or "", sorted(wanted.tags or ()))
            and (told is None or _alike(told, wanted.metadata))
        )
        return found if same else None

    async def abandon(self, identifier: str) -> None:
        """Delete one, if that can be; what has become visible stays."""
        about = self._location.path
        with contextlib.suppress(SynapseError, TimeoutError):
            async with asyncio.timeout(SECONDS):
                found = await self._api.entry(identifier, about)
                entry = found.data_storage
                hidden = HIDDEN_TAG in (entry.tags or ())
                if entry.status == constants.Status.PENDING or (
                    entry.status == constants.Status.ACTIVE and hidden
                ):
                    await remove_source(self._api, found, about)

    async def _wanted(self, dataset: Dataset, marks: dict[str, Any]) -> requests.EntryCreate:
        location, notes = self._location, self._notes
        replaced = None if self._new else await self._replaced(dataset)
        own_name = unescape(location.name)
        tags = notes.tag_list()
        if replaced is not None:
            tags = [HIDDEN_TAG]
            marks = {**marks, TARGET: replaced.identifier}
            notes = notes.over(replaced.said())
        self.purpose = await self._decided(dataset, replaced)
        archive = notes.archive and not own_name.endswith(SUFFIX)
        return requests.EntryCreate(
            name=HELPER_NAME if self.purpose.source else own_name,
            file_path=f"{own_name}{SUFFIX}" if archive else own_name,
            is_collection=notes.archive,
            description=notes.description,
            embedding=None if notes.embedding is None else list(notes.embedding),
            dataset_id=dataset.identifier,
            parent_id=self.purpose.parent,
            metadata=marked(notes.metadata, marks),
            tags=tags,
        )

    async def _replaced(self, dataset: Dataset) -> StoredEntry | None:
        """Give the file that is there, with all that it says."""
        index = await self._indexes.get(dataset, newer_than=self._since)
        found = index.at(self._location.inner)
        if not isinstance(found, StoredEntry):
            return None
        try:
            return await self._indexes.told(found, self._location.path)
        except NotFoundError:
            self._indexes.removed([found])
            return await self._replaced(dataset)

    async def _decided(self, dataset: Dataset, replaced: StoredEntry | None) -> Purpose:
        """Decide between a file of its own and the source of a revision, which lies at the top.

        Only a service that has revisions can give a source's content another name.
        """
        metadata: dict[str, Any] | None = None
        if self._notes.metadata is None:
            metadata = {} if replaced is None else dict(replaced.metadata or {})
        if replaced is not None and replaced.revision is not None:
            becomes_archive = self._notes.archive and not replaced.entry.is_collection
            if not becomes_archive:
                return Purpose(source=True, metadata=metadata)
        segments, about = self._location.inner[:-1], self._location.path
        parent = await self._folders.ensure(dataset, segments, about, since=self._since)
        return Purpose(parent=parent, metadata=metadata)


def _told_metadata(found: answers.EntryResponse) -> Any:
    """Give an entry's metadata, where the answer tells it; the location may tell its size alone."""
    if found.data_storage.metadata is not None:
        return found.data_storage.metadata
    configs = [location.storage_config for location in found.storage_locations]
    told = told_by(configs[0]) if configs else {}
    return told if marks_in(told) else None


def _alike(told: Any, wanted: Any) -> bool:
    return (marks_in(told), unmarked(told, stored=True)) == (
        marks_in(wanted),
        unmarked(wanted, stored=True),
    )
