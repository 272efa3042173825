"""From paths to entries: what is at a path, and what is below it."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import replace
from typing import Any, Generic, TypeVar

from synapsefs.errors import NotFoundError
from synapsefs.location import Location, id_of
from synapsefs.services.base import Entry, directory
from synapsefs.services.catalog import Catalog, Container
from synapsefs.services.index_cache import Index, IndexCache
from synapsefs.services.tree import DirectoryNode, is_empty

C = TypeVar("C", bound=Container[Any])
I = TypeVar("I", bound=Index[Any, Any])  # noqa: E741 - an index


class PathResolver(ABC, Generic[C, I]):
    """Resolves paths and lists directories; entries are named as they were asked for.

    That nothing is at a path, or nothing in a directory, is never taken from a listing that was
    asked for before the call; nor is a listing asked for twice in a call.
    """

    def __init__(self, catalog: Catalog[Any, C], indexes: IndexCache[Any, C, I]) -> None:
        self._catalog = catalog
        self._indexes = indexes

    async def resolve(
        self, location: Location, *, refresh: bool = False, newer_than: float | None = None
    ) -> Entry:
        """Find what is at a path; an entry addressed by its own id has its name of listings.

        Parameters
        ----------
        refresh, newer_than
            List anew; or unless that was done since a moment (monotonic seconds).

        Raises
        ------
        NotFoundError
            When nothing is there.
        """
        if not location.container:
            return directory(location)
        began = newer_than or time.monotonic()
        newer_than = began if refresh else newer_than
        inner = location.inner
        try:
            container = await self._catalog.find(location, newer_than=newer_than)
        except NotFoundError as error:
            return await self._resolve_by_id(location, error)
        if not inner:
            return container.entry(location)
        if inner in container.directories:
            return directory(location)
        container, index, item = await self._look(container, location, newer_than, began)
        if item is None:
            raise NotFoundError("no such file or directory", location.path)
        return self._entry(container, index, item, location)

    async def resolve_many(
        self, locations: Sequence[Location], *, refresh: bool = False
    ) -> Sequence[Entry | None]:
        """Resolve paths from one listing of each container; None for what is absent.

        What is missing is not asked for again. All have an identity; they are named as they were
        asked for, but below the canonical name of their container.
        """
        newer_than = time.monotonic() if refresh else None
        entries: dict[Location, Entry | None] = dict.fromkeys(locations)
        groups: dict[Location, list[Location]] = {}
        for location in entries:
            groups.setdefault(Location(location.segments[:2]), []).append(location)
        for place, group in groups.items():
            entries.update(await self._resolve_in(place, group, newer_than))
        return [entries[location] for location in locations]

    async def _resolve_in(
        self, place: Location, group: Iterable[Location], newer_than: float | None
    ) -> dict[Location, Entry | None]:
        if not place.container:
            return {place: directory(place)}
        container = index = None
        entries: dict[Location, Entry | None] = {}
        try:
            container = await self._catalog.find(place, newer_than=newer_than, patient=False)
            for location in group:
                canonical = container.location.child(*location.inner)
                if not location.inner:
                    entry: Entry | None = container.entry()
                elif location.inner in container.directories:
                    entry = directory(canonical)
                else:
                    index = index or await self._indexes.get(container, newer_than=newer_than)
                    item = await self._item(index, location)
                    entry = item and self._entry(container, index, item, canonical)
                entries[location] = entry and _identified(entry, canonical, container.key)
        except NotFoundError:
            # an entry's id in place of a dataset, or another dataset has the name by now
            if container is None and id_of(place.container, place.root) is None:
                return {}
            return {location: await self._alone(location, newer_than) for location in group}
        return entries

    async def _alone(self, location: Location, newer_than: float | None) -> Entry | None:
        try:
            entry = await self.resolve(location, newer_than=newer_than)
        except NotFoundError:
            return None
        above = Location(entry.location.segments[:2])
        return _identified(entry, location, above)

    async def list(
        self, location: Location, *, recursive: bool = False, refresh: bool = False
    ) -> Sequence[Entry]:
        """List a directory, with ``recursive`` at any depth; a file lists as itself.

        Raises
        ------
        NotFoundError
            When nothing is there.
        """
        began = time.monotonic()
        newer_than = began if refresh else None
        if location.container:
            return await self._list(location, newer_than, began, recursive=recursive)
        entries: list[Entry] = []
        for container in await self._catalog.all(refresh=refresh):
            entries.append(container.entry())
            if recursive:
                place = container.location
                entries += await self._list(place, newer_than, began, recursive=True)
        return entries

    async def _list(
        self, location: Location, newer_than: float | None, began: float, *, recursive: bool
    ) -> Sequence[Entry]:
        try:
            container = await self._catalog.find(location, newer_than=newer_than)
        except NotFoundError as error:
            return await self._list_by_id(location, error, recursive=recursive)
        if not (location.inner or recursive) and container.directories:
            return [directory(location.child(*inner)) for inner in container.directories]
        container, _, node = await self._look(container, location, newer_than, began, below=True)
        if node is None:
            if location.inner and location.inner not in container.directories:
                raise NotFoundError("no such file or directory", location.path)
            return []
        if not isinstance(node, DirectoryNode):
            return [self._described(node, location)]
        if location.inner or not container.directories:
            return self._below(node, location, recursive=recursive)
        entries: list[Entry] = []
        for inner in container.directories:
            place = location.child(*inner)
            below = node.folder(inner) or DirectoryNode()
            entries += [directory(place), *self._below(below, place, recursive=True)]
        return entries

    def _below(
        self, node: DirectoryNode[Any], place: Location, *, recursive: bool
    ) -> Sequence[Entry]:
        return [
            self._described(item, place.child(*self._shown(node, segments, item)))
            for segments, item in (node.walk() if recursive else node.children())
        ]

    async def refresh(self, location: Location, newer_than: float) -> bool:
        """List anew what shows a path, unless it was asked for since; say whether it was.

        Of the root that are the collections or datasets.
        """
        if not location.container:
            if self._catalog.as_of >= newer_than:
                return False
            await self._catalog.all(refresh=True)
            return True
        container = self._catalog.known(location.container)
        if container is None or self._indexes.as_of(container.identifier) >= newer_than:
            return False
        try:
            await self._indexes.get(container, newer_than=newer_than)
        except NotFoundError as error:
            return error.status == 404
        return True

    async def _look(
        self,
        container: C,
        location: Location,
        newer_than: float | None,
        began: float,
        *,
        below: bool = False,
    ) -> tuple[C, I, Any]:
        """Look a path up in a container's index, or in that of what has its name by now.

        With ``below`` what it holds is wanted.
        """
        try:
            index = await self._indexes.get(container, newer_than=newer_than)
            item = await self._item(index, location, below=below)
            if item is not None and not (below and is_empty(item)):
                return container, index, item
            if index.read_at < began:
                index = await self._indexes.latest(container, newer_than=began)
                item = await self._item(index, location, below=below)
        except NotFoundError as error:
            if error.status != 404 or not await self._catalog.is_replaced(container, location):
                raise
        else:
            doubtful = is_empty(item) and index.may_be_gone
            if not doubtful or not await self._catalog.is_replaced(container, location, began):
                return container, index, item
        container = await self._catalog.find(location)
        index = await self._indexes.get(container)
        return container, index, await self._item(index, location, below=below)

    async def _item(self, index: I, location: Location, *, below: bool = False) -> Any:
        if index.undecided:
            await self._decide(index, location, below=below)
        return index.item(location.inner)

    # --- what the services do differently --------------------------------------------------

    async def _decide(self, index: I, location: Location, *, below: bool) -> None:
        """Ask whether entries are files or directories where the listing does not tell."""

    def _entry(self, container: C, index: I, item: Any, location: Location) -> Entry:  # noqa: ARG002
        """Describe what was found at a path."""
        return self._described(item, location)

    @abstractmethod
    def _described(self, item: Any, place: Location) -> Entry:
        """Describe a directory node or file record at a place."""

    def _shown(
        self,
        node: DirectoryNode[Any],  # noqa: ARG002
        segments: tuple[str, ...],
        item: Any,  # noqa: ARG002
    ) -> tuple[str, ...]:
        """Give the path below a directory under which something is listed."""
        return segments

    async def _resolve_by_id(self, location: Location, error: NotFoundError) -> Entry:  # noqa: ARG002
        """Find what the id of an entry, in place of a collection or dataset, stands for."""
        raise error

    async def _list_by_id(
        self,
        location: Location,  # noqa: ARG002
        error: NotFoundError,
        *,
        recursive: bool,  # noqa: ARG002
    ) -> Sequence[Entry]:
        raise error


def _identified(entry: Entry, place: Location, above: Hashable) -> Entry:
    """Name an entry, and give it an identity by its canonical path where it has none."""
    if entry.identity is not None and entry.location == place:
        return entry
    identity = entry.identity or (above, *entry.location.inner)
    return replace(entry, location=place, identity=identity)
