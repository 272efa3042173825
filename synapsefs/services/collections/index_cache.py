"""The indexes of collections: read when first needed, believed for a while."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

from synapsefs import concurrency
from synapsefs.errors import ChangedError, NotFoundError
from synapsefs.services.collections.catalog import Collection
from synapsefs.services.collections.client import UNITS_PER_PAGE, CollectionsClient
from synapsefs.services.collections.index import CollectionIndex
from synapsefs.services.collections.pages import KEPT_CHANGING, LISTING_ATTEMPTS, PageCheck
from synapsefs.services.collections.unit import Unit, record_of
from synapsefs.services.shared import NEVER, SharedChanges, expiry_of

NEWEST = (50, UNITS_PER_PAGE)
"""How many of the newest units are asked for, and how many next, before all are."""
UNITS_AT_A_TIME = 16
SEVERAL_UNITS = 4
UNITS_PER_REQUEST = UNITS_PER_PAGE // 20
"""More units than the first are listed rather than asked for one by one, where listing them costs
less: a page takes about as long as twenty units."""


class Indexes:
    """Gives the index of a collection, as fresh as it must be.

    Parameters
    ----------
    api
        The service.
    expiry
        Seconds for which a listing is believed.
    chosen_expiry
        False to believe a listing that took long for longer.
    changes
        What other instances of this process changed.
    """

    def __init__(
        self, api: CollectionsClient, expiry: float, *, chosen_expiry: bool, changes: SharedChanges
    ) -> None:
        self._api = api
        self.changes = changes
        self._expiry = expiry
        self._chosen_expiry = chosen_expiry
        self._ordered = True
        self._by_id: dict[int, CollectionIndex] = {}
        self._partial: dict[int, CollectionIndex] = {}
        self._reading: concurrency.Locks[int] = concurrency.Locks()

    def held(self, identifier: int) -> CollectionIndex:
        """Give an index as it is, be it empty or old."""
        found = self._by_id.get(identifier)
        if found is None:
            found = self._by_id[identifier] = CollectionIndex()
        return found

    async def get(
        self,
        collection: Collection,
        *,
        refresh: bool = False,
        newest: bool = False,
        since: float | None = None,
    ) -> CollectionIndex:
        """Give an index, read again when it is too old or not believed.

        Parameters
        ----------
        refresh
            List everything again, unless that was begun after this call.
        newest
            Ask for what is new, and whether anything is gone, which suffices for a decision about
            units that are then asked for one by one with :meth:`refreshed`.
        since
            What was read since then (monotonic seconds) is new enough; this call's begin if None.
        """
        began = time.monotonic() if since is None else since
        async with self._reading.get(collection.identifier):
            index = self.held(collection.identifier)
            if index.loaded_at is None or (refresh and index.loaded_at < began):
                await self._load(collection, index)
            elif newest and index.read_at < began:
                if not await self._read_newest(collection, index):
                    await self._load(collection, index)
            elif not newest and index.loaded_at < began and self._is_expired(collection, index):
                await self._load(collection, index)
        return index

    def _is_expired(self, collection: Collection, index: CollectionIndex) -> bool:
        changed = self.changes.since(collection.identifier)
        return index.age() > self._expiry_of(index) or changed >= (index.loaded_at or NEVER)

    def as_of(self, identifier: int) -> float:
        """Give the moment (monotonic seconds) at which the newest listing was asked for."""
        index = self._by_id.get(identifier)
        return NEVER if index is None or index.loaded_at is None else index.read_at

    async def glimpse(self, collection: Collection, since: float | None = None) -> CollectionIndex:
        """Give an index with what a single request tells that was not known; maybe not all."""
        index = self.held(collection.identifier)
        if index.loaded_at is not None:
            return await self.get(collection, newest=True, since=since)
        began = time.monotonic()
        known = self._partial.get(collection.identifier)
        if since is not None and known is not None and known.read_at >= since:
            return known
        about = collection.location.path
        page = await self._api.newest_units(collection.identifier, about, NEWEST[0])
        units = {unit.id: record_of(unit, began) for unit in page.results}
        if not page.next and len(units) >= (page.count or 0):
            index.fill(units, began)
            return index
        partial = CollectionIndex()
        partial.fill({**index.units, **units}, began)
        self._partial[collection.identifier] = partial
        return partial

    async def refreshed(self, collection: Collection, units: Iterable[Unit], began: float) -> bool:
        """Read units again, unless that was done since ``began``; say whether any has changed."""
        index = self.held(collection.identifier)
        before = {unit.identifier: (unit.composition, unit.meta) for unit in units}
        old = [i for i in before if i not in index.units or index.units[i].seen < began]
        if len(old) > max(SEVERAL_UNITS, len(index.units) // UNITS_PER_REQUEST):
            await self.get(collection, refresh=True)
        else:
            about = collection.location.path
            work = (self._read_unit(identifier, index, about) for identifier in old)
            await concurrency.gather(work, UNITS_AT_A_TIME)
        now = {i: index.units.get(i) for i in before}
        return any(
            unit is None or (unit.composition, unit.meta) != before[i] for i, unit in now.items()
        )

    async def _read_unit(self, identifier: int, index: CollectionIndex, about: str) -> None:
        began = time.monotonic()
        try:
            unit = await self._api.unit(identifier, about)
        except NotFoundError:
            index.lose(identifier)
        else:
            index.take(record_of(unit, began))

    def drop(self, identifier: int) -> None:
        """Forget a collection that is gone."""
        self._by_id.pop(identifier, None)
        self._partial.pop(identifier, None)

    def forget(self) -> None:
        """Believe no listing; what was written here and not yet listed is kept."""
        for index in self._by_id.values():
            index.loaded_at = None

    def unreconciled(self) -> list[int]:
        """Name the collections that were written to without knowing what was replaced."""
        return [identifier for identifier, index in self._by_id.items() if index.unreconciled]

    def _expiry_of(self, index: CollectionIndex) -> float:
        if self._chosen_expiry:
            return self._expiry
        return expiry_of(index.load_seconds, self._expiry)

    async def _load(self, collection: Collection, index: CollectionIndex) -> None:
        """List everything.

        Raises
        ------
        ChangedError
            When the listing changes all the time so that parts of it may be missing.
        """
        about = collection.location.path
        before: Mapping[int, Unit] | None = None
        for _ in range(LISTING_ATTEMPTS):
            began = time.monotonic()
            units: dict[int, Unit] = {}
            check = PageCheck()
            async for page in self._api.unit_pages(collection.identifier, about):
                check.add(page)
                units.update((unit.id, record_of(unit, began)) for unit in page.results)
            if check.whole or (before is not None and before.keys() == units.keys()):
                index.fill(units, began)
                return
            before = units
        raise ChangedError(KEPT_CHANGING, about)

    async def _read_newest(self, collection: Collection, index: CollectionIndex) -> bool:
        """Read units down to one that was known; False where only the whole listing would do."""
        for most in NEWEST if self._ordered else ():
            began = time.monotonic()
            about = collection.location.path
            page = await self._api.newest_units(collection.identifier, about, most)
            units = {unit.id: record_of(unit, began) for unit in page.results}
            if not page.next and len(units) >= (page.count or 0):
                index.fill(units, began)
                return True
            numbers = [unit.id for unit in page.results]
            if numbers != sorted(numbers, reverse=True):
                self._ordered = False
                return False
            if any(number in index.units for number in numbers):
                index.merge(units, began)
                return len(index.units) == page.count
        return False
