"""Arranging what is there: mkdir, rm, cp, mv and their kin."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from synapsefs import limits
from synapsefs.bridge import mirrored
from synapsefs.errors import (
    FolderError,
    NotEmptyError,
    NotFoundError,
    UnsupportedError,
    concerning,
)
from synapsefs.location import Location
from synapsefs.services.base import Entry, Staged
from synapsefs.transfer import copy_bytes
from synapsefs.verbs.batch import Batch
from synapsefs.verbs.core import Core

logger = logging.getLogger("synapsefs")


@dataclass(frozen=True, slots=True)
class _Copy:
    """A file to copy: from where, to where."""

    source: str
    target: str


_copies: Batch[_Copy] = Batch("copies")


@mirrored("mkdir", "makedirs", "rmdir", "rm", "rm_file", "copy", "cp_file", "mv", "mv_file")
class ArrangingVerbs(Core):
    """The verbs that create, remove and move without new bytes from outside."""

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
        with concerning(location.path):
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
        roots = await self._expand_path(path)
        doomed: dict[Location, Entry] = {}
        for root in roots:
            for entry in await self._doomed(root, recursive=recursive, maxdepth=maxdepth):
                doomed[entry.location] = entry
        await self._remove(doomed.values())

    async def _doomed(self, path: str, *, recursive: bool, maxdepth: int | None) -> list[Entry]:
        entry = await self._entry(path, refresh=True)
        if entry.kind == "file":
            return [entry]
        if not recursive:
            raise FolderError("this is a directory: remove it with recursive=True", path)
        if len(entry.location.segments) < 2:
            raise UnsupportedError("a service's root cannot be removed", path)
        if not entry.location.inner and maxdepth is None:
            return [entry]
        below = await (await self._service(entry.location)).descendants(entry.location)
        depth = len(entry.location.segments)
        within = [
            found
            for found in below
            if maxdepth is None or len(found.location.segments) - depth <= maxdepth
        ]
        if maxdepth is not None:
            return [found for found in within if found.kind == "file"]
        return [entry, *within]

    async def _remove(self, entries: Iterable[Entry]) -> None:
        by_root: dict[Any, list[Entry]] = {}
        for entry in entries:
            by_root.setdefault(entry.location.root, []).append(entry)
        for group in by_root.values():
            await (await self._service(group[0].location)).remove(group)

    async def _rm_file(self, path: str, **kwargs: Any) -> None:
        """Remove one file."""
        entry = await self._entry(path)
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
        below = await service.descendants(entry.location)
        empty = not below
        if entry.location.root == "collections":
            empty = not any(found.kind == "file" for found in below)
        if not empty:
            raise NotEmptyError("the directory is not empty", path)
        await service.remove([entry])

    async def _copy(self, path1: Any, path2: Any, recursive: bool = False, **kwargs: Any) -> None:
        """Copy files or trees; within a collections service no byte moves."""
        await self._copied(path1, path2, recursive=recursive, **kwargs)

    async def _copied(
        self,
        path1: Any,
        path2: Any,
        *,
        recursive: bool,
        on_error: str | None = None,
        **kwargs: Any,
    ) -> list[Entry]:
        """Copy, and give the entries that were copied."""
        with _copies.collecting() as copies:
            await super()._copy(path1, path2, recursive=recursive, on_error="raise", **kwargs)
        found: list[tuple[Entry, Location]] = []
        for item in copies:
            try:
                found.append((await self._entry(item.source), Location.parse(item.target)))
            except NotFoundError:
                if on_error == "raise" or not recursive:
                    raise
        await self._copy_entries(found)
        return [source for source, _ in found]

    async def _cp_file(self, path1: str, path2: str, **kwargs: Any) -> None:
        """Copy one file; for a directory, create one like it."""
        item = _Copy(self._strip_protocol(path1), self._strip_protocol(path2))
        if not _copies.add(item):
            await self._copy_entries([(await self._entry(path1), Location.parse(path2))])

    async def _copy_entries(self, pairs: Sequence[tuple[Entry, Location]]) -> None:
        files: list[tuple[Entry, Location]] = []
        for source, target in pairs:
            if source.kind == "directory":
                await self._make_like(source, target)
            elif source.location != target:
                files.append((source, target))
        by_root: dict[Any, list[tuple[Entry, Location]]] = {}
        for source, target in files:
            by_root.setdefault(target.root, []).append((source, target))
        for group in by_root.values():
            service = await self._service(group[0][1])
            with concerning(group[0][1].path):
                left = await service.copy(group)
                await service.validate([target for _, target in left], complete=True)
            work = (self._copy_bytes(source, target) for source, target in left)
            staged = await limits.gather(work, self.options.max_concurrency)
            await self.publish(staged)

    async def _make_like(self, source: Entry, target: Location) -> None:
        """Make a directory that says what another one says, unless it is there."""
        options: Mapping[str, Any] = {}
        service = await self._service(target)
        if source.location.root is target.root and bool(source.location.inner) == bool(
            target.inner
        ):
            options = await service.annotations.carried(source)
        await self._make(target.path, exist_ok=True, parents=True, options=options)

    async def _copy_bytes(self, source: Entry, target: Location) -> Staged:
        service = await self._service(source.location)
        content, options = await service.content(source), {}
        if source.location.root is target.root:
            options = dict(await service.annotations.carried(source))
        target_service = await self._service(target)
        return await copy_bytes(self.transport, content, target_service, target, options)

    async def _mv(
        self,
        path1: Any,
        path2: Any,
        recursive: bool = False,
        maxdepth: int | None = None,
        **kwargs: Any,
    ) -> None:
        """Move files or trees: copied first, then just what was copied is removed.

        A whole collection that moves to a free name is renamed.
        """
        if self._strip_protocol(path1) == self._strip_protocol(path2):
            return
        if recursive and maxdepth is None and await self._renamed(path1, path2):
            return
        moved = await self._copied(
            path1, path2, recursive=recursive, maxdepth=maxdepth, on_error="raise"
        )
        await self._remove(entry for entry in moved if entry.kind == "file")
        folders = [entry for entry in moved if entry.kind == "directory"]
        for entry in sorted(folders, key=lambda entry: -len(entry.location.segments)):
            await self._remove_if_empty(entry)

    async def _renamed(self, path1: Any, path2: Any) -> bool:
        if not isinstance(path1, str) or not isinstance(path2, str) or path2.endswith("/"):
            return False
        source, target = Location.parse(path1), Location.parse(path2)
        containers = source.container and target.container and not source.inner + target.inner
        if source.root is not target.root or not containers or await self._exists(path2):
            return False
        try:
            entry = await self._entry(path1, refresh=True)
        except NotFoundError:
            return False
        with concerning(target.path):
            return await (await self._service(source)).rename(entry, target)

    async def _remove_if_empty(self, entry: Entry) -> None:
        try:
            await self._rmdir(entry.location.path)
        except (NotFoundError, NotADirectoryError):
            return
        except (NotEmptyError, UnsupportedError) as error:
            logger.info("%s: kept after the move: %s", entry.location.path, error)

    async def _mv_file(self, path1: str, path2: str) -> None:
        """Move one file."""
        await self._mv(path1, path2)
