"""Binding files into units: what makes files of a collection appear, and replaces others."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from synapsefs import concurrency
from synapsefs.errors import (
    ConflictError,
    FolderError,
    InvalidRequestError,
    NotAFolderError,
    NotFoundError,
    SynapseError,
)
from synapsefs.location import split_suffix
from synapsefs.services.base import Entry
from synapsefs.services.collections.catalog import Collection
from synapsefs.services.collections.client import CollectionsClient
from synapsefs.services.collections.composition import (
    Draft,
    NewFile,
    UnitsWithStem,
    compose,
    require_complete,
    require_free,
)
from synapsefs.services.collections.editing import ChangedMetadata, UnitEditor, new_edit
from synapsefs.services.collections.groups import own_groups
from synapsefs.services.collections.index import CollectionIndex
from synapsefs.services.collections.index_cache import Indexes
from synapsefs.services.collections.making import UnitMaker, made_for
from synapsefs.services.collections.removing import UnitRemover
from synapsefs.services.collections.schema import NAMING_KEYS
from synapsefs.services.collections.unit import MARK, Unit, UnitFile, segments_of

logger = logging.getLogger("synapsefs")
MOST_TOLD = 20
REBASES = 10
"""How often a unit is made anew because others replace it in the same moment."""


@dataclass(frozen=True, slots=True)
class _Plan:
    """The units that files make in one collection."""

    collection: Collection
    files: Sequence[NewFile]
    drafts: Sequence[Draft]

    @property
    def about(self) -> str:
        """The path that an error names."""
        return self.files[0].location.path

    @property
    def bases(self) -> dict[int, Unit]:
        """The units, by id, of which something is taken over."""
        return {
            unit.identifier: unit
            for draft in self.drafts
            for unit in (*draft.sources, *([draft.base] if draft.base else ()))
        }


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

    def __init__(self, api: CollectionsClient, indexes: Indexes, at_a_time: int) -> None:
        self._api = api
        self._indexes = indexes
        self._writing: concurrency.Locks[int] = concurrency.Locks()
        self._maker = UnitMaker(api, indexes, at_a_time)
        self._remover = UnitRemover(indexes, self._maker)
        self._editor = UnitEditor(api, indexes, self._maker, self._writing)
        self.delete_superseded = self._maker.delete_superseded

    async def check(self, collection: Collection, files: Sequence[NewFile]) -> None:
        """Refuse files that make no whole units, or lie where others are in their way.

        What was listed before suffices where it shows nothing wrong: it is looked up again before
        they are published.
        """
        index = self._indexes.held(collection.identifier)
        if index.loaded_at is None and not joins_nothing(collection):
            index = await self._indexes.get(collection)
        try:
            self._check(collection, files, index)
        except (InvalidRequestError, FolderError, NotAFolderError):
            index = await self._latest(collection)
            self._check(collection, files, index)

    def _check(
        self, collection: Collection, files: Sequence[NewFile], index: CollectionIndex
    ) -> None:
        require_free(files, index)
        drafts = compose(files, _to_join(collection, index))
        require_publishable(drafts, collection, files[0].location.path)

    async def _latest(self, collection: Collection, since: float | None = None) -> CollectionIndex:
        """Ask what is there now; where files join nothing, no more than one request's answer."""
        if joins_nothing(collection):
            return await self._indexes.glimpse(collection, since)
        return await self._indexes.latest(collection, newer_than=since)

    async def bind(
        self,
        groups: Sequence[tuple[Collection, Sequence[NewFile]]],
        then: Callable[[], Awaitable[None]] | None = None,
        since: float | None = None,
    ) -> None:
        """Make units of files, in all collections or in none; what they replace goes afterwards.

        Parameters
        ----------
        groups
            Collections and the files for each.
        then
            What else must succeed before anything is replaced; when it fails, the units go.
        since
            When the call began (monotonic seconds): what was read since then is new enough.
        """
        locks = [self._writing.get(collection.identifier) for collection, _ in groups]
        async with contextlib.AsyncExitStack() as held:
            for lock in sorted(locks, key=id):
                await held.enter_async_context(lock)
            plans = [await self._planned(collection, files, since) for collection, files in groups]
            made: list[list[Unit]] = []
            try:
                for plan in plans:
                    units = await self._maker.create(plan.collection, plan.drafts, plan.about)
                    made.append(units)
                if then is not None:
                    await then()
            except BaseException as error:
                for plan, units in zip(plans, made, strict=False):
                    await asyncio.shield(self._take_back(plan, units, error))
                raise
            for plan, units in zip(plans, made, strict=True):
                await self._settle(plan, units)

    async def _take_back(self, plan: _Plan, units: Sequence[Unit], error: BaseException) -> None:
        fresh = made_for(units, plan.drafts)
        await self._maker.take_back(plan.collection, fresh, plan.about, error)

    async def _planned(
        self, collection: Collection, files: Sequence[NewFile], since: float | None
    ) -> _Plan:
        """Compose units of what the service has now."""
        began = time.monotonic() if since is None else since
        for _ in range(REBASES):
            index = await self._latest(collection, since)
            since = None
            plan = _Plan(collection, files, compose(files, _to_join(collection, index)))
            held = [unit for draft in plan.drafts for unit in draft.held]
            if not held or not await self._indexes.refreshed(collection, held, began):
                break
        else:
            raise ConflictError("others keep replacing the units", files[0].location.path)
        require_free(files, index)
        await self._keep_groups(collection, plan.drafts)
        _follow(plan.drafts, index)
        require_publishable(plan.drafts, collection, plan.about)
        return plan

    async def _keep_groups(self, collection: Collection, drafts: Sequence[Draft]) -> None:
        """Leave units that are replaced in the groups that others put them in."""
        open_ones = [(draft, draft.base) for draft in drafts if draft.base and draft.groups is None]
        found = await own_groups(self._api, collection, [base for _, base in open_ones])
        for draft, base in open_ones:
            draft.groups = found.get(base.identifier)

    async def _settle(self, plan: _Plan, made: Sequence[Unit]) -> None:
        """Let new units take the place of what they replace.

        A unit of which something was taken over may have been replaced, removed or changed
        meanwhile. Then the new files are bound once more, to what the others made.
        """
        mine: set[int] = set()
        for _ in range(REBASES):
            mine.update(unit.identifier for unit in made)
            lost = await self._lost(plan, made)
            replaced = await self._take_place(plan, made)
            outdated = [draft for draft in plan.drafts if draft.taken_from & (replaced | lost)]
            if not outdated:
                return
            plan = await self._rebased(plan, outdated, mine, lost)
            made = await self._maker.create(plan.collection, plan.drafts, plan.about)
        raise ConflictError("somebody else keeps replacing the unit's other files", plan.about)

    async def _lost(self, plan: _Plan, made: Sequence[Unit]) -> set[int]:
        """Find units that others deleted after something was taken over from them.

        Metadata that they changed there is changed in the new units too.
        """
        if not plan.bases:
            return set()
        began = time.monotonic()
        before = {unit.identifier: unit.meta for unit in plan.bases.values()}
        try:
            index = await self._indexes.latest(plan.collection)
            await self._indexes.refreshed(plan.collection, plan.bases.values(), began)
        except SynapseError as error:
            logger.warning("%s: written, but not compared with others: %s", plan.about, error)
            return set()
        for unit, draft in zip(made, plan.drafts, strict=True):
            base = index.units.get(draft.base.identifier) if draft.base else None
            if base is not None and base.meta != before[base.identifier]:
                changed = _merging(before[base.identifier], base.meta, draft.meta)
                with contextlib.suppress(NotFoundError):
                    await self._editor.write(plan.collection, unit, changed, new_edit(), plan.about)
        return {identifier for identifier in plan.bases if identifier not in index.units}

    async def _rebased(
        self, plan: _Plan, outdated: Sequence[Draft], mine: set[int], lost: set[int]
    ) -> _Plan:
        """Compose again what took over files of units that others replaced or deleted.

        Raises
        ------
        InvalidRequestError
            When the files that remain make no whole unit; what was made of them is deleted then.
        """
        logger.info("%s: somebody else replaced the unit as well", plan.about)
        collection = plan.collection
        index = await self._indexes.latest(collection)

        def others(stem: str) -> list[Unit]:
            return [unit for unit in index.with_stem(stem) if unit.identifier not in mine]

        began = time.monotonic()
        files = [file for file in plan.files if any(draft.binds(file) for draft in outdated)]
        taken = {unit.identifier for draft in outdated for unit in draft.held}
        found = [unit for file in files for unit in others(_stem(file))]
        await self._indexes.refreshed(collection, found, began)
        removed = bool(lost & taken)
        composed = compose(files, others, index.with_stem if not removed else others)
        drafts = [draft for draft in composed if draft.base is not None or removed]
        await self._keep_groups(collection, drafts)
        own: list[Unit] = []
        for draft in drafts:
            replaced = [unit for unit in index.with_stem(draft.key) if unit.identifier in mine]
            draft.replaced = [*draft.replaced, *replaced]
            own += replaced
        _follow(drafts, index)
        try:
            require_publishable(drafts, collection, plan.about)
        except InvalidRequestError as error:
            await asyncio.shield(self._maker.take_back(collection, own, plan.about, error))
            raise
        return _Plan(collection, plan.files, drafts)

    async def _take_place(self, plan: _Plan, made: Sequence[Unit]) -> set[int]:
        """Note new units in the index, delete what they replaced; give what was gone before."""
        index = self._indexes.held(plan.collection.identifier)
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
        return await self.delete_superseded(plan.collection, plan.about)

    async def set_metadata(
        self, collection: Collection, file: UnitFile, changed: ChangedMetadata, about: str
    ) -> None:
        """Change the metadata of the unit that holds a file."""
        await self._editor.change(collection, file, changed, about)

    async def unbind(
        self, collection: Collection, entries: Sequence[Entry], *, unchanged: bool
    ) -> None:
        """Take files out of their units; see :class:`UnitRemover`."""
        async with self._writing.get(collection.identifier):
            await self._remover.remove(collection, entries, unchanged=unchanged)


def joins_nothing(collection: Collection) -> bool:
    """Say whether new files join no units, so that none need be known.

    So it is where there is just one specification and no schema for metadata: what a new file
    replaces hides behind its mark.
    """
    schema = collection.rule.schema if collection.rule else None
    return len(collection.specifications) == 1 and schema is None


def _to_join(collection: Collection, index: CollectionIndex) -> UnitsWithStem:
    """Give the function that finds the units which new files join or replace."""
    if joins_nothing(collection):
        return lambda stem: ()  # noqa: ARG005 - whatever the stem
    return index.with_stem


def _follow(drafts: Sequence[Draft], index: CollectionIndex) -> None:
    """Let units name the writes whose place they take."""
    for draft in drafts:
        at_paths = [
            held.unit
            for specification in draft.bound
            for held in index.of_path(segments_of(specification, draft.names[specification]))
        ]
        draft.follow({unit.identifier: unit for unit in (*draft.held, *at_paths)}.values())


def _stem(file: NewFile) -> str:
    return split_suffix(file.name)[0]


def _merging(
    before: Mapping[str, Any], now: Mapping[str, Any], wished: Mapping[str, Any]
) -> ChangedMetadata:
    """Give what does to metadata what somebody else did, where nothing else was wished for."""
    names = {name for name in (*before, *now) if before.get(name) != now.get(name)}
    names -= {MARK, *NAMING_KEYS, *wished}

    def changed(meta: Mapping[str, Any]) -> dict[str, Any]:
        kept = {name: value for name, value in meta.items() if name not in names}
        return kept | {name: now[name] for name in names if name in now}

    return changed


def require_publishable(drafts: Sequence[Draft], collection: Collection, about: str) -> None:
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
