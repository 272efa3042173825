"""The indexes of collections: read when first needed, believed for a while."""

from __future__ import annotations

import time

from synapsefs.limits import Locks
from synapsefs.services.collections.api import CollectionsApi
from synapsefs.services.collections.directory import CollectionRecord
from synapsefs.services.collections.index import CollectionIndex, UnitRecord, record_of

EXPIRY_PER_LOAD = 10.0
LISTING_ATTEMPTS = 3


class Indexes:
    """Gives the index of a collection, as fresh as it must be.

    Parameters
    ----------
    api
        The service.
    expiry
        Seconds for which a listing is believed.
    chosen_expiry
        False to believe a listing that took long for at least ten times as long as that.
    """

    def __init__(self, api: CollectionsApi, expiry: float, *, chosen_expiry: bool) -> None:
        self._api = api
        self._expiry = expiry
        self._chosen_expiry = chosen_expiry
        self._by_id: dict[int, CollectionIndex] = {}
        self._reading: Locks[int] = Locks()

    def held(self, identifier: int) -> CollectionIndex:
        """Give an index as it is, be it empty or old."""
        return self._by_id.setdefault(identifier, CollectionIndex())

    async def get(self, collection: CollectionRecord, *, refresh: bool = False) -> CollectionIndex:
        """Give an index, read again when it is too old or not believed."""
        began = time.monotonic()
        async with self._reading.get(collection.identifier):
            index = self.held(collection.identifier)
            if index.loaded_at is not None and index.loaded_at > began:
                return index
            if refresh or index.age() > self._expiry_of(index):
                await self._load(collection, index)
        return index

    def drop(self, identifier: int) -> None:
        """Forget a collection that is gone."""
        self._by_id.pop(identifier, None)

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
        return max(self._expiry, EXPIRY_PER_LOAD * index.load_seconds)

    async def _load(self, collection: CollectionRecord, index: CollectionIndex) -> None:
        began = time.monotonic()
        about = collection.location.path
        for _ in range(LISTING_ATTEMPTS):
            units: dict[int, UnitRecord] = {}
            count = 0
            async for page in self._api.unit_pages(collection.identifier, about):
                count = page.count or 0
                units.update((unit.id, record_of(unit)) for unit in page.results)
            if len(units) >= count:
                break
        index.fill(units, began)
