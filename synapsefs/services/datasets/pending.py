"""The entries that wait for the bytes of one file, and that nobody sees until they are active."""

from __future__ import annotations

import contextlib
from typing import Any

from synapsefs.archive import SUFFIX
from synapsefs.errors import InvalidRequestError, NotFoundError, SynapseError
from synapsefs.location import Location, unescape
from synapsefs.services.datasets.api import DatasetsApi
from synapsefs.services.datasets.indexes import Indexes
from synapsefs.services.datasets.notes import HIDDEN_TAG, Notes, marked, marks_in, unmarked
from synapsefs.services.datasets.publish import EntryPublisher
from synapsefs.services.datasets.records import EntryRecord
from synapsefs.services.datasets.registry import DatasetRecord
from synapsefs.wire import datasets as wire


class PendingEntries:
    """The pending entries for one place: each a new file, or the source of a revision.

    Parameters
    ----------
    api
        The service.
    publisher, indexes
        What makes the folders above, and what is there.
    dataset, location
        Where the file will appear.
    notes
        What it shall say besides its content.
    """

    def __init__(
        self,
        api: DatasetsApi,
        publisher: EntryPublisher,
        indexes: Indexes,
        dataset: DatasetRecord,
        location: Location,
        notes: Notes,
    ) -> None:
        self._api = api
        self._publisher = publisher
        self._indexes = indexes
        self._dataset = dataset
        self._location = location
        self._notes = notes

    async def create(self, marks: dict[str, Any]) -> wire.EntryResponse:
        """Create one, given what this package notes of its content."""
        with self._publisher.doubting(self._dataset):
            wanted = await self._wanted(marks)
            return await self._api.create_entry(wanted, self._location.path, replay=True)

    async def again(self, identifier: str, marks: dict[str, Any]) -> wire.EntryResponse | None:
        """Find one of an earlier process again; None where it is not what would be made now."""
        try:
            found = await self._api.entry(identifier, self._location.path)
        except (NotFoundError, InvalidRequestError):
            return None
        entry, wanted = found.data_storage, await self._wanted(marks)
        same = (
            entry.status == wire.Status.PENDING
            and (entry.name, entry.dataset_id, entry.parent_id, bool(entry.is_collection))
            == (wanted.name, wanted.dataset_id, wanted.parent_id, bool(wanted.is_collection))
            and (entry.description or "", sorted(entry.tags or ()))
            == (wanted.description or "", sorted(wanted.tags or ()))
            and (entry.metadata is None or _alike(entry.metadata, wanted.metadata))
        )
        return found if same else None

    async def abandon(self, identifier: str) -> None:
        """Delete one, if that can be; what has become visible stays."""
        about = self._location.path
        with contextlib.suppress(SynapseError):
            found = await self._api.entry(identifier, about)
            if found.data_storage.status == wire.Status.PENDING:
                await self._api.delete_entry(identifier, about)

    async def _wanted(self, marks: dict[str, Any]) -> wire.EntryCreate:
        location, notes = self._location, self._notes
        found = (await self._indexes.get(self._dataset)).at(location.inner)
        name = unescape(location.name)
        tags = notes.tag_list()
        if isinstance(found, EntryRecord):
            tags = [HIDDEN_TAG]
            notes = notes.over((await self._indexes.told(found, location.path)).said())
        folder = location.inner[:-1]
        return wire.EntryCreate(
            name=name,
            file_path=name if not notes.archive or name.endswith(SUFFIX) else f"{name}{SUFFIX}",
            is_collection=notes.archive,
            description=notes.description,
            embedding=None if notes.embedding is None else list(notes.embedding),
            dataset_id=self._dataset.identifier,
            parent_id=await self._publisher.ensure_folder(self._dataset, folder, location.path),
            metadata=marked(notes.metadata, marks),
            tags=tags,
        )


def _alike(told: Any, wanted: Any) -> bool:
    return (marks_in(told), unmarked(told, stored=True)) == (
        marks_in(wanted),
        unmarked(wanted, stored=True),
    )
