"""Removing files, directories and datasets."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
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
    """Removes what is in datasets, and datasets.

    Parameters
    ----------
    api
        The service.
    registry, folders, indexes
        What is there.
    at_a_time
        How many entries are deleted at once.
    """

    def __init__(
        self,
        api: DatasetsClient,
        registry: DatasetCatalog,
        folders: Folders,
        indexes: Indexes,
        at_a_time: int,
    ) -> None:
        self._api = api
        self._registry = registry
        self._folders = folders
        self._indexes = indexes
        self._at_a_time = at_a_time

    async def remove(self, entries: Sequence[Entry], *, unchanged: bool = False) -> None:
        """Delete entries: what a directory holds goes before the directory.

        A file takes other entries of its name with it, unless it was named by its id.

        Parameters
        ----------
        entries
            What to delete.
        unchanged
            Leave files that are no longer the version that the entry says.

        Raises
        ------
        ChangedError, NotEmptyError
            Naming the first of the files or directories that are left; the others are gone.
        """
        for entry in entries:
            if not entry.location.container:
                raise UnsupportedError("a service's root cannot be removed", entry.location.path)
        datasets = [entry for entry in entries if isinstance(entry.record, Dataset)]
        for entry in datasets:
            record: Dataset = entry.record
            await self._registry.delete(record)
            self._indexes.drop(record.identifier)
        gone = {entry.location.container for entry in datasets}
        left = _owned([entry for entry in entries if entry.location.container not in gone])
        files = [entry for entry in left if entry.kind == "file"]
        folders = [entry for entry in left if entry.kind != "file"]
        work = (self._delete(entry, unchanged=unchanged) for entry in files)
        done = await concurrency.gather(work, self._at_a_time)
        await self._remove_folders(folders)
        for entry, removed in zip(files, done, strict=True):
            if not removed:
                rule = "somebody else changed the file at the same time: it is left"
                raise ChangedError(rule, entry.location.path)

    async def _remove_folders(self, entries: Sequence[Entry]) -> None:
        """Delete directories, deepest first, but those that somebody else put something into.

        The service deletes what is in a directory with it, or moves it to the top.
        """
        going = {one.identifier for entry in entries for one in self._going(entry, older=False)}
        kept: set[str] = set()
        for location in {_dataset_of(entry) for entry in entries}:
            if location is None:
                continue
            _, index = await self._folders.index(location, time.monotonic())
            kept |= index.holding_others(going)
        by_depth: dict[int, list[Entry]] = {}
        for entry in entries:
            if entry.record.identifier not in kept:
                by_depth.setdefault(len(entry.location.segments), []).append(entry)
        for depth in sorted(by_depth, reverse=True):
            work = (self._delete(entry, unchanged=False) for entry in by_depth[depth])
            await concurrency.gather(work, self._at_a_time)
        for entry in entries:
            if entry.record.identifier in kept:
                rule = "somebody else put something into the directory: it is left"
                raise NotEmptyError(rule, entry.location.path)

    async def _delete(self, entry: Entry, *, unchanged: bool) -> bool:
        """Delete an entry; False when it was to be unchanged and is not."""
        about = entry.location.path
        if unchanged and entry.kind == "file" and await self._is_changed(entry):
            return False
        going = self._going(entry, older=unchanged)
        for record in going:
            try:
                await self._api.delete_entry(record.identifier, about)
            except NotFoundError:
                logger.info("%s: gone already", about)
        self._indexes.removed(going)
        return True

    async def _is_changed(self, entry: Entry) -> bool:
        try:
            record = replace(entry.record, pinned=False)
            fresh = await self._indexes.look(record, entry.location.path)
        except NotFoundError:
            return False
        if record.revision is not None and fresh.revision is not None:
            return bool(record.revision != fresh.revision)
        return bool(record.moment != fresh.moment)

    def _going(self, entry: Entry, *, older: bool) -> list[StoredEntry]:
        """Give the entries to delete for one: itself, those shown as one with it, its namesakes."""
        record: StoredEntry = entry.record
        index = self._indexes.holding(record)
        found = [record, *index.doubles(record)]
        place = index.paths.get(record.identifier)
        plain = place is not None and place[-1] == escape(record.entry.name, Root.DATASETS)
        if plain and not record.by_id and entry.kind == "file":
            found += index.namesakes(record)
        if older:
            mine = creation_order(record)
            found = [one for one in found if creation_order(one) <= mine]
        return list({one.identifier: one for one in found}.values())


def _dataset_of(entry: Entry) -> Location | None:
    """Give the dataset that a directory lies in; None where it lies in none.

    The id of a directory may stand in place of a dataset.
    """
    if id_of(entry.location.container, Root.DATASETS) is None:
        return Location(entry.location.segments[:2])
    dataset = entry.record.entry.dataset_id
    return Location((Root.DATASETS.value, f"@{dataset}")) if dataset else None


def _owned(entries: Sequence[Entry]) -> list[Entry]:
    """Give what is an entry of its own; objects of a registered source go with its entry.

    Raises
    ------
    UnsupportedError
        For such an object alone.
    """
    found = [e for e in entries if e.record is not None and e.record.piece is None]
    going = {entry.record.identifier for entry in found}
    for entry in entries:
        if entry.record is not None and entry.record.identifier not in going:
            raise UnsupportedError(
                "this object lies in a registered source: only the whole entry can be removed",
                entry.location.path,
            )
    return found
