"""Changing the metadata of units that others may change in the same moment."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from synapsefs.concurrency import Locks
from synapsefs.errors import ConflictError, InvalidRequestError, NotFoundError
from synapsefs.services.collections.catalog import Collection
from synapsefs.services.collections.client import CollectionsClient
from synapsefs.services.collections.composition import Draft
from synapsefs.services.collections.index_cache import Indexes
from synapsefs.services.collections.unit import MARK, Unit, UnitFile
from synapsefs.services.collections.unit_store import UnitStore

ATTEMPTS = 10
NO_SUCH_ROUTE = frozenset({405, 501})
MAX_EDITS = 8
MIN_PAUSE, MAX_PAUSE = 0.02, 1.0
"""Seconds after which a change is looked for again; twice as long as it took, within these."""
ChangedMetadata = Callable[[Mapping[str, Any]], dict[str, Any]]
"""Gives a unit's metadata as it shall be, from what it is."""


class UnitEditor:
    """Changes units' metadata. The service replaces it whole, and has no precondition for that.

    So it is read, changed and written, and read again after a pause in which another who had read
    the same has written. Each change leaves an id; when that is missing, it is made again.
    """

    def __init__(
        self, api: CollectionsClient, indexes: Indexes, store: UnitStore, writing: Locks[int]
    ) -> None:
        self._api = api
        self._indexes = indexes
        self._store = store
        self._writing = writing

    async def change(
        self, collection: Collection, file: UnitFile, changed: ChangedMetadata, path: str
    ) -> None:
        """Change the metadata of the unit that holds a file.

        Raises
        ------
        NotFoundError
            When the file is gone.
        ConflictError
            When others keep changing it.
        """
        edit = new_edit()
        refused: int | None = None
        for _ in range(ATTEMPTS):
            began = time.monotonic()
            async with self._writing.get(collection.identifier):
                unit = await self._holder(collection, file, began, path)
                try:
                    await self.write(collection, unit, changed, edit, path)
                except NotFoundError:
                    if unit.identifier == refused:
                        raise
                    refused = unit.identifier
                    continue
            took = time.monotonic() - began
            await asyncio.sleep(min(max(2 * took, MIN_PAUSE), MAX_PAUSE))
            unit = await self._holder(collection, file, time.monotonic(), path)
            if edit in unit.edits if unit.mark else changed(unit.meta) == unit.meta:
                return
        raise ConflictError("others keep changing the unit's metadata", path)

    async def _holder(
        self, collection: Collection, file: UnitFile, began: float, path: str
    ) -> Unit:
        """Find the unit that holds a file now, read since ``began``."""
        for _ in range(ATTEMPTS):
            index = await self._indexes.latest(collection)
            unit = index.units.get(file.unit.identifier)
            if unit is None or index.is_hidden(unit.files.get(file.specification, file)):
                now = index.at(file.segments)
                if now is None:
                    raise NotFoundError("no such file or directory", path)
                unit = now.unit
            if not await self._indexes.refreshed(collection, [unit], began):
                return unit
        raise ConflictError("others keep replacing the unit", path)

    async def write(
        self, collection: Collection, unit: Unit, changed: ChangedMetadata, edit: str, path: str
    ) -> None:
        """Change the metadata of a unit that was just read.

        Where the service cannot change it, another with the same files takes its place.
        """
        index = self._indexes.held(collection.identifier)
        meta = changed(unit.meta)
        if unit.mark:
            edits = [edit, *(other for other in unit.edits if other != edit)][:MAX_EDITS]
            meta[MARK] = {**unit.mark, "edits": edits}
        try:
            await self._api.set_metadata(unit.identifier, meta, path)
        except InvalidRequestError as error:
            if error.status not in NO_SUCH_ROUTE:
                raise
            draft = Draft.of(unit)
            draft.base = Unit(unit.identifier, meta, unit.created)
            draft.follow([unit])
            units = await self._store.create(collection, [draft], path)
            (await self._store.delete(collection, [unit], path)).require_done()
        else:
            unit.meta = meta
            units = [unit]
        for new in units:
            index.insert(new)


def new_edit() -> str:
    """Give an id for a change."""
    return uuid.uuid4().hex[:8]
