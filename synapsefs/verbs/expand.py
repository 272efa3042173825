"""Which remote path goes with which local one: what many-file verbs decide before they begin."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fsspec.implementations.local import LocalFileSystem, make_path_posix, trailing_sep
from fsspec.utils import other_paths

from synapsefs.errors import InvalidRequestError, NotFoundError
from synapsefs.local.ignore import Ignoring, ignoring
from synapsefs.local.manifest import Said, read_manifest, told
from synapsefs.local.names import require_inside
from synapsefs.local.walk import LocalItem, local_tree
from synapsefs.location import Location, id_of, plain

_AT = "%40"


@dataclass(frozen=True, slots=True)
class Pairs:
    """What goes where.

    Attributes
    ----------
    sources, targets
        Paths, one target for each source.
    folders
        Which sources are local directories.
    left_out
        Directories that were named, and that do not go.
    """

    sources: Sequence[str]
    targets: Sequence[str]
    folders: Sequence[str] = ()
    left_out: Sequence[str] = ()

    def __post_init__(self) -> None:
        """Refuse lists of different length, of which fsspec would take the shorter one.

        Raises
        ------
        InvalidRequestError
            Naming the first path.
        """
        if len(self.sources) != len(self.targets):
            rule = f"{len(self.sources)} sources and {len(self.targets)} targets: one for each"
            raise InvalidRequestError(rule, str(next(iter([*self.sources, *self.targets]))))

    def files(self) -> list[tuple[str, str]]:
        """Give sources and targets of files."""
        folders = set(self.folders)
        pairs = zip(self.sources, self.targets, strict=True)
        return [pair for pair in pairs if pair[0] not in folders]

    def folder_targets(self) -> list[str]:
        """Give the targets of directories."""
        folders = set(self.folders)
        pairs = zip(self.sources, self.targets, strict=True)
        return [target for source, target in pairs if source in folders]


@dataclass(frozen=True, slots=True)
class LocalTree:
    """A local folder that goes to a remote one.

    Attributes
    ----------
    items
        The folder and what it holds, less what is left out.
    target
        Remote path of the folder.
    passed_over
        What cannot be sent, as lines of a relative path and a reason.
    """

    items: Sequence[LocalItem]
    target: str
    passed_over: Sequence[str] = ()

    @property
    def sources(self) -> list[str]:
        """Local paths of all files."""
        return [item.path for item in self.items if not item.folder]

    @property
    def targets(self) -> list[str]:
        """Remote paths of all files."""
        return [self.place(item) for item in self.items if not item.folder]

    @property
    def folders(self) -> list[str]:
        """Remote paths of all folders, each after the one that it lies in."""
        return [self.place(item) for item in self.items if item.folder]

    @property
    def failures(self) -> dict[str, Exception | None]:
        """Say of what cannot be sent why, by the remote paths it would have had."""
        lines = (line.rpartition(": ") for line in self.passed_over)
        return {
            f"{self.target}/{name}": InvalidRequestError(why, f"{self.items[0].path}/{name}")
            for name, _, why in lines
        }

    def place(self, item: LocalItem) -> str:
        """Give the remote path of a file or folder."""
        return "/".join((self.target, *(_segment(name, self.target) for name in item.parts)))


def _segment(name: str, target: str) -> str:
    """Write a local name as a path segment below a target: it is no id."""
    root = Location.parse(target).root
    return _AT + name[1:] if id_of(name, root) is not None else plain(name, root)


def _local_name(segment: str) -> str:
    return "@" + segment[len(_AT) :] if segment.startswith(_AT) else segment


def left_out(options: dict[str, Any]) -> Ignoring | None:
    """Take what is to be left out from the options of ``put``; None when nothing was said.

    Raises
    ------
    InvalidRequestError
        For a pattern that means nothing.
    """
    patterns = options.pop("ignore_patterns", None)
    filename = options.pop("ignore_filename", None)
    defaults = options.pop("ignore_defaults", None)
    if patterns is None and filename is None and not defaults:
        return None
    return ignoring(patterns, filename, defaults=defaults is None or bool(defaults))


async def tree_to_put(
    fs: Any,
    lpath: Any,
    rpath: Any,
    options: dict[str, Any],
    *,
    whole: bool,
    suffix: str = "",
    lenient: bool = False,
) -> LocalTree | None:
    """Look through a local folder that is to be put as a whole.

    Parameters
    ----------
    lpath, rpath, options
        As ``put`` got them; what is used of the options is taken out.
    whole
        Whether folders are to be put with all they hold.
    suffix
        What the folder's name gets where it is put into a directory.
    lenient
        Pass over what cannot be sent.

    Returns
    -------
    LocalTree or None
        None for anything else than one folder.

    Raises
    ------
    InvalidRequestError
        For options that make no sense for what is put, and for trees that cannot be sent.
    """
    ignored = left_out(options)
    folder = isinstance(lpath, str) and await asyncio.to_thread(os.path.isdir, lpath)
    if not (folder and whole and isinstance(rpath, str)) or options.get("maxdepth"):
        if ignored is not None:
            raise InvalidRequestError(
                "what to leave out can be said of one local folder, put as a whole", str(lpath)
            )
        return None
    root = make_path_posix(lpath).rstrip("/") or "/"
    passed_over: list[str] | None = [] if lenient else None
    items = await asyncio.to_thread(local_tree, root, ignored, passed_over)
    target = await remote_target(fs, lpath, rpath, os.path.basename(root) + suffix)
    return LocalTree(items, target, passed_over or ())


async def said_of(tree: LocalTree | None, manifest: str, lpath: Any) -> dict[str, Said]:
    """Find out what a manifest says of a tree's files and folders, by their remote paths.

    Raises
    ------
    NotFoundError
        When there is no such manifest.
    InvalidRequestError
        One error that lists every problem.
    """
    if tree is None:
        raise InvalidRequestError(
            "a manifest speaks of one local folder, put as a whole", str(lpath)
        )
    root = tree.items[0]
    path, held = await asyncio.to_thread(read_manifest, os.fspath(manifest), root.path)
    names = [os.path.basename(root.path), _local_name(tree.target.rsplit("/", 1)[-1])]
    said = told(held, names, tree.items, path)
    return {tree.place(item): said[item.parts] for item in tree.items if item.parts in said}


async def remote_target(fs: Any, lpath: str, rpath: str, name: str) -> str:
    """Give the path that a local folder goes to: into a directory that is there, or as it."""
    target: str = fs._strip_protocol(rpath)  # noqa: SLF001 - as fsspec's own verbs do
    into = trailing_sep(rpath) or await fs._isdir(rpath)  # noqa: SLF001
    return f"{target}/{_segment(name, target)}" if into and not trailing_sep(lpath) else target


async def pairs_to_get(
    fs: Any, rpath: Any, lpath: Any, options: Mapping[str, Any], *, recursive: bool
) -> Pairs:
    """Give remote paths and the local ones that they go to, by fsspec's rules.

    Raises
    ------
    InvalidPathError
        When a remote name would lead out of the local target. Nothing was written.
    """
    if isinstance(rpath, list) and isinstance(lpath, list):
        return Pairs(rpath, lpath)
    named = isinstance(rpath, str)
    maxdepth = options.get("maxdepth")
    path = fs._strip_protocol(rpath)  # noqa: SLF001
    found = await fs._expand_path(path, recursive=recursive, maxdepth=maxdepth)  # noqa: SLF001
    left_out: list[str] = []
    if named and (not recursive or maxdepth is not None):
        left_out = [item for item in found if await fs._isdir(item)]  # noqa: SLF001
        found = [item for item in found if item not in left_out]
    target = make_path_posix(lpath)
    into = trailing_sep(target) or await asyncio.to_thread(os.path.isdir, target)
    root = target.rstrip("/")
    targets = _targets(rpath, path, found, root, into=into)
    require_inside(root, targets)
    places = [root + _local_names(item[len(root) :]) for item in targets]
    return Pairs(found, places, left_out=left_out)


async def pairs_to_put(
    fs: Any, lpath: Any, rpath: Any, *, recursive: bool, maxdepth: int | None
) -> Pairs:
    """Give local paths and the remote ones that they go to, by fsspec's rules.

    A local name that is there is no pattern, brackets and all.

    Raises
    ------
    NotFoundError
        For a pattern that nothing matches.
    """
    left_out: list[str] = []
    if isinstance(lpath, list | tuple) and isinstance(rpath, list | tuple):
        sources, targets = [os.fspath(path) for path in lpath], list(rpath)
    else:
        sources = await asyncio.to_thread(
            local_paths, lpath, recursive=recursive, maxdepth=maxdepth
        )
        if isinstance(lpath, str) and (not recursive or maxdepth is not None):
            left_out = await asyncio.to_thread(_directories, sources)
            sources = [item for item in sources if item not in left_out]
        root = fs._strip_protocol(rpath)  # noqa: SLF001
        into = isinstance(rpath, str) and (trailing_sep(rpath) or await fs._isdir(root))  # noqa: SLF001
        path = make_path_posix(lpath) if isinstance(lpath, str) else lpath
        targets = _targets(lpath, path, sources, root, into=into)
    return Pairs(sources, targets, await asyncio.to_thread(_directories, sources), left_out)


async def pairs_to_copy(
    fs: Any, path1: Any, path2: Any, *, recursive: bool, maxdepth: int | None
) -> Pairs:
    """Give remote paths and those that they are copied to, by fsspec's rules."""
    if isinstance(path1, list | tuple) and isinstance(path2, list | tuple):
        return Pairs(_stripped(fs, path1), _stripped(fs, path2))
    source, root = fs._strip_protocol(path1), fs._strip_protocol(path2)  # noqa: SLF001
    found = await fs._expand_path(source, recursive=recursive, maxdepth=maxdepth)  # noqa: SLF001
    left_out: list[str] = []
    if isinstance(path1, str) and (not recursive or maxdepth is not None):
        left_out = [item for item in found if await fs._isdir(item)]  # noqa: SLF001
        found = [item for item in found if item not in left_out]
    into = isinstance(path2, str) and (trailing_sep(path2) or await fs._isdir(root))  # noqa: SLF001
    return Pairs(found, _targets(path1, source, found, root, into=into), left_out=left_out)


def _stripped(fs: Any, paths: Sequence[Any]) -> list[str]:
    return [fs._strip_protocol(path) for path in paths]  # noqa: SLF001


def _targets(asked: Any, path: Any, found: Sequence[str], root: Any, *, into: bool) -> list[str]:
    """Give the path below ``root`` that each of what was found goes to.

    Parameters
    ----------
    asked, path
        The source as it was given, and without protocol.
    into
        Whether ``root`` is a directory to put things into.
    """
    named = isinstance(asked, str)
    pattern = named and _is_pattern(path, found)
    inside = len(found) == 1 if pattern else into and named and not trailing_sep(asked)
    if not found:
        return []
    if not isinstance(root, str):
        return list(root)
    return list(other_paths(list(found), root, exists=named and inside, flatten=not named))


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


def _directories(paths: Sequence[str]) -> list[str]:
    return [path for path in paths if os.path.isdir(path)]


def _magic(path: str) -> bool:
    return any(mark in path for mark in "*?[")


def _is_pattern(path: str, found: Sequence[str]) -> bool:
    return _magic(path) and path not in found


def _local_names(path: str) -> str:
    return "/".join(map(_local_name, path.split("/")))
