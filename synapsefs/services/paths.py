"""What both services ask of the paths of files that are to be written."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from synapsefs.errors import NotAFolderError
from synapsefs.location import Location, Root, id_of, is_text, unescape


def name_problems(segments: Sequence[str], root: Root, max_length: int) -> list[str]:
    """Say which of the rules for names the segments of a path break."""
    problems = []
    if not all(map(is_text, segments)):
        problems.append("a name is text that UTF-8 can hold, without lone surrogates")
    too_long = [segment for segment in segments if len(segment) > max_length]
    if any(len(unescape(segment)) > max_length for segment in too_long):
        problems.append(f"each name has at most {max_length} characters")
    problems += [
        f"{segment!r} addresses by id; a name like that is written '%40{segment[1:]}'"
        for segment in segments
        if id_of(segment, root) is not None
    ]
    return problems


def directories_of(locations: Iterable[Location], top: int) -> dict[tuple[str, ...], Location]:
    """Give the directories that files lie in, each with one of the files below it.

    Parameters
    ----------
    top
        Segments of the highest of them, root and container included.
    """
    directories: dict[tuple[str, ...], Location] = {}
    for location in locations:
        segments = location.segments
        for depth in range(len(segments) - 1, top - 1, -1):
            if segments[:depth] in directories:
                break
            directories[segments[:depth]] = location
    return directories


def require_distinct(locations: Iterable[Location], top: int) -> None:
    """Refuse files that are to lie below other files of the same call; the error names both."""
    files = {location.segments: location for location in locations}
    for segments, below in directories_of(files.values(), top).items():
        if segments in files:
            rule = f"a file is in the way of a directory: {files[segments].path!r} is written, too"
            raise NotAFolderError(rule, below.path)
