"""Where files of datasets can be."""

from __future__ import annotations

from synapsefs.errors import FolderError, InvalidPathError
from synapsefs.location import Location, escape, unescape

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
    wrong = [segment for segment in location.inner if escape(unescape(segment)) != segment]
    if wrong and not wrong[0].startswith("@"):
        broken.append(f"{wrong[0]!r} is written {escape(unescape(wrong[0]))!r}")
    if any(segment.startswith("@") for segment in location.inner):
        broken.append("'@' in front of a name addresses by id; write it %40")
    if broken:
        raise InvalidPathError("; ".join(broken), location.path)
