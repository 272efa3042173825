"""The indexes of datasets: read when first needed, believed for a while."""

from __future__ import annotations

import time
from collections.abc import Iterable

from synapsefs.concurrency import Locks
from synapsefs.services.datasets.catalog import Dataset
from synapsefs.services.datasets.client import DatasetsClient
from synapsefs.services.datasets.entry import StoredEntry, from_response
from synapsefs.services.datasets.index import DatasetIndex
from synapsefs.services.shared import NEVER, SharedChanges, expiry_of


class Indexes:
    """Gives the index of a dataset, as fresh as it must be.

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
        self, api: DatasetsClient, expiry: float, *, chosen_expiry: bool, changes: SharedChanges
    ) -> None:
        self._api = api
        self.changes = changes
        self._expiry = expiry
        self._chosen_expiry = chosen_expiry
        self._by_id: dict[str, DatasetIndex] = {}
        self._reading: Locks[str] = Locks()

    def holding(self, record: StoredEntry) -> DatasetIndex:
        """Give the index that a record lies in, as it is."""
        return self._index(record.dataset)

    def _index(self, identifier: str) -> DatasetIndex:
        index = self._by_id.get(identifier)
        if index is None:
            index = self._by_id[identifier] = DatasetIndex(identifier)
        return index

    async def get(
        self, dataset: Dataset, *, refresh: bool = False, since: float | None = None
    ) -> DatasetIndex:
        """Give the dataset's index.

        Parameters
        ----------
        dataset
            Of which dataset.
        refresh
            Read it anew.
        since
            Read it anew unless it was read after this time (monotonic seconds): what is decided on
            it must be what the service says during the call. Left out, the expiry decides.
        """
        began = time.monotonic()
        async with self._reading.get(dataset.identifier):
            index = self._index(dataset.identifier)
            if not self._is_recent(index, began, began if refresh else since):
                reading = time.monotonic()
                about = dataset.location.path
                answer = await self._api.dataset(dataset.identifier, about)
                dataset.description = answer.dataset.description or dataset.description
                index.fill(answer.data_storage_entries, reading)
        return index

    def _is_recent(self, index: DatasetIndex, began: float, since: float | None) -> bool:
        if index.loaded_at is None:
            return False
        if since is not None:
            return index.read_at >= since
        if index.loaded_at > began:
            return True
        changed = self.changes.since(index.dataset) >= index.read_at
        return not changed and index.age() <= self._expiry_of(index)

    def _expiry_of(self, index: DatasetIndex) -> float:
        """Use a listing that took long for longer, unless the user chose the expiry."""
        if self._chosen_expiry:
            return self._expiry
        return expiry_of(index.load_seconds, self._expiry)

    def as_of(self, identifier: str) -> float:
        """Give the moment (monotonic seconds) at which the newest listing was asked for."""
        index = self._by_id.get(identifier)
        return NEVER if index is None or index.loaded_at is None else index.read_at

    async def decided(self, record: StoredEntry, about: str) -> StoredEntry:
        """Look closer at an entry of which the listing does not say what it is."""
        return record if record.kind else await self.look(record, about)

    async def told(self, record: StoredEntry, about: str) -> StoredEntry:
        """Look closer at an entry of which the listing tells too little."""
        if record.pinned or record.piece is not None:
            return record
        record = self.holding(record).records.get(record.identifier, record)
        return record if record.told else await self.look(record, about)

    async def look(self, record: StoredEntry, about: str) -> StoredEntry:
        """Ask for one entry by itself, which tells all there is to know of it."""
        if record.pinned:
            return await self.look_back(record, {"revision_id": record.revision or ""}, about)
        fresh = from_response(await self._api.entry(record.identifier, about))
        self.holding(record).put(fresh)
        return fresh.like(record)

    async def look_back(
        self, record: StoredEntry, which: dict[str, str], about: str
    ) -> StoredEntry:
        """Ask for an entry as it was at a revision; listings go on showing the newest.

        Parameters
        ----------
        which
            ``version`` or ``revision_id``.
        """
        found = from_response(await self._api.entry(record.identifier, about, **which))
        found.dataset, found.pinned = record.dataset, True
        return found

    def drop(self, identifier: str) -> None:
        """Forget a dataset that is gone."""
        self._by_id.pop(identifier, None)

    def removed(self, records: Iterable[StoredEntry]) -> None:
        """Take entries that are gone out of their indexes."""
        by_dataset: dict[str, list[str]] = {}
        for record in records:
            by_dataset.setdefault(record.dataset, []).append(record.identifier)
        for dataset, identifiers in by_dataset.items():
            if dataset in self._by_id:
                self._by_id[dataset].remove(identifiers)

    def forget(self) -> None:
        """Believe no listing."""
        for index in self._by_id.values():
            index.loaded_at = None
