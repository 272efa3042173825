"""Resolving many paths at once: one listing of each collection or dataset, read in this call."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from synapsefs.errors import InvalidRequestError, NotAFolderError, error_path
from synapsefs.location import Location, Root, escape, unescape
from synapsefs.services.base import Entry, directory, rebase
from synapsefs.verbs.base import Core

logger = logging.getLogger("synapsefs")
MOST_NAMED = 20
"""How many paths a message names."""


class ResolvingVerbs(Core):
    """Resolves paths in bulk, so that what is done to them is based on what the service has now."""

    async def _refresh(self, paths: Iterable[str]) -> None:
        """List the collections and datasets that paths lie in anew, each of them once."""
        places = [Location.parse(self._strip_protocol(path)) for path in paths]
        await self._resolved([place for place in places if place.container], refresh=True)

    async def _resolved(
        self, locations: Iterable[Location], *, refresh: bool = False
    ) -> dict[Location, Entry | None]:
        """Resolve paths, named as they were asked for; None for what is not there.

        With ``refresh`` from a listing of each collection or dataset that is read anew, otherwise
        from the one that is there.
        """
        wanted = list(dict.fromkeys(locations))
        found: dict[Location, Entry | None] = {
            place: directory(place) for place in wanted if place.root is None
        }
        for root in Root:
            group = [place for place in wanted if place.root is root]
            if not group:
                continue
            containers = {Location(place.segments[:2]) for place in group}
            with error_path(group[0].path):
                service = await self._service(group[0])
                places = list({*group, *containers})
                entries = await service.resolve_many(places, refresh=refresh)
            known = dict(zip(places, entries, strict=True))
            for place in group:
                above = known[Location(place.segments[:2])]
                found[place] = _identified(place, known[place], above.key if above else None)
        return found

    async def _require(self, paths: Sequence[str], *, refresh: bool = False) -> list[Entry]:
        """Resolve paths.

        Raises
        ------
        NotFoundError
            When one of them is not there.
        """
        places = [Location.parse(path) for path in paths]
        found = await self._resolved(places, refresh=refresh)
        return [found[place] or await self._entry(place.path) for place in places]


def _identified(place: Location, entry: Entry | None, above: Hashable) -> Entry | None:
    if entry is None:
        return None
    identity = entry.identity or (above, *entry.location.inner)
    entry = replace(entry, identity=identity)
    if entry.location.inner == place.inner:
        return entry
    return rebase(place, entry.location, [entry])[0]


def plain(location: Location) -> Location:
    """Write a path with no more escapes than it needs."""
    if "%" not in location.path:
        return location
    segments = [s if s.startswith("@") else escape(unescape(s)) for s in location.segments]
    return Location(tuple(segments))


def require_separate(files: Iterable[Location], folders: Iterable[Location] = ()) -> None:
    """Refuse files and directories of one name among what one call or transaction writes.

    Raises
    ------
    NotAFolderError
        When a file would also be the directory of another one.
    """
    names = {plain(place) for place in files}
    made = {plain(place) for place in folders}
    above = {
        Location(place.segments[:depth])
        for place in names | made
        for depth in range(3, len(place.segments))
    }
    both = names & (above | made)
    if both:
        path = min(place.path for place in both)
        raise NotAFolderError("this would be a file and a directory at once", path)


def require_one_each(places: Iterable[Location]) -> None:
    """Refuse two files for one path.

    Raises
    ------
    InvalidRequestError
        Naming the path.
    """
    seen: set[Location] = set()
    for place in map(plain, places):
        if place in seen:
            raise InvalidRequestError("two files for one path", place.path)
        seen.add(place)


def listed(path: Any) -> list[Any]:
    """Give one path, or several, as a list."""
    return list(path) if isinstance(path, list | tuple | set) else [path]


def warn_left_out(paths: Sequence[str], *, recursive: bool) -> None:
    """Say which directories are left out of a call without ``recursive``."""
    if paths and not recursive:
        more = len(paths) - MOST_NAMED
        shown = ", ".join(paths[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
        logger.warning("omitting directories, as recursive=True was not given: %s", shown)
