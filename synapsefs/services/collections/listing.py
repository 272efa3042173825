"""What is where: collections, specifications, folders and data files as entries."""

from __future__ import annotations

import time
from collections.abc import Sequence

from synapsefs.errors import NotFoundError
from synapsefs.location import Location, Root, escape, with_id
from synapsefs.services.base import Entry, directory
from synapsefs.services.collections.catalog import ROOT, Collection, CollectionCatalog
from synapsefs.services.collections.index import CollectionIndex
from synapsefs.services.collections.index_cache import Indexes
from synapsefs.services.collections.unit import UnitFile
from synapsefs.services.resolver import PathResolver
from synapsefs.services.tree import DirectoryNode
from synapsefs.wire.collections import v1


class UnitResolver(PathResolver):
    """Looks up paths.

    Parameters
    ----------
    collections
        Which collections there are.
    indexes
        What is in them.
    """

    def __init__(self, collections: CollectionCatalog, indexes: Indexes) -> None:
        self._directory = collections
        self._indexes = indexes

    async def _find(self, location: Location, *, refresh: bool = False) -> Entry:
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
        began = time.monotonic()
        index = await self._indexes.get(collection, refresh=refresh)
        found = self.at(index, place)
        if found is None:
            index = await self._indexes.get(collection, newest=True, since=began)
            found = self.at(index, place)
            if not index.units and await self._directory.replaced(collection, location):
                return await self._find(location)
        if found is None:
            raise NotFoundError("no such file or directory", location.path)
        return found

    async def resolve_many(
        self, locations: Sequence[Location], *, refresh: bool = False
    ) -> Sequence[Entry | None]:
        """Resolve many paths from one listing of each collection; None for what is not there."""
        found: dict[Location, Entry | None] = dict.fromkeys(locations)
        for container in {Location(location.segments[:2]) for location in found}:
            inside = [place for place in found if place.segments[:2] == container.segments]
            found |= await self._entries_in(container, inside, refresh=refresh)
        return [found[location] for location in locations]

    async def _entries_in(
        self, container: Location, inside: Sequence[Location], *, refresh: bool
    ) -> dict[Location, Entry | None]:
        if not container.container:
            return {container: directory(ROOT)}
        try:
            collection = await self._directory.find(container, refresh=refresh)
        except NotFoundError:
            return {}
        found: dict[Location, Entry | None] = {}
        index = None
        for location in inside:
            if not location.inner:
                found[location] = collection.entry()
            elif len(location.inner) == 1 and _specification(collection, location):
                found[location] = directory(collection.location.child(*location.inner))
            else:
                index = index or await self._indexes.get(collection, refresh=refresh)
                found[location] = self.at(index, collection.location.child(*location.inner))
        return found

    def at(self, index: CollectionIndex, place: Location) -> Entry | None:
        """Give what an index has at a place; a directory, where a file has the same name."""
        if index.tree.folder(place.inner) is not None:
            return directory(place)
        file = index.at(place.inner)
        return file_entry(place, file) if file is not None else None

    async def current(
        self, collection: Collection, places: Sequence[Location], since: float
    ) -> dict[Location, Entry]:
        """Give files as they are now, not as they were listed before ``since``.

        Raises
        ------
        NotFoundError
            When one of them is gone.
        """
        index = await self._indexes.get(collection, newest=True, since=since)
        files = {place: index.at(place.inner) for place in places}
        units = [file.unit for file in files.values() if file is not None]
        if await self._indexes.refreshed(collection, units, since):
            files = {place: index.at(place.inner) for place in places}
        missing = [place for place, file in files.items() if file is None]
        if missing:
            raise NotFoundError("no such file or directory", missing[0].path)
        return {place: file_entry(place, file) for place, file in files.items() if file}

    async def file_named_as(self, folder: Entry) -> dict[Location, Entry]:
        """Give the file, by its place, that has the name of a directory; others can make such."""
        collection = await self._directory.find(folder.location)
        place = folder.location
        found = self._indexes.held(collection.identifier).tree.file(place.inner)
        return {place: file_entry(place, found)} if found is not None else {}

    async def _children(self, location: Location, *, refresh: bool = False) -> Sequence[Entry]:
        """List the root, a collection, or a folder in it."""
        if not location.container:
            records = await self._directory.all(refresh=refresh)
            return [record.entry() for record in records]
        if not location.inner:
            collection = await self._directory.find(location, refresh=refresh)
            names = [escape(spec.name, Root.COLLECTIONS) for spec in collection.specifications]
            return [directory(collection.location.child(name)) for name in names]
        found = await self._find(location, refresh=refresh)
        if found.kind == "file":
            return [found]
        collection = await self._directory.find(location)
        place = collection.location.child(*location.inner)
        folder = await self._folder(collection, place, refresh=refresh)
        folders = [directory(place.child(name)) for name in folder.folders]
        return folders + [
            file_entry(place.child(*_shown(folder, (name,), file)), file)
            for name, file in folder.files.items()
        ]

    async def _descendants(self, location: Location, *, refresh: bool = False) -> Sequence[Entry]:
        """List all that a collection or folder holds; below the root, all collections."""
        if not location.container:
            found: list[Entry] = []
            for record in await self._directory.all(refresh=refresh):
                below = await self._descendants(record.location, refresh=refresh)
                found += [record.entry(), *below]
            return found
        if location.inner:
            await self._find(location, refresh=refresh)
        collection = await self._directory.find(location, refresh=refresh and not location.inner)
        place = collection.location.child(*location.inner)
        if location.inner:
            folder = await self._folder(collection, place, refresh=refresh)
            return self._below(folder, place)
        inside: list[Entry] = []
        for spec in collection.specifications:
            here = place.child(escape(spec.name, Root.COLLECTIONS))
            folder = await self._folder(collection, here, refresh=refresh and not inside)
            inside += [directory(here), *self._below(folder, here)]
        return inside

    async def _folder(
        self, collection: Collection, place: Location, *, refresh: bool
    ) -> DirectoryNode[UnitFile]:
        """Give a folder; only one of a specification may not have been looked up before.

        That there are no units at all is not believed from an earlier listing, nor of a collection
        that is not asked for anew: another may have its name by now.
        """
        began = time.monotonic()
        unseen = len(place.inner) == 1
        index = await self._indexes.get(collection, refresh=refresh and unseen)
        if not index.units:
            index = await self._indexes.get(collection, newest=True, since=began)
            if not index.units and await self._directory.replaced(collection, place):
                index = await self._indexes.get(await self._directory.find(place))
        return index.tree.folder(place.inner) or DirectoryNode()

    def _below(self, folder: DirectoryNode[UnitFile], place: Location) -> Sequence[Entry]:
        return [
            file_entry(place.child(*_shown(folder, segments, file)), file)
            if file is not None
            else directory(place.child(*segments))
            for segments, _, file in folder.walk()
        ]


def _shown(
    folder: DirectoryNode[UnitFile], segments: tuple[str, ...], file: UnitFile
) -> tuple[str, ...]:
    """Name a file with its unit's id where a directory has its name; others can make such names."""
    if folder.folder(segments) is None:
        return segments
    *above, name = segments
    return (*above, with_id(name, str(file.unit.identifier)))


def _specification(collection: Collection, location: Location) -> v1.FileSpecification | None:
    name = location.specification
    return next((spec for spec in collection.specifications if spec.name == name), None)


def file_entry(place: Location, file: UnitFile) -> Entry:
    """Describe a file at a place."""
    return Entry(
        location=place,
        kind="file",
        size=file.size,
        checksum=file.checksum or None,
        version=version_of(file),
        created=file.unit.created,
        record=file,
        details={"unit": file.unit.identifier, "specification": file.specification},
        identity=("unit", file.unit.identifier, file.specification),
    )


def version_of(file: UnitFile) -> str:
    """Give what changes with a data file's content, and is no other file's where it has another."""
    return file.checksum or f"unit-{file.unit.identifier}/{file.specification}"
