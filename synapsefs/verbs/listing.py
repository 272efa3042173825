"""Looking: ls, info, exists, find, glob, walk, du and their kin."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from fsspec.utils import tokenize

from synapsefs.errors import NotFoundError, UnsupportedError, error_path
from synapsefs.location import Location
from synapsefs.services.base import Entry, directory
from synapsefs.verbs.base import Core
from synapsefs.verbs.calls import mirrored


@mirrored(
    "ls", "info", "exists", "isfile", "isdir", "find", "glob", "du", "size", "sizes",
    "created", "modified", "checksum", "ukey", "expand_path",
)  # fmt: skip
class ListingVerbs(Core):
    """The verbs that change nothing and read no bytes."""

    async def _ls(
        self, path: str, detail: bool = True, refresh: bool = False, **kwargs: Any
    ) -> list[Any]:
        """List a directory, or a file as itself.

        Parameters
        ----------
        path
            Where.
        detail
            Give dictionaries with sizes rather than names.
        refresh
            Ask the service even if the listing is fresh.

        Raises
        ------
        NotFoundError
            When nothing is there.
        """
        began, location = time.monotonic(), Location.parse(path)
        entries = await self._children(location, refresh=refresh)
        if not entries and not refresh and await self._renewed(location, began):
            entries = await self._children(location)
        if not detail:
            return sorted(entry.location.path for entry in entries)
        measured = await self._with_sizes(entries)
        return sorted((entry.info() for entry in measured), key=lambda info: str(info["name"]))

    async def _children(self, location: Location, *, refresh: bool = False) -> Sequence[Entry]:
        if location.root is None:
            return [directory(root) for root in await self._roots()]
        with error_path(location.path):
            return await (await self._service(location)).list(location, refresh=refresh)

    async def _info(
        self,
        path: str,
        refresh: bool = False,
        measure: bool = True,
        version: str | int | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Describe a file or directory.

        Parameters
        ----------
        path
            Where.
        refresh
            Ask the service even if the listing is fresh.
        measure
            False to give what a listing tells, without a closer look for sizes and details.
        version
            Describe a file as it was then, by a ``version`` or ``revision`` that ``revisions``
            lists.

        Returns
        -------
        dict
            ``name``, ``type``, ``size`` (bytes), ``created`` and ``mtime``, for files
            ``checksum`` and ``version``, and what the service tells besides.

        Raises
        ------
        NotFoundError
            When nothing is there.
        """
        entry = await self._entry_at(path, version, refresh=refresh)
        if not measure or entry.location.root is None:
            return entry.info()
        measured = (await self._with_sizes([entry]))[0]
        service = await self._service(entry.location)
        return (await service.with_details(measured)).info()

    async def _exists(self, path: str, **kwargs: Any) -> bool:
        """Say whether something is there; a refusal or fault is raised, not taken for no."""
        return await self._kind(path) is not None

    async def _isfile(self, path: str) -> bool:
        """Say whether a file is there; a refusal or fault is raised, not taken for no."""
        return await self._is(path, "file")

    async def _isdir(self, path: str) -> bool:
        """Say whether a directory is there; a refusal or fault is raised, not taken for no."""
        return await self._is(path, "directory")

    async def _is(self, path: str, kind: str) -> bool:
        began = time.monotonic()
        found = await self._kind(path)
        if found not in {None, kind} and await self._renewed(Location.parse(path), began):
            found = await self._kind(path)
        return found == kind

    async def _kind(self, path: str) -> str | None:
        try:
            return (await self._entry(path)).kind
        except NotFoundError:
            return None

    async def _entries_below(self, location: Location, *, refresh: bool = False) -> Sequence[Entry]:
        if location.root is not None:
            with error_path(location.path):
                service = await self._service(location)
                return await service.list(location, recursive=True, refresh=refresh)
        found: list[Entry] = []
        for root in await self._roots():
            found += [directory(root), *await self._entries_below(root, refresh=refresh)]
        return found

    async def _find(
        self,
        path: str,
        maxdepth: int | None = None,
        withdirs: bool = False,
        detail: bool = False,
        measure: bool | None = None,
        refresh: bool = False,
        **kwargs: Any,
    ) -> Any:
        """List all files below a path, one listing per collection or dataset.

        Parameters
        ----------
        path
            Where; a file lists as itself, nothing as nothing.
        maxdepth
            Levels to go down.
        withdirs
            Include directories, the path itself too.
        detail
            Give a dictionary of infos rather than names.
        measure
            Find out sizes; as ``detail`` when left out.
        refresh
            List anew, whatever is cached.
        """
        if maxdepth is not None and maxdepth < 1:
            raise ValueError("maxdepth must be at least 1")
        began, location = time.monotonic(), Location.parse(path)
        wanted = await self._found(location, maxdepth, withdirs=withdirs, refresh=refresh)
        if not wanted and not refresh and await self._renewed(location, began):
            wanted = await self._found(location, maxdepth, withdirs=withdirs, refresh=False)
        if detail if measure is None else measure:
            wanted = list(await self._with_sizes(wanted))
        infos = {entry.location.path: entry.info() for entry in wanted}
        return {name: infos[name] for name in sorted(infos)} if detail else sorted(infos)

    async def _found(
        self, location: Location, maxdepth: int | None, *, withdirs: bool, refresh: bool
    ) -> list[Entry]:
        try:
            entries = await self._all_below(location, withdirs=withdirs, refresh=refresh)
        except NotFoundError:
            return []
        depth = len(location.segments)
        return [
            entry
            for entry in entries
            if (withdirs or entry.kind == "file")
            and (maxdepth is None or len(entry.location.segments) - depth <= maxdepth)
        ]

    async def _all_below(
        self, location: Location, *, withdirs: bool, refresh: bool
    ) -> Sequence[Entry]:
        if location.root is None:
            return await self._entries_below(location, refresh=refresh)
        entries = await self._entries_below(location, refresh=refresh)
        if not withdirs or any(entry.location == location for entry in entries[:1]):
            return entries
        above = await self._entry(location.path)
        return [replace(above, location=location), *entries]

    async def _walk(
        self,
        path: str,
        maxdepth: int | None = None,
        topdown: bool = True,
        on_error: str | Callable[[OSError], Any] = "omit",
        detail: bool = False,
        **kwargs: Any,
    ) -> AsyncIterator[tuple[str, Any, Any]]:
        """Go through directories; only "not found" may be passed over, any other fault is raised.

        Yields
        ------
        tuple
            Path, its directories, its files: names, or infos by name with ``detail``.
        """
        if maxdepth is not None and maxdepth < 1:
            raise ValueError("maxdepth must be at least 1")
        path = self._strip_protocol(path)
        try:
            listing = await self._ls(path, detail=True, **kwargs)
        except NotFoundError as error:
            if on_error == "raise":
                raise
            if callable(on_error):
                on_error(error)
            listing = []
        named = {str(info["name"]).rsplit("/", 1)[-1]: info for info in listing}
        dirs = {name: info for name, info in named.items() if info["type"] == "directory"}
        files = {name: info for name, info in named.items() if info["type"] == "file"}
        here = (path, dirs, files) if detail else (path, list(dirs), list(files))
        if topdown:
            yield here
        deeper = None if maxdepth is None else maxdepth - 1
        if deeper is None or deeper > 0:
            for info in [dirs[name] for name in here[1] if name in dirs]:
                async for below in self._walk(
                    info["name"], deeper, topdown, on_error, detail, **kwargs
                ):
                    yield below
        if not topdown:
            yield here

    async def _glob(self, path: str, maxdepth: int | None = None, **kwargs: Any) -> Any:
        """Find paths by pattern; sizes are found out only with ``detail``."""
        return await self._matches(path, maxdepth, time.monotonic(), kwargs)

    async def _matches(
        self, pattern: str, maxdepth: int | None, began: float, given: Mapping[str, Any]
    ) -> Any:
        """Find paths by pattern; nothing is only found in a listing that was asked for since."""
        kwargs = {"measure": bool(given.get("detail", False)), **given}
        found = await super()._glob(pattern, maxdepth=maxdepth, **kwargs)
        place = _literal_part(self._strip_protocol(pattern))
        if not found and not given.get("refresh") and await self._renewed(place, began):
            found = await super()._glob(pattern, maxdepth=maxdepth, **kwargs)
        return found

    async def _expand_path(
        self,
        path: Any,
        recursive: bool = False,
        maxdepth: int | None = None,
        assume_literal: bool = False,
    ) -> list[str]:
        """Resolve patterns; a name that is there is taken literally, brackets and all."""
        paths = [path] if isinstance(path, str) else list(path)
        found: set[str] = set()
        for item in paths:
            found.update(await self._expanded(item, recursive, maxdepth, assume_literal))
        return sorted(found)

    async def _expanded(
        self, item: Any, recursive: bool, maxdepth: int | None, assume_literal: bool
    ) -> set[str]:
        began, path = time.monotonic(), self._strip_protocol(item)
        matches, found = [item], set()
        if not (assume_literal or not _magic(path) or await self._exists(path)):
            matches = await self._matches(path, maxdepth, began, {})
            if not matches:
                raise NotFoundError("nothing matches the pattern", path)
            found.update(matches)
            if not recursive or (maxdepth is not None and maxdepth <= 1):
                return found
            maxdepth = None if maxdepth is None else maxdepth - 1
        try:
            below = await super()._expand_path(
                matches, recursive=recursive, maxdepth=maxdepth, assume_literal=True
            )
        except FileNotFoundError as error:
            if isinstance(error, NotFoundError):
                raise
            raise NotFoundError("no such file or directory", path) from None
        return found | set(below)

    async def _du(
        self,
        path: str,
        total: bool = True,
        maxdepth: int | None = None,
        withdirs: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Sum up sizes in bytes below a path, or give them by name without ``total``."""
        given = {"maxdepth": maxdepth, "withdirs": withdirs, **kwargs}
        found = await self._find(path, detail=True, **given)
        sizes = {name: info["size"] or 0 for name, info in found.items()}
        return sum(sizes.values()) if total else sizes

    async def _size(self, path: str) -> int | None:
        """Give a file's size in bytes."""
        size: int | None = (await self._info(path))["size"]
        return size

    async def _sizes(self, paths: Sequence[str], batch_size: int | None = None) -> list[Any]:
        """Give the sizes of several files in bytes, those that listings do not tell in bulk."""
        entries = await self._require(paths)
        return [entry.size for entry in await self._with_sizes(entries)]

    async def _created(self, path: str) -> datetime:
        """Give the time at which a file was created."""
        return self._time((await self._entry(path)), "created")

    async def _modified(self, path: str) -> datetime:
        """Give the time at which a file was last changed."""
        return self._time((await self._entry(path)), "modified")

    def _time(self, entry: Entry, which: str) -> datetime:
        found: datetime | None = getattr(entry, which) or entry.created
        if found is None:
            raise UnsupportedError(f"the service tells no {which} time", entry.location.path)
        return found

    async def _checksum(self, path: str) -> str:
        """Give the service's checksum of a file in hex, else another text that changes with it."""
        entry = await self._entry(path)
        return entry.checksum or await self._ukey(path)

    async def _ukey(self, path: str) -> str:
        """Give a text that is the same as long as the path holds the same bytes."""
        entry = await self._entry(path)
        return str(tokenize(entry.location.path, entry.kind, entry.version))


def _literal_part(pattern: str) -> Location:
    """Give the place whose listing decides what a pattern matches."""
    segments = pattern.split("/")
    plain = next(i for i, segment in enumerate([*segments, "*"]) if _magic(segment))
    return Location.parse("/".join(segments[: min(plain, len(segments) - 1)]))


def _magic(path: str) -> bool:
    return any(character in path for character in "*?[")
