"""What is where: collections, specifications, folders and data files as entries."""

from __future__ import annotations

import time

from synapsefs.errors import NotFoundError
from synapsefs.location import Location, escape
from synapsefs.services.base import Entry, directory
from synapsefs.services.collections.directory import ROOT, CollectionDirectory, CollectionRecord
from synapsefs.services.collections.index import BoundFile, CollectionIndex
from synapsefs.services.collections.indexes import Indexes
from synapsefs.services.tree import Folder
from synapsefs.wire import collections as wire


class Listing:
    """Looks up paths.

    Parameters
    ----------
    collections
        Which collections there are.
    indexes
        What is in them.
    """

    def __init__(self, collections: CollectionDirectory, indexes: Indexes) -> None:
        self._directory = collections
        self._indexes = indexes

    async def entry(self, location: Location, *, refresh: bool = False) -> Entry:
        """Find a collection, specification folder, folder or file."""
        if not location.container:
            return directory(ROOT)
        began = time.monotonic()
        collection = await self._directory.find(location, refresh=refresh)
        place = collection.location.child(*location.inner)
        if not location.inner:
            return collection.entry()
        if len(location.inner) == 1 and _specification(collection, location):
            return directory(place)
        index = await self._indexes.get(collection, refresh=refresh)
        found = self.at(index, place)
        if found is None and not refresh:
            if self._indexes.as_of(collection.identifier) < began:
                index = await self._indexes.get(collection, refresh=True)
                found = self.at(index, place)
            if not index.units and await self._directory.replaced(collection, location):
                return await self.entry(location)
        if found is None:
            raise NotFoundError("no such file or directory", location.path)
        return found

    def at(self, index: CollectionIndex, place: Location) -> Entry | None:
        """Give what an index has at a place."""
        file = index.at(place.inner)
        if file is not None:
            return _file_entry(place, file)
        folder = index.tree.folder(place.inner)
        return directory(place) if folder is not None else None

    async def children(self, location: Location, *, refresh: bool = False) -> list[Entry]:
        """List the root, a collection, or a folder in it."""
        if not location.container:
            records = await self._directory.all(refresh=refresh)
            return [record.entry() for record in records]
        if not location.inner:
            collection = await self._directory.find(location, refresh=refresh)
            names = [escape(spec.name) for spec in collection.specifications]
            return [directory(collection.location.child(name)) for name in names]
        found = await self.entry(location, refresh=refresh)
        if found.kind == "file":
            return [found]
        collection = await self._directory.find(location)
        place = collection.location.child(*location.inner)
        folder = await self._folder(collection, place, refresh=refresh)
        folders = [directory(place.child(name)) for name in folder.folders]
        return folders + [
            _file_entry(place.child(name), file) for name, file in folder.files.items()
        ]

    async def descendants(self, location: Location, *, refresh: bool = False) -> list[Entry]:
        """List all that a collection or folder holds; below the root, all collections."""
        if not location.container:
            found: list[Entry] = []
            for record in await self._directory.all(refresh=refresh):
                below = await self.descendants(record.location, refresh=refresh)
                found += [record.entry(), *below]
            return found
        if location.inner:
            await self.entry(location, refresh=refresh)
        collection = await self._directory.find(location, refresh=refresh and not location.inner)
        place = collection.location.child(*location.inner)
        if location.inner:
            folder = await self._folder(collection, place, refresh=refresh)
            return self._below(folder, place)
        inside: list[Entry] = []
        for spec in collection.specifications:
            here = place.child(escape(spec.name))
            folder = await self._folder(collection, here, refresh=refresh and not inside)
            inside += [directory(here), *self._below(folder, here)]
        return inside

    async def _folder(
        self, collection: CollectionRecord, place: Location, *, refresh: bool
    ) -> Folder[BoundFile]:
        """Give a folder; only one of a specification may not have been looked up before.

        That there are no units at all is not believed from an earlier listing, nor of a collection
        that is not asked for anew: another may have its name by now.
        """
        began = time.monotonic()
        unseen = len(place.inner) == 1
        index = await self._indexes.get(collection, refresh=refresh and unseen)
        if not index.units and not refresh:
            if self._indexes.as_of(collection.identifier) < began:
                index = await self._indexes.get(collection, refresh=True)
            if not index.units and await self._directory.replaced(collection, place):
                index = await self._indexes.get(await self._directory.find(place))
        return index.tree.folder(place.inner) or Folder()

    def _below(self, folder: Folder[BoundFile], place: Location) -> list[Entry]:
        return [
            _file_entry(place.child(*segments), file)
            if file is not None
            else directory(place.child(*segments))
            for segments, _, file in folder.walk()
        ]


def _specification(
    collection: CollectionRecord, location: Location
) -> wire.FileSpecification | None:
    name = location.specification
    return next((spec for spec in collection.specifications if spec.name == name), None)


def _file_entry(place: Location, file: BoundFile) -> Entry:
    return Entry(
        location=place,
        kind="file",
        size=file.size,
        checksum=file.checksum or None,
        version=version_of(file),
        created=file.unit.created,
        record=file,
        details={"unit": file.unit.identifier, "specification": file.specification},
    )


def version_of(file: BoundFile) -> str:
    """Give what changes with a data file's content."""
    return file.checksum or f"unit-{file.unit.identifier}"
