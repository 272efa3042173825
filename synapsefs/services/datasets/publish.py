"""Creating and revising entries: what makes files of a dataset appear and change."""

from __future__ import annotations

import contextlib
import logging
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

from synapsefs.errors import (
    ChangedError,
    ConflictError,
    FolderError,
    InvalidRequestError,
    NotAFolderError,
    NotFoundError,
    SynapseError,
    UnsupportedError,
)
from synapsefs.limits import Locks
from synapsefs.location import Location, unescape
from synapsefs.services.base import Staged
from synapsefs.services.datasets.api import DatasetsApi
from synapsefs.services.datasets.index import DatasetIndex
from synapsefs.services.datasets.indexes import Indexes
from synapsefs.services.datasets.notes import HIDDEN_TAG, Notes
from synapsefs.services.datasets.records import EntryRecord, looked_at
from synapsefs.services.datasets.registry import DatasetRecord, DatasetRegistry
from synapsefs.services.datasets.upload import StagedObject, StagedText
from synapsefs.services.tree import Folder
from synapsefs.wire import datasets as wire

logger = logging.getLogger("synapsefs")
REVISION_ATTEMPTS = 5
CHANGED = "somebody else changed the file since the version that was to be replaced"


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

    async def require_own(self, dataset: DatasetRecord, location: Location, notes: Notes) -> None:
        """Refuse to write where the service would not show what was written.

        Raises
        ------
        UnsupportedError
            When a link or registered source is there, or an embedding is given to a file that is.
        """
        found = (await self._indexes.get(dataset)).at(location.inner)
        if not isinstance(found, EntryRecord):
            return
        if notes.embedding is not None:
            rule = "an embedding is taken only when a file is made: remove the old one first"
            raise UnsupportedError(rule, location.path)
        if (await self._indexes.told(found, location.path)).connection is not None:
            rule = "nothing is written to a link or registered source: remove the entry first"
            raise UnsupportedError(rule, location.path)

    async def ensure_folder(
        self,
        dataset: DatasetRecord,
        segments: tuple[str, ...],
        about: str,
        notes: Notes | None = None,
    ) -> str | None:
        """Give the id of a directory, creating what is missing of it; None for the dataset.

        A directory that is created at the end of the path says what ``notes`` say.

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
                place = segments[:depth]
                found = await self._folder_at(index, place, about)
                said = notes if notes and place == segments else Notes()
                parent = found or await self._create_folder(dataset, place, parent, about, said)
            return parent

    async def _folder_at(
        self, index: DatasetIndex, segments: tuple[str, ...], about: str
    ) -> str | None:
        """Give the id of a directory that is there."""
        found = index.at(segments)
        if isinstance(found, EntryRecord):
            found = await self._indexes.decided(found, about)
            if found.kind != "directory":
                raise NotAFolderError("a file is in the way of a directory", about)
            return found.identifier
        if found is None or found.record is None:
            return None
        if found.record.pieces is not None:
            raise NotAFolderError("a registered source holds no other files", about)
        return found.record.identifier

    async def _create_folder(
        self,
        dataset: DatasetRecord,
        segments: tuple[str, ...],
        parent: str | None,
        about: str,
        notes: Notes,
    ) -> str:
        entry = wire.EntryCreate(
            name=unescape(segments[-1]),
            dataset_id=dataset.identifier,
            parent_id=parent,
            **notes.sent(),
        )

        async def create() -> str:
            made = looked_at(await self._api.create_entry(entry, about, replay=False))
            made.kind = "directory"
            (await self._indexes.get(dataset)).put(made)
            return made.identifier

        async def look() -> str | None:
            index = await self._indexes.get(dataset, refresh=True)
            return await self._folder_at(index, segments, about)

        return await self._api.once(create, look)

    async def publish(self, staged: Staged) -> None:
        """Make a file visible: new, or as the next revision of what is there.

        Raises
        ------
        ChangedError
            When what is there is not the version that the file shall replace.
        """
        dataset = await self._registry.find(staged.location)
        with self.doubting(dataset):
            await self._publish(dataset, staged)

    @contextlib.contextmanager
    def doubting(self, dataset: DatasetRecord) -> Iterator[None]:
        """Look for a dataset anew the next time, when the service says that something is not there.

        Another process may have deleted it, and made another of its name.
        """
        try:
            yield
        except NotFoundError as error:
            if error.status == 404:
                self._registry.doubt(dataset)
            raise

    async def _publish(self, dataset: DatasetRecord, staged: Staged) -> None:
        location = staged.location
        parent = await self.ensure_folder(dataset, location.inner[:-1], location.path)
        index = await self._indexes.get(dataset, refresh=staged.base is not None)
        found = index.at(location.inner)
        if isinstance(found, EntryRecord):
            made = await self._replace(dataset, index, found, staged, parent)
        elif staged.base is not None:
            raise ChangedError("the file that was to be replaced is gone", location.path)
        else:
            made = await self._appear(dataset, index, staged, parent)
        if _is_of(made, staged):
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
                tags = handle.notes.tag_list() or []
                await self._api.patch_entry(identifier, {"tags": tags}, about)
                handle.hidden = False
            active = {"status": wire.Status.ACTIVE.value}
            return looked_at(await self._api.patch_entry(identifier, active, about))
        entry = _text_entry(dataset, staged, parent)
        known = set(index.records)

        async def create() -> EntryRecord:
            return looked_at(await self._api.create_entry(entry, about, replay=False))

        async def look() -> EntryRecord | None:
            return await self._appeared_after_all(dataset, known, staged, handle.text)

        return await self._api.once(create, look)

    async def _appeared_after_all(
        self, dataset: DatasetRecord, known: set[str], staged: Staged, text: str
    ) -> EntryRecord | None:
        """Look whether an entry exists although the answer to its creation was lost."""
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
        if staged.handle.notes.archive and not record.entry.is_collection:
            return await self._take_place(dataset, index, record, staged, parent)
        source = await self._source(dataset, staged)
        try:
            response = await self._revise(record, staged, _revision(staged, source))
        except (InvalidRequestError, NotFoundError) as error:
            if isinstance(staged.handle, StagedText) or staged.base is not None:
                await self._retire_source(source, about)
            if staged.base is not None:
                raise
            logger.info("%s: no revision, so a new entry: %s", about, error)
            return await self._take_place(dataset, index, record, staged, parent)
        except SynapseError:
            await self._retire_source(source, about)
            raise
        await self._retire_source(source, about)
        await self._delete_replaced(index.doubles(record), about)
        tags = staged.handle.notes.tag_list()
        if tags is not None:
            response = await self._api.patch_entry(record.identifier, {"tags": tags}, about)
        return looked_at(response)

    async def _revise(
        self, record: EntryRecord, staged: Staged, changes: dict[str, Any]
    ) -> wire.EntryResponse:
        """Publish on the newest base, again when somebody else was faster: the last writer wins.

        Unless a certain version is to be replaced: then somebody else wins.
        """
        about = staged.location.path
        base = record.revision
        if staged.base is not None:
            base = await self._base(record, staged.base, about)
        for attempt in range(REVISION_ATTEMPTS):
            if base is None or attempt:
                base = (await self._indexes.look(record, about)).revision
            if base is None:
                raise InvalidRequestError("the entry has no revisions", about)
            try:
                revision = {**changes, "base_revision_id": base}
                return await self._api.patch_entry(record.identifier, revision, about)
            except ConflictError as error:
                if staged.base is not None:
                    raise ChangedError(CHANGED, about, status=error.status) from error
                if attempt == REVISION_ATTEMPTS - 1:
                    raise
        raise ConflictError("somebody else keeps changing the file", about)

    async def _base(self, record: EntryRecord, wanted: str | int, about: str) -> str | None:
        """Give the revision that ``wanted`` names, if it is the newest."""
        fresh = await self._indexes.look(record, about)
        if wanted not in {fresh.revision, fresh.version, fresh.moment, fresh.number}:
            raise ChangedError(CHANGED, about)
        return fresh.revision

    async def _take_place(
        self,
        dataset: DatasetRecord,
        index: DatasetIndex,
        record: EntryRecord,
        staged: Staged,
        parent: str | None,
    ) -> EntryRecord:
        """Make a new entry where others are, saying the same; those are then deleted."""
        about = staged.location.path
        if staged.base is not None:
            await self._base(record, staged.base, about)
        told = (await self._indexes.told(record, about)).said()
        staged.handle.notes = staged.handle.notes.over(told)
        made = await self._appear(dataset, index, staged, parent)
        await self._delete_replaced([record, *index.doubles(record)], about)
        return made

    async def _delete_replaced(self, records: Sequence[EntryRecord], about: str) -> None:
        for record in records:
            with contextlib.suppress(NotFoundError):
                await self._api.delete_entry(record.identifier, about)
        self._indexes.removed(records)

    async def _source(self, dataset: DatasetRecord, staged: Staged) -> wire.Entry | None:
        """Give the entry that a revision takes its content from; None where text goes with it.

        Text goes by an entry of its own where it says other metadata: a revision cannot.
        """
        handle, about = staged.handle, staged.location.path
        if isinstance(handle, StagedText):
            if handle.notes.metadata is None:
                return None
            entry = _text_entry(dataset, staged, None).model_copy(update={"tags": [HIDDEN_TAG]})
            return (await self._api.create_entry(entry, about, replay=True)).data_storage
        source: wire.Entry = handle.response.data_storage
        if not handle.hidden:
            await self._api.patch_entry(source.id, {"tags": [HIDDEN_TAG]}, about)
            handle.hidden = True
        await self._api.patch_entry(source.id, {"status": wire.Status.ACTIVE.value}, about)
        return source

    async def _retire_source(self, source: wire.Entry | None, about: str) -> None:
        """Take the source of a published revision out of service; it stays hidden either way."""
        if source is not None:
            try:
                disabled = {"status": wire.Status.DISABLED.value}
                await self._api.patch_entry(source.id, disabled, about)
            except SynapseError as error:
                logger.info("%s: source %s stays: %s", about, source.id, error)


def _is_of(made: EntryRecord, staged: Staged) -> bool:
    """Say whether an answer describes what was published, and not what somebody made of it since.

    An answer that was lost and asked for again may describe a later revision.
    """
    if made.number in {None, 0}:
        return True
    if isinstance(staged.handle, StagedObject):
        return bool(made.revision == staged.handle.revision)
    return made.text is None or made.text == staged.handle.text


def _text_entry(dataset: DatasetRecord, staged: Staged, parent: str | None) -> wire.EntryCreate:
    name, notes = unescape(staged.location.name), staged.handle.notes
    return wire.EntryCreate(
        name=name,
        content=staged.handle.text,
        file_path=name,
        dataset_id=dataset.identifier,
        parent_id=parent,
        **notes.sent(),
    )


def _revision(staged: Staged, source: wire.Entry | None) -> dict[str, Any]:
    """Give the change that publishes a file's new content."""
    handle = staged.handle
    changes: dict[str, Any] = {"publish": True}
    if handle.notes.description is not None:
        changes["description"] = handle.notes.description
    if isinstance(handle, StagedObject):
        changes["revision_id"] = handle.revision
    else:
        changes["revision_id"] = str(uuid.uuid4())
    if source is None:
        return {**changes, "content": handle.text}
    return {**changes, "source_entry_id": source.id}
