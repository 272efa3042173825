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
from synapsefs.services.collections.making import UnitMaker
from synapsefs.services.collections.unit import Unit, UnitFile

logger = logging.getLogger("synapsefs")
ATTEMPTS = 10
"""How often it is looked what is there, because others write it in the same moment."""
PAUSE = 0.02
"""Seconds, more each time, in which somebody else may notice that a file was removed."""


class UnitRemover:
    """Removes files: units left empty are deleted, others made anew.

    Parameters
    ----------
    indexes, maker
        What is there, and what creates and deletes units.
    """

    def __init__(self, indexes: Indexes, maker: UnitMaker) -> None:
        self._indexes = indexes
        self._maker = maker

    async def remove(
        self, collection: Collection, entries: Sequence[Entry], *, unchanged: bool
    ) -> None:
        """Remove what the service has at these entries' places, and all that it replaced.

        Raises
        ------
        NotFoundError
            When nothing is there any more.
        NotEmptyError
            When a unit would lose a required file but keep others; nothing is changed then.
        ChangedError
            With ``unchanged``, when something else is there by now, which is left alone.
        """
        about = entries[0].location.path
        changed: list[Entry] = []
        done: list[UnitFile] = []
        refused: NotEmptyError | None = None
        for attempt in range(ATTEMPTS):
            began = time.monotonic()
            if done:
                files = await self._carried_along(done, collection, about)
            else:
                index = await self._indexes.latest(collection)
                files, changed = _there(entries, index, unchanged=unchanged)
            if not files:
                break
            index = self._indexes.held(collection.identifier)
            holders = _holders(files, index)
            units = {file.unit.identifier: file.unit for file in holders}
            if await self._indexes.refreshed(collection, units.values(), began):
                continue
            try:
                await self._take_out(collection, holders, index, about)
            except NotEmptyError as error:
                if not done:
                    raise
                refused = error
                await asyncio.sleep(PAUSE * attempt)
                continue
            done += holders
            if len(collection.specifications) == 1:
                break
        else:
            raise refused or ConflictError("others keep writing these files", about)
        if changed:
            raise ChangedError("somebody else has changed the file", changed[0].location.path)
        if not done and not unchanged:
            raise NotFoundError("no such file or directory", about)

    async def _carried_along(
        self, files: Sequence[UnitFile], collection: Collection, about: str
    ) -> list[UnitFile]:
        """Give the files that others took over into new units while they were being removed."""
        try:
            index = await self._indexes.latest(collection)
        except SynapseError as error:
            logger.warning("%s: removed, but not looked for again: %s", about, error)
            return []
        removed = {(file.segments, file.unit.since(file.specification)) for file in files}
        return [
            held
            for segments in {file.segments for file in files}
            for held in index.of_path(segments)
            if (segments, held.unit.since(held.specification)) in removed
        ]

    async def _take_out(
        self,
        collection: Collection,
        files: Sequence[UnitFile],
        index: CollectionIndex,
        about: str,
    ) -> None:
        doomed, drafts = without(files, index, collection, about)
        made = await self._maker.create(collection, drafts, about)
        hidden = [unit for unit in doomed if unit.identifier in index.superseded]
        shown = [unit for unit in doomed if unit.identifier not in index.superseded]
        for units in (hidden, shown):
            (await self._maker.delete(units, about, index)).require_done()
        for unit in made:
            index.insert(unit)


def _there(
    entries: Sequence[Entry], index: CollectionIndex, *, unchanged: bool
) -> tuple[list[UnitFile], list[Entry]]:
    """Give the files that are at the places of entries, and the entries that have changed."""
    files: list[UnitFile] = []
    changed: list[Entry] = []
    for entry in entries:
        before: UnitFile = entry.record
        now = index.at(entry.location.inner)
        if now is None and before.unit.identifier in index.units:
            now = before.unit.files.get(before.specification)
        if now is None:
            continue
        if unchanged and not _is_same(before, entry, now):
            changed.append(entry)
        else:
            files.append(now)
    return files, changed


def _is_same(before: UnitFile, entry: Entry, now: UnitFile) -> bool:
    """Say whether a file is the one that an entry describes, also in a unit that took it over."""
    if before.unit.identifier == now.unit.identifier:
        return before.checksum == now.checksum
    origin = before.unit.since(before.specification)
    copy_options = now.unit.since(now.specification) == origin
    return copy_options and bool(entry.checksum) and before.checksum == now.checksum


def _holders(files: Sequence[UnitFile], index: CollectionIndex) -> list[UnitFile]:
    """Give files, and those of their paths that would be seen once they are gone."""
    found = {}
    for file in files:
        for held in (file, *index.replaced_by(file)):
            found[held.unit.identifier, held.specification] = held
    return list(found.values())


def without(
    files: Sequence[UnitFile],
    index: CollectionIndex,
    collection: Collection,
    about: str,
) -> tuple[list[Unit], list[Draft]]:
    """Decide which units go, and which are made anew without some of their files."""
    leaving: dict[int, set[str]] = {}
    units: dict[int, Unit] = {}
    for file in files:
        units[file.unit.identifier] = file.unit
        leaving.setdefault(file.unit.identifier, set()).add(file.specification)
    required = {spec.name for spec in collection.specifications if spec.is_required}
    drafts: list[Draft] = []
    for identifier, unit in units.items():
        staying = unit.files.keys() - leaving[identifier]
        if not staying or identifier in index.superseded:
            continue
        if required & leaving[identifier]:
            raise NotEmptyError(
                f"{', '.join(sorted(required & leaving[identifier]))} is required by unit "
                f"{identifier}, which also holds {', '.join(sorted(staying))}: "
                "remove them together",
                about,
            )
        draft = Draft.of(unit)
        for specification in leaving[identifier]:
            del draft.names[specification], draft.checksums[specification]
        drafts.append(draft)
    return list(units.values()), drafts
