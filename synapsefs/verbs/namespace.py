"""Making directories, and removing what is there: mkdir, rm and their kin."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from glob import has_magic
from typing import Any

from synapsefs.errors import (
    FolderError,
    NotEmptyError,
    UnsupportedError,
    error_path,
)
from synapsefs.location import Location
from synapsefs.services.base import Entry
from synapsefs.verbs.calls import mirrored
from synapsefs.verbs.resolving import ResolvingVerbs, listed


@mirrored("mkdir", "makedirs", "rmdir", "rm", "rm_file")
class ArrangingVerbs(ResolvingVerbs):
    """The verbs that make and remove files and directories."""

    async def _mkdir(self, path: str, create_parents: bool = True, **kwargs: Any) -> None:
        """Create a collection, a dataset, or a directory in a dataset.

        Folders below a file specification need no creation: they are there with their files.

        Parameters
        ----------
        path
            Where.
        create_parents
            Create what is missing above it.
        kwargs
            As the service's own creation call takes them: ``category``, ``description`` and
            ``file_specifications`` for a collection, ``id`` and ``description`` for a dataset,
            ``description``, ``tags`` and ``metadata`` for a directory in one.

        Raises
        ------
        AlreadyExistsError
            When something is there.
        """
        await self._make(path, exist_ok=False, parents=create_parents, options=kwargs)

    async def _makedirs(self, path: str, exist_ok: bool = False) -> None:
        """Create a directory and what is missing above it.

        Raises
        ------
        AlreadyExistsError
            Without ``exist_ok``, when it is there; with it, when a file is.
        """
        await self._make(path, exist_ok=exist_ok, parents=True, options={})

    async def _make(self, path: str, *, exist_ok: bool, parents: bool, options: Any) -> None:
        location = Location.parse(path)
        if location.root is None and exist_ok:
            return
        service = await self._service(location)
        if not location.container and exist_ok:
            return
        with error_path(location.path):
            await service.make_directory(
                location, exist_ok=exist_ok, parents=parents, options=options
            )

    async def _rm(
        self,
        path: Any,
        recursive: bool = False,
        batch_size: int | None = None,
        maxdepth: int | None = None,
        **kwargs: Any,
    ) -> None:
        """Remove files, and with ``recursive`` directories, datasets and collections.

        Parameters
        ----------
        path
            One path or several, patterns too; a name that exists is taken literally.

        Raises
        ------
        NotFoundError
            When nothing is there.
        FolderError
            For a directory without ``recursive``.
        NotEmptyError
            When a unit would lose a required file but keep others.
        """
        paths = self._strip_protocol(listed(path))
        fresh = any(map(has_magic, paths))
        if fresh:
            await self._refresh(paths)
        roots = await self._expand_path(paths)
        doomed: dict[Hashable, Entry] = {}
        for root in await self._require(roots, refresh=not fresh):
            for entry in await self._doomed(root, recursive=recursive, maxdepth=maxdepth):
                doomed[entry.key] = entry
        whole = [entry for entry in doomed.values() if entry.is_container]
        gone = {entry.location for entry in whole}
        left = [e for e in doomed.values() if Location(e.location.segments[:2]) not in gone]
        await self._remove(whole)
        kept = await self._remove_tree(left)
        if kept:
            raise NotEmptyError("somebody has put something there meanwhile", kept[0])

    async def _doomed(self, entry: Entry, *, recursive: bool, maxdepth: int | None) -> list[Entry]:
        path = entry.location.path
        if entry.kind == "file":
            return [entry]
        if not recursive:
            raise FolderError("this is a directory: remove it with recursive=True", path)
        if len(entry.location.segments) < 2:
            raise UnsupportedError("a service's root cannot be removed", path)
        if entry.is_container and maxdepth is None:
            return [entry]
        service = await self._service(entry.location)
        below = await service.list(entry.location, recursive=True)
        depth = len(entry.location.segments)
        within = [
            found
            for found in below
            if maxdepth is None or len(found.location.segments) - depth <= maxdepth
        ]
        if maxdepth is not None:
            return [found for found in within if found.kind == "file"]
        return [entry, *within]

    async def _remove(self, entries: Iterable[Entry], *, unchanged: bool = False) -> None:
        by_root: dict[Any, list[Entry]] = {}
        for entry in entries:
            by_root.setdefault(entry.location.root, []).append(entry)
        for group in by_root.values():
            service = await self._service(group[0].location)
            await service.remove(group, unchanged=unchanged)

    async def _remove_tree(self, entries: Sequence[Entry], *, unchanged: bool = False) -> list[str]:
        """Remove files, then directories that hold nothing by now; name those that stay.

        Unless just what was copied is removed, a file goes with a directory of the same name.
        """
        folders = [entry for entry in entries if entry.kind == "directory"]
        ids = {entry.details.get("id") for entry in folders} - {None}
        alone = [e for e in entries if e.kind == "file" and e.details.get("id") not in ids]
        if not unchanged:
            alone += [entry for entry in folders if not entry.details.get("id")]
        await self._remove(alone, unchanged=unchanged)
        return await self._remove_folders(folders)

    async def _remove_folders(self, folders: Sequence[Entry]) -> list[str]:
        """Remove directories that hold nothing but each other, as listed now; name those that stay.

        Only directories with an id are removed; others are there as long as a file is. What a
        directory consists of, as the objects of a registered source, has its id and goes with it.
        """
        kept: list[str] = []
        going = {entry.details["id"]: entry for entry in folders if entry.details.get("id")}
        for container in {Location(entry.location.segments[:2]) for entry in going.values()}:
            service = await self._service(container)
            below = await service.list(container, recursive=True, refresh=True)
            occupied = {
                Location(entry.location.segments[:depth])
                for entry in below
                if entry.identity and entry.details.get("id") not in going
                for depth in range(2, len(entry.location.segments) + 1)
            }
            free = [
                entry
                for entry in below
                if entry.details.get("id") in going and entry.location not in occupied
            ]
            whole = [entry for entry in going.values() if entry.location == container]
            await service.remove(free if occupied else [*whole, *free])
            left = [e for e in below if e.details.get("id") in going and e.location in occupied]
            kept += [e.location.path for e in (*left, *(whole if occupied else ()))]
        return kept

    async def _rm_file(self, path: str, **kwargs: Any) -> None:
        """Remove one file."""
        entry = await self._entry(path, refresh=True)
        if entry.kind != "file":
            raise FolderError("this is a directory", entry.location.path)
        await self._remove([entry])

    async def _rmdir(self, path: str) -> None:
        """Remove an empty collection, dataset or directory.

        Raises
        ------
        NotEmptyError
            When it holds anything.
        """
        entry = await self._entry(path, refresh=True)
        if entry.kind == "file":
            raise NotADirectoryError(20, "this is a file", path)
        if len(entry.location.segments) < 2:
            raise UnsupportedError("a service's root cannot be removed", path)
        service = await self._service(entry.location)
        whole = entry.is_container
        below = await service.list(entry.location, recursive=True, refresh=whole)
        if any(found.kind == "file" or found.identity for found in below):
            raise NotEmptyError("the directory is not empty", path)
        await service.remove([entry])
