"""The indexes of datasets, and what is asked of single entries."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from synapsefs.services.datasets.catalog import Dataset
from synapsefs.services.datasets.client import DatasetsClient
from synapsefs.services.datasets.entry import StoredEntry, from_response
from synapsefs.services.datasets.index import DatasetIndex
from synapsefs.services.index_cache import IndexCache
from synapsefs.services.shared import Expiry
from synapsefs.wire.datasets import answers


class Indexes(IndexCache[str, Dataset, DatasetIndex]):
    """The indexes of datasets, and what is asked of single entries."""

    def __init__(self, api: DatasetsClient, expiry: Expiry) -> None:
        super().__init__(DatasetIndex, expiry)
        self._api = api

    def holding(self, record: StoredEntry) -> DatasetIndex:
        """Give the index that a record lies in, as it is."""
        return self.held(record.dataset)

    async def _list(self, container: Dataset, began: float) -> tuple[list[answers.Entry], float]:
        answer = await self._api.dataset(container.identifier, container.location.path)
        container.description = answer.dataset.description or container.description
        return answer.data_storage_entries, began

    async def resolve_kind(self, record: StoredEntry, path: str) -> StoredEntry:
        """Fetch an entry of which the listing does not say whether it is a file."""
        return record if record.kind else await self.fetch(record, path)

    async def ensure_details(self, record: StoredEntry, path: str) -> StoredEntry:
        """Fetch an entry whose listing lacks details."""
        if record.pinned or record.piece is not None:
            return record
        record = self.holding(record).records.get(record.identifier, record)
        return record if record.details else await self.fetch(record, path)

    async def fetch(self, record: StoredEntry, path: str) -> StoredEntry:
        """Fetch an entry by itself, which tells all there is to know of it."""
        if record.pinned:
            return await self.fetch_revision(record, {"revision_id": record.revision or ""}, path)
        response = await self._api.entry(record.identifier, path)
        fresh = from_response(response, record.dataset)
        self.holding(record).put(fresh)
        return fresh.like(record)

    async def fetch_revision(
        self, record: StoredEntry, which: dict[str, str], path: str
    ) -> StoredEntry:
        """Fetch an entry as it was at a revision; listings go on showing the newest.

        Parameters
        ----------
        which
            ``version`` or ``revision_id``.
        """
        response = await self._api.entry(record.identifier, path, **which)
        return replace(from_response(response, record.dataset), pinned=True)

    def removed(self, records: Iterable[StoredEntry]) -> None:
        """Take entries that are gone out of their indexes."""
        by_dataset: dict[str, list[str]] = {}
        for record in records:
            by_dataset.setdefault(record.dataset, []).append(record.identifier)
        for dataset, identifiers in by_dataset.items():
            if dataset in self._by_id:
                self._by_id[dataset].remove(identifiers)
