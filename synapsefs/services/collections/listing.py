"""What is where in collections: specifications, directories and data files as entries."""

from __future__ import annotations

from collections.abc import Sequence

from synapsefs.errors import NotFoundError
from synapsefs.location import Location, with_id
from synapsefs.services.base import Entry, directory
from synapsefs.services.collections.catalog import Collection, CollectionCatalog
from synapsefs.services.collections.index import CollectionIndex
from synapsefs.services.collections.index_cache import Indexes
from synapsefs.services.collections.unit import UnitFile
from synapsefs.services.resolver import PathResolver
from synapsefs.services.tree import DirectoryNode


class UnitResolver(PathResolver[Collection, CollectionIndex]):
    """Looks up paths of collections."""

    _catalog: CollectionCatalog
    _indexes: Indexes

    def at(self, index: CollectionIndex, place: Location) -> Entry | None:
        """Give what an index has at a place; a directory, where a file has the same name."""
        item = index.item(place.inner)
        return None if item is None else self._described(item, place)

    def _described(self, item: DirectoryNode[UnitFile] | UnitFile, place: Location) -> Entry:
        return directory(place) if isinstance(item, DirectoryNode) else file_entry(place, item)

    def _shown(
        self,
        node: DirectoryNode[UnitFile],
        segments: tuple[str, ...],
        item: DirectoryNode[UnitFile] | UnitFile,
    ) -> tuple[str, ...]:
        """Name a file with its unit's id where a directory has its name; others can make such."""
        if isinstance(item, DirectoryNode) or node.folder(segments) is None:
            return segments
        return (*segments[:-1], with_id(segments[-1], str(item.unit.identifier)))

    async def current(
        self, collection: Collection, places: Sequence[Location], since: float
    ) -> dict[Location, Entry]:
        """Give files as they are now, not as they were listed before ``since``.

        Raises
        ------
        NotFoundError
            When one of them is gone.
        """
        index = await self._indexes.latest(collection, newer_than=since)
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
        place = folder.location
        collection = await self._catalog.find(place)
        file = self._indexes.held(collection.identifier).tree.file(place.inner)
        return {} if file is None else {place: file_entry(place, file)}


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
