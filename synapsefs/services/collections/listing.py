"""What is where in collections: specifications, directories and data files as entries."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from synapsefs.errors import NotFoundError
from synapsefs.location import Location, Root, escape, with_id
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

    def _may_be_gone(self, index: CollectionIndex) -> bool:
        return not index.units

    def _is_implied(self, container: Collection, location: Location) -> bool:
        inner = location.inner
        return not inner or (len(inner) == 1 and inner[0] in _specifications(container))

    def _top(self, container: Collection, location: Location) -> Iterable[str] | None:
        return None if location.inner else _specifications(container)

    async def _item(
        self,
        index: CollectionIndex,
        location: Location,
        *,
        below: bool,  # noqa: ARG002
    ) -> UnitFile | DirectoryNode[UnitFile] | None:
        return index.item(location.inner)

    def at(self, index: CollectionIndex, place: Location) -> Entry | None:
        """Give what an index has at a place; a directory, where a file has the same name."""
        item = index.item(place.inner)
        return None if item is None else self._entry(item, place, place)

    def _entry(
        self,
        item: UnitFile | DirectoryNode[UnitFile],
        name: Location,
        asked: Location,  # noqa: ARG002
    ) -> Entry:
        return directory(name) if isinstance(item, DirectoryNode) else file_entry(name, item)

    def _below(
        self,
        node: DirectoryNode[UnitFile],
        container: Collection,
        location: Location,
        *,
        recursive: bool,
    ) -> Sequence[Entry]:
        if not location.inner:
            entries: list[Entry] = []
            for name in _specifications(container):
                place = location.child(name)
                below = node.folders.get(name) or DirectoryNode()
                entries += [directory(place), *_listed(below, place, recursive=True)]
            return entries
        return _listed(node, location, recursive=recursive)

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
        collection = await self._catalog.find(folder.location)
        place = folder.location
        found = self._indexes.held(collection.identifier).tree.file(place.inner)
        return {place: file_entry(place, found)} if found is not None else {}


def _specifications(collection: Collection) -> list[str]:
    return [escape(spec.name, Root.COLLECTIONS) for spec in collection.specifications]


def _listed(node: DirectoryNode[UnitFile], place: Location, *, recursive: bool) -> list[Entry]:
    return [
        directory(place.child(*segments))
        if file is None
        else file_entry(place.child(*_shown(node, segments, file)), file)
        for segments, _, file in (node.walk() if recursive else node.children())
    ]


def _shown(
    folder: DirectoryNode[UnitFile], segments: tuple[str, ...], file: UnitFile
) -> tuple[str, ...]:
    """Name a file with its unit's id where a directory has its name; others can make such names."""
    if folder.folder(segments) is None:
        return segments
    *above, name = segments
    return (*above, with_id(name, str(file.unit.identifier)))


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
