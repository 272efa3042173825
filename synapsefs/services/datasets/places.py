"""Where files of datasets can be."""

from __future__ import annotations

from synapsefs.errors import FolderError, InvalidPathError
from synapsefs.location import Location, Root, escape, id_of, unescape

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
    if not location.inner:
        raise FolderError("a file needs a name below its dataset", location.path)
    broken = []
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
