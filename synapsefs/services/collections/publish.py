"""Binding files into units: what makes files of a collection appear, and replaces others."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, TypeVar

from synapsefs.concurrency import Locks
from synapsefs.errors import (
    ChangedError,
    ConflictError,
    FolderError,
    InvalidRequestError,
    NotAFolderError,
    NotFoundError,
    SynapseError,
)
from synapsefs.services.base import Entry
from synapsefs.services.collections.catalog import Collection, CollectionCatalog
from synapsefs.services.collections.client import CollectionsClient
from synapsefs.services.collections.composition import (
    Draft,
    PlannedFile,
    compose,
    require_complete,
)
from synapsefs.services.collections.editing import ChangedMetadata, UnitEditor, new_edit
from synapsefs.services.collections.groups import own_groups
from synapsefs.services.collections.index import CollectionIndex
from synapsefs.services.collections.index_cache import Indexes
from synapsefs.services.collections.paths import require_free, validate_path
from synapsefs.services.collections.removing import UnitRemover
from synapsefs.services.collections.schema import NAMING_KEYS
from synapsefs.services.collections.unit import MARK, Unit
from synapsefs.services.collections.unit_store import UnitStore, fresh
from synapsefs.services.shared import SharedChanges

L = TypeVar("L", PlannedFile, Entry)
Groups = Sequence[tuple[Collection, list[L]]]
logger = logging.getLogger("synapsefs")
MAX_PROBLEMS = 20
REBASES = 10
"""How often a unit is made anew because others replace it in the same moment."""


@dataclass(slots=True)
class _Plan:
    """The units that files make in one collection; errors name ``path``."""

    collection: Collection
    path: str
    drafts: Sequence[Draft]
    units: Sequence[Unit] = ()


class UnitPublisher:
    """Binds files into units, changes these, and takes files out of them."""

    def __init__(
        self,
        api: CollectionsClient,
        catalog: CollectionCatalog,
        indexes: Indexes,
        changes: SharedChanges,
        max_deletions: int,
    ) -> None:
        self._api = api
        self._catalog = catalog
        self._indexes = indexes
        self._changes = changes
        self._writing: Locks[int] = Locks()
        self._store = UnitStore(api, indexes, max_deletions)
        self._remover = UnitRemover(indexes, self._store)
        self._editor = UnitEditor(api, indexes, self._store, self._writing)
        self.delete_superseded = self._store.delete_superseded
        self.set_metadata = self._editor.change

    async def by_collection(self, items: Iterable[L]) -> list[tuple[Collection, list[L]]]:
        """Find the collections that items lie in, each with its items."""
        by_container: dict[str, list[L]] = {}
        for item in items:
            by_container.setdefault(item.location.container, []).append(item)
        grouped: dict[int, tuple[Collection, list[L]]] = {}
        for container, inside in by_container.items():
            if not container:
                raise FolderError("a file needs a collection", inside[0].location.path)
            collection = await self._catalog.for_writing(inside[0].location)
            grouped.setdefault(collection.identifier, (collection, []))[1].extend(inside)
        return list(grouped.values())

    async def in_collections(
        self, items: Sequence[L], work: Callable[[Groups[L]], Awaitable[None]]
    ) -> None:
        """Do something in collections, and once more when one was made anew meanwhile."""
        groups = await self.by_collection(items)
        touched = {collection.identifier for collection, _ in groups}
        try:
            try:
                await work(groups)
            except (InvalidRequestError, NotFoundError):
                self._catalog.invalidate()
                groups = await self.by_collection(items)
                now = {collection.identifier for collection, _ in groups}
                if now == touched:
                    raise
                touched |= now
                await work(groups)
        finally:
            for identifier in touched:
                self._changes.note(identifier)

    async def check(self, files: Sequence[PlannedFile], *, complete: bool) -> None:
        """Refuse paths where no file can be, and with ``complete`` files that make no whole units.

        What was listed before suffices where it shows nothing wrong: it is looked up again before
        the files are published.
        """

        async def check(groups: Groups[PlannedFile]) -> None:
            for collection, group in groups:
                for file in group:
                    validate_path(file.location, collection.specifications)
                if complete:
                    await self._check_whole(collection, group)
                else:
                    require_free([file.location for file in group])

        await self.in_collections(list({f.location: f for f in files}.values()), check)

    async def _check_whole(self, collection: Collection, files: Sequence[PlannedFile]) -> None:
        joins = not joins_nothing(collection)
        index = self._indexes.held(collection.identifier)
        if joins and index.loaded_at is None:
            index = await self._indexes.get(collection)
        for is_latest in (False, True):
            try:
                require_free([file.location for file in files], index)
                if joins:
                    drafts = compose(files, index.with_stem)
                    _require_publishable(drafts, collection, files[0].location.path)
            except (InvalidRequestError, FolderError, NotAFolderError):
                if is_latest:
                    raise
                index = await self._latest(collection)
            else:
                return

    async def _latest(self, collection: Collection, since: float | None = None) -> CollectionIndex:
        """Ask what is there now; where files join nothing, no more than one request's answer."""
        if joins_nothing(collection):
            return await self._indexes.glimpse(collection, since)
        return await self._indexes.latest(collection, newer_than=since)

    async def publish(
        self,
        files: Sequence[PlannedFile],
        then: Callable[[], Awaitable[None]] | None = None,
        since: float | None = None,
    ) -> None:
        """Make units of files, in all collections or in none; what they replace goes afterwards.

        Of several files for one path the last counts. When ``then`` fails, which is done before
        anything is replaced, the units go. What was read since ``since`` (monotonic seconds) is
        new enough.
        """

        async def publish(groups: Groups[PlannedFile]) -> None:
            async with contextlib.AsyncExitStack() as held:
                locks = [self._writing.get(collection.identifier) for collection, _ in groups]
                for lock in sorted(locks, key=id):
                    await held.enter_async_context(lock)
                plans = [await self._plan(*group, since) for group in groups]
                try:
                    for plan in plans:
                        plan.units = await self._store.create(
                            plan.collection, plan.drafts, plan.path
                        )
                    if then is not None:
                        await then()
                except BaseException as error:
                    for plan in plans:
                        units = fresh(plan.units, plan.drafts)
                        await asyncio.shield(
                            self._store.take_back(plan.collection, units, plan.path, error)
                        )
                    raise
                for plan in plans:
                    await self._settle(plan)

        await self.in_collections(list({f.location: f for f in files}.values()), publish)

    async def _plan(
        self, collection: Collection, files: Sequence[PlannedFile], since: float | None
    ) -> _Plan:
        """Compose units of what the service has now."""
        path = files[0].location.path
        joins = not joins_nothing(collection)
        began = time.monotonic() if since is None else since
        for _ in range(REBASES):
            index = await self._latest(collection, since)
            since = None
            drafts = compose(files, index.with_stem if joins else None)
            held = [unit for draft in drafts for unit in (*draft.bases, *draft.replaced)]
            if not held or not await self._indexes.refreshed(collection, held, began):
                break
        else:
            raise ConflictError("others keep replacing the units", path)
        require_free([file.location for file in files], index)
        await self._prepare(collection, drafts, index)
        if joins:
            _require_publishable(drafts, collection, path)
        return _Plan(collection, path, drafts)

    async def _prepare(
        self, collection: Collection, drafts: Sequence[Draft], index: CollectionIndex
    ) -> None:
        """Leave units in the groups that others put them in, and note whose place they take."""
        joined = [(draft, draft.base) for draft in drafts if draft.base and draft.groups is None]
        if joined:
            groups = await own_groups(self._api, collection, [base for _, base in joined])
            for draft, base in joined:
                draft.groups = groups.get(base.identifier)
        for draft in drafts:
            at_paths = [held for file in draft.new for held in index.of_path(file.location.inner)]
            units = [*draft.bases, *draft.replaced, *(held.unit for held in at_paths)]
            draft.follow({unit.identifier: unit for unit in units}.values())

    async def _settle(self, plan: _Plan) -> None:
        """Let new units take the place of what they replace.

        A unit of which something was taken over may have been replaced, removed or changed
        meanwhile. Then the new files are bound once more, to what the others made.
        """
        own: set[int] = set()
        for _ in range(REBASES):
            created = {unit.identifier for unit in plan.units}
            own |= created
            bases = {unit.identifier: unit for draft in plan.drafts for unit in draft.bases}
            removed = await self._merge_changes(plan, bases) if bases else set()
            index = self._indexes.held(plan.collection.identifier)
            for unit in plan.units:
                index.insert(unit)
            for draft in plan.drafts:
                for old in (draft.base, *draft.replaced):
                    if old is not None and old.identifier not in created:
                        index.supersede(old)
            rebased_on = {
                unit.identifier
                for draft in _based_on(plan.drafts, removed)
                for unit in index.with_stem(draft.key)
            }
            gone = await self._store.delete_superseded(
                plan.collection, plan.path, keeping=rebased_on
            )
            outdated = _based_on(plan.drafts, gone | removed)
            if not outdated:
                return
            plan = await self._rebased(plan, outdated, own, removed)
            plan.units = await self._store.create(plan.collection, plan.drafts, plan.path)
        raise ConflictError("somebody else keeps replacing the unit's other files", plan.path)

    async def _merge_changes(self, plan: _Plan, bases: Mapping[int, Unit]) -> set[int]:
        """Find units that others removed after something was taken over from them.

        Metadata that they changed there is changed in the new units too.
        """
        began = time.monotonic()
        before = {identifier: unit.meta for identifier, unit in bases.items()}
        try:
            index = await self._indexes.latest(plan.collection)
            await self._indexes.refreshed(plan.collection, bases.values(), began)
        except SynapseError as error:
            logger.warning("%s: written, but not compared with others: %s", plan.path, error)
            return set()
        for unit, draft in zip(plan.units, plan.drafts, strict=True):
            base = index.units.get(draft.base.identifier) if draft.base else None
            if base is not None and base.meta != before[base.identifier]:
                changed = _merging(before[base.identifier], base.meta, draft.meta)
                with contextlib.suppress(NotFoundError):
                    await self._editor.write(plan.collection, unit, changed, new_edit(), plan.path)
        return {identifier for identifier in bases if identifier not in index.units}

    async def _rebased(
        self, plan: _Plan, outdated: Sequence[Draft], own: set[int], removed: set[int]
    ) -> _Plan:
        """Compose again what took over files of units that others replaced or removed.

        Raises
        ------
        InvalidRequestError
            When the files that remain make no whole unit; what was made of them is deleted then.
        """
        logger.info("%s: somebody else replaced the unit as well", plan.path)
        collection = plan.collection
        index = await self._indexes.latest(collection)

        def others(stem: str) -> list[Unit]:
            return [unit for unit in index.with_stem(stem) if unit.identifier not in own]

        began = time.monotonic()
        files = [file for draft in outdated for file in draft.new]
        stems = {file.stem for file in files}
        await self._indexes.refreshed(
            collection, [unit for stem in stems for unit in others(stem)], began
        )
        held = {unit for draft in outdated for unit in (*draft.bases, *draft.replaced)}
        alone = any(unit.identifier in removed for unit in held)
        drafts = compose(files, others, others if alone else index.with_stem)
        drafts = [draft for draft in drafts if draft.base is not None or alone]
        replaced: list[Unit] = []
        for draft in drafts:
            mine = [unit for unit in index.with_stem(draft.key) if unit.identifier in own]
            draft.replaced = [*draft.replaced, *mine]
            replaced += mine
        await self._prepare(collection, drafts, index)
        try:
            _require_publishable(drafts, collection, plan.path)
        except InvalidRequestError as error:
            await asyncio.shield(self._store.take_back(collection, replaced, plan.path, error))
            raise
        return _Plan(collection, plan.path, drafts)

    async def remove(self, entries: Iterable[Entry], *, unchanged: bool) -> None:
        """Take files out of their units; see :meth:`UnitRemover.remove`.

        Files that others changed are left alone with ``unchanged``; the first of them is named when
        all others are removed.
        """

        async def remove(groups: Groups[Entry]) -> None:
            for collection, group in groups:
                async with self._writing.get(collection.identifier):
                    await self._remover.remove(collection, group, unchanged=unchanged)

        changed: ChangedError | None = None
        for _, group in await self.by_collection(entries):
            try:
                await self.in_collections(group, remove)
            except ChangedError as error:
                changed = changed or error
        if changed is not None:
            raise changed


def joins_nothing(collection: Collection) -> bool:
    """Say whether new files join no units, so that none need be known.

    So it is where there is just one specification and no schema for metadata: what a new file
    replaces hides behind its mark.
    """
    schema = collection.rule.schema if collection.rule else None
    return len(collection.specifications) == 1 and schema is None


def _based_on(drafts: Iterable[Draft], gone: AbstractSet[int]) -> list[Draft]:
    """Pick the drafts that took files over while a unit they came from went."""
    return [
        draft
        for draft in drafts
        if draft.kept and any(unit.identifier in gone for unit in draft.bases)
    ]


def _merging(
    before: Mapping[str, Any], now: Mapping[str, Any], asked: Mapping[str, Any]
) -> ChangedMetadata:
    """Give what does to metadata what somebody else did, where nothing else was asked for."""
    names = {name for name in (*before, *now) if before.get(name) != now.get(name)}
    names -= {MARK, *NAMING_KEYS, *asked}

    def changed(meta: Mapping[str, Any]) -> dict[str, Any]:
        kept = {name: value for name, value in meta.items() if name not in names}
        return kept | {name: now[name] for name in names if name in now}

    return changed


def _require_publishable(drafts: Sequence[Draft], collection: Collection, path: str) -> None:
    """Refuse units that lack a required file, or whose metadata breaks the collection's schema.

    Raises
    ------
    InvalidRequestError
        Naming the units and every problem.
    """
    require_complete(drafts, collection.specifications, path)
    rule = collection.rule
    if rule is None or rule.schema is None:
        return
    problems = [
        f"unit {draft.key!r}: {problem}"
        for draft in drafts
        for problem in rule.problems(draft.metadata())
    ]
    if problems:
        more = f"; and {len(problems) - MAX_PROBLEMS} more" if len(problems) > MAX_PROBLEMS else ""
        raise InvalidRequestError("; ".join(problems[:MAX_PROBLEMS]) + more, path)
