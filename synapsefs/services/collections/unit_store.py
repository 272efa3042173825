"""Creating and deleting units, all of a call or none."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from synapsefs import concurrency
from synapsefs.errors import AlreadyExistsError, SynapseError, UnreachableError, enumerated
from synapsefs.services.collections.catalog import Collection
from synapsefs.services.collections.client import CollectionsClient
from synapsefs.services.collections.composition import Draft
from synapsefs.services.collections.index_cache import Indexes
from synapsefs.services.collections.unit import Unit, UnitFile, record_of
from synapsefs.wire.collections import constants, v1

logger = logging.getLogger("synapsefs")
UNDO_PATIENCE = 0.3
"""Seconds for which a cancelled call waits until what it was creating is deleted again."""


@dataclass(slots=True)
class Deletion:
    """Which units seem to have been gone already, by id, and which could not be deleted."""

    gone: set[int] = field(default_factory=set)
    failed: list[tuple[Unit, SynapseError]] = field(default_factory=list)

    def require_done(self) -> None:
        """Raise the first failure, which then names all units that stay."""
        if self.failed:
            error = self.failed[0][1]
            _append(error, f"not deleted: {_named([unit for unit, _ in self.failed])}")
            raise error


class UnitStore:
    """Creates units and deletes them."""

    def __init__(self, api: CollectionsClient, indexes: Indexes, max_deletions: int) -> None:
        self._api = api
        self._indexes = indexes
        self._max_deletions = max_deletions
        self._undoing: set[asyncio.Future[None]] = set()

    async def create(
        self, collection: Collection, drafts: Sequence[Draft], path: str
    ) -> list[Unit]:
        """Create units in batches; when one fails, delete what was made for the others.

        A batch that is under way when the call is cancelled goes on to its end, and is then
        deleted, if need be after the call has ended.
        """
        units: list[Unit] = []
        for start in range(0, len(drafts), constants.UNIT_BATCH):
            batch = drafts[start : start + constants.UNIT_BATCH]
            creation = asyncio.ensure_future(self._create_batch(collection, batch, path))
            try:
                units += await asyncio.shield(creation)
                for unit, draft in zip(units[start:], batch, strict=True):
                    if unit.write != draft.write:
                        _require_names(unit, draft, path)
            except BaseException as error:
                undo = asyncio.ensure_future(
                    self._undo(collection, units, creation, drafts, path, error)
                )
                self._undoing.add(undo)
                undo.add_done_callback(self._undoing.discard)
                cancelled = isinstance(error, asyncio.CancelledError)
                await asyncio.wait({undo}, timeout=UNDO_PATIENCE if cancelled else None)
                raise
        return units

    async def _create_batch(
        self, collection: Collection, drafts: Sequence[Draft], path: str
    ) -> list[Unit]:
        """Create units; where the answer is lost, look for them before they are created again."""
        marked = collection.rule is None or collection.rule.takes_mark
        primary = collection.primary
        requests = [
            draft.request(collection.identifier, primary, marked=marked) for draft in drafts
        ]

        async def create() -> list[Unit]:
            units = await self._api.create_units(requests, path)
            return [_completed(*made) for made in zip(units, drafts, requests, strict=True)]

        async def look() -> list[Unit] | None:
            logger.info("%s: the answer was lost; looking", collection.location.path)
            index = await self._indexes.latest(collection)
            newest_first = sorted(index.units.values(), key=lambda unit: -unit.identifier)
            by_write = {unit.write: unit for unit in newest_first}
            units = [by_write[draft.write] for draft in drafts if draft.write in by_write]
            return units if len(units) == len(drafts) else None

        return await self._api.once(create, look)

    async def _undo(
        self,
        collection: Collection,
        units: Sequence[Unit],
        creation: asyncio.Future[list[Unit]],
        drafts: Sequence[Draft],
        path: str,
        error: BaseException,
    ) -> None:
        with contextlib.suppress(Exception):
            units = [*units, *await creation]
        await self.take_back(collection, fresh(units, drafts), path, error)

    async def take_back(
        self, collection: Collection, units: Sequence[Unit], path: str, error: BaseException
    ) -> None:
        """Delete units whose companions could not be made; ``error`` names those that stay."""
        if not units:
            return
        try:
            deletion = await self.delete(collection, units, path)
        finally:
            self._indexes.held(collection.identifier).invalidate()
        if deletion.failed:
            left = _named([unit for unit, _ in deletion.failed])
            logger.error("%s: could not be taken back: %s", path, left)
            _append(error, f"already made, and could not be deleted again: {left}")

    async def delete(self, collection: Collection, units: Sequence[Unit], path: str) -> Deletion:
        """Delete units, each of them although others could not be."""
        deletion = Deletion()
        index = self._indexes.held(collection.identifier)
        lost: SynapseError | None = None

        async def delete(unit: Unit) -> None:
            nonlocal lost
            if lost is not None:
                deletion.failed.append((unit, lost))
                return
            try:
                if not await self._api.delete_unit(unit.identifier, path):
                    deletion.gone.add(unit.identifier)
            except SynapseError as error:
                if isinstance(error, UnreachableError):
                    lost = error
                deletion.failed.append((unit, error))
            else:
                index.remove(unit)

        if units:
            await concurrency.gather(map(delete, units), self._max_deletions)
        return deletion

    async def delete_superseded(
        self, collection: Collection, path: str, *, keeping: AbstractSet[int] = frozenset()
    ) -> set[int]:
        """Delete replaced units; give the ids of those that seem to have been gone already.

        A failure leaves them hidden; the next write tries again. ``keeping`` are ids of units from
        which something is still to be taken over.
        """
        deletable = self._indexes.held(collection.identifier).deletable()
        units = [unit for unit in deletable if unit.identifier not in keeping]
        deletion = await self.delete(collection, units, path)
        for unit, error in deletion.failed:
            logger.warning("%s: %s could not be deleted yet: %s", path, _named([unit]), error)
        return deletion.gone


def fresh(units: Sequence[Unit], drafts: Sequence[Draft]) -> list[Unit]:
    """Pick the units that were made for these drafts, not found to hold equal content."""
    writes = {draft.write for draft in drafts}
    return list({unit.identifier: unit for unit in units if unit.write in writes}.values())


def _append(error: BaseException, words: str) -> None:
    if isinstance(error, SynapseError):
        error.strerror = f"{error.strerror}; {words}"
    else:
        error.add_note(words)


def _named(units: Sequence[Unit]) -> str:
    """Name units and their files."""
    files = [", ".join("/".join(file.segments) for file in unit.files.values()) for unit in units]
    pairs = zip(units, files, strict=True)
    return enumerated([f"unit {unit.identifier} ({names})" for unit, names in pairs])


def _require_names(unit: Unit, draft: Draft, path: str) -> None:
    """Accept a unit that the service gave in place of a new one only where it holds these names.

    Raises
    ------
    AlreadyExistsError
        When the service keeps equal content just once, and has it under another name.
    """
    names = {specification: file.name for specification, file in unit.files.items()}
    if names != {specification: file.name for specification, file in draft.files.items()}:
        shown = ", ".join(f"{specification}/{name}" for specification, name in names.items())
        rule = f"the service keeps one unit for equal content, and has it as {shown}"
        raise AlreadyExistsError(rule, path)


def _completed(answer: v1.Unit, draft: Draft, request: v1.UnitToCreate) -> Unit:
    """Read a created unit, and fill in what the answer leaves out from what was asked for."""
    answer.meta = answer.meta or request.meta
    unit = record_of(answer)
    for specification, file in draft.files.items():
        bound = unit.files.get(specification)
        if bound is not None and bound.name == file.name:
            bound.size = file.size if bound.size is None else bound.size
        elif unit.write == draft.write:
            checksum, url = (bound.checksum, bound.url) if bound else (file.checksum, "")
            unit.files[specification] = UnitFile(
                unit, specification, file.name, checksum, url, file.size
            )
    return unit
