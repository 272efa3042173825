"""What is to be cleared away: by whoever is interrupted, or after a process that was killed."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Coroutine
from datetime import datetime, timedelta
from typing import Any, TypeVar

from synapsefs import concurrency
from synapsefs.errors import NotFoundError, SynapseError
from synapsefs.services.base import aware
from synapsefs.services.datasets.client import DatasetsClient
from synapsefs.services.datasets.entry import from_response
from synapsefs.services.datasets.index import DatasetIndex
from synapsefs.services.datasets.metadata import HELPER_NAME, HIDDEN_TAG, MARK, TARGET, marks_in
from synapsefs.services.datasets.sources import told_by
from synapsefs.wire.datasets import answers, constants

T = TypeVar("T")
logger = logging.getLogger("synapsefs")
SECONDS = 1.0
"""How long each step of clearing away may take: a service that is gone is not waited for."""
SOURCE_AGE = timedelta(hours=1)
"""Age from which the active source of a revision was left by a process that is gone."""
PENDING_AGE = timedelta(days=1)
"""Age from which nobody goes on with an upload."""
AT_A_TIME = 8


async def finished(
    work: Coroutine[Any, Any, T], undo: Callable[[T], Awaitable[Any]] | None = None
) -> T:
    """Await work to its end although the caller is cancelled meanwhile.

    Parameters
    ----------
    work
        What to do.
    undo
        Is given the result, when the caller was cancelled.
    """
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        with contextlib.suppress(SynapseError, TimeoutError):
            async with asyncio.timeout(SECONDS):
                result = await task
                if undo is not None:
                    await undo(result)
        raise


async def delete_quietly(api: DatasetsClient, identifier: str, path: str) -> None:
    """Delete an entry of this package's own, if that can be done within a moment."""
    try:
        async with asyncio.timeout(SECONDS):
            await api.delete_entry(identifier, path)
    except NotFoundError:
        return
    except (SynapseError, TimeoutError) as error:
        logger.info("%s: the entry %s stays: %s", path, identifier, error)


def shares_content(source: answers.EntryResponse, revised: answers.EntryResponse) -> bool:
    """Say whether a file's content may go with the source that it was taken from.

    The protocol does not say whether a revision gets a copy of the source's object. Where the
    answer names an object of the file's own it did. Text has no object.
    """
    mine, own = _object_of(source), _object_of(revised)
    if mine is None:
        return not _is_text(source)
    return own is None or own == mine


def _object_of(response: answers.EntryResponse) -> str | None:
    configs = [location.storage_config for location in response.storage_locations]
    return configs[0].location if configs else None


def _is_text(response: answers.EntryResponse) -> bool:
    configs = [location.storage_config for location in response.storage_locations]
    return not configs or configs[0].storage_type != constants.StorageType.GCS


class Sweeper:
    """Removes the sources and pending entries that killed processes of this package left behind.

    Parameters
    ----------
    api
        The service.
    """

    def __init__(self, api: DatasetsClient) -> None:
        self._api = api
        self._seen: set[str] = set()

    async def sweep(self, index: DatasetIndex, path: str) -> None:
        """Look through what a dataset's listing does not show.

        Ages are differences of times in the listing: all are of the service's clock.
        """
        if index.latest is None:
            return
        old = [
            entry
            for entry in index.internal
            if entry.id not in self._seen and _may_be_left(entry, index.latest)
        ]
        self._seen.update(entry.id for entry in old)
        await concurrency.gather((self._remove(entry, path) for entry in old), AT_A_TIME)

    async def _remove(self, listed: answers.Entry, path: str) -> None:
        with contextlib.suppress(SynapseError):
            found = await self._api.entry(listed.id, path)
            if found.data_storage.status == listed.status and _is_ours(found):
                logger.info("%s: removing %s, left by a process that is gone", path, listed.id)
                await remove_source(self._api, found, path)


async def remove_source(api: DatasetsClient, found: answers.EntryResponse, path: str) -> None:
    """Delete an entry that only brought content, or disable it where a file may have it there."""
    entry = found.data_storage
    if entry.status == constants.Status.ACTIVE and await _is_needed(api, found, path):
        await api.patch_entry(entry.id, {"status": constants.Status.DISABLED.value}, path)
    else:
        await api.delete_entry(entry.id, path)


async def _is_needed(api: DatasetsClient, found: answers.EntryResponse, path: str) -> bool:
    if from_response(found).text is not None:
        return False
    target = _marks(found).get(TARGET)
    if not isinstance(target, str):
        return True
    try:
        return shares_content(found, await api.entry(target, path))
    except NotFoundError:
        return False


def _may_be_left(entry: answers.Entry, latest: datetime) -> bool:
    changed = aware(entry.modified_at)
    if changed is None:
        return False
    if entry.status == constants.Status.PENDING:
        return latest - changed > PENDING_AGE
    hidden = HIDDEN_TAG in (entry.tags or ())
    source = entry.name == HELPER_NAME or bool(entry.file_path)
    return (
        entry.status == constants.Status.ACTIVE
        and hidden
        and source
        and latest - changed > SOURCE_AGE
    )


def _is_ours(found: answers.EntryResponse) -> bool:
    return HIDDEN_TAG in (found.data_storage.tags or ()) or bool(_marks(found))


def _marks(found: answers.EntryResponse) -> dict[str, Any]:
    configs = [location.storage_config for location in found.storage_locations]
    metadata = found.data_storage.metadata or {}
    if MARK not in metadata and configs:
        metadata = told_by(configs[0])
    return marks_in(metadata)
