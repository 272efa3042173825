"""The indexes of collections, and what is asked of single units and the newest ones."""

from __future__ import annotations

import time
from collections.abc import Iterable

from synapsefs import concurrency
from synapsefs.errors import ChangedError, NotFoundError
from synapsefs.services.collections.catalog import Collection
from synapsefs.services.collections.client import UNITS_PER_PAGE, CollectionsClient
from synapsefs.services.collections.index import CollectionIndex
from synapsefs.services.collections.pages import KEPT_CHANGING, LISTING_ATTEMPTS, PageCheck
from synapsefs.services.collections.unit import Unit, record_of
from synapsefs.services.index_cache import IndexCache
from synapsefs.services.shared import Expiry

NEWEST = (50, UNITS_PER_PAGE)
"""How many of the newest units are asked for, and how many next, before all are."""
UNITS_AT_A_TIME = 16
FEW_UNITS = 4
UNITS_PER_REQUEST = UNITS_PER_PAGE // 20
"""More units than the first are listed rather than asked for one by one, where listing them costs
less: a page takes about as long as twenty units."""


class Indexes(IndexCache[int, Collection, CollectionIndex]):
    """The indexes of collections, and what is asked of single units and the newest ones."""

    def __init__(self, api: CollectionsClient, expiry: Expiry) -> None:
        super().__init__(CollectionIndex, expiry)
        self._api = api
        self._ordered = True
        self._partial: dict[int, CollectionIndex] = {}

    async def latest(
        self, collection: Collection, *, newer_than: float | None = None
    ) -> CollectionIndex:
        """Ask for what is new, and whether anything is gone.

        That suffices for a decision about units that are then asked for one by one with
        :meth:`refreshed`.

        Parameters
        ----------
        newer_than
            What was asked for since then is new enough (monotonic seconds); this call if None.
        """
        began = time.monotonic() if newer_than is None else newer_than
        async with self._reading.get(collection.identifier):
            index = self.held(collection.identifier)
            known = index.loaded_at is not None
            if not known or (index.read_at < began and not await self._newest(collection, index)):
                await self._read(collection, index)
        return index

    async def glimpse(self, collection: Collection, since: float | None = None) -> CollectionIndex:
        """Give an index with what a single request tells that was not known; maybe not all."""
        index = self.held(collection.identifier)
        if index.loaded_at is not None:
            return await self.latest(collection, newer_than=since)
        began = time.monotonic()
        known = self._partial.get(collection.identifier)
        if since is not None and known is not None and known.read_at >= since:
            return known
        path = collection.location.path
        page = await self._api.newest_units(collection.identifier, path, NEWEST[0])
        units = {unit.id: record_of(unit, began) for unit in page.results}
        if not page.next and len(units) >= (page.count or 0):
            index.fill(index.arranged(list(units.values()), began), began)
            return index
        if known is None:
            known = self._partial[collection.identifier] = CollectionIndex(collection.identifier)
        known.follow(index.units, units, began)
        return known

    async def refreshed(self, collection: Collection, units: Iterable[Unit], began: float) -> bool:
        """Read units again, unless that was done since ``began``; say whether any has changed."""
        index = self.held(collection.identifier)
        before = {unit.identifier: (unit.composition, unit.meta) for unit in units}
        old = [i for i in before if i not in index.units or index.units[i].seen < began]
        if len(old) > max(FEW_UNITS, len(index.units) // UNITS_PER_REQUEST):
            await self.get(collection, newer_than=time.monotonic())
        else:
            path = collection.location.path
            work = (self._read_unit(identifier, index, path) for identifier in old)
            await concurrency.gather(work, UNITS_AT_A_TIME)
        now = {i: index.units.get(i) for i in before}
        return any(
            unit is None or (unit.composition, unit.meta) != before[i] for i, unit in now.items()
        )

    async def _read_unit(self, identifier: int, index: CollectionIndex, path: str) -> None:
        began = time.monotonic()
        try:
            unit = await self._api.unit(identifier, path)
        except NotFoundError:
            index.lose(identifier)
        else:
            index.take(record_of(unit, began))

    def drop(self, identifier: int) -> None:
        """Forget a collection that is gone."""
        super().drop(identifier)
        self._partial.pop(identifier, None)

    def unreconciled(self) -> list[int]:
        """Name the collections that were written to without knowing what was replaced."""
        return [identifier for identifier, index in self._by_id.items() if index.unreconciled]

    async def _list(self, container: Collection, began: float) -> tuple[list[Unit], float]:
        """List everything.

        Raises
        ------
        ChangedError
            When the listing changes all the time so that parts of it may be missing.
        """
        path = container.location.path
        before: set[int] | None = None
        for _ in range(LISTING_ATTEMPTS):
            units: dict[int, Unit] = {}
            check = PageCheck()
            async for page in self._api.unit_pages(container.identifier, path):
                check.add(page)
                units.update((unit.id, record_of(unit, began)) for unit in page.results)
            if check.whole or before == units.keys():
                return list(units.values()), began
            before, began = set(units), time.monotonic()
        raise ChangedError(KEPT_CHANGING, path)

    async def _newest(self, collection: Collection, index: CollectionIndex) -> bool:
        """Read units down to one that was known; False where only the whole listing would do."""
        for most in NEWEST if self._ordered else ():
            began = time.monotonic()
            path = collection.location.path
            page = await self._api.newest_units(collection.identifier, path, most)
            units = {unit.id: record_of(unit, began) for unit in page.results}
            if not page.next and len(units) >= (page.count or 0):
                index.fill(index.arranged(list(units.values()), began), began)
                return True
            numbers = [unit.id for unit in page.results]
            if numbers != sorted(numbers, reverse=True):
                self._ordered = False
                return False
            if any(number in index.units for number in numbers):
                index.merge(units, began)
                return len(index.units) == page.count
        return False
