"""Replacing a file's content by a revision, whose content may come from an entry of its own."""

from __future__ import annotations

import contextlib
import logging
import uuid
from asyncio import timeout
from typing import Any

from synapsefs.errors import (
    ChangedError,
    ConflictError,
    InvalidRequestError,
    NotFoundError,
    SynapseError,
)
from synapsefs.location import unescape
from synapsefs.services.base import Staged
from synapsefs.services.datasets.catalog import Dataset
from synapsefs.services.datasets.cleanup import SECONDS, delete_quietly, finished, shares_content
from synapsefs.services.datasets.client import DatasetsClient
from synapsefs.services.datasets.entry import StoredEntry, from_response
from synapsefs.services.datasets.index_cache import Indexes
from synapsefs.services.datasets.metadata import HELPER_NAME, HIDDEN_TAG, TARGET, marked
from synapsefs.services.datasets.upload import StagedObject, StagedText
from synapsefs.wire.datasets import answers, constants, requests

logger = logging.getLogger("synapsefs")
ATTEMPTS = 5
CHANGED = "somebody else changed the file since the version that was to be replaced"


class MetadataChangedError(ChangedError):
    """What the new content was to carry along from the old file is other by now."""


REUSABLE = (InvalidRequestError, NotFoundError, MetadataChangedError)
"""Errors after which an uploaded object can be published in another way."""


class Revisions:
    """Publishes revisions."""

    def __init__(self, api: DatasetsClient, indexes: Indexes) -> None:
        self._api = api
        self._indexes = indexes

    async def publish(
        self, dataset: Dataset, record: StoredEntry, staged: Staged
    ) -> answers.EntryResponse:
        """Publish a file's new content.

        The source of the content is gone afterwards, also when that fails or is cancelled.

        Raises
        ------
        ChangedError
            When what is there is not the version that was to be replaced.
        MetadataChangedError
            When it says something else than the new content does.
        InvalidRequestError, NotFoundError
            When the service has no revisions, or no such file; an object stays to be used again.
        """
        handle, path = staged.handle, staged.location.path
        changes: dict[str, Any] = {"publish": True, "revision_id": str(uuid.uuid4())}
        if isinstance(handle, StagedObject):
            changes["revision_id"] = handle.revision
        if handle.notes.description is not None:
            changes["description"] = handle.notes.description
        source: answers.EntryResponse | None = None
        revised: answers.EntryResponse | None = None
        try:
            source = await self._source(dataset, record, staged)
            if source is None:
                changes["content"] = handle.text
            else:
                changes["source_entry_id"] = source.data_storage.id
                changes["name"] = unescape(staged.location.name)
            revised = await finished(self._revise(record, staged, changes))
        except BaseException as error:
            if isinstance(handle, StagedObject):
                if isinstance(error, REUSABLE) and staged.base is None:
                    source = None
                elif source is None and handle.hidden:
                    source = handle.response
            raise
        finally:
            if source is not None:
                revision = changes["revision_id"]
                await finished(self._clear_away(source, record, revision, revised, path))
        return revised

    async def base(self, record: StoredEntry, wanted: str | int, path: str) -> str | None:
        """Give the revision that ``wanted`` names, if it is the newest.

        Raises
        ------
        ChangedError
            When it is not.
        """
        fresh = await self._indexes.fetch(record, path)
        if wanted not in {fresh.revision, fresh.version, fresh.moment, fresh.number}:
            raise ChangedError(CHANGED, path)
        return fresh.revision

    async def hide(self, handle: StagedObject, path: str) -> None:
        """Let an entry that becomes active not be shown."""
        if not handle.hidden:
            identifier = handle.response.data_storage.id
            await self._api.patch_entry(identifier, {"tags": [HIDDEN_TAG]}, path)
            handle.hidden = True

    async def _revise(
        self, record: StoredEntry, staged: Staged, changes: dict[str, Any]
    ) -> answers.EntryResponse:
        """Publish on the newest base, again when somebody else was faster: the last writer wins.

        Unless a certain version is to be replaced: then somebody else wins.
        """
        path = staged.location.path
        base = record.revision
        if staged.base is not None:
            base = await self.base(record, staged.base, path)
        for attempt in range(ATTEMPTS):
            if base is None or attempt:
                record = await self._indexes.fetch(record, path)
                base = record.revision
            if base is None:
                raise InvalidRequestError("the entry has no revisions", path)
            _require_same_metadata(record, staged)
            try:
                revision = {**changes, "base_revision_id": base}
                return await self._api.patch_entry(record.identifier, revision, path)
            except ConflictError as error:
                if staged.base is not None:
                    raise ChangedError(CHANGED, path, status=error.status) from error
                if attempt == ATTEMPTS - 1:
                    raise
        raise ConflictError("somebody else keeps changing the file", path)

    async def _source(
        self, dataset: Dataset, record: StoredEntry, staged: Staged
    ) -> answers.EntryResponse | None:
        """Give the entry that a revision takes its content from; None where text goes with it.

        Text goes by an entry of its own where it says other metadata: a revision cannot.
        """
        handle, path = staged.handle, staged.location.path

        async def delete(made: answers.EntryResponse) -> None:
            await delete_quietly(self._api, made.data_storage.id, path)

        if isinstance(handle, StagedText):
            if handle.notes.metadata is None:
                return None
            metadata = marked(handle.notes.metadata, {TARGET: record.identifier})
            hidden = {"name": HELPER_NAME, "tags": [HIDDEN_TAG], "metadata": metadata}
            entry = text_entry(dataset, staged, None).model_copy(update=hidden)
            return await finished(self._api.create_entry(entry, path, replay=True), delete)
        _require_same_metadata(record, staged)
        await self.hide(handle, path)
        identifier = handle.response.data_storage.id
        active = {"status": constants.Status.ACTIVE.value}
        return await finished(self._api.patch_entry(identifier, active, path), delete)

    async def _clear_away(
        self,
        source: answers.EntryResponse,
        record: StoredEntry,
        revision: str,
        revised: answers.EntryResponse | None,
        path: str,
    ) -> None:
        """Delete the source of a revision, or disable what holds the content.

        Where it is not known whether the revision was published, that is looked up.
        """
        identifier = source.data_storage.id
        if revised is None:
            with contextlib.suppress(SynapseError, TimeoutError):
                async with timeout(SECONDS):
                    now = await self._api.entry(record.identifier, path)
                    revised = now if from_response(now).revision == revision else None
        if revised is None or not shares_content(source, revised):
            await delete_quietly(self._api, identifier, path)
            return
        try:
            disabled = {"status": constants.Status.DISABLED.value}
            await self._api.patch_entry(identifier, disabled, path)
        except SynapseError as error:
            logger.info("%s: source %s stays: %s", path, identifier, error)


def text_entry(dataset: Dataset, staged: Staged, parent: str | None) -> requests.EntryCreate:
    """Give the new entry that holds a text."""
    name, notes = unescape(staged.location.name), staged.handle.notes
    return requests.EntryCreate(
        name=name,
        content=staged.handle.text,
        file_path=name,
        dataset_id=dataset.identifier,
        parent_id=parent,
        **notes.sent(),
    )


def _require_same_metadata(record: StoredEntry, staged: Staged) -> None:
    handle = staged.handle
    expected = handle.purpose.metadata if isinstance(handle, StagedObject) else None
    if expected is not None and dict(expected) != (record.metadata or {}):
        words = "somebody else changed the file's metadata while its content was sent"
        raise MetadataChangedError(words, staged.location.path)
