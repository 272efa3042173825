"""Which source goes to which target: the paths of put, get and cp."""

from __future__ import annotations

import asyncio
import logging
import os
import stat
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fsspec.implementations.local import LocalFileSystem, make_path_posix, trailing_sep
from fsspec.utils import other_paths

from synapsefs.errors import InvalidRequestError, NotAFolderError, NotFoundError
from synapsefs.local.ignore import Ignoring, ignoring
from synapsefs.local.manifest import Said, attributes_in, read_manifest
from synapsefs.local.names import require_inside
from synapsefs.local.walk import LocalItem, local_tree
from synapsefs.location import Location, Root, escape, id_of, unescape
from synapsefs.location import plain as plain_segment
from synapsefs.services.base import UNKNOWN_SIZE

logger = logging.getLogger("synapsefs")
_AT = "%40"
MAX_NAMED = 20
"""How many paths a message names."""


@dataclass(frozen=True, slots=True)
class Pairs:
    """Paths, one target for each source, and directories that were named and do not go."""

    sources: Sequence[str]
    targets: Sequence[str]
    left_out: Sequence[str] = ()

    def __post_init__(self) -> None:
        """Refuse lists of different length, of which fsspec would take the shorter one."""
        if len(self.sources) != len(self.targets):
            rule = f"{len(self.sources)} sources and {len(self.targets)} targets: one for each"
            raise InvalidRequestError(rule, str(next(iter([*self.sources, *self.targets]))))


@dataclass(frozen=True, slots=True)
class LocalFiles:
    """What ``put`` sends."""

    files: Sequence[tuple[str, str, int]]
    """Local path, remote path and bytes of each."""
    folders: Mapping[str, Said]
    """Remote directories to make, parents first, with what a manifest says of them."""
    said: Mapping[str, Said] = field(default_factory=dict)
    """What a manifest says of files, by their remote paths."""
    left_out: Sequence[str] = ()
    """Directories that were named, and that do not go."""
    failures: Mapping[str, Exception] = field(default_factory=dict)
    """What cannot be sent and why, by the remote paths it would have had."""


@dataclass(frozen=True, slots=True)
class LocalTree:
    """A local directory that is put as a whole: what it holds, and the remote path of each."""

    items: Sequence[LocalItem]
    paths: Sequence[str]
    passed_over: Sequence[str]
    """What cannot be sent, as lines of a relative path and a reason."""

    async def contents(self, manifest: str | None) -> LocalFiles:
        """Give files and directories, with what a manifest says of them."""
        pairs = list(zip(self.items, self.paths, strict=True))
        said = await self._said(manifest) if manifest is not None else {}
        folders = {path: said.get(path, {}) for item, path in pairs if item.folder}
        files = [(i.path, path, i.status.st_size) for i, path in pairs if not i.folder]
        lines = (line.rpartition(": ") for line in self.passed_over)
        failures = {
            f"{self.paths[0]}/{name}": InvalidRequestError(why, f"{self.items[0].path}/{name}")
            for name, _, why in lines
        }
        return LocalFiles(files, folders, said, (), failures)

    async def _said(self, manifest: str) -> dict[str, Said]:
        root = self.items[0]
        path, held = await asyncio.to_thread(read_manifest, os.fspath(manifest), root.path)
        names = [os.path.basename(root.path), _local_name(self.paths[0].rsplit("/", 1)[-1])]
        said = attributes_in(held, names, self.items, path)
        pairs = zip(self.items, self.paths, strict=True)
        return {path: said[item.parts] for item, path in pairs if item.parts in said}


async def tree_to_put(
    fs: Any,
    lpath: Any,
    rpath: Any,
    ignored: Ignoring | None,
    *,
    suffix: str = "",
    lenient: bool = False,
) -> LocalTree | None:
    """Walk a local directory that is put as a whole; None for anything else.

    A remote directory that it is put into gets it by its name and ``suffix``. With ``lenient``
    what cannot be sent is passed over.
    """
    named = isinstance(lpath, str) and isinstance(rpath, str)
    if not named or not await asyncio.to_thread(os.path.isdir, lpath):
        return None
    root = make_path_posix(lpath).rstrip("/") or "/"
    passed_over: list[str] = []
    items = await asyncio.to_thread(local_tree, root, ignored, passed_over if lenient else None)
    target: str = fs._strip_protocol(rpath)  # noqa: SLF001 - as fsspec's own verbs do
    service = Location.parse(target).root
    into = trailing_sep(rpath) or await fs._isdir(rpath)  # noqa: SLF001
    if into and not trailing_sep(lpath):
        target = f"{target}/{_segment(os.path.basename(root) + suffix, service)}"
    paths: dict[tuple[str, ...], str] = {(): target}
    for item in items[1:]:
        paths[item.parts] = f"{paths[item.parts[:-1]]}/{_segment(item.parts[-1], service)}"
    return LocalTree(items, [paths[item.parts] for item in items], passed_over)


def ignored_by(options: dict[str, Any]) -> Ignoring | None:
    """Take the options of ``put`` that leave files out; None when none is given."""
    names = ("ignore_patterns", "ignore_filename", "ignore_defaults")
    patterns, filename, defaults = (options.pop(name, None) for name in names)
    if patterns is None and filename is None and not defaults:
        return None
    return ignoring(patterns, filename, defaults=defaults is None or bool(defaults))


async def expand_put(
    fs: Any, lpath: Any, rpath: Any, *, recursive: bool, maxdepth: int | None, lenient: bool
) -> LocalFiles:
    """Pair local paths with remote ones by fsspec's rules.

    A local name that exists is no pattern, brackets and all.

    Raises
    ------
    NotFoundError
        For a pattern that nothing matches.
    """
    left_out: list[str] = []
    if isinstance(lpath, list | tuple) and isinstance(rpath, list | tuple):
        sources, targets = [os.fspath(path) for path in lpath], list(rpath)
        sizes = await asyncio.to_thread(_sizes, sources, lenient=lenient)
    else:
        sources = await asyncio.to_thread(
            local_paths, lpath, recursive=recursive, maxdepth=maxdepth
        )
        sizes = await asyncio.to_thread(_sizes, sources, lenient=lenient)
        if isinstance(lpath, str) and (not recursive or maxdepth is not None):
            left_out = [item for item in sources if sizes[item] is None]
            sources = [item for item in sources if sizes[item] is not None]
        root = fs._strip_protocol(rpath)  # noqa: SLF001
        into = isinstance(rpath, str) and (trailing_sep(rpath) or await fs._isdir(root))  # noqa: SLF001
        path = make_path_posix(lpath) if isinstance(lpath, str) else lpath
        targets = _targets(lpath, path, sources, root, into=into)
    pairs = Pairs(sources, targets)
    files, folders = [], dict[str, Said]()
    for source, target in zip(pairs.sources, pairs.targets, strict=True):
        size = sizes[source]
        if size is None:
            folders[target] = {}
        else:
            files.append((source, target, size))
    return LocalFiles(files, folders, left_out=left_out)


def _sizes(paths: Sequence[str], *, lenient: bool) -> dict[str, int | None]:
    """Give the bytes of files by path; None for directories. It blocks."""
    sizes: dict[str, int | None] = {}
    for path in paths:
        try:
            sizes[path] = size_of(path)
        except OSError:
            if not lenient:
                raise
            sizes[path] = 0
    return sizes


def size_of(path: str) -> int | None:
    """Give the bytes of a local file, as :class:`NewFile` has them; None for a directory."""
    status = os.stat(path)
    if stat.S_ISDIR(status.st_mode):
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else UNKNOWN_SIZE


async def expand_get(
    fs: Any, rpath: Any, lpath: Any, *, recursive: bool, maxdepth: int | None
) -> Pairs:
    """Pair remote paths with local ones by fsspec's rules.

    Raises
    ------
    InvalidPathError
        When a remote name would lead out of the local target. Nothing was written.
    """
    if isinstance(rpath, list) and isinstance(lpath, list):
        return Pairs(fs._strip_protocol(rpath), [os.fspath(path) for path in lpath])  # noqa: SLF001
    path, sources, left_out = await _expand_remote(
        fs, rpath, recursive=recursive, maxdepth=maxdepth
    )
    target = make_path_posix(lpath)
    into = trailing_sep(target) or await asyncio.to_thread(os.path.isdir, target)
    root = target.rstrip("/")
    targets = _targets(rpath, path, sources, root, into=into)
    require_inside(root, targets)
    local = [root + "/".join(map(_local_name, item[len(root) :].split("/"))) for item in targets]
    return Pairs(sources, local, left_out)


async def expand_copy(
    fs: Any, path1: Any, path2: Any, *, recursive: bool, maxdepth: int | None
) -> Pairs:
    """Pair remote paths with those that they are copied to, by fsspec's rules."""
    if isinstance(path1, list | tuple) and isinstance(path2, list | tuple):
        return Pairs(fs._strip_protocol(list(path1)), fs._strip_protocol(list(path2)))  # noqa: SLF001
    path, sources, left_out = await _expand_remote(
        fs, path1, recursive=recursive, maxdepth=maxdepth
    )
    root = fs._strip_protocol(path2)  # noqa: SLF001
    into = isinstance(path2, str) and (trailing_sep(path2) or await fs._isdir(root))  # noqa: SLF001
    return Pairs(sources, _targets(path1, path, sources, root, into=into), left_out)


async def _expand_remote(
    fs: Any, asked: Any, *, recursive: bool, maxdepth: int | None
) -> tuple[Any, list[str], list[str]]:
    """Give a path without protocol, what it expands to, and the directories that do not go."""
    path = fs._strip_protocol(asked)  # noqa: SLF001
    sources = await fs._expand_path(path, recursive=recursive, maxdepth=maxdepth)  # noqa: SLF001
    left_out: list[str] = []
    if isinstance(asked, str) and (not recursive or maxdepth is not None):
        left_out = [item for item in sources if await fs._isdir(item)]  # noqa: SLF001
        sources = [item for item in sources if item not in left_out]
    return path, sources, left_out


def _targets(asked: Any, path: Any, sources: Sequence[str], root: Any, *, into: bool) -> list[str]:
    """Give the path below ``root`` that each source goes to; ``into`` a directory or as it."""
    if not sources:
        return []
    if not isinstance(root, str):
        return list(root)
    named = isinstance(asked, str)
    pattern = named and _magic(path) and path not in sources
    inside = len(sources) == 1 if pattern else into and named and not trailing_sep(asked)
    return list(other_paths(list(sources), root, exists=named and inside, flatten=not named))


def local_paths(paths: Any, *, recursive: bool = False, maxdepth: int | None = None) -> list[str]:
    """Resolve local patterns, and with ``recursive`` directories; it blocks.

    Raises
    ------
    NotFoundError
        For a pattern that nothing matches.
    """
    local = LocalFileSystem()
    found: set[str] = set()
    for given in [paths] if isinstance(paths, str) else paths:
        path = make_path_posix(os.fspath(given))
        if _magic(path) and not os.path.lexists(path):
            try:
                found.update(local.expand_path(path, recursive=recursive, maxdepth=maxdepth))
            except FileNotFoundError:
                rule = "no local file or directory matches"
                raise NotFoundError(rule, os.fspath(given)) from None
            continue
        path = path.rstrip("/") or "/"
        found.add(path)
        if recursive:
            found.update(local.find(path, maxdepth=maxdepth, withdirs=True))
    return sorted(found)


def _magic(path: str) -> bool:
    return any(mark in path for mark in "*?[")


def _segment(name: str, root: Root | None) -> str:
    """Write a local name as a path segment: it is no id."""
    return _AT + name[1:] if id_of(name, root) is not None else plain_segment(name, root)


def _local_name(segment: str) -> str:
    return "@" + segment[len(_AT) :] if segment.startswith(_AT) else segment


def plain(location: Location) -> Location:
    """Write a path with no more escapes than it needs."""
    if "%" not in location.path:
        return location
    segments = [s if s.startswith("@") else escape(unescape(s)) for s in location.segments]
    return Location(tuple(segments))


def require_one_each(locations: Iterable[Location]) -> None:
    """Refuse two files for one path.

    Raises
    ------
    InvalidRequestError
        Naming the path.
    """
    seen: set[tuple[str, ...]] = set()
    for location in map(plain, locations):
        if location.segments in seen:
            raise InvalidRequestError("two files for one path", location.path)
        seen.add(location.segments)


def require_separate(files: Iterable[Location], folders: Iterable[Location] = ()) -> None:
    """Refuse files and directories of one name among what one call or transaction writes.

    Raises
    ------
    NotAFolderError
        When a file would also be the directory of another one.
    """
    names = {plain(location).segments for location in files}
    directories = {plain(location).segments for location in folders}
    above: set[tuple[str, ...]] = set()
    for segments in names | directories:
        for depth in range(len(segments) - 1, 2, -1):
            if segments[:depth] in above:
                break
            above.add(segments[:depth])
    both = names & (above | directories)
    if both:
        path = min("/".join(segments) for segments in both)
        raise NotAFolderError("this would be a file and a directory at once", path)


def listed(path: Any) -> list[Any]:
    """Give one path, or several, as a list."""
    return list(path) if isinstance(path, list | tuple | set) else [path]


def warn_left_out(paths: Sequence[str], *, recursive: bool) -> None:
    """Say which directories are left out of a call without ``recursive``."""
    if paths and not recursive:
        more = len(paths) - MAX_NAMED
        shown = ", ".join(paths[:MAX_NAMED]) + (f" and {more} more" if more > 0 else "")
        logger.warning("omitting directories, as recursive=True was not given: %s", shown)
