"""From paths to entries: what is at a path, and what is below it."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Iterable, Sequence
from typing import Any, Generic, TypeVar

from synapsefs.errors import NotFoundError
from synapsefs.location import Location, id_of
from synapsefs.services.base import Entry, directory
from synapsefs.services.catalog import Catalog, Container
from synapsefs.services.index_cache import IndexCache
from synapsefs.services.tree import DirectoryNode, is_empty

C = TypeVar("C", bound=Container[Any])
I = TypeVar("I")  # noqa: E741 - an index


def is_missing(item: object) -> bool:
    """Say whether nothing is at a path."""
    return item is None


class PathResolver(ABC, Generic[C, I]):
    """Resolves paths and lists directories; entries are named as they were asked for.

    That nothing is at a path, or nothing in a directory, is never taken from a listing that was
    asked for before the call; nor is a listing asked for twice in a call.
    """

    def __init__(self, catalog: Catalog[Any, C], indexes: IndexCache[Any, C, Any]) -> None:
        self._catalog = catalog
        self._indexes = indexes

    async def resolve(self, location: Location, *, refresh: bool = False) -> Entry:
        """Find what is at a path; an entry addressed by its own id has its name of listings.

        Raises
        ------
        NotFoundError
            When nothing is there.
        """
        if not location.container:
            return directory(location)
        began = time.monotonic()
        newer_than = began if refresh else None
        try:
            container = await self._catalog.find(location, newer_than=newer_than)
        except NotFoundError as error:
            return await self._resolve_elsewhere(location, error)
        if not location.inner:
            return container.entry(location)
        if self._is_implied(container, location):
            return directory(location)
        container, index, item = await self._look(container, location, newer_than, began)
        if item is None:
            raise NotFoundError("no such file or directory", location.path)
        return self._entry(item, self._name(container, index, location), location)

    async def resolve_many(
        self, locations: Sequence[Location], *, refresh: bool = False
    ) -> Sequence[Entry | None]:
        """Resolve paths from one listing of each container, named by it; None for what is absent.

        What is missing is not asked for again.
        """
        newer_than = time.monotonic() if refresh else None
        entries: dict[Location, Entry | None] = dict.fromkeys(locations)
        groups: dict[Location, list[Location]] = {}
        for location in entries:
            groups.setdefault(Location(location.segments[:2]), []).append(location)
        for place, group in groups.items():
            if not place.container:
                entries[place] = directory(place)
            else:
                entries.update(await self._resolve_in(place, group, newer_than))
        return [entries[location] for location in locations]

    async def _resolve_in(
        self, place: Location, group: Iterable[Location], newer_than: float | None
    ) -> dict[Location, Entry | None]:
        container = index = None
        entries: dict[Location, Entry | None] = {}
        try:
            container = await self._catalog.find(place, newer_than=newer_than, patient=False)
            for location in group:
                canonical = container.location.child(*location.inner)
                if not location.inner:
                    entries[location] = container.entry()
                elif self._is_implied(container, location):
                    entries[location] = directory(canonical)
                else:
                    index = index or await self._indexes.get(container, newer_than=newer_than)
                    item = await self._item(index, location, below=False)
                    name = self._name(container, index, canonical)
                    entries[location] = item and self._entry(item, name, location)
        except NotFoundError:
            # an entry's id in place of a dataset, or another dataset has the name by now
            if container is not None or id_of(place.container, place.root) is not None:
                return {location: await self._or_none(location, newer_than) for location in group}
        return entries

    async def _or_none(self, location: Location, newer_than: float | None) -> Entry | None:
        try:
            return await self.resolve(location, refresh=newer_than is not None)
        except NotFoundError:
            return None

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
            return await self._list_elsewhere(location, error, recursive=recursive)
        if not recursive and (names := self._top(container, location)) is not None:
            return [directory(location.child(name)) for name in names]
        container, _, item = await self._look(container, location, newer_than, began, below=True)
        if item is None and not self._is_implied(container, location):
            raise NotFoundError("no such file or directory", location.path)
        if item is not None and not isinstance(item, DirectoryNode):
            return [self._entry(item, location, location)]
        return self._below(item or DirectoryNode(), container, location, recursive=recursive)

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
        is_nothing = is_empty if below else is_missing
        container, index = await self._open(
            container, location, self._indexes.get(container, newer_than=newer_than)
        )
        item = await self._item(index, location, below=below)
        if is_nothing(item) and self._indexes.as_of(container.identifier) < began:
            container, index = await self._open(
                container, location, self._indexes.latest(container, newer_than=began)
            )
            item = await self._item(index, location, below=below)
        doubtful = is_nothing(item) and self._may_be_gone(index)
        if doubtful and await self._catalog.is_replaced(container, location, began):
            container = await self._catalog.find(location)
            index = await self._indexes.get(container)
            item = await self._item(index, location, below=below)
        return container, index, item

    async def _open(self, container: C, location: Location, reading: Awaitable[I]) -> tuple[C, I]:
        """Read an index; that of what has the name by now, where the service denies it."""
        try:
            return container, await reading
        except NotFoundError as error:
            if error.status != 404 or not await self._catalog.is_replaced(container, location):
                raise
        container = await self._catalog.find(location)
        return container, await self._indexes.get(container)

    # --- what the services do differently --------------------------------------------------

    def _may_be_gone(self, index: I) -> bool:  # noqa: ARG002
        """Say whether an index may be that of what is gone; others are denied by the service."""
        return False

    @abstractmethod
    def _is_implied(self, container: C, location: Location) -> bool:
        """Say whether a path is a directory whatever lies below it."""

    def _top(self, container: C, location: Location) -> Iterable[str] | None:  # noqa: ARG002
        """Give the names that a container holds whatever lies below them; None to look."""
        return None

    @abstractmethod
    async def _item(self, index: I, location: Location, *, below: bool) -> Any:
        """Give a path's directory node or file record; None where nothing is there."""

    def _name(self, container: C, index: I, location: Location) -> Location:  # noqa: ARG002
        """Name what a path leads to."""
        return location

    @abstractmethod
    def _entry(self, item: Any, name: Location, asked: Location) -> Entry:
        """Describe what is at a path."""

    @abstractmethod
    def _below(
        self, node: DirectoryNode[Any], container: C, location: Location, *, recursive: bool
    ) -> Sequence[Entry]:
        """Describe what a directory holds."""

    async def _resolve_elsewhere(
        self,
        location: Location,  # noqa: ARG002
        error: NotFoundError,
    ) -> Entry:
        """Find what lies in no collection or dataset that is known."""
        raise error

    async def _list_elsewhere(
        self,
        location: Location,  # noqa: ARG002
        error: NotFoundError,
        *,
        recursive: bool,  # noqa: ARG002
    ) -> Sequence[Entry]:
        raise error
