"""Creating and deleting units, all of a call or none."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

from synapsefs import concurrency
from synapsefs.errors import AlreadyExistsError, SynapseError, UnreachableError, enumerated
from synapsefs.services.collections.catalog import Collection
from synapsefs.services.collections.client import CollectionsClient
from synapsefs.services.collections.composition import Draft
from synapsefs.services.collections.index import CollectionIndex
from synapsefs.services.collections.index_cache import Indexes
from synapsefs.services.collections.unit import Unit, UnitFile, record_of
from synapsefs.wire.collections import constants, v1

logger = logging.getLogger("synapsefs")
UNDO_PATIENCE = 0.3
"""Seconds for which a cancelled call waits until what it was creating is deleted again."""


@dataclass(slots=True)
class Deletion:
    """What became of units that were to be deleted.

    Attributes
    ----------
    gone
        Ids of those that seem to have been gone already.
    failed
        Those that could not be deleted, and why.
    """

    gone: set[int] = field(default_factory=set)
    failed: list[tuple[Unit, SynapseError]] = field(default_factory=list)

    def require_done(self) -> None:
        """Raise the first failure, which then names all units that stay."""
        if self.failed:
            error = self.failed[0][1]
            _append(error, f"not deleted: {_named([unit for unit, _ in self.failed])}")
            raise error


class UnitMaker:
    """Creates units and deletes them.

    Parameters
    ----------
    api
        The service.
    indexes
        What is there.
    at_a_time
        Deletions in flight at a time.
    """

    def __init__(self, api: CollectionsClient, indexes: Indexes, at_a_time: int) -> None:
        self._api = api
        self._indexes = indexes
        self._at_a_time = at_a_time
        self._undoing: set[asyncio.Future[None]] = set()

    async def create(
        self, collection: Collection, drafts: Sequence[Draft], about: str
    ) -> list[Unit]:
        """Create units batch by batch; a batch that fails takes the earlier ones back."""
        made: list[Unit] = []
        fresh: list[Unit] = []
        try:
            for start in range(0, len(drafts), constants.UNIT_BATCH):
                batch = drafts[start : start + constants.UNIT_BATCH]
                units = await self._create_batch_or_undo(collection, batch, about)
                made += units
                fresh += made_for(units, batch)
                for unit, draft in zip(units, batch, strict=True):
                    _require_place(unit, draft, about)
        except BaseException as error:
            await asyncio.shield(self.take_back(collection, fresh, about, error))
            raise
        return made

    async def _create_batch_or_undo(
        self, collection: Collection, drafts: Sequence[Draft], about: str
    ) -> list[Unit]:
        """Create units; when the call is cancelled meanwhile, delete them as soon as they are."""
        work = asyncio.ensure_future(self._create_batch(collection, drafts, about))
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError as error:
            undoing = asyncio.ensure_future(self._undo(collection, work, drafts, about, error))
            self._undoing.add(undoing)
            undoing.add_done_callback(self._undoing.discard)
            await asyncio.wait({undoing}, timeout=UNDO_PATIENCE)
            raise

    async def _undo(
        self,
        collection: Collection,
        work: asyncio.Future[list[Unit]],
        drafts: Sequence[Draft],
        about: str,
        error: BaseException,
    ) -> None:
        try:
            units = await work
        except SynapseError as failure:
            logger.info("%s: cancelled, and not created: %s", about, failure)
            return
        await self.take_back(collection, made_for(units, drafts), about, error)

    async def _create_batch(
        self, collection: Collection, drafts: Sequence[Draft], about: str
    ) -> list[Unit]:
        marked = takes_mark(collection)
        units = [
            draft.request(collection.identifier, collection.primary, marked=marked)
            for draft in drafts
        ]

        async def create() -> list[Unit]:
            return [record_of(unit) for unit in await self._api.create_units(units, about)]

        async def look() -> list[Unit] | None:
            return await self._created_after_all(collection, drafts)

        made = await self._api.once(create, look)
        for unit, draft, request in zip(made, drafts, units, strict=True):
            _complete(unit, draft, request)
        return made

    async def _created_after_all(
        self, collection: Collection, drafts: Sequence[Draft]
    ) -> list[Unit] | None:
        """Look whether units exist although the answer to their creation was lost."""
        logger.info("%s: the answer was lost; looking", collection.location.path)
        index = await self._indexes.latest(collection)
        newest_first = sorted(index.units.values(), key=lambda unit: -unit.identifier)
        by_write = {unit.write: unit for unit in newest_first}
        found = [by_write[draft.write] for draft in drafts if draft.write in by_write]
        return found if len(found) == len(drafts) else None

    async def take_back(
        self,
        collection: Collection,
        units: Sequence[Unit],
        about: str,
        error: BaseException,
    ) -> None:
        """Delete units whose companions could not be made; ``error`` names those that stay."""
        if not units:
            return
        index = self._indexes.held(collection.identifier)
        try:
            deletion = await self.delete(units, about, index)
        finally:
            index.invalidate()
        if deletion.failed:
            left = _named([unit for unit, _ in deletion.failed])
            logger.error("%s: could not be taken back: %s", about, left)
            _append(error, f"already made, and could not be deleted again: {left}")

    async def delete(self, units: Sequence[Unit], about: str, index: CollectionIndex) -> Deletion:
        """Delete units, each of them although others could not be."""
        found = Deletion()
        lost: SynapseError | None = None

        async def delete(unit: Unit) -> None:
            nonlocal lost
            if lost is not None:
                found.failed.append((unit, lost))
                return
            try:
                if not await self._api.delete_unit(unit.identifier, about):
                    found.gone.add(unit.identifier)
            except SynapseError as error:
                if isinstance(error, UnreachableError):
                    lost = error
                found.failed.append((unit, error))
            else:
                index.remove(unit)

        await concurrency.gather(map(delete, units), self._at_a_time)
        return found

    async def delete_superseded(self, collection: Collection, about: str) -> set[int]:
        """Delete replaced units; give the ids of those that seem to have been gone already.

        A failure leaves them hidden; the next write tries again.
        """
        index = self._indexes.held(collection.identifier)
        deletion = await self.delete(index.deletable(), about, index)
        for unit, error in deletion.failed:
            logger.warning("%s: %s could not be deleted yet: %s", about, _named([unit]), error)
        return deletion.gone


def made_for(units: Sequence[Unit], drafts: Sequence[Draft]) -> list[Unit]:
    """Pick the units that were not there before."""
    pairs = zip(units, drafts, strict=True)
    return [unit for unit, draft in pairs if _is_made(unit, draft)]


def takes_mark(collection: Collection) -> bool:
    """Say whether the collection's schema lets units carry our own note."""
    return collection.rule is None or collection.rule.takes_mark


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


def _is_made(unit: Unit, draft: Draft) -> bool:
    """Say whether a unit was made for this draft, not found to hold equal content."""
    return unit.write == draft.write


def _require_place(unit: Unit, draft: Draft, about: str) -> None:
    """Accept a unit that the service gave in place of a new one only where it holds these names.

    Raises
    ------
    AlreadyExistsError
        When the service keeps equal content just once, and has it under another name.
    """
    names = {specification: file.name for specification, file in unit.files.items()}
    if not _is_made(unit, draft) and names != draft.names:
        shown = ", ".join(f"{specification}/{name}" for specification, name in names.items())
        raise AlreadyExistsError(
            f"the service keeps one unit for equal content, and has it as {shown}", about
        )


def _complete(unit: Unit, draft: Draft, request: v1.UnitToCreate) -> None:
    """Fill in what a creation's answer may leave out, from what was asked for."""
    if not unit.meta:
        unit.meta = request.meta or {}
    if not _is_made(unit, draft):
        return
    for specification, name in draft.names.items():
        file = unit.files.get(specification)
        if file is None:
            checksum = draft.checksums[specification]
            unit.files[specification] = UnitFile(unit, specification, name, checksum, "", None)
        else:
            file.name = name
