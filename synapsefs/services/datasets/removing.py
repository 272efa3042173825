"""Removing files, directories and datasets."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace

from synapsefs import concurrency
from synapsefs.errors import ChangedError, NotEmptyError, NotFoundError, UnsupportedError
from synapsefs.location import Location, Root, escape, id_of
from synapsefs.services.base import Entry
from synapsefs.services.datasets.catalog import Dataset, DatasetCatalog
from synapsefs.services.datasets.client import DatasetsClient
from synapsefs.services.datasets.entry import StoredEntry
from synapsefs.services.datasets.folders import Folders
from synapsefs.services.datasets.index import creation_order
from synapsefs.services.datasets.index_cache import Indexes

logger = logging.getLogger("synapsefs")


class EntryRemover:
    """Removes what is in datasets, and datasets."""

    def __init__(
        self,
        api: DatasetsClient,
        catalog: DatasetCatalog,
        folders: Folders,
        indexes: Indexes,
        max_deletions: int,
    ) -> None:
        self._api = api
        self._catalog = catalog
        self._folders = folders
        self._indexes = indexes
        self._max_deletions = max_deletions

    async def remove(self, entries: Sequence[Entry], *, unchanged: bool = False) -> None:
        """Delete entries: what a directory holds goes before the directory.

        A file takes other entries of its name with it, unless it was named by its id. With
        ``unchanged``, files stay that are no longer the version that the entry says.

        Raises
        ------
        ChangedError, NotEmptyError
            Naming the first of the files or directories that are left; the others are gone.
        """
        for entry in entries:
            if not entry.location.container:
                raise UnsupportedError("a service's root cannot be removed", entry.location.path)
        deleted = set()
        for entry in entries:
            if isinstance(entry.record, Dataset):
                await self._catalog.delete(entry.record)
                self._indexes.drop(entry.record.identifier)
                deleted.add(entry.location.container)
        left = _without_parts([e for e in entries if e.location.container not in deleted])
        files = [entry for entry in left if entry.kind == "file"]
        removed = await self._delete(files, unchanged=unchanged)
        await self._remove_directories([entry for entry in left if entry.kind != "file"])
        for entry, is_removed in zip(files, removed, strict=True):
            if not is_removed:
                rule = "somebody else changed the file at the same time: it is left"
                raise ChangedError(rule, entry.location.path)

    async def _remove_directories(self, entries: Sequence[Entry]) -> None:
        """Delete directories, deepest first, but those that somebody else put something into.

        The service deletes what is in a directory with it, or moves it to the top.
        """
        doomed = {one.identifier for entry in entries for one in self._doomed(entry, older=False)}
        kept: set[str] = set()
        for location in filter(None, {_dataset_of(entry) for entry in entries}):
            _, index = await self._folders.index(location, time.monotonic())
            kept |= index.holding_others(doomed)
        by_depth: dict[int, list[Entry]] = {}
        for entry in entries:
            if entry.record.identifier not in kept:
                by_depth.setdefault(len(entry.location.segments), []).append(entry)
        for depth in sorted(by_depth, reverse=True):
            await self._delete(by_depth[depth], unchanged=False)
        for entry in entries:
            if entry.record.identifier in kept:
                rule = "somebody else put something into the directory: it is left"
                raise NotEmptyError(rule, entry.location.path)

    async def _delete(self, entries: Iterable[Entry], *, unchanged: bool) -> list[bool]:
        """Delete entries; False for those that were to be unchanged and are not."""

        async def delete(entry: Entry) -> bool:
            if unchanged and entry.kind == "file" and await self._is_changed(entry):
                return False
            doomed = self._doomed(entry, older=unchanged)
            for record in doomed:
                try:
                    await self._api.delete_entry(record.identifier, entry.location.path)
                except NotFoundError:
                    logger.info("%s: gone already", entry.location.path)
            self._indexes.removed(doomed)
            return True

        return await concurrency.gather(map(delete, entries), self._max_deletions)

    async def _is_changed(self, entry: Entry) -> bool:
        record: StoredEntry = replace(entry.record, pinned=False)
        try:
            now = await self._indexes.fetch(record, entry.location.path)
        except NotFoundError:
            return False
        if record.revision is not None and now.revision is not None:
            return record.revision != now.revision
        return record.moment != now.moment

    def _doomed(self, entry: Entry, *, older: bool) -> list[StoredEntry]:
        """Give the entries to delete for one: itself, those shown as one with it, its namesakes."""
        record: StoredEntry = entry.record
        index = self._indexes.holding(record)
        doomed = [record, *index.doubles(record)]
        segments = index.paths.get(record.identifier)
        plain = segments is not None and segments[-1] == escape(record.entry.name, Root.DATASETS)
        if plain and not record.by_id and entry.kind == "file":
            doomed += index.namesakes(record)
        if older:
            doomed = [one for one in doomed if creation_order(one) <= creation_order(record)]
        return list({one.identifier: one for one in doomed}.values())


def _dataset_of(entry: Entry) -> Location | None:
    """Give the dataset that a directory lies in; None where it lies in none.

    The id of a directory may stand in place of a dataset.
    """
    if id_of(entry.location.container, Root.DATASETS) is None:
        return Location(entry.location.segments[:2])
    dataset = entry.record.entry.dataset_id
    return Location((Root.DATASETS.value, f"@{dataset}")) if dataset else None


def _without_parts(entries: Sequence[Entry]) -> list[Entry]:
    """Give what is an entry of its own; objects of a registered source go with its entry.

    Raises
    ------
    UnsupportedError
        For such an object alone.
    """
    entries = [entry for entry in entries if entry.record is not None]
    whole = [entry for entry in entries if entry.record.piece is None]
    identifiers = {entry.record.identifier for entry in whole}
    for entry in entries:
        if entry.record.identifier not in identifiers:
            raise UnsupportedError(
                "this object lies in a registered source: only the whole entry can be removed",
                entry.location.path,
            )
    return whole
