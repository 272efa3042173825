"""Replacing a file's content by a revision, whose content may come from an entry of its own."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import uuid
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
    """Publishes revisions.

    Parameters
    ----------
    api
        The service.
    indexes
        What is there.
    """

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
        about = staged.location.path
        changes = _revision(staged)
        source: answers.EntryResponse | None = None
        try:
            source = await self._source(dataset, record, staged)
            if source is None:
                changes["content"] = staged.handle.text
            else:
                changes["source_entry_id"] = source.data_storage.id
                changes["name"] = unescape(staged.location.name)
            response = await finished(self._revise(record, staged, changes))
        except BaseException as error:
            if isinstance(staged.handle, StagedObject):
                if isinstance(error, REUSABLE) and staged.base is None:
                    raise
                if source is None and staged.handle.hidden:
                    source = staged.handle.response
            if source is not None:
                await asyncio.shield(self._undo(record, source, changes["revision_id"], about))
            raise
        if source is not None:
            await finished(self._retire(source, response, about))
        return response

    async def base(self, record: StoredEntry, wanted: str | int, about: str) -> str | None:
        """Give the revision that ``wanted`` names, if it is the newest.

        Raises
        ------
        ChangedError
            When it is not.
        """
        fresh = await self._indexes.look(record, about)
        if wanted not in {fresh.revision, fresh.version, fresh.moment, fresh.number}:
            raise ChangedError(CHANGED, about)
        return fresh.revision

    async def hide(self, handle: StagedObject, about: str) -> None:
        """Let an entry that becomes active not be shown."""
        if not handle.hidden:
            identifier = handle.response.data_storage.id
            await self._api.patch_entry(identifier, {"tags": [HIDDEN_TAG]}, about)
            handle.hidden = True

    async def _revise(
        self, record: StoredEntry, staged: Staged, changes: dict[str, Any]
    ) -> answers.EntryResponse:
        """Publish on the newest base, again when somebody else was faster: the last writer wins.

        Unless a certain version is to be replaced: then somebody else wins.
        """
        about = staged.location.path
        base = record.revision
        if staged.base is not None:
            base = await self.base(record, staged.base, about)
        for attempt in range(ATTEMPTS):
            if base is None or attempt:
                record = await self._indexes.look(record, about)
                base = record.revision
            if base is None:
                raise InvalidRequestError("the entry has no revisions", about)
            _require_same_metadata(record, staged)
            try:
                revision = {**changes, "base_revision_id": base}
                return await self._api.patch_entry(record.identifier, revision, about)
            except ConflictError as error:
                if staged.base is not None:
                    raise ChangedError(CHANGED, about, status=error.status) from error
                if attempt == ATTEMPTS - 1:
                    raise
        raise ConflictError("somebody else keeps changing the file", about)

    async def _source(
        self, dataset: Dataset, record: StoredEntry, staged: Staged
    ) -> answers.EntryResponse | None:
        """Give the entry that a revision takes its content from; None where text goes with it.

        Text goes by an entry of its own where it says other metadata: a revision cannot.
        """
        handle, about = staged.handle, staged.location.path
        if isinstance(handle, StagedText):
            if handle.notes.metadata is None:
                return None
            entry = text_entry(dataset, staged, None).model_copy(
                update={
                    "name": HELPER_NAME,
                    "tags": [HIDDEN_TAG],
                    "metadata": marked(handle.notes.metadata, {TARGET: record.identifier}),
                }
            )

            async def undo(made: answers.EntryResponse) -> None:
                await delete_quietly(self._api, made.data_storage.id, about)

            return await finished(self._api.create_entry(entry, about, replay=True), undo)
        _require_same_metadata(record, staged)
        await self.hide(handle, about)
        identifier = handle.response.data_storage.id
        active = {"status": constants.Status.ACTIVE.value}

        async def delete(made: answers.EntryResponse) -> None:
            await delete_quietly(self._api, made.data_storage.id, about)

        return await finished(self._api.patch_entry(identifier, active, about), delete)

    async def _undo(
        self, record: StoredEntry, source: answers.EntryResponse, revision: str, about: str
    ) -> None:
        """Remove the source of a revision that was not published, or may have been."""
        with contextlib.suppress(SynapseError, TimeoutError):
            async with asyncio.timeout(SECONDS):
                now = await self._api.entry(record.identifier, about)
                if from_response(now).revision == revision:
                    await self._retire(source, now, about)
                    return
        await delete_quietly(self._api, source.data_storage.id, about)

    async def _retire(
        self, source: answers.EntryResponse, revised: answers.EntryResponse, about: str
    ) -> None:
        """Delete the source of a published revision, or disable what holds the content."""
        identifier = source.data_storage.id
        if not shares_content(source, revised):
            await delete_quietly(self._api, identifier, about)
            return
        try:
            disabled = {"status": constants.Status.DISABLED.value}
            await self._api.patch_entry(identifier, disabled, about)
        except SynapseError as error:
            logger.info("%s: source %s stays: %s", about, identifier, error)


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
    copy_options = handle.purpose.metadata if isinstance(handle, StagedObject) else None
    if copy_options is not None and dict(copy_options) != (record.metadata or {}):
        words = "somebody else changed the file's metadata while its content was sent"
        raise MetadataChangedError(words, staged.location.path)


def _revision(staged: Staged) -> dict[str, Any]:
    """Give the change that publishes a file's new content, the content apart."""
    handle = staged.handle
    changes: dict[str, Any] = {"publish": True}
    if handle.notes.description is not None:
        changes["description"] = handle.notes.description
    if isinstance(handle, StagedObject):
        changes["revision_id"] = handle.revision
    else:
        changes["revision_id"] = str(uuid.uuid4())
    return changes
