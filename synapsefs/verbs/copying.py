"""Copying and moving within the services: cp and mv."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from synapsefs.errors import (
    ChangedError,
    FolderError,
    InvalidRequestError,
    NotAFolderError,
    NotFoundError,
    error_path,
)
from synapsefs.location import Location, Root
from synapsefs.services.base import Entry, Staged
from synapsefs.transfer import copy_bytes
from synapsefs.verbs.calls import mirrored
from synapsefs.verbs.expand import Pairs, pairs_to_copy
from synapsefs.verbs.namespace import ArrangingVerbs
from synapsefs.verbs.resolving import (
    listed,
    plain,
    require_one_each,
    require_separate,
    warn_left_out,
)
from synapsefs.verbs.staging import StagingVerbs

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


@mirrored("copy", "cp_file", "mv", "mv_file")
class CopyingVerbs(ArrangingVerbs, StagingVerbs):
    """The verbs that write what the services have already."""

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
        plan = await self._plan(pairs, lenient=lenient)
        last = {plain(copy.target): copy for copy in plan.copies}
        await self._copy_all(list(last.values()))

    async def _pairs_to_copy(
        self, path1: Any, path2: Any, *, recursive: bool, maxdepth: int | None
    ) -> Pairs:
        await self._refresh([*listed(path1), *listed(path2)])
        pairs = await pairs_to_copy(self, path1, path2, recursive=recursive, maxdepth=maxdepth)
        warn_left_out(pairs.left_out, recursive=recursive)
        return pairs

    async def _cp_file(self, path1: str, path2: str, **kwargs: Any) -> None:
        """Copy one file; for a directory, create one like it."""
        await self._refresh([path1, path2])
        await self._copy_all((await self._plan(Pairs([path1], [path2]))).copies)

    async def _plan(self, pairs: Pairs, *, lenient: bool = False) -> _Plan:
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
        for root in Root:
            group = [
                (copy.source, copy.target)
                for copy in copies
                if copy.is_file and copy.target.root is root
            ]
            if not group:
                continue
            service = await self._service(group[0][1])
            with error_path(group[0][1].path):
                left = await service.copy(group)
                await service.validate([target for _, target in left], complete=True)
            work = [self._copy_bytes(source, target) for source, target in left]
            await self._publish_or_discard(await self._arrived(work))

    async def _make_like(self, source: Entry, target: Location) -> None:
        """Make a directory that says what another one says, unless it is there."""
        options: Mapping[str, Any] = {}
        service = await self._service(target)
        if source.location.root is target.root and bool(source.location.inner) == bool(
            target.inner
        ):
            options = await service.annotations.copy_options(source)
        await self._make(target.path, exist_ok=True, parents=True, options=options)

    async def _copy_bytes(self, source: Entry, target: Location) -> Staged:
        service = await self._service(source.location)
        content, options = await service.content(source), {}
        if source.location.root is target.root:
            options = dict(await service.annotations.copy_options(source))
        target_service = await self._service(target)
        return await copy_bytes(content, target_service, target, options)

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
        plan = await self._plan(pairs)
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
        if source.root is not target.root or not containers or await self._exists(path2):
            return False
        try:
            entry = await self._entry(path1, refresh=True)
        except NotFoundError:
            return False
        with error_path(target.path):
            return await (await self._service(source)).rename(entry, target)

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
