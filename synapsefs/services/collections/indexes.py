"""The indexes of collections: read when first needed, believed for a while."""

from __future__ import annotations

import time

from synapsefs.limits import Locks
from synapsefs.services.collections.api import CollectionsApi
from synapsefs.services.collections.directory import CollectionRecord
from synapsefs.services.collections.index import CollectionIndex, UnitRecord, record_of
from synapsefs.services.shared import NEVER, SharedChanges, expiry_of

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
        False to believe a listing that took long for longer.
    changes
        What other instances of this process changed.
    """

    def __init__(
        self, api: CollectionsApi, expiry: float, *, chosen_expiry: bool, changes: SharedChanges
    ) -> None:
        self._api = api
        self.changes = changes
        self._as_of: dict[int, float] = {}
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
            as_of = self.as_of(collection.identifier)
            expired = (
                index.age() > self._expiry_of(index)
                or self.changes.since(collection.identifier) >= as_of
            )
            if index.loaded_at is None or (as_of < began and (refresh or expired)):
                reading = time.monotonic()
                await self._load(collection, index)
                self._as_of[collection.identifier] = reading
        return index

    def as_of(self, identifier: int) -> float:
        """Give the moment (monotonic seconds) at which the newest listing was asked for."""
        return self._as_of.get(identifier, NEVER)

    def drop(self, identifier: int) -> None:
        """Forget a collection that is gone."""
        self._by_id.pop(identifier, None)
        self._as_of.pop(identifier, None)

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
