"""Where files of datasets can be."""

from __future__ import annotations

from collections.abc import Iterable

from synapsefs.errors import FolderError, InvalidPathError, NotAFolderError
from synapsefs.location import Location, Root, escape, id_of, is_text, unescape

NAME_MAX = 255


def checked_place(location: Location) -> None:
    """Refuse a path where no file can be.

    Raises
    ------
    InvalidPathError
        Naming the path and every rule that it breaks.
    FolderError
        For a dataset itself.
    """
    if id_of(location.container) is None:
        checked_name(unescape(location.container), location.path)
    if not location.inner:
        raise FolderError("a file needs a name below its dataset", location.path)
    broken = []
    if any(not is_text(unescape(segment)) for segment in location.inner):
        broken.append("a name is text that UTF-8 can hold, without lone surrogates")
    if any(len(unescape(segment)) > NAME_MAX for segment in location.inner):
        broken.append(f"each name has at most {NAME_MAX} characters")
    for segment in location.inner:
        written = escape(unescape(segment), Root.DATASETS)
        if id_of(segment, Root.DATASETS) is not None:
            broken.append(f"{segment!r} addresses by id; a name like that is written {written!r}")
        elif written != segment:
            broken.append(f"{segment!r} is written {written!r}")
    if broken:
        raise InvalidPathError("; ".join(broken), location.path)


def checked_name(name: str, path: str) -> None:
    """Refuse a name that no dataset can have.

    Raises
    ------
    InvalidPathError
        Naming the path and every rule that it breaks.
    """
    broken = []
    if not is_text(name):
        broken.append("a name is text that UTF-8 can hold, without lone surrogates")
    if len(name) > NAME_MAX:
        broken.append(f"each name has at most {NAME_MAX} characters")
    if broken:
        raise InvalidPathError("; ".join(broken), path)


def require_distinct(locations: Iterable[Location]) -> None:
    """Refuse files that are to lie below other files.

    Raises
    ------
    NotAFolderError
        Naming both.
    """
    files = set(locations)
    for location in sorted(files, key=lambda one: one.path):
        for depth in range(3, len(location.segments)):
            above = Location(location.segments[:depth])
            if above in files:
                rule = f"a file is in the way of a directory: {above.path!r} is written, too"
                raise NotAFolderError(rule, location.path)
