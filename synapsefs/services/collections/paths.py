"""Where files of collections can be."""

from __future__ import annotations

from collections.abc import Sequence

from synapsefs.errors import FolderError, InvalidPathError, NotAFolderError
from synapsefs.location import (
    Location,
    Root,
    escape_key,
    id_of,
    split_suffix,
    unescape_key,
)
from synapsefs.services.collections.index import CollectionIndex
from synapsefs.services.paths import directories_of, name_problems, require_distinct
from synapsefs.wire.collections import constants, v1


def require_free(locations: Sequence[Location], index: CollectionIndex | None = None) -> None:
    """Refuse files of one collection where a directory is, and below other files."""
    require_distinct(locations, top=4)
    if index is None:
        return
    for location in locations:
        if index.tree.folder(location.inner) is not None:
            raise FolderError("this is a directory", location.path)
    for above, location in directories_of(locations, top=4).items():
        if index.of_path(above[2:]):
            raise NotAFolderError(f"{'/'.join(above)} is a file, not a directory", location.path)


def validate_path(location: Location, specifications: Sequence[v1.FileSpecification]) -> None:
    """Refuse a path where no file can be.

    Raises
    ------
    InvalidPathError
        Naming the path and every rule that it breaks.
    FolderError
        For a collection or a file specification itself.
    """
    segments = location.inner
    if not segments:
        raise FolderError("a file needs a file specification and a name below it", location.path)
    spec = specification_of(location, specifications)
    if len(segments) < 2:
        raise FolderError("a file needs a name below its file specification", location.path)
    name = unescape_key(segments[1:])
    problems = name_problems(segments[1:], Root.COLLECTIONS, constants.GROUP_NAME_MAX)
    if len(name) > constants.PATH_MAX:
        limit = f"at most {constants.PATH_MAX} characters"
        problems.append(f"a path below its specification has {limit}")
    written = escape_key(name, Root.COLLECTIONS)
    if written != segments[1:] and not any(id_of(one, Root.COLLECTIONS) for one in segments[1:]):
        problems.append(f"slashes of a key are folders here; write it {'/'.join(written)}")
    if spec.extensions:
        allowed = {extension.lower().lstrip(".") for extension in spec.extensions}
        suffix = split_suffix(name)[1].lower().lstrip(".")
        if suffix not in allowed:
            takes = f"{spec.name} takes {', '.join(sorted(allowed))}"
            problems.append(f"{takes}, not {suffix or 'no suffix'!r}")
    if problems:
        raise InvalidPathError("; ".join(problems), location.path)


def specification_of(
    location: Location, specifications: Sequence[v1.FileSpecification]
) -> v1.FileSpecification:
    """Find the file specification that a path lies in; the error names those that there are."""
    name = location.specification
    for spec in specifications:
        if spec.name == name:
            return spec
    names = ", ".join(sorted(spec.name for spec in specifications))
    rule = f"{name!r} is no file specification of this collection, which has {names}"
    raise InvalidPathError(rule, location.path)
