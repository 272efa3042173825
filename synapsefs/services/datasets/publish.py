"""Creating and revising entries: what makes files of a dataset appear and change."""

from __future__ import annotations

import contextlib
import logging
import uuid
from typing import Any

from synapsefs.errors import (
    ConflictError,
    FolderError,
    InvalidRequestError,
    NotAFolderError,
    NotFoundError,
    SynapseError,
)
from synapsefs.limits import Locks
from synapsefs.location import Location, unescape
from synapsefs.services.base import Staged
from synapsefs.services.datasets.api import DatasetsApi
from synapsefs.services.datasets.index import (
    HIDDEN_TAG,
    DatasetIndex,
    EntryRecord,
    looked_at,
)
from synapsefs.services.datasets.indexes import Indexes
from synapsefs.services.datasets.registry import DatasetRecord, DatasetRegistry
from synapsefs.services.datasets.upload import StagedObject, StagedText
from synapsefs.services.tree import Folder
from synapsefs.transport import outcome_unknown
from synapsefs.wire import datasets as wire

logger = logging.getLogger("synapsefs")
REVISION_ATTEMPTS = 5


class EntryPublisher:
    """Creates directories, pending entries, and the files and revisions that become visible.

    Parameters
    ----------
    api
        The service.
    registry, indexes
        What is there.
    """

    def __init__(self, api: DatasetsApi, registry: DatasetRegistry, indexes: Indexes) -> None:
        self._api = api
        self._registry = registry
        self._indexes = indexes
        self._writing: Locks[str] = Locks()

    async def require_free(self, dataset: DatasetRecord, location: Location) -> None:
        """Refuse a place where no file can be written, before any byte is sent.

        Raises
        ------
        FolderError
            When a directory is there: a file would take its name from it.
        NotAFolderError
            When a file is in the way.
        """
        index = await self._indexes.get(dataset)
        if isinstance(index.at(location.inner), Folder):
            raise FolderError("there is a directory already", location.path)
        for depth in range(1, len(location.inner)):
            found = index.at(location.inner[:depth])
            if isinstance(found, EntryRecord):
                found = await self._indexes.decided(found, location.path)
                if found.kind == "file":
                    raise NotAFolderError("a file is in the way of a directory", location.path)

    async def ensure_folder(
        self, dataset: DatasetRecord, segments: tuple[str, ...], about: str
    ) -> str | None:
        """Give the id of a directory, creating what is missing of it; None for the dataset.

        Raises
        ------
        NotAFolderError
            When a file is in the way.
        """
        if not segments:
            return None
        async with self._writing.get(dataset.identifier):
            index = await self._indexes.get(dataset)
            parent: str | None = None
            for depth in range(1, len(segments) + 1):
                found = index.at(segments[:depth])
                if isinstance(found, EntryRecord):
                    found = await self._indexes.decided(found, about)
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
        made = looked_at(await self._api.create_entry(entry, about, replay=False))
        made.kind = "directory"
        index.put(made)
        return made.identifier

    async def publish(self, staged: Staged) -> None:
        """Make a file visible: new, or as the next revision of what is there."""
        location = staged.location
        dataset = await self._registry.find(location)
        parent = await self.ensure_folder(dataset, location.inner[:-1], location.path)
        index = await self._indexes.get(dataset)
        found = index.at(location.inner)
        if isinstance(found, EntryRecord):
            made = await self._replace(dataset, index, found, staged, parent)
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
            identifier = handle.response.data_storage.id
            if handle.hidden:
                await self._api.patch_entry(identifier, {"tags": []}, about)
                handle.hidden = False
            active = {"status": wire.Status.ACTIVE.value}
            return looked_at(await self._api.patch_entry(identifier, active, about))
        name = unescape(staged.location.name)
        entry = wire.EntryCreate(
            name=name,
            content=handle.text,
            file_path=name,
            dataset_id=dataset.identifier,
            parent_id=parent,
        )
        try:
            return looked_at(await self._api.create_entry(entry, about, replay=False))
        except SynapseError as error:
            if not outcome_unknown(error):
                raise
            found = await self._appeared_after_all(dataset, index, staged, handle.text)
        if found is not None:
            return found
        return looked_at(await self._api.create_entry(entry, about, replay=False))

    async def _appeared_after_all(
        self, dataset: DatasetRecord, index: DatasetIndex, staged: Staged, text: str
    ) -> EntryRecord | None:
        """Look whether an entry exists although the answer to its creation was lost."""
        known = set(index.records)
        found = (await self._indexes.get(dataset, refresh=True)).at(staged.location.inner)
        if not isinstance(found, EntryRecord) or found.identifier in known:
            return None
        fresh = await self._indexes.look(found, staged.location.path)
        return fresh if fresh.text == text else None

    async def _replace(
        self,
        dataset: DatasetRecord,
        index: DatasetIndex,
        record: EntryRecord,
        staged: Staged,
        parent: str | None,
    ) -> EntryRecord:
        """Publish a revision; where the service has none, a new entry in the old one's place."""
        about = staged.location.path
        record = await self._indexes.decided(record, about)
        if record.kind == "directory":
            raise FolderError("there is a directory already", about)
        try:
            response = await self._revise(record, await self._revision(staged), about)
        except (InvalidRequestError, NotFoundError) as error:
            logger.info("%s: no revision, so a new entry: %s", about, error)
            made = await self._appear(dataset, index, staged, parent)
            await self._delete_replaced(record, about)
            return made
        await self._retire_source(staged)
        return looked_at(response)

    async def _revise(
        self, record: EntryRecord, changes: dict[str, Any], about: str
    ) -> wire.EntryResponse:
        """Publish on the newest base, again when somebody else was faster: the last writer wins."""
        base = record.revision
        for attempt in range(REVISION_ATTEMPTS):
            if base is None or attempt:
                base = (await self._indexes.look(record, about)).revision
            if base is None:
                raise InvalidRequestError("the entry has no revisions", about)
            try:
                revision = {**changes, "base_revision_id": base}
                return await self._api.patch_entry(record.identifier, revision, about)
            except ConflictError:
                if attempt == REVISION_ATTEMPTS - 1:
                    raise
        raise ConflictError("somebody else keeps changing the file", about)

    async def _delete_replaced(self, record: EntryRecord, about: str) -> None:
        with contextlib.suppress(NotFoundError):
            await self._api.delete_entry(record.identifier, about)
        self._indexes.removed([record])

    async def _revision(self, staged: Staged) -> dict[str, Any]:
        handle = staged.handle
        if isinstance(handle, StagedText):
            return {"revision_id": str(uuid.uuid4()), "content": handle.text, "publish": True}
        source = handle.response.data_storage
        about = staged.location.path
        if not handle.hidden:
            await self._api.patch_entry(source.id, {"tags": [HIDDEN_TAG]}, about)
            handle.hidden = True
        await self._api.patch_entry(source.id, {"status": wire.Status.ACTIVE.value}, about)
        noted = (source.metadata or {}).get("revision") or str(uuid.uuid4())
        return {"revision_id": noted, "source_entry_id": source.id, "publish": True}

    async def _retire_source(self, staged: Staged) -> None:
        """Take the source of a published revision out of service; it stays hidden either way."""
        if isinstance(staged.handle, StagedObject):
            source = staged.handle.response.data_storage.id
            try:
                await self._api.patch_entry(
                    source, {"status": wire.Status.DISABLED.value}, staged.location.path
                )
            except SynapseError as error:
                logger.info("%s: source %s stays: %s", staged.location.path, source, error)

    async def pending(
        self, dataset: DatasetRecord, location: Location, metadata: dict[str, Any]
    ) -> wire.EntryResponse:
        """Create the entry that parts go to: the new file, or the source of a revision."""
        index = await self._indexes.get(dataset)
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
            parent_id=await self.ensure_folder(dataset, location.inner[:-1], location.path),
            metadata=metadata,
            tags=tags,
        )
        return await self._api.create_entry(entry, location.path, replay=True)
