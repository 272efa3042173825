"""Creating and deleting units: what makes files of a collection appear and go."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from synapsefs import limits
from synapsefs.errors import (
    AlreadyExistsError,
    ConflictError,
    InvalidRequestError,
    NotEmptyError,
    SynapseError,
)
from synapsefs.services.collections.api import CollectionsApi
from synapsefs.services.collections.directory import CollectionRecord
from synapsefs.services.collections.groups import own_groups
from synapsefs.services.collections.index import (
    BoundFile,
    CollectionIndex,
    UnitRecord,
    record_of,
)
from synapsefs.services.collections.indexes import Indexes
from synapsefs.services.collections.plan import (
    Draft,
    NewFile,
    UnitsWithStem,
    compose,
    require_complete,
)
from synapsefs.wire import collections as wire

logger = logging.getLogger("synapsefs")
MOST_TOLD = 20
REBASES = 10
"""How often a unit is made anew because others replace it in the same moment."""
NO_SUCH_ROUTE = frozenset({405, 501})
ChangedMetadata = Callable[[Mapping[str, Any]], dict[str, Any]]
"""Gives a unit's metadata as it shall be, from what it is."""


@dataclass(frozen=True, slots=True)
class _Plan:
    """The units that files make in one collection."""

    collection: CollectionRecord
    files: Sequence[NewFile]
    drafts: Sequence[Draft]

    @property
    def about(self) -> str:
        """The path that an error names."""
        return self.files[0].location.path

    def made_here(self, units: Sequence[UnitRecord]) -> list[UnitRecord]:
        """Pick the units that were not there before."""
        pairs = zip(units, self.drafts, strict=True)
        return [unit for unit, draft in pairs if _is_made(unit, draft)]


class UnitPublisher:
    """Binds files into units and takes them out again.

    Parameters
    ----------
    api
        The service.
    indexes
        What is there.
    at_a_time
        Deletions in flight at a time.
    """

    def __init__(self, api: CollectionsApi, indexes: Indexes, at_a_time: int) -> None:
        self._api = api
        self._indexes = indexes
        self._at_a_time = at_a_time
        self._writing: limits.Locks[int] = limits.Locks()

    async def bind(
        self,
        groups: Sequence[tuple[CollectionRecord, Sequence[NewFile]]],
        then: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Make units of files, in all collections or in none; what they replace goes afterwards.

        Parameters
        ----------
        groups
            Collections and the files for each.
        then
            What else must succeed before anything is replaced; when it fails, the units go.
        """
        locks = [self._writing.get(collection.identifier) for collection, _ in groups]
        async with contextlib.AsyncExitStack() as held:
            for lock in sorted(locks, key=id):
                await held.enter_async_context(lock)
            plans = [await self._planned(collection, files) for collection, files in groups]
            made: list[list[UnitRecord]] = []
            try:
                for plan in plans:
                    units = await self._create(plan.collection, plan.drafts, plan.about)
                    made.append(units)
                if then is not None:
                    await then()
            except BaseException:
                for plan, units in zip(plans, made, strict=False):
                    fresh = plan.made_here(units)
                    await asyncio.shield(self._take_back(plan.collection, fresh, plan.about))
                raise
            for plan, units in zip(plans, made, strict=True):
                await self._settle(plan, units)

    async def units_to_join(self, collection: CollectionRecord) -> UnitsWithStem:
        """Give the function that finds the units which new files join or replace.

        Where there is just one specification and no schema for metadata, a new file joins nothing,
        and what it replaces hides behind its mark: then the listing is not read.
        """
        schema = collection.rule.schema if collection.rule else None
        if len(collection.specifications) == 1 and schema is None:
            return lambda stem: ()  # noqa: ARG005 - whatever the stem
        return (await self._indexes.get(collection)).with_stem

    async def _planned(self, collection: CollectionRecord, files: Sequence[NewFile]) -> _Plan:
        drafts = compose(files, await self.units_to_join(collection))
        await self._keep_groups(collection, drafts)
        plan = _Plan(collection, files, drafts)
        require_publishable(drafts, collection, plan.about)
        return plan

    async def _keep_groups(self, collection: CollectionRecord, drafts: Sequence[Draft]) -> None:
        """Leave units that are replaced in the groups that others put them in."""
        open_ones = [(draft, draft.base) for draft in drafts if draft.base and draft.groups is None]
        found = await own_groups(self._api, collection, [base for _, base in open_ones])
        for draft, base in open_ones:
            draft.groups = found.get(base.identifier)

    async def _settle(self, plan: _Plan, made: Sequence[UnitRecord]) -> None:
        """Let new units take the place of what they replace.

        A unit that replaces one which somebody else has replaced meanwhile may carry an outdated
        file along. Its new files are bound once more, to what the others made.
        """
        mine: set[int] = set()
        for _ in range(REBASES):
            gone = await self._take_place(plan, made)
            mine.update(unit.identifier for unit in made)
            outdated = [draft for draft in plan.drafts if draft.taken_from & gone]
            if not outdated:
                return
            plan = await self._rebased(plan, outdated, mine)
            made = await self._create(plan.collection, plan.drafts, plan.about)
        raise ConflictError("somebody else keeps replacing the unit's other files", plan.about)

    async def _rebased(self, plan: _Plan, outdated: Sequence[Draft], mine: set[int]) -> _Plan:
        logger.info("%s: somebody else replaced the unit as well", plan.about)
        index = await self._indexes.get(plan.collection, refresh=True)

        def others(stem: str) -> list[UnitRecord]:
            return [unit for unit in index.with_stem(stem) if unit.identifier not in mine]

        files = [file for file in plan.files if any(draft.binds(file) for draft in outdated)]
        composed = compose(files, others, index.with_stem)
        drafts = [draft for draft in composed if draft.base is not None]
        await self._keep_groups(plan.collection, drafts)
        for draft in drafts:
            own = [unit for unit in index.with_stem(draft.key) if unit.identifier in mine]
            draft.replaced = [*draft.replaced, *own]
        return _Plan(plan.collection, plan.files, drafts)

    async def _take_place(self, plan: _Plan, made: Sequence[UnitRecord]) -> set[int]:
        """Note new units in the index, delete what they replaced; give what was gone before."""
        index = self._indexes.held(plan.collection.identifier)
        gone = {i for draft in plan.drafts for i in draft.taken_from if i not in index.units}
        sizes = {(file.specification, file.name): file.size for file in plan.files}
        for unit in made:
            for bound in unit.files.values():
                if bound.size is None:
                    bound.size = sizes.get((bound.specification, bound.name))
            index.insert(unit)
        kept = {unit.identifier for unit in made}
        for draft in plan.drafts:
            for unit in (*draft.replaced, *([draft.base] if draft.base else ())):
                if unit.identifier not in kept:
                    index.supersede(unit)
        return gone | await self.delete_superseded(plan.collection, plan.about)

    async def _take_back(
        self, collection: CollectionRecord, units: Sequence[UnitRecord], about: str
    ) -> None:
        """Delete units whose companions could not be made; the failure itself is told by others."""
        index = self._indexes.held(collection.identifier)
        try:
            await self._delete_units(units, about, index)
        except SynapseError as error:
            numbers = ", ".join(str(unit.identifier) for unit in units)
            logger.error("%s: of units %s some could not be taken back: %s", about, numbers, error)  # noqa: TRY400 - the cause is told
        finally:
            index.distrust()

    async def _create(
        self, collection: CollectionRecord, drafts: Sequence[Draft], about: str
    ) -> list[UnitRecord]:
        """Create units batch by batch; a batch that fails takes the earlier ones back."""
        made: list[UnitRecord] = []
        fresh: list[UnitRecord] = []
        try:
            for start in range(0, len(drafts), wire.UNIT_BATCH):
                batch = drafts[start : start + wire.UNIT_BATCH]
                units = await self._create_batch(collection, batch, about)
                made += units
                pairs = list(zip(units, batch, strict=True))
                fresh += [unit for unit, draft in pairs if _is_made(unit, draft)]
                for unit, draft in pairs:
                    _require_place(unit, draft, about)
        except BaseException:
            await asyncio.shield(self._take_back(collection, fresh, about))
            raise
        return made

    async def _create_batch(
        self, collection: CollectionRecord, drafts: Sequence[Draft], about: str
    ) -> list[UnitRecord]:
        marked = takes_mark(collection)
        units = [
            draft.request(collection.identifier, collection.primary, marked=marked)
            for draft in drafts
        ]

        async def create() -> list[UnitRecord]:
            return [record_of(unit) for unit in await self._api.create_units(units, about)]

        async def look() -> list[UnitRecord] | None:
            return await self._created_after_all(collection, drafts)

        made = await self._api.once(create, look)
        for unit, draft, request in zip(made, drafts, units, strict=True):
            _complete(unit, draft, request)
        return made

    async def _created_after_all(
        self, collection: CollectionRecord, drafts: Sequence[Draft]
    ) -> list[UnitRecord] | None:
        """Look whether units exist although the answer to their creation was lost."""
        logger.info("%s: the answer was lost; looking", collection.location.path)
        index = await self._indexes.get(collection, refresh=True)
        by_write = {unit.mark.get("write"): unit for unit in index.units.values()}
        found = [by_write[draft.write] for draft in drafts if draft.write in by_write]
        return found if len(found) == len(drafts) else None

    async def delete_superseded(self, collection: CollectionRecord, about: str) -> set[int]:
        """Delete replaced units; give the ids of those that were gone already.

        A failure leaves them hidden; the next write tries again.
        """
        index = self._indexes.held(collection.identifier)
        try:
            return await self._delete_units(index.deletable(), about, index)
        except SynapseError as error:
            logger.warning("%s: replaced units could not be deleted yet: %s", about, error)
            return set()

    async def _delete_units(
        self, units: Sequence[UnitRecord], about: str, index: CollectionIndex | None = None
    ) -> set[int]:
        async def delete(unit: UnitRecord) -> bool:
            deleted = await self._api.delete_unit(unit.identifier, about)
            if index is not None:
                index.remove(unit)
            return deleted

        done = await limits.gather(map(delete, units), self._at_a_time)
        pairs = zip(units, done, strict=True)
        return {unit.identifier for unit, deleted in pairs if not deleted}

    async def set_metadata(
        self, collection: CollectionRecord, unit: UnitRecord, changed: ChangedMetadata, about: str
    ) -> None:
        """Change a unit's metadata as it is now, not as it was listed.

        Where the service cannot change a unit, another with the same files takes its place.
        """
        async with self._writing.get(collection.identifier):
            index = self._indexes.held(collection.identifier)
            now = record_of(await self._api.unit(unit.identifier, about))
            meta = changed(now.meta)
            try:
                await self._api.set_metadata(unit.identifier, meta, about)
            except InvalidRequestError as error:
                if error.status not in NO_SUCH_ROUTE:
                    raise
                await self._make_anew(collection, now, meta, about)
                return
            unit.meta = meta
            held = index.units.get(unit.identifier, unit)
            held.meta = meta
            index.insert(held)

    async def _make_anew(
        self, collection: CollectionRecord, unit: UnitRecord, meta: dict[str, Any], about: str
    ) -> None:
        index = await self._indexes.get(collection)
        draft = Draft.of(unit)
        draft.base = UnitRecord(unit.identifier, meta, unit.created)
        made = await self._create(collection, [draft], about)
        await self._delete_units([unit], about, index)
        for new in made:
            index.insert(new)

    async def unbind(
        self, collection: CollectionRecord, files: Sequence[BoundFile], about: str
    ) -> None:
        """Take files out of their units: units left empty are deleted, others made anew.

        Raises
        ------
        NotEmptyError
            When a unit would lose a required file but keep others; nothing is changed then.
        """
        async with self._writing.get(collection.identifier):
            await self._unbind(collection, files, about)

    async def _unbind(
        self, collection: CollectionRecord, files: Sequence[BoundFile], about: str
    ) -> None:
        index = await self._indexes.get(collection)
        doomed, drafts = _without(files, index, collection, about)
        made = await self._create(collection, drafts, about)
        hidden = [unit for unit in doomed.values() if unit.identifier in index.superseded]
        await self._delete_units(hidden, about, index)
        shown = [unit for unit in doomed.values() if unit.identifier in index.units]
        await self._delete_units(shown, about, index)
        for unit in made:
            index.insert(unit)


def takes_mark(collection: CollectionRecord) -> bool:
    """Say whether the collection's schema lets units carry our own note."""
    return collection.rule is None or collection.rule.takes_mark


def require_publishable(drafts: Sequence[Draft], collection: CollectionRecord, about: str) -> None:
    """Refuse units that lack a required file, or whose metadata breaks the collection's schema.

    Raises
    ------
    InvalidRequestError
        Naming the units and every problem.
    """
    require_complete(drafts, collection.specifications, about)
    if collection.rule is None:
        return
    broken = [
        f"unit {draft.key!r}: {problem}"
        for draft in drafts
        for problem in collection.rule.problems(draft.metadata())
    ]
    if broken:
        more = f"; and {len(broken) - MOST_TOLD} more" if len(broken) > MOST_TOLD else ""
        raise InvalidRequestError("; ".join(broken[:MOST_TOLD]) + more, about)


def _is_made(unit: UnitRecord, draft: Draft) -> bool:
    """Say whether a unit was made for this draft, not found to hold equal content."""
    return bool(unit.mark.get("write") == draft.write)


def _require_place(unit: UnitRecord, draft: Draft, about: str) -> None:
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


def _complete(unit: UnitRecord, draft: Draft, request: wire.UnitToCreate) -> None:
    """Fill in what a creation's answer may leave out, from what was asked for."""
    if not unit.meta:
        unit.meta = request.meta or {}
    if not _is_made(unit, draft):
        return
    for specification, name in draft.names.items():
        file = unit.files.get(specification)
        if file is None:
            checksum = draft.checksums[specification]
            unit.files[specification] = BoundFile(unit, specification, name, checksum, "", None)
        else:
            file.name = name


def _without(
    files: Sequence[BoundFile],
    index: CollectionIndex,
    collection: CollectionRecord,
    about: str,
) -> tuple[dict[int, UnitRecord], list[Draft]]:
    """Decide which units go and which are made anew without some of their files."""
    leaving: dict[int, set[str]] = {}
    units: dict[int, UnitRecord] = {}
    for file in files:
        holders = [unit for unit in index.versions(file) if unit.mark or unit is file.unit]
        for unit in holders or [file.unit]:
            units[unit.identifier] = unit
            leaving.setdefault(unit.identifier, set()).add(file.specification)
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
    return units, drafts
