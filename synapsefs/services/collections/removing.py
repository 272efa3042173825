"""Taking files out of their units."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence

from synapsefs.errors import (
    ChangedError,
    ConflictError,
    NotEmptyError,
    NotFoundError,
    SynapseError,
)
from synapsefs.services.base import Entry
from synapsefs.services.collections.catalog import Collection
from synapsefs.services.collections.composition import Draft
from synapsefs.services.collections.index import CollectionIndex
from synapsefs.services.collections.index_cache import Indexes
from synapsefs.services.collections.unit import Unit, UnitFile
from synapsefs.services.collections.unit_store import UnitStore

logger = logging.getLogger("synapsefs")
ATTEMPTS = 10
"""How often it is looked what is there, because others write it in the same moment."""
PAUSE = 0.02
"""Seconds, more each time, in which somebody else may notice that a file was removed."""


class UnitRemover:
    """Removes files: units left empty are deleted, others made anew."""

    def __init__(self, indexes: Indexes, store: UnitStore) -> None:
        self._indexes = indexes
        self._store = store

    async def remove(
        self, collection: Collection, entries: Sequence[Entry], *, unchanged: bool
    ) -> None:
        """Remove what the service has at these entries' paths, and all that it replaced.

        Raises
        ------
        NotFoundError
            When nothing is there any more.
        NotEmptyError
            When a unit would lose a required file but keep others; nothing is changed then.
        ChangedError
            With ``unchanged``, when something else is there by now, which is left alone.
        """
        path = entries[0].location.path
        changed: list[Entry] = []
        removed: list[UnitFile] = []
        refused: NotEmptyError | None = None
        for attempt in range(ATTEMPTS):
            began = time.monotonic()
            if removed:
                files = await self._taken_over(removed, collection, path)
            else:
                index = await self._indexes.latest(collection)
                files, changed = _current(entries, index, unchanged=unchanged)
            if not files:
                break
            index = self._indexes.held(collection.identifier)
            files = list(dict.fromkeys(held for f in files for held in (f, *index.replaced_by(f))))
            units = {file.unit.identifier: file.unit for file in files}
            if await self._indexes.refreshed(collection, units.values(), began):
                continue
            try:
                await self._take_out(collection, files, index, path)
            except NotEmptyError as error:
                if not removed:
                    raise
                refused = error
                await asyncio.sleep(PAUSE * attempt)
                continue
            removed += files
            if len(collection.specifications) == 1:
                break
        else:
            raise refused or ConflictError("others keep writing these files", path)
        if changed:
            raise ChangedError("somebody else has changed the file", changed[0].location.path)
        if not removed and not unchanged:
            raise NotFoundError("no such file or directory", path)

    async def _taken_over(
        self, removed: Sequence[UnitFile], collection: Collection, path: str
    ) -> list[UnitFile]:
        """Give the files that others took over into new units while they were being removed."""
        try:
            index = await self._indexes.latest(collection)
        except SynapseError as error:
            logger.warning("%s: removed, but not looked for again: %s", path, error)
            return []
        gone = {(file.segments, file.since) for file in removed}
        paths = {file.segments for file in removed}
        held = [file for segments in paths for file in index.of_path(segments)]
        return [file for file in held if (file.segments, file.since) in gone]

    async def _take_out(
        self, collection: Collection, files: Sequence[UnitFile], index: CollectionIndex, path: str
    ) -> None:
        units, drafts = _without(files, index, collection, path)
        created = await self._store.create(collection, drafts, path)
        hidden = [unit for unit in units if unit.identifier in index.superseded]
        shown = [unit for unit in units if unit.identifier not in index.superseded]
        for doomed in (hidden, shown):
            (await self._store.delete(collection, doomed, path)).require_done()
        for unit in created:
            index.insert(unit)


def _current(
    entries: Sequence[Entry], index: CollectionIndex, *, unchanged: bool
) -> tuple[list[UnitFile], list[Entry]]:
    """Give the files that are at the paths of entries, and the entries that have changed."""
    files: list[UnitFile] = []
    changed: list[Entry] = []
    for entry in entries:
        before: UnitFile = entry.record
        now = index.at(entry.location.inner)
        if now is None and before.unit.identifier in index.units:
            now = index.units[before.unit.identifier].files.get(before.specification)
        if now is None:
            continue
        same_unit = before.unit.identifier == now.unit.identifier
        taken_over = bool(entry.checksum) and before.since == now.since
        if unchanged and not (before.checksum == now.checksum and (same_unit or taken_over)):
            changed.append(entry)
        else:
            files.append(now)
    return files, changed


def _without(
    files: Sequence[UnitFile], index: CollectionIndex, collection: Collection, path: str
) -> tuple[list[Unit], list[Draft]]:
    """Decide which units go, and which are made anew without some of their files."""
    leaving: dict[Unit, set[str]] = {}
    for file in files:
        leaving.setdefault(file.unit, set()).add(file.specification)
    required = {spec.name for spec in collection.specifications if spec.is_required}
    drafts: list[Draft] = []
    for unit, specifications in leaving.items():
        staying = sorted(unit.files.keys() - specifications)
        if not staying or unit.identifier in index.superseded:
            continue
        if missing := sorted(required & specifications):
            raise NotEmptyError(
                f"{', '.join(missing)} is required by unit {unit.identifier}, which also holds "
                f"{', '.join(staying)}: remove them together",
                path,
            )
        draft = Draft.of(unit)
        for specification in specifications:
            del draft.files[specification]
        drafts.append(draft)
    return list(leaving), drafts
