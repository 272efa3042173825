"""The entries that wait for the bytes of files, and that nobody sees until they are active."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
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
from synapsefs.wire.datasets import answers, constants, requests


@dataclass(frozen=True, slots=True)
class Purpose:
    """What a pending entry was made for.

    Attributes
    ----------
    source
        Whether it only brings the content of a revision, under a name of its own.
    parent
        Id of the directory in which it becomes a file; None at the top.
    metadata
        The metadata of the file that it replaces, which it has, too; None where others were given.
    """

    source: bool = False
    parent: str | None = None
    metadata: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """Where a file will appear, and what it shall say besides its content.

    Attributes
    ----------
    new
        Whether it becomes a file of its own whatever is there.
    newer_than
        As :meth:`Indexes.get` takes it.
    """

    location: Location
    notes: EntryAttributes
    new: bool = False
    newer_than: float | None = None


class PendingEntries:
    """The entries that wait for the bytes of files: each a new file, or the source of a revision.

    Parameters
    ----------
    api
        The service.
    folders
        Makes the directories above.
    catalog, indexes
        What is there.
    """

    def __init__(
        self, api: DatasetsClient, folders: Folders, catalog: DatasetCatalog, indexes: Indexes
    ) -> None:
        self._api = api
        self._folders = folders
        self._catalog = catalog
        self._indexes = indexes

    async def create(
        self, target: Target, marks: Mapping[str, Any]
    ) -> tuple[answers.EntryResponse, Purpose]:
        """Create one, given what this package notes of its content."""

        async def make(dataset: Dataset) -> tuple[answers.EntryResponse, Purpose]:
            wanted, purpose = await self._plan(dataset, target, marks)
            try:
                return await self._create(wanted, target), purpose
            except (NotFoundError, InvalidRequestError, ConflictError) as error:
                if purpose.parent is None or not is_outdated(error):
                    raise
            now = replace(target, newer_than=time.monotonic())
            wanted, purpose = await self._plan(dataset, now, marks)
            return await self._create(wanted, target), purpose

        return await self._folders.in_dataset(target.location, make)

    async def _create(self, wanted: requests.EntryCreate, target: Target) -> answers.EntryResponse:
        path = target.location.path

        async def undo(made: answers.EntryResponse) -> None:
            await delete_quietly(self._api, made.data_storage.id, path)

        return await finished(self._api.create_entry(wanted, path, replay=True), undo)

    async def find(
        self, target: Target, identifier: str, marks: Mapping[str, Any]
    ) -> tuple[answers.EntryResponse, Purpose] | None:
        """Find one of an earlier process again; None where it is not what would be made now."""
        try:
            response = await self._api.entry(identifier, target.location.path)
        except (NotFoundError, InvalidRequestError):
            return None
        dataset = await self._catalog.find(target.location)
        wanted, purpose = await self._plan(dataset, target, marks)
        entry, metadata = response.data_storage, _metadata_of(response)
        same = (
            entry.status == constants.Status.PENDING
            and (entry.name, entry.dataset_id, entry.parent_id, bool(entry.is_collection))
            == (wanted.name, wanted.dataset_id, wanted.parent_id, bool(wanted.is_collection))
            and (entry.description or "", sorted(entry.tags or ()))
            == (wanted.description or "", sorted(wanted.tags or ()))
            and (metadata is None or _alike(metadata, wanted.metadata))
        )
        return (response, purpose) if same else None

    async def abandon(self, identifier: str, path: str) -> None:
        """Delete one, if that can be; what has become visible stays."""
        with contextlib.suppress(SynapseError, TimeoutError):
            async with asyncio.timeout(SECONDS):
                response = await self._api.entry(identifier, path)
                entry = response.data_storage
                hidden = HIDDEN_TAG in (entry.tags or ())
                if entry.status == constants.Status.PENDING or (
                    entry.status == constants.Status.ACTIVE and hidden
                ):
                    await remove_source(self._api, response, path)

    async def _plan(
        self, dataset: Dataset, target: Target, marks: Mapping[str, Any]
    ) -> tuple[requests.EntryCreate, Purpose]:
        """Decide what to create, from what is there."""
        location, notes = target.location, target.notes
        replaced = None if target.new else await self._replaced(dataset, target)
        purpose = await self._purpose(dataset, target, replaced)
        own_name = unescape(location.name)
        tags = notes.tag_list()
        if replaced is not None:
            tags = [HIDDEN_TAG]
            marks = {**marks, TARGET: replaced.identifier}
            notes = notes.over(replaced.said())
        archive = notes.archive and not own_name.endswith(SUFFIX)
        wanted = requests.EntryCreate(
            name=HELPER_NAME if purpose.source else own_name,
            file_path=f"{own_name}{SUFFIX}" if archive else own_name,
            is_collection=notes.archive,
            description=notes.description,
            embedding=None if notes.embedding is None else list(notes.embedding),
            dataset_id=dataset.identifier,
            parent_id=purpose.parent,
            metadata=marked(notes.metadata, marks),
            tags=tags,
        )
        return wanted, purpose

    async def _replaced(self, dataset: Dataset, target: Target) -> StoredEntry | None:
        """Give the file that is there, with all that it says."""
        index = await self._indexes.get(dataset, newer_than=target.newer_than)
        entry = index.at(target.location.inner)
        if not isinstance(entry, StoredEntry):
            return None
        try:
            return await self._indexes.ensure_details(entry, target.location.path)
        except NotFoundError:
            self._indexes.removed([entry])
            return await self._replaced(dataset, target)

    async def _purpose(
        self, dataset: Dataset, target: Target, replaced: StoredEntry | None
    ) -> Purpose:
        """Decide between a file of its own and the source of a revision, which lies at the top.

        Only a service that has revisions can give a source's content another name.
        """
        metadata: dict[str, Any] | None = None
        if target.notes.metadata is None:
            metadata = {} if replaced is None else dict(replaced.metadata or {})
        if replaced is not None and replaced.revision is not None:
            becomes_archive = target.notes.archive and not replaced.entry.is_collection
            if not becomes_archive:
                return Purpose(source=True, metadata=metadata)
        segments, path = target.location.inner[:-1], target.location.path
        parent = await self._folders.ensure(dataset, segments, path, since=target.newer_than)
        return Purpose(parent=parent, metadata=metadata)


def _metadata_of(response: answers.EntryResponse) -> Any:
    """Give an entry's metadata, where the answer tells it; the location may tell its size alone."""
    if response.data_storage.metadata is not None:
        return response.data_storage.metadata
    configs = [location.storage_config for location in response.storage_locations]
    metadata = told_by(configs[0]) if configs else {}
    return metadata if marks_in(metadata) else None


def _alike(one: Any, other: Any) -> bool:
    return (marks_in(one), unmarked(one, stored=True)) == (
        marks_in(other),
        unmarked(other, stored=True),
    )
