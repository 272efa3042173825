"""Making, removing, copying and moving: mkdir, rm, cp, mv and their kin."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from glob import has_magic
from typing import Any

from synapsefs.errors import (
    ChangedError,
    FolderError,
    InvalidRequestError,
    NotAFolderError,
    NotEmptyError,
    NotFoundError,
    UnsupportedError,
    error_path,
)
from synapsefs.location import Location
from synapsefs.services.base import UNKNOWN_SIZE, Entry, NewFile, Staged
from synapsefs.transfer import copy_bytes
from synapsefs.verbs.base import by_root
from synapsefs.verbs.calls import mirrored
from synapsefs.verbs.expand import (
    Pairs,
    expand_copy,
    listed,
    plain,
    require_one_each,
    require_separate,
    warn_left_out,
)
from synapsefs.verbs.write import Writes

logger = logging.getLogger("synapsefs")


@dataclass(frozen=True, slots=True)
class _Copy:
    """A file or directory to copy, and where to."""

    source: Entry
    target: Location

    @property
    def is_file(self) -> bool:
        """Whether it is a file."""
        return self.source.kind == "file"


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is copied where, and the ids of what is at the targets."""

    copies: Sequence[_Copy]
    overwritten: frozenset[Hashable] = frozenset()


@mirrored("mkdir", "makedirs", "rmdir", "rm", "rm_file", "copy", "cp_file", "mv", "mv_file")
class NamespaceVerbs(Writes):
    """The verbs that change what is where."""

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
        if maxdepth is None:
            return [entry, *below]
        deepest = len(entry.location.segments) + maxdepth
        return [
            one for one in below if one.kind == "file" and len(one.location.segments) <= deepest
        ]

    async def _remove(self, entries: Iterable[Entry], *, unchanged: bool = False) -> None:
        for group in by_root(entries, lambda entry: entry.location):
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
            raise NotAFolderError("this is a file", path)
        if len(entry.location.segments) < 2:
            raise UnsupportedError("a service's root cannot be removed", path)
        service = await self._service(entry.location)
        below = await service.list(entry.location, recursive=True, refresh=entry.is_container)
        if any(one.kind == "file" or one.identity for one in below):
            raise NotEmptyError("the directory is not empty", path)
        await service.remove([entry])

    async def _copy(
        self,
        path1: Any,
        path2: Any,
        recursive: bool = False,
        on_error: str | None = None,
        maxdepth: int | None = None,
        **kwargs: Any,
    ) -> None:
        """Copy files or trees; within a collections service no byte moves.

        Where two files go to one path, the last one is copied. Inside a transaction copies appear
        at once.

        Parameters
        ----------
        path1, path2, recursive, maxdepth
            As for all fsspec filesystems.
        on_error
            ``raise``, or ``ignore`` to pass over what is no longer there, as with ``recursive``.

        Raises
        ------
        InvalidRequestError
            For a file onto itself and a directory into itself, in whatever spelling, before
            anything is copied.
        """
        pairs = await self._pairs_to_copy(path1, path2, recursive=recursive, maxdepth=maxdepth)
        lenient = on_error == "ignore" or (on_error is None and recursive)
        plan = await self._plan_copy(pairs, lenient=lenient)
        last = {plain(copy.target): copy for copy in plan.copies}
        await self._copy_all(list(last.values()))

    async def _pairs_to_copy(
        self, path1: Any, path2: Any, *, recursive: bool, maxdepth: int | None
    ) -> Pairs:
        await self._refresh([*listed(path1), *listed(path2)])
        pairs = await expand_copy(self, path1, path2, recursive=recursive, maxdepth=maxdepth)
        warn_left_out(pairs.left_out, recursive=recursive)
        return pairs

    async def _cp_file(self, path1: str, path2: str, **kwargs: Any) -> None:
        """Copy one file; for a directory, create one like it."""
        await self._refresh([path1, path2])
        await self._copy_all((await self._plan_copy(Pairs([path1], [path2]))).copies)

    async def _plan_copy(self, pairs: Pairs, *, lenient: bool = False) -> _Plan:
        """Resolve sources and targets; refuse what would be copied onto or into itself."""
        sources = [Location.parse(path) for path in pairs.sources]
        targets = [plain(Location.parse(path)) for path in pairs.targets]
        above = {
            Location(target.segments[:depth])
            for target in targets
            for depth in range(1, len(target.segments) + 1)
        }
        found = await self._resolved([*sources, *above])
        copies = []
        for source, target in zip(sources, targets, strict=True):
            entry = found[source]
            if entry is None and lenient:
                continue
            copy = _Copy(entry or await self._entry(source.path), target)
            _require_other(copy, found)
            copies.append(copy)
        require_separate(
            (copy.target for copy in copies if copy.is_file),
            (copy.target for copy in copies if not copy.is_file),
        )
        there = [found[copy.target] for copy in copies]
        return _Plan(copies, frozenset(entry.key for entry in there if entry is not None))

    async def _copy_all(self, copies: Sequence[_Copy]) -> None:
        """Make directories, then copy all files of each service and publish them together."""
        for copy in copies:
            if not copy.is_file:
                await self._make_like(copy.source, copy.target)
        for group in by_root([copy for copy in copies if copy.is_file], lambda one: one.target):
            service = await self._service(group[0].target)
            with error_path(group[0].target.path):
                left = await service.copy([(copy.source, copy.target) for copy in group])
            sources = {target: source for source, target in left}
            content = memoryview(b"")
            files = [NewFile(target, content, UNKNOWN_SIZE) for target in sources]
            if files:
                await self._check(files, complete=True)
                stage = partial(self._stage_copy, sources)
                await self._write(files, stage=stage, at_once=True)

    async def _stage_copy(self, sources: Mapping[Location, Entry], file: NewFile) -> Staged:
        source = sources[file.location]
        service = await self._service(source.location)
        if source.location.root is file.location.root:
            file = replace(file, options=await service.copy_options(source))
        content, target = await service.open(source), await self._service(file.location)
        return await copy_bytes(content, target, file)

    async def _make_like(self, source: Entry, target: Location) -> None:
        """Make a directory that says what another one says, unless it is there."""
        options: Mapping[str, Any] = {}
        service = await self._service(target)
        if source.location.root is target.root and bool(source.location.inner) == bool(
            target.inner
        ):
            options = await service.copy_options(source)
        await self._make(target.path, exist_ok=True, parents=True, options=options)

    async def _mv(
        self,
        path1: Any,
        path2: Any,
        recursive: bool = False,
        maxdepth: int | None = None,
        **kwargs: Any,
    ) -> None:
        """Move files or trees: copied first, then just what was copied is removed.

        A file is removed when its copy has been found whole, and when nobody has changed it since
        it was copied. A whole collection that moves to a free name is renamed.

        Raises
        ------
        InvalidRequestError
            For a file onto itself, a directory into itself and two files for one path, in whatever
            spelling. Nothing was changed.
        ChangedError
            When somebody replaced a file while it moved: the newer one stays where it was, and the
            copy is there.
        """
        if recursive and maxdepth is None and await self._renamed(path1, path2):
            return
        pairs = await self._pairs_to_copy(path1, path2, recursive=recursive, maxdepth=maxdepth)
        plan = await self._plan_copy(pairs)
        require_one_each(copy.target for copy in plan.copies if copy.is_file)
        await self._copy_all(plan.copies)
        await self._remove_moved(plan)

    async def _remove_moved(self, plan: _Plan) -> None:
        """Remove what was copied, but nothing that a copy of the same call took the place of."""
        moved = [copy for copy in plan.copies if copy.is_file]
        now = await self._resolved([copy.target for copy in moved], refresh=True)
        for copy in moved:
            if not _is_whole(copy.source, now[copy.target]):
                path = copy.source.location.path
                raise ChangedError(f"its copy at {copy.target.path} is not what it was", path)
        left = [copy.source for copy in plan.copies if copy.source.key not in plan.overwritten]
        for path in await self._remove_tree(left, unchanged=True):
            logger.info("%s: kept after the move, as it is not empty", path)

    async def _renamed(self, path1: Any, path2: Any) -> bool:
        if not isinstance(path1, str) or not isinstance(path2, str) or path2.endswith("/"):
            return False
        source, target = Location.parse(path1), Location.parse(path2)
        containers = source.container and target.container and not source.inner + target.inner
        if source.root is not target.root or not containers:
            return False
        try:
            service = await self._collections(source)
            if await self._exists(path2):
                return False
            entry = await self._entry(path1, refresh=True)
        except (NotFoundError, UnsupportedError):
            return False
        with error_path(target.path):
            return await service.rename(entry, target)

    async def _mv_file(self, path1: str, path2: str) -> None:
        """Move one file."""
        await self._mv([path1], [path2])


def _require_other(copy: _Copy, found: Mapping[Location, Entry | None]) -> None:
    """Refuse a copy onto or into its own source, and of a file onto a directory or below a file."""
    path = copy.source.location.path
    there = found[copy.target]
    if there is not None and there.key == copy.source.key:
        what = "file" if copy.is_file else "directory"
        raise InvalidRequestError(f"this and {copy.target.path} are the same {what}", path)
    for depth in range(1, len(copy.target.segments)):
        above = found[Location(copy.target.segments[:depth])]
        if above is not None and above.key == copy.source.key and not copy.is_file:
            rule = f"a directory does not go into itself, to {copy.target.path}"
            raise InvalidRequestError(rule, path)
        if above is not None and above.kind == "file":
            rule = f"a file is in the way of a directory: {above.location.path}"
            raise NotAFolderError(rule, copy.target.path)
    if there is not None and there.kind != copy.source.kind:
        kind = FolderError if copy.is_file else NotAFolderError
        raise kind(f"there is a {there.kind} already", copy.target.path)


def _is_whole(source: Entry, copy: Entry | None) -> bool:
    """Say whether a copy is there besides its source, with the same content as far as is known."""
    if copy is None or copy.kind != "file" or copy.key == source.key:
        return False
    if None not in (source.size, copy.size) and source.size != copy.size:
        return False
    one, other = (source.checksum or "").lower(), (copy.checksum or "").lower()
    return not one or len(one) != len(other) or one == other
