"""From paths to entries: what is the same for both services."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from synapsefs.location import Location, id_of
from synapsefs.services.base import Entry, rebase


class PathResolver(ABC):
    """Resolves paths and lists directories; entries are named as they were asked for."""

    async def resolve(self, location: Location, *, refresh: bool = False) -> Entry:
        """Find what is at a path, named as it was asked for but for an entry's own id."""
        entry = await self._find(location, refresh=refresh)
        if entry.location.inner != location.inner:
            return entry
        return rebase(location, entry.location, [entry])[0]

    async def list(
        self, location: Location, *, recursive: bool = False, refresh: bool = False
    ) -> Sequence[Entry]:
        """List a directory, with ``recursive`` at any depth; names begin as it was asked for."""
        find = self._descendants if recursive else self._children
        entries = await find(location, refresh=refresh)
        place = location
        if any(id_of(segment, location.root) is not None for segment in location.segments):
            place = (await self._find(location)).location
        elif entries and location.container:
            place = Location((*entries[0].location.segments[:2], *location.inner))
        return rebase(location, place, entries)

    @abstractmethod
    async def _find(self, location: Location, *, refresh: bool = False) -> Entry: ...

    @abstractmethod
    async def _children(self, location: Location, *, refresh: bool = False) -> Sequence[Entry]: ...

    @abstractmethod
    async def _descendants(
        self, location: Location, *, refresh: bool = False
    ) -> Sequence[Entry]: ...
